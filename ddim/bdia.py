"""A sampler with an exact inverse: BDIA, bi-directional integration approximation (Zhang, Lewis & Kleijn 2023).

A DDIM step calls the network at x_t and gives x_s, from which x_t can only be approximated. A BDIA step has three
neighbouring times r > t > s and computes x_s from x_r with the network's prediction at (x_t, t); its inverse computes
x_r from x_s with the same prediction. The price is a second image: a latent is the pair (x_T, x at the next time).
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch

from ddpm.diffusion import EpsFn, predict
from ddpm.schedule import Schedule

from .sampler import OnStep, Steps, Trajectory, as_grid, step


@torch.no_grad()
def sample_exact(
    eps: EpsFn,
    schedule: Schedule,
    x_T: torch.Tensor | tuple[torch.Tensor, torch.Tensor],
    steps: Steps,
    spacing: str = "linear",
    gamma: float | None = None,
    dtype: torch.dtype = torch.float32,
    on_step: OnStep | None = None,
) -> Trajectory:
    """Denoise along the grid: yields (s, x_s, predicted x_0) after each step.

    `x_T` is noise (B, ...), whose first step is a DDIM step, or the latent pair that `invert_exact` found. Each step is
    x_s = gamma (x_r - ddim_r) + ddim_s from the two images before, where ddim_r and ddim_s are the DDIM steps from t to
    r and to s. `gamma` in (0, 1], by default exp(-2/S) (ours; the paper's is a constant): 1 is undamped, so that the
    odd and the even steps may drift apart; rounding grows like gamma^-S. x_s is float64, because the inverse must call
    the network at the very same point; the network computes in `dtype`. One call a step, two steps or more.
    """
    grid = as_grid(schedule.T, steps, spacing)
    gamma = check_gamma(gamma, grid)
    if isinstance(x_T, tuple | list):
        x_r, x = (x.double() for x in x_T)
    else:
        x_r = x_T.double()
        prediction = predict(eps, x_r.to(dtype), grid[0]).double()
        x, x_0 = step(schedule, prediction, x_r, grid[0], grid[1])
        if on_step:
            x, x_0 = on_step(grid[1], x, x_0)
        yield grid[1], x, x_0
    for r, t, s in triples(grid):
        ddim_r, ddim_s, x_0 = both_ways(eps, schedule, x, t, r, s, dtype)
        x_r, x = x, gamma * (x_r - ddim_r) + ddim_s
        if on_step:
            x, x_0 = on_step(s, x, x_0)
        yield s, x, x_0


@torch.no_grad()
def invert_exact(
    eps: EpsFn,
    schedule: Schedule,
    x_0: torch.Tensor,
    steps: Steps,
    spacing: str = "linear",
    gamma: float | None = None,
) -> Trajectory:
    """The exact inverse of `sample_exact`: yields (t, x_t, predicted x_0) after each upward step, x_t in float64.

    The last two x_t are the latent pair, the last one first:

        *_, (_, x_next, _), (_, x_T, _) = ddim.invert_exact(eps, schedule, x_0, 50)
        *_, (_, again, _) = ddim.sample_exact(eps, schedule, (x_T, x_next), 50)     # == x_0 to rounding

    The first step is the inverted DDIM step of `ddim.invert` and need not be exact: both of its ends are in the pair.
    The network is called once a step, in x_0's dtype, and never at t = 0. `gamma` and errors as in `sample_exact`.
    """
    grid = as_grid(schedule.T, steps, spacing)
    gamma = check_gamma(gamma, grid)
    x_s, dtype = x_0.double(), x_0.dtype
    x, x_0 = step(schedule, predict(eps, x_0, grid[-2]).double(), x_s, grid[-1], grid[-2])
    yield grid[-2], x, x_0
    for s, t, r in triples(grid[::-1]):
        ddim_r, ddim_s, x_0 = both_ways(eps, schedule, x, t, r, s, dtype)
        x_s, x = x, (x_s - ddim_s) / gamma + ddim_r
        yield r, x, x_0


def both_ways(
    eps: EpsFn, schedule: Schedule, x_t: torch.Tensor, t: int, r: int, s: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One call of the network at (x_t, t): the DDIM steps from there to r and to s, and the predicted x_0."""
    prediction = predict(eps, x_t.to(dtype), t).double()
    ddim_r, x_0 = step(schedule, prediction, x_t, t, r)
    return ddim_r, step(schedule, prediction, x_t, t, s)[0], x_0


def triples(grid: list[int]) -> Iterator[tuple[int, int, int]]:
    """Three neighbouring times at a time."""
    for (a, b), (_, c) in pairwise(pairwise(grid)):
        yield a, b, c


def check_gamma(gamma: float | None, grid: list[int]) -> float:
    """gamma, or its default; ValueError when it or the grid cannot be inverted."""
    if len(grid) < 3:
        raise ValueError(f"the times {grid} make 1 step, expected at least 2: a step needs two images before it")
    if gamma is None:
        return math.exp(-2 / (len(grid) - 1))
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma is {gamma!r}, expected a number in (0, 1]")
    return gamma
