"""Analytic denoisers: the exact eps of data whose distribution is known, without training.

They fit wherever a network does, so every sampler can be compared with the truth. The eps of least squared error is
-sqrt(1 - alpha_bar_t) times the gradient of log q(x_t), for any data.
"""

import torch

from .diffusion import EpsFn, Time
from .schedule import Schedule, cast


class GaussianEps:
    """EpsFn of data N(mean, diag(variance)); both broadcast to one image (C, H, W). ValueError: a variance below 0.

    x_t is then N(sqrt(alpha_bar) mean, alpha_bar variance + 1 - alpha_bar).
    """

    def __init__(self, schedule: Schedule, mean: float | torch.Tensor, variance: float | torch.Tensor):
        self.schedule = schedule
        self.mean, self.variance = (torch.as_tensor(value, dtype=torch.float64) for value in (mean, variance))
        if (self.variance < 0).any():
            raise ValueError(f"the smallest variance is {self.variance.min().item()}, expected none below 0")

    def marginal(self, x: torch.Tensor, t: Time) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of x_t, broadcasting with x (B, ...)."""
        alpha_bar = self.schedule.at("alpha_bar", t, x)
        signal, signal_variance, noise_variance = cast(x, alpha_bar.sqrt(), alpha_bar, 1 - alpha_bar)
        return signal * self.mean.to(x), signal_variance * self.variance.to(x) + noise_variance

    def __call__(self, x_t: torch.Tensor, t: Time) -> torch.Tensor:
        mean, variance = self.marginal(x_t, t)
        _, noise_std = self.schedule.scales(t, x_t)
        return noise_std * (x_t - mean) / variance

    def flow(self, x_t: torch.Tensor, t: int, s: int) -> torch.Tensor:
        """Where the probability-flow ODE (Song et al. 2021, Eq. 13; DDIM Eq. 14) takes x_t by time s.

        It keeps each coordinate at its number of standard deviations: the map that DDIM steps approach as S grows.
        t and s in 0..T; at t = 0 the variance must be above 0.
        """
        mean_t, variance_t = self.marginal(x_t, t)
        mean_s, variance_s = self.marginal(x_t, s)
        return mean_s + (variance_s / variance_t).sqrt() * (x_t - mean_t)


def gaussian_like(schedule: Schedule, images: torch.Tensor) -> EpsFn:
    """The exact eps of a Gaussian with the mean and the covariance of images (N, C, H, W), N >= 2.

    Along its eigenvectors the covariance is diagonal: x_t is rotated there, `GaussianEps` gives eps, which is rotated
    back.
    """
    flat = images.flatten(1)
    variances, axes = torch.linalg.eigh(torch.cov(flat.T))
    along = GaussianEps(schedule, flat.mean(0) @ axes, variances.clamp(min=0))

    def eps(x_t: torch.Tensor, t: Time) -> torch.Tensor:
        return (along(x_t.flatten(1) @ axes.to(x_t), t) @ axes.T.to(x_t)).view_as(x_t)

    return eps


class MixtureEps:
    """EpsFn of data drawn from K Gaussians: weights (K,), means (K, C, H, W), variances (K,) or like the means.

    It is the mean of the components' eps, weighted with the probability that x_t came from each. The weights must be
    positive with sum 1, the variances not below 0: with 0 it is the ideal network of K images, whose samples are these
    images. ValueError otherwise, and where the numbers of weights, means and variances differ.
    """

    def __init__(self, schedule: Schedule, weights: torch.Tensor, means: torch.Tensor, variances: torch.Tensor):
        if not len(weights) == len(means) == len(variances):
            raise ValueError(f"{len(weights)} weights, {len(means)} means, {len(variances)} variances: expected equal")
        if (weights <= 0).any() or abs(weights.sum().item() - 1) > 1e-6:
            raise ValueError(f"weights are {weights.tolist()}, expected positive numbers with sum 1")
        variances = variances.reshape(-1, *[1] * (means.dim() - 1)) if variances.dim() == 1 else variances
        self.log_weights = weights.log()
        self.components = GaussianEps(schedule, means.unsqueeze(1), variances.unsqueeze(1))  # (K, 1, C, H, W)

    def responsibility(self, x_t: torch.Tensor, t: Time) -> torch.Tensor:
        """(K, B): the probability that x_t came from each component, by Bayes' rule."""
        mean, variance = self.components.marginal(x_t, t)
        log_density = -((x_t - mean).square() / variance + variance.log()) / 2  # up to a constant
        return (log_density.flatten(2).sum(2) + self.log_weights.to(x_t).unsqueeze(1)).softmax(0)

    def __call__(self, x_t: torch.Tensor, t: Time) -> torch.Tensor:
        weights = self.responsibility(x_t, t)
        return (weights.view(*weights.shape, *[1] * (x_t.dim() - 1)) * self.components(x_t, t)).sum(0)
