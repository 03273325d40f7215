"""The variational bound, term by term: the code length of an image in bits (Ho et al. 2020, Eq. 5 and section 3.3).

    -log p(x_0) <= L_T + sum over t = 2..T of E_q[L_{t-1}] + E_q[L_0]
    L_T     = KL(q(x_T | x_0) || N(0, I))                             the prior matching term
    L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))           the denoising matching terms
    L_0     = -log p(x_0 | x_1)                                       the reconstruction term

E_q is the mean over q(x_t | x_0), and over q(x_1 | x_0) for L_0: estimated by one draw of each.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from .diffusion import VARIANCES, EpsFn, check_choice, posterior, predict_x0, q_sample, reverse_variance
from .noise import Draw, noise_like
from .schedule import Schedule


@dataclass(frozen=True)
class Bound:
    """The bound of each image in bits per dimension. B images."""

    total: torch.Tensor  # (B,) prior + all denoising terms + reconstruction
    prior: torch.Tensor  # (B,) L_T
    denoising: torch.Tensor  # (B, T - 1) L_{t-1} at `times`
    reconstruction: torch.Tensor  # (B,) L_0
    times: torch.Tensor  # (B, T - 1) long, T..2


def gaussian_kl(
    mean_1: torch.Tensor, covariance_1: torch.Tensor, mean_2: torch.Tensor, covariance_2: torch.Tensor
) -> torch.Tensor:
    """KL(N(mean_1, covariance_1) || N(mean_2, covariance_2)) in nats: the lecture's general formula.

    1/2 [log |C_2|/|C_1| - d + tr(C_2^-1 C_1) + (m_2 - m_1)^T C_2^-1 (m_2 - m_1)]. Means (..., d), covariances
    (..., d, d) symmetric positive definite, result (...). A covariance that is not raises torch.linalg.LinAlgError.
    """
    root_1, root_2 = torch.linalg.cholesky(covariance_1), torch.linalg.cholesky(covariance_2)
    # with C = R R^T, R triangular: log |C| = 2 log |R|, tr(C_2^-1 C_1) = |R_2^-1 R_1|^2, d^T C_2^-1 d = |R_2^-1 d|^2
    log_ratio = 2 * (log_diagonal(root_2) - log_diagonal(root_1))
    trace = torch.linalg.solve_triangular(root_2, root_1, upper=False).square().sum((-2, -1))
    difference = (mean_2 - mean_1).unsqueeze(-1)
    distance = torch.linalg.solve_triangular(root_2, difference, upper=False).square().sum((-2, -1))
    return (log_ratio - mean_1.shape[-1] + trace + distance) / 2


def log_diagonal(root: torch.Tensor) -> torch.Tensor:
    """Sum of the logs of the diagonal, (..., d, d) -> (...): half the log determinant of root root^T."""
    return root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def diagonal_kl(
    mean_1: torch.Tensor, variance_1: torch.Tensor, mean_2: torch.Tensor, variance_2: torch.Tensor
) -> torch.Tensor:
    """`gaussian_kl` for diagonal covariances, in nats for each coordinate: all four (B, ...) or broadcasting to it.

    With equal variances only (mean_1 - mean_2)^2 / (2 variance) is left: the lecture's reduction of the ELBO.
    """
    ratio = variance_1 / variance_2
    return (ratio - 1 - ratio.log() + (mean_2 - mean_1).square() / variance_2) / 2


def prior_term(schedule: Schedule, x_0: torch.Tensor) -> torch.Tensor:
    """L_T in nats per coordinate, like x_0: Ho Eq. (5)."""
    alpha_bar = schedule.alpha_bar[-1].to(x_0)
    return diagonal_kl(alpha_bar.sqrt() * x_0, 1 - alpha_bar, torch.zeros_like(x_0), torch.ones_like(x_0))


def reverse(
    eps: EpsFn, schedule: Schedule, x_t: torch.Tensor, t: torch.Tensor, variance: str, clip: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of p(x_{t-1} | x_t). At t = 1, where the posterior's variance is 0, that of t = 2.

    With variance "beta", t = 1 (that is, L_0) takes beta_1; the code of Ho et al., and of Nichol & Dhariwal
    2021 after it, takes the variance of t = 2 there, and so has another L_0.
    """
    x_0 = predict_x0(schedule, x_t, t, eps(x_t, t))
    mean, _ = posterior(schedule, x_0.clamp(-1, 1) if clip else x_0, x_t, t)
    at_least = 2 if variance == "posterior" else 1
    return mean, reverse_variance(schedule, x_t, t.clamp(min=at_least), variance)


