"""Sampling with few steps, and its inversion. Each loop is a generator, and each step costs one call of the network.

`steps` is everywhere a number of steps (then `spacing` chooses the grid) or an explicit descending list of times.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch

from ddpm.diffusion import EpsFn, predict, predict_eps, predict_x0
from ddpm.noise import Draw, noise_like
from ddpm.schedule import Schedule

from .family import Eta, alpha_bars, check_eta, mean, step
from .grids import as_grid

Steps = int | list[int]
Trajectory = Iterator[tuple[int, torch.Tensor, torch.Tensor]]


def last(trajectory: Trajectory) -> torch.Tensor:
    """The final picture of a walk."""
    for _, x, _ in trajectory:
        pass
    return x


@torch.no_grad()
def sample(
    eps: EpsFn,
    schedule: Schedule,
    x_T: torch.Tensor,
    steps: Steps,
    eta: Eta = 0.0,
    spacing: str = "linear",
    generator: Draw = None,
    clip: bool = False,
) -> Trajectory:
    """Denoise x_T (B, ...) along the grid: yields (s, x_s, predicted x_0) after each step; DDIM Eq. (12).

    `eta` in [0, 1] or "hat"; at 0 nothing is drawn. `generator`: see `ddpm.noise`. `clip` keeps the predicted x_0 in
    [-1, 1]. x_T stands at the grid's first time. ValueError: see `timesteps` and `step`.
    """
    check_eta(eta)
    x = x_T
    for t, s in pairwise(as_grid(schedule.T, steps, spacing)):
        noise = noise_like(x, generator) if eta != 0 and s > 0 else None
        x, x_0 = step(schedule, predict(eps, x, t), x, t, s, eta, noise, clip)
        yield s, x, x_0


@torch.no_grad()
def invert(
    eps: EpsFn, schedule: Schedule, x_0: torch.Tensor, steps: Steps, spacing: str = "linear", iterations: int = 0
) -> Trajectory:
    """Find the x_T whose deterministic samples lead to x_0: yields (t, x_t, predicted x_0) after each upward step.

    x_0 (B, ...) in [-1, 1]. Each step is DDIM Eq. (12) at sigma = 0 with the times swapped, from s up to t. The way
    down asks for eps(x_t, t), but x_t is what we look for: the network is asked at the target time t with x_s in its
    place (so never at t = 0), and the round trip's error falls like 1/S (its square, as in DDIM's Table 2, like 1/S^2)
    where the flow is smooth. `iterations` ask again with the x_t just found, in `solve_up`: fixed-point iterations,
    whose limit the sampler takes back to x_s exactly. Each costs one more call per step; they settle when steps are
    small against the detail of the data (a few for S = 50; at S = 1, where the network is asked at t = T with the
    picture itself, the answer is of no use). Nothing is clipped. ValueError: iterations below 0; see `timesteps`.
    """
    if iterations < 0:
        raise ValueError(f"iterations is {iterations}, expected 0 or more")
    x_s = x_0
    for s, t in pairwise(reversed(as_grid(schedule.T, steps, spacing))):
        x_t, x_0 = step(schedule, predict(eps, x_s, t), x_s, s, t)
        for _ in range(iterations):
            x_t, x_0 = solve_up(schedule, predict(eps, x_t, t), x_t, x_s, s, t)
        x_s = x_t
        yield t, x_t, x_0


def solve_up(
    schedule: Schedule, eps: torch.Tensor, guess: torch.Tensor, x_s: torch.Tensor, s: int, t: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A better x_t from which DDIM Eq. (12) at eta 0 leads down to x_s, and predicted x_0, given eps at a `guess`.

    With v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0 that step is a turn, x_s = cos(d) x_t - sin(d) v_t by the
    angle d between the times (Salimans & Ho 2022, appendix D), here solved for x_t. The step with swapped times has the
    same fixed point, but near the noise, where eps is nearly x_t itself, repeating it hardly moves; v does not have
    that trouble at any t.
    """
    a_t, a_s = alpha_bars(schedule, t, s)
    cosine = math.sqrt(a_t * a_s) + math.sqrt((1 - a_t) * (1 - a_s))
    sine = math.sqrt(a_s * (1 - a_t)) - math.sqrt(a_t * (1 - a_s))
    x_0 = predict_x0(schedule, guess, t, eps)
    v = math.sqrt(a_t) * eps - math.sqrt(1 - a_t) * x_0
    return (x_s + sine * v) / cosine, x_0


@torch.no_grad()
def sample_2m(
    eps: EpsFn,
    schedule: Schedule,
    x_T: torch.Tensor,
    steps: Steps,
    spacing: str = "linear",
    clip: bool = False,
) -> Trajectory:
    """The deterministic sampler of second order DPM-Solver++(2M), Lu et al. 2022, Algorithm 2: as `sample` at eta 0.

    Each step extrapolates the predicted x_0 from the last two, at the price of one network call like DDIM. The first
    step has no predecessor and the step to t = 0 no finite length in lambda: these two are DDIM steps. So the order is
    2 on the way to any t above 0; down to 0 the last step and the rounding of times leave a small error that stops
    falling steadily when S is large. x_T (B, ...); `clip` keeps the predicted x_0 in [-1, 1]. ValueError: see
    `timesteps`.
    """
    x, before, length_before = x_T, None, None
    for t, s in pairwise(as_grid(schedule.T, steps, spacing)):
        x_0 = predict_x0(schedule, x, t, predict(eps, x, t))
        x_0 = x_0.clamp(-1, 1) if clip else x_0
        length = half_log_snr(schedule, s) - half_log_snr(schedule, t)
        aim = x_0
        if before is not None and s > 0:
            aim = x_0 + length / (2 * length_before) * (x_0 - before)
        x = mean(schedule, aim, predict_eps(schedule, x, t, aim), s, 0.0)
        before, length_before = x_0, length
        yield s, x, x_0


def half_log_snr(schedule: Schedule, t: int) -> float:
    """lambda_t = log(sqrt(alpha_bar_t) / sqrt(1 - alpha_bar_t)): DPM-Solver's own time. Infinite at t = 0."""
    return schedule.snr[t].log().item() / 2
