"""DDIM on one page: the family q_sigma, its update, the time grid and the sampler (Song, Meng & Ermon 2021).

The paper writes alpha for what is alpha_bar here. A step goes from time t to any other time s: s < t denoises, s > t
inverts. eta in [0, 1] scales the noise of a step: 0 is the deterministic DDIM, 1 is DDPM's posterior.

`steps` is everywhere a number of steps (then `spacing` chooses the grid) or an explicit descending list of times. All
loops are generators that yield (s, x_s, predicted x_0). `on_step(s, x_s, x_0) -> x_s, x_0`, if given, may change both
before they are yielded and before the next step starts from them: a local blend, say. ValueError: a time, eta or grid
that there is not, noise that is missing.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor

from ddpm.diffusion import EpsFn, Time, predict, predict_x0
from ddpm.noise import Draw, noise_like
from ddpm.schedule import Schedule, cast

Steps = int | list[int]
Trajectory = Iterator[tuple[int, Tensor, Tensor]]
OnStep = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
SPACINGS = ("linear", "quadratic")

# ---- one step ------------------------------------------------------------------------------------------------------


def sigma(schedule: Schedule, t: Time, s: Time, eta: float) -> Tensor:
    """Standard deviation of a step's noise, float64: Eq. (16), eta sqrt((1 - a_s) / (1 - a_t)) sqrt(1 - a_t / a_s).

    a is alpha_bar; 0 <= s < t <= T for eta > 0. It is 0 at eta = 0 and at s = 0.
    """
    if eta == 0:
        return torch.zeros((), dtype=torch.float64)
    if not eta > 0 or (isinstance(t, Integral) and s >= t):
        raise ValueError(f"eta is {eta} from t = {t} to s = {s}: expected 0 or more, and 0 where s > t inverts")
    a_t, a_s = schedule.alpha_bar[t], schedule.alpha_bar[s]
    return eta * ((1 - a_s) / (1 - a_t)).sqrt() * (1 - a_t / a_s).sqrt()


def q_sigma(schedule: Schedule, x_0: Tensor, x_t: Tensor, t: int, s: int, eta: float) -> tuple[Tensor, float]:
    """Mean (B, ...) and variance of q_sigma(x_s | x_t, x_0), 0 <= s < t <= T: Eq. (7).

    Every eta in [0, 1] keeps the marginals q(x_s | x_0) = N(sqrt(alpha_bar_s) x_0, (1 - alpha_bar_s) I), and so the
    training loss.
    """
    a_t, a_s = schedule.alpha_bar[[t, s]].tolist()
    variance = sigma(schedule, t, s, eta).item() ** 2
    noise = (x_t - math.sqrt(a_t) * x_0) / math.sqrt(1 - a_t)
    return math.sqrt(a_s) * x_0 + math.sqrt(max(1 - a_s - variance, 0)) * noise, variance


def step(
    schedule: Schedule,
    eps: Tensor,
    x_t: Tensor,
    t: Time,
    s: Time,
    eta: float = 0.0,
    noise: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One step from time t to time s -> x_s, predicted x_0: Eq. (12), with sigma from Eq. (16).

    eps: the network's prediction at (x_t, t), like x_t (B, ...). noise: standard normal, needed where sigma > 0.
    s > t inverts; there eta is 0, and t may be 0. Times are in 0..T, ints or (1,) long. eps is the slide's
    (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t), because x_0 is predicted from it. Nothing is clipped.
    """
    if noise is None and eta > 0 and s > 0:
        raise ValueError(f"eta is {eta} and noise None: expected standard normal noise like x_t")
    a_s, sigma_t = schedule.at("alpha_bar", s, x_t), sigma(schedule, t, s, eta)
    signal, direction, spread = cast(x_t, a_s.sqrt(), (1 - a_s - sigma_t**2).clamp(min=0).sqrt(), sigma_t)
    x_0 = predict_x0(schedule, x_t, t, eps)
    x_s = signal * x_0  # predicted x_0
    x_s = x_s + direction * eps  # direction pointing to x_t
    if noise is not None:
        x_s = x_s + spread * noise  # random noise
    return x_s, x_0


