"""DDIM inversion: the noise x_T from which the deterministic sampler leads to a given image."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from ddpm.diffusion import EpsFn, predict, predict_x0
from ddpm.schedule import Schedule

from .sampler import Steps, Trajectory, as_grid, step


@torch.no_grad()
def invert(
    eps: EpsFn, schedule: Schedule, x_0: Tensor, steps: Steps, spacing: str = "linear", iterations: int = 0
) -> Trajectory:
    """Find the x_T whose deterministic samples lead to x_0: yields (t, x_t, predicted x_0) after each upward step.

    x_0 (B, ...) in [-1, 1]. Each step is DDIM Eq. (12) at sigma = 0 with the times swapped, from s up to t. The exact
    inverse would need eps(x_t, t), but x_t is not known yet: the network is called with x_s in its place, at the target
    time t (so never at t = 0). The round trip's error falls like 1/S where the flow is smooth (on images more slowly:
    DDIM's Table 2). iterations: call the network again with the x_t just found (`fixed_point`); the limit is the exact
    inverse. Each costs one more call per step. They converge when steps are small against the detail of the data (a few
    suffice at S = 50; at S = 1 they do not help).
    """
    if iterations < 0:
        raise ValueError(f"iterations is {iterations}, expected 0 or more")
    x_s = x_0
    for s, t in pairwise(reversed(as_grid(schedule.T, steps, spacing))):
        x_t, x_0 = step(schedule, predict(eps, x_s, t), x_s, s, t)
        for _ in range(iterations):
            x_t, x_0 = fixed_point(schedule, predict(eps, x_t, t), x_t, x_s, s, t)
        x_s = x_t
        yield t, x_t, x_0


def fixed_point(schedule: Schedule, eps: Tensor, guess: Tensor, x_s: Tensor, s: int, t: int) -> tuple[Tensor, Tensor]:
    """One fixed-point iteration -> a better x_t, from which DDIM at eta = 0 leads down to x_s, and predicted x_0.

    eps: the network at (guess, t). With v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0 the step is a rotation by the
    angle d between the times, x_s = cos(d) x_t - sin(d) v_t (Salimans & Ho 2022, appendix D), here solved for x_t. The
    step with swapped times has the same fixed point. But near the noise eps is nearly x_t itself, and repeating that
    step hardly moves; in v it converges at every t.
    """
    a_t, a_s = schedule.alpha_bar[[t, s]].tolist()
    cosine = math.sqrt(a_t * a_s) + math.sqrt((1 - a_t) * (1 - a_s))
    sine = math.sqrt(a_s * (1 - a_t)) - math.sqrt(a_t * (1 - a_s))
    x_0 = predict_x0(schedule, guess, t, eps)
    v = math.sqrt(a_t) * eps - math.sqrt(1 - a_t) * x_0
    return (x_s + sine * v) / cosine, x_0
