"""Frechet distance between two sets of images, on the features of a network, with its error bar.

A distance depends on the feature network, the reference images and the number of images n: it is biased upwards for
small n. So n stands beside every number, and numbers of different n are not compared. Only on the official Inception
network (see `features`) is it called FID.
"""

import numpy as np
import torch
from torch import Tensor

PARTS = 10  # for the error bars
Measure = dict[str, float | None]


def check_features(features: Tensor) -> None:
    """ValueError unless features are (n, d) with n >= 2."""
    if features.dim() != 2 or len(features) < 2:
        raise ValueError(f"features have shape {tuple(features.shape)}, expected (n, d) with n at least 2")


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and unbiased covariance (d, d), float64, of features (n, d), n >= 2."""
    check_features(features)
    features = features.double()
    mu = features.mean(0)
    centred = features - mu
    return mu, centred.T @ centred / (len(features) - 1)


def frechet_distance(mu_1, cov_1, mu_2, cov_2) -> float:
    """|mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)), between two Gaussians: Heusel et al. 2017, Eq. (6).

    mu (d,) and cov (d, d) are tensors or arrays; all is computed in float64. C_1 C_2 has the eigenvalues of the
    symmetric R C_2 R with R = C_1^(1/2), so eigenvalues of symmetric matrices suffice: singular covariances (fewer
    samples than features) work, and no imaginary parts appear. ValueError: shapes that do not fit, values not finite.
    """
    mu_1, cov_1, mu_2, cov_2 = (torch.as_tensor(a, dtype=torch.float64) for a in (mu_1, cov_1, mu_2, cov_2))
    shapes, d = [tuple(each.shape) for each in (mu_1, cov_1, mu_2, cov_2)], mu_1.numel()
    if shapes != [(d,), (d, d), (d,), (d, d)]:
        raise ValueError(f"mu_1, cov_1, mu_2, cov_2 have shapes {shapes}, expected (d,), (d, d), (d,), (d, d)")
    if not all(each.isfinite().all() for each in (mu_1, cov_1, mu_2, cov_2)):
        raise ValueError("a mean or covariance holds a value that is not finite")
    return distance_by_root(symmetric_root(cov_1), mu_1, cov_1, mu_2, cov_2)


def distance_by_root(root: Tensor, mu_1: Tensor, cov_1: Tensor, mu_2: Tensor, cov_2: Tensor) -> float:
    """`frechet_distance`, with the root of cov_1 known."""
    middle = root @ cov_2 @ root
    overlap = torch.linalg.eigvalsh((middle + middle.T) / 2).clamp(min=0).sqrt().sum()
    return ((mu_1 - mu_2).square().sum() + cov_1.trace() + cov_2.trace() - 2 * overlap).item()


def symmetric_root(matrix: Tensor) -> Tensor:
    """The positive semidefinite square root of a symmetric matrix; rounding below 0 is taken as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


class Reference:
    """Frechet distances of sets of features (n, d) to a reference set (N, d), computed where the reference is."""

    def __init__(self, features: Tensor):
        self.mu, self.cov = moments(features)
        self.root = symmetric_root(self.cov)

    def measure(self, features: Tensor) -> Measure:
        """{"distance", "error"}: the distance and its standard error, None for fewer than 4 features (n, d), n >= 2.

        The error is the jackknife over PARTS parts of the features: each is left out once, by subtracting its sums.
        """
        check_features(features)
        centred = features.double() - self.mu  # about the reference's mean, which keeps the digits
        whole, error = sums(centred), None
        parts = [sums(part) for part in centred.tensor_split(min(PARTS, len(features) // 2))]
        if len(parts) > 1:
            left_out = [[a - b for a, b in zip(whole, part, strict=True)] for part in parts]
            error = jackknife_error([self.from_sums(*rest) for rest in left_out])
        return {"distance": self.from_sums(*whole), "error": error}

    def from_sums(self, n: int, first: Tensor, second: Tensor) -> float:
        """The distance of n features whose `sums` about the reference's mean are known."""
        mean = first / n
        cov = (second - n * torch.outer(mean, mean)) / (n - 1)
        return distance_by_root(self.root, self.mu, self.cov, self.mu + mean, cov)


def sums(features: Tensor) -> tuple[int, Tensor, Tensor]:
    """n, the sum (d,) of features (n, d) and that of their outer products (d, d): those of parts add up."""
    return len(features), features.sum(0), features.T @ features


def jackknife_error(values: list[float]) -> float:
    """Standard error of a statistic from its K values with one of K parts left out: sqrt((K-1)/K sum (v - mean)^2)."""
    return float((np.var(values) * (len(values) - 1)) ** 0.5)


def plus_minus(value: float, error: float | None) -> str:
    """A number and its error bar, if it has one: three or four digits. Rounding leaves no -0.000."""
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 100 else 1
    return f"{round(value, digits) + 0:.{digits}f}" + (f" ± {error:.{digits}f}" if error is not None else "")