def denoising_term(
    eps: EpsFn, schedule: Schedule, x_0: torch.Tensor, t: torch.Tensor, noise: torch.Tensor, variance: str, clip: bool
) -> torch.Tensor:
    """L_{t-1} in nats per coordinate at the x_t that `noise` makes, t (B,) long in 2..T: Ho Eq. (5)."""
    x_t = q_sample(schedule, x_0, t, noise)
    return diagonal_kl(*posterior(schedule, x_0, x_t, t), *reverse(eps, schedule, x_t, t, variance, clip))


def reconstruction_term(
    x_0: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, levels: int | None
) -> torch.Tensor:
    """L_0 in nats per coordinate, like x_0: Ho Eq. (13), the Gaussian's mass in x_0's bin among `levels` in [-1, 1].

    The outermost bins reach to infinity, so the levels' probabilities sum to one. levels None is the plain density.
    """
    scale = variance.sqrt()
    if levels is None:
        return ((x_0 - mean) / scale).square() / 2 + scale.log() + math.log(2 * math.pi) / 2
    half = 1 / (levels - 1)
    upper, lower = (x_0 - mean + half) / scale, (x_0 - mean - half) / scale
    upper = torch.where(x_0 > 1 - half, torch.inf, upper)
    lower = torch.where(x_0 < -1 + half, -torch.inf, lower)
    return -log_mass(lower, upper)


def log_mass(lower: torch.Tensor, upper: torch.Tensor) -> torch.Tensor:
    """log of the standard normal's mass between lower and upper, exact in the tails too.

    A right tail is mirrored to the left, where log(Phi(upper) - Phi(lower)) keeps its digits.
    """
    mirrored = lower + upper > 0
    lower, upper = torch.where(mirrored, -upper, lower), torch.where(mirrored, -lower, upper)
    log_upper = torch.special.log_ndtr(upper)
    return log_upper + torch.log(-torch.expm1(torch.special.log_ndtr(lower) - log_upper))


@torch.no_grad()
def bits_per_dim(
    eps: EpsFn,
    schedule: Schedule,
    x_0: torch.Tensor,
    variance: str = "posterior",
    generator: Draw = None,
    clip: bool = True,
    levels: int | None = 256,
    progress: Callable[[list], Iterable] = iter,
) -> Bound:
    """The bound of each image in bits per dimension: Ho Eq. (5), with one draw of x_t for each term: T network calls.

    `x_0` (B, ...) in [-1, 1], 8-bit images by default: `levels` values, or None for a continuous density (which can
    be negative). `variance` is p's: "posterior" or "beta" (with "beta", L_0 takes beta_1 where Ho's code takes the
    variance of t = 2). `clip` keeps the predicted x_0 in [-1, 1]. `generator`: see `ddpm.noise`. `progress` wraps
    the list of times: tqdm, for example. ValueError: images outside [-1, 1] (with levels), T below 2.
    """
    check_bound(schedule, x_0, variance, levels)
    one = torch.ones(len(x_0), dtype=torch.long, device=x_0.device)
    x_1 = q_sample(schedule, x_0, one, noise_like(x_0, generator))
    reconstruction = reconstruction_term(x_0, *reverse(eps, schedule, x_1, one, variance, clip), levels)
    times, terms = [t * one for t in range(schedule.T, 1, -1)], []
    for t in progress(times):
        term = denoising_term(eps, schedule, x_0, t, noise_like(x_0, generator), variance, clip)
        terms.append(bits(term))
    prior, denoising, reconstruction = bits(prior_term(schedule, x_0)), torch.stack(terms, 1), bits(reconstruction)
    total = prior + denoising.sum(1) + reconstruction
    return Bound(total, prior, denoising, reconstruction, torch.stack(times, 1))


def bits(nats: torch.Tensor) -> torch.Tensor:
    """Nats per coordinate, (B, ...), as bits per dimension, (B,)."""
    return nats.flatten(1).mean(1) / math.log(2)


def check_bound(schedule: Schedule, x_0: torch.Tensor, variance: str, levels: int | None) -> None:
    """ValueError for arguments that `bits_per_dim` cannot use."""
    check_choice("variance", variance, VARIANCES)
    if schedule.T < 2:
        raise ValueError(f"the schedule has T = {schedule.T}, expected at least 2: with one step there is no L_(t-1)")
    if levels is not None and not x_0.abs().max() <= 1:  # NaN neither
        raise ValueError(f"the image's values reach {x_0.abs().max().item():.4g}, expected them in [-1, 1]")
    if levels is not None and levels < 2:
        raise ValueError(f"levels is {levels}, expected at least 2, or None for a continuous density")
