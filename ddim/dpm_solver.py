"""A second-order sampler, DPM-Solver++(2M) (Lu et al. 2022)."""

from itertools import pairwise

import torch
from torch import Tensor

from ddpm.diffusion import EpsFn, predict, predict_eps, predict_x0, q_sample
from ddpm.schedule import Schedule

from .sampler import OnStep, Steps, Trajectory, as_grid


@torch.no_grad()
def sample_2m(
    eps: EpsFn,
    schedule: Schedule,
    x_T: Tensor,
    steps: Steps,
    spacing: str = "linear",
    on_step: OnStep | None = None,
) -> Trajectory:
    """Deterministic sampling of second order, Lu et al. 2022, Algorithm 2: the arguments of `sample` at eta = 0.

    Each step extrapolates the predicted x_0 from the last two (D and h are the paper's), at one network call a step,
    like DDIM. The first step has no predecessor, and lambda is infinite at t = 0: the first and the last step are DDIM
    steps. So the order is 2 on the way to any t above 0. At 0 the last step and the rounding of times leave an error
    that does not fall steadily when S is large.
    """
    x, x_0_prev, h_prev = x_T, None, None
    for t, s in pairwise(as_grid(schedule.T, steps, spacing)):
        x_0 = predict_x0(schedule, x, t, predict(eps, x, t))
        h = half_log_snr(schedule, s) - half_log_snr(schedule, t)
        D = x_0
        if x_0_prev is not None and s > 0:
            D = x_0 + h / (2 * h_prev) * (x_0 - x_0_prev)  # x_0, extrapolated to the middle of the step in lambda
        x = q_sample(schedule, D, s, predict_eps(schedule, x, t, D))
        if on_step:
            x, x_0 = on_step(s, x, x_0)
        x_0_prev, h_prev = x_0, h
        yield s, x, x_0


def half_log_snr(schedule: Schedule, t: int) -> float:
    """lambda_t = log(sqrt(alpha_bar_t) / sqrt(1 - alpha_bar_t)), the time variable of DPM-Solver. Infinite at t = 0."""
    return schedule.snr[t].log().item() / 2
