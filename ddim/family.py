"""DDIM's family of processes q_sigma and its one update (Song, Meng & Ermon 2021).

The paper writes alpha for what is alpha_bar here. A step goes from time t to any other time s: s < t is denoising,
s > t is inversion. eta in [0, 1] scales the noise: 0 is the deterministic DDIM, 1 is DDPM's posterior; "hat" is
DDPM's larger variance carried over to sub-sequences (appendix D.3), which lies outside the family.
"""

import math
from numbers import Real

import torch

from ddpm.diffusion import predict_eps, predict_x0
from ddpm.schedule import Schedule

HAT = "hat"
Eta = float | str


def sigma(schedule: Schedule, t: int, s: int, eta: Eta) -> float:
    """The noise added on the way from t down to s: DDIM Eq. (16), eta sqrt((1 - a_s)/(1 - a_t)) sqrt(1 - a_t/a_s).

    "hat" is sqrt(1 - a_t/a_s), DDIM appendix D.3: sqrt(beta_t) when s = t - 1. (a is alpha_bar.) 0 <= s < t <= T.
    ValueError: other times, eta outside [0, 1].
    """
    check_step(schedule, t, s, eta)
    if s > t:
        raise ValueError(f"noise is added on the way down in time, but s = {s} is above t = {t}")
    a_t, a_s = alpha_bars(schedule, t, s)
    hat = math.sqrt(1 - a_t / a_s)
    return hat if eta == HAT else eta * math.sqrt((1 - a_s) / (1 - a_t)) * hat


def mean(schedule: Schedule, x_0: torch.Tensor, eps: torch.Tensor, s: int, sigma_of_mean: float) -> torch.Tensor:
    """sqrt(alpha_bar_s) x_0 + sqrt(1 - alpha_bar_s - sigma^2) eps: "predicted x_0" and "direction pointing to x_t".

    eps stands for the slide's (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t). Like x_0 it is (B, ...).
    """
    a_s = schedule.alpha_bar[s].item()
    return math.sqrt(a_s) * x_0 + math.sqrt(max(1 - a_s - sigma_of_mean**2, 0)) * eps


def q_sigma(
    schedule: Schedule, x_0: torch.Tensor, x_t: torch.Tensor, t: int, s: int, eta: Eta
) -> tuple[torch.Tensor, float]:
    """Mean (B, ...) and variance of q_sigma(x_s | x_t, x_0), 0 <= s < t <= T: DDIM Eq. (7).

    For every eta in [0, 1] it keeps the marginals q(x_s | x_0) = N(sqrt(alpha_bar_s) x_0, (1 - alpha_bar_s) I), and
    so the training loss. "hat" takes its mean at eta = 1 and adds more noise: it does not keep them, and would add some
    at s = 0 too, which `step` leaves out.
    """
    variance = sigma(schedule, t, s, eta) ** 2
    eps = predict_eps(schedule, x_t, t, x_0)
    return mean(schedule, x_0, eps, s, sigma(schedule, t, s, eta_of_mean(eta))), variance


def step(
    schedule: Schedule,
    eps: torch.Tensor,
    x_t: torch.Tensor,
    t: int,
    s: int,
    eta: Eta = 0.0,
    noise: torch.Tensor | None = None,
    clip: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step from time t to time s -> x_s, predicted x_0: DDIM Eq. (12), sigma from Eq. (16).

    x_s = sqrt(alpha_bar_s) x_0_hat                     [predicted x_0]
        + sqrt(1 - alpha_bar_s - sigma^2) eps           [direction pointing to x_t]
        + sigma noise                                   [random noise]

    `eps` is the network's answer, like x_t (B, ...). s < t denoises; s > t inverts, with eta 0 and unclipped, and
    t may then be 0. `noise` is standard normal, needed when eta is not 0; the step to s = 0 adds none (Eq. 16 says so
    by itself, "hat" by decision). `clip` keeps the predicted x_0 in [-1, 1] and turns the direction to agree with it.
    ValueError: times outside 0..T or equal, eta outside [0, 1], noise or clipping upwards, missing noise.
    """
    check_step(schedule, t, s, eta, clip)
    x_0 = predict_x0(schedule, x_t, t, eps)
    if clip:
        x_0 = x_0.clamp(-1, 1)
        eps = predict_eps(schedule, x_t, t, x_0)
    if s > t and noise is not None:
        raise ValueError(f"inversion (from t = {t} up to {s}) adds no noise, but some was given")
    if s > t or eta == 0:
        return mean(schedule, x_0, eps, s, 0.0), x_0
    x_s = mean(schedule, x_0, eps, s, sigma(schedule, t, s, eta_of_mean(eta)))
    if s == 0:
        return x_s, x_0
    if noise is None:
        raise ValueError(f"the step from t = {t} to {s} at eta = {eta} adds noise, but none was given")
    return x_s + sigma(schedule, t, s, eta) * noise, x_0


def eta_of_mean(eta: Eta) -> float:
    """The family's eta that gives the mean: "hat" borrows that of eta = 1."""
    return 1.0 if eta == HAT else eta


def alpha_bars(schedule: Schedule, *times: int) -> list[float]:
    """alpha_bar at each of the times, as floats."""
    return [schedule.alpha_bar[t].item() for t in times]


def check_eta(eta: Eta) -> None:
    """ValueError unless eta is a number in [0, 1] or "hat"."""
    if eta != HAT and (not isinstance(eta, Real) or not 0 <= eta <= 1):
        raise ValueError(f'eta is {eta!r}, expected a number in [0, 1] or "{HAT}"')


def check_step(schedule: Schedule, t: int, s: int, eta: Eta, clip: bool = False) -> None:
    """The border of `step` and `q_sigma`."""
    check_eta(eta)
    if t == s or not 0 <= min(t, s) <= max(t, s) <= schedule.T:
        raise ValueError(f"a step goes between two different times in 0..{schedule.T}, not from {t} to {s}")
    if s > t and (eta != 0 or clip):
        raise ValueError(f"inversion (from t = {t} up to {s}) needs eta 0 and no clipping, got eta {eta}, clip {clip}")