def step_hat(schedule: Schedule, eps: Tensor, x_t: Tensor, t: int, s: int, noise: Tensor) -> tuple[Tensor, Tensor]:
    """A step of the paper's sigma-hat row, appendix D.3: the mean of eta = 1 with the larger noise sqrt(1 - a_t / a_s).

    At s = t - 1 that noise is sqrt(beta_t). It does not keep the marginals, so it is outside the family. The step to
    s = 0 adds none. The published code also clips the predicted x_0 to [-1, 1] in this row; here nothing is clipped.
    """
    a_t, a_s = schedule.alpha_bar[[t, s]].tolist()
    mean, x_0 = step(schedule, eps, x_t, t, s, 1.0, torch.zeros_like(x_t))
    return (mean + math.sqrt(1 - a_t / a_s) * noise if s > 0 else mean), x_0


# ---- the time grid -------------------------------------------------------------------------------------------------


def timesteps(T: int, S: int, spacing: str = "linear") -> list[int]:
    """The times of S steps, descending, distinct, ending at 0: S + 1 ints for S in 1..T (section 4.2, appendix D.2).

    - "linear": t_i = floor(i T / S), i = S..0: exactly S steps, always starting at T, where x_T is noise.
    - "quadratic": the published code's grid for CIFAR-10, (linspace(0, sqrt(0.8 T), S))^2 rounded down. That code
      counts from 0, so each of its times is one more here. It starts at 0.8 T + 1. The smallest times are less than
      one apart and coincide: they are listed once, so the grid can have fewer than S steps (len(grid) - 1 says how
      many). For S = 1 it starts at 0.8 T + 1 too.

    Published programs use different grids: print the grid beside each number.
    """
    if not isinstance(S, Integral) or not 1 <= S <= T:
        raise ValueError(f"S is {S!r} steps, expected a whole number in 1..{T} (T)")
    if spacing not in SPACINGS:
        raise ValueError(f"spacing is {spacing!r}, expected one of {', '.join(SPACINGS)}")
    if spacing == "linear":
        return [i * T // int(S) for i in range(int(S), -1, -1)]
    below = np.linspace(0, np.sqrt(0.8 * T), S)[:-1]
    start = 8 * T // 10 + 1  # in whole numbers: a root's square can come out just below
    return sorted({int(root**2) + 1 for root in below} | {start, 0}, reverse=True)


def as_grid(T: int, steps: Steps, spacing: str = "linear") -> list[int]:
    """A number of steps as a grid; an explicit list of times is checked, strictly descending in 0..T, and returned."""
    if not isinstance(steps, list | tuple):
        return timesteps(T, steps, spacing)
    if fractions := [t for t in steps if int(t) != t]:
        raise ValueError(f"the time {fractions[0]} is no whole number: expected times in 0..{T} (T)")
    grid = [int(t) for t in steps]
    if len(grid) < 2 or any(t <= s for t, s in pairwise(grid)) or grid[0] > T or grid[-1] < 0:
        raise ValueError(f"the times {grid} must be two or more, strictly descending, in 0..{T} (T)")
    return grid


# ---- the sampler ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def sample(
    eps: EpsFn,
    schedule: Schedule,
    x_T: Tensor,
    steps: Steps,
    eta: float = 0.0,
    spacing: str = "linear",
    generator: Draw = None,
    on_step: OnStep | None = None,
) -> Trajectory:
    """Denoise x_T (B, ...) along the grid: yields (s, x_s, predicted x_0) after each step, Eq. (12).

    One call of the network a step. eta in [0, 1]; at 0 nothing is drawn. generator: see `ddpm.noise`. x_T stands at the
    grid's first time.
    """
    if not isinstance(eta, Real) or not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta!r}, expected a number in [0, 1]")
    x = x_T
    for t, s in pairwise(as_grid(schedule.T, steps, spacing)):
        noise = noise_like(x, generator) if eta > 0 and s > 0 else None
        x, x_0 = step(schedule, predict(eps, x, t), x, t, s, eta, noise)
        if on_step:
            x, x_0 = on_step(s, x, x_0)
        yield s, x, x_0


@torch.no_grad()
def sample_hat(
    eps: EpsFn, schedule: Schedule, x_T: Tensor, steps: Steps, spacing: str = "linear", generator: Draw = None
) -> Trajectory:
    """`sample` with the steps of `step_hat`: the sigma-hat row of the paper's table."""
    x = x_T
    for t, s in pairwise(as_grid(schedule.T, steps, spacing)):
        noise = noise_like(x, generator) if s > 0 else torch.zeros_like(x)
        x, x_0 = step_hat(schedule, predict(eps, x, t), x, t, s, noise)
        yield s, x, x_0
