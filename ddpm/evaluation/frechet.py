"""Distances between two sets of images, on features of a network: Frechet distance and kernel distance, error bars.

A distance depends on the feature network, the reference images and the number of images n: it is biased upwards for
small n. So n stands beside every number, and numbers of different n are not compared. Only on the official Inception
network (see `features`) is the Frechet distance called FID.
"""

import numpy as np
import torch
from torch import Tensor

PARTS = 10  # for the error bars
MOST_IN_KERNEL = 1000  # reference images that KID compares with: its matrix has a number for each pair
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


def kernel_distance(features_1: Tensor, features_2: Tensor) -> float:
    """KID: squared maximum mean discrepancy of two feature sets (n, d), (m, d) under k(x, y) = (x.y / d + 1)^3.

    Binkowski et al. 2018: unbiased for all n and m >= 2, and so slightly negative at times when the sets
    agree. Usually printed times 1000. ValueError: fewer than 2 rows, unequal d.
    """
    for features in (features_1, features_2):
        check_features(features)
    if features_1.shape[1] != features_2.shape[1]:
        raise ValueError(f"the sets have {features_1.shape[1]} and {features_2.shape[1]} features, expected as many")
    x, y, d = features_1.double(), features_2.double(), features_1.shape[1]
    within, across = [(z @ z.T / d + 1) ** 3 for z in (x, y)], (x @ y.T / d + 1) ** 3
    # all pairs of different rows: without each row's product with itself nothing is biased
    means = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in within]
    return (means[0] + means[1] - 2 * across.mean()).item()


class Reference:
    """Distances of sets of features (n, d) to a reference set (N, d), N and n at least 2, computed where it is."""

    def __init__(self, features: Tensor):
        self.mu, self.cov = moments(features)
        self.root = symmetric_root(self.cov)
        self.kernel_sample = features[:: -(-len(features) // MOST_IN_KERNEL)]

    def measure(self, features: Tensor) -> Measure:
        """{"distance", "error", "kid", "kid_error"}: Frechet and kernel distance with their standard errors.

        The Frechet distance's error is the jackknife over PARTS parts of the features: each is left out once, which is
        a subtraction of its sums. The kernel distance, which has no bias, is the mean over the parts. Neither error has
        a share of the reference's, which all rows of a table have in common. Fewer than 4 features: no error bar, None.
        ValueError: fewer than 2 features.
        """
        check_features(features)
        parts = features.tensor_split(min(PARTS, len(features) // 2))
        kernel = [kernel_distance(part, self.kernel_sample) for part in parts]
        whole, error, kernel_error = self.sums(features), None, None
        if len(parts) > 1:
            rests = [[a - b for a, b in zip(whole, self.sums(part), strict=True)] for part in parts]
            error = jackknife_error([self.frechet(*rest) for rest in rests])
            kernel_error = float(np.std(kernel, ddof=1) / len(kernel) ** 0.5)
        kid = float(np.mean(kernel))
        return {"distance": self.frechet(*whole), "error": error, "kid": kid, "kid_error": kernel_error}

    def sums(self, features: Tensor) -> tuple[int, Tensor, Tensor]:
        """n, the sum (d,) of features (n, d) and that of their outer products (d, d); those of parts add up.

        They are about the reference's mean, which keeps the digits.
        """
        centred = features.double() - self.mu
        return len(features), centred.sum(0), centred.T @ centred

    def frechet(self, n: int, first: Tensor, second: Tensor) -> float:
        """Frechet distance to the reference of n features with these `sums`."""
        mean = first / n
        cov = (second - n * torch.outer(mean, mean)) / (n - 1)
        return distance_by_root(self.root, self.mu, self.cov, self.mu + mean, cov)


def jackknife_error(values: list[float]) -> float:
    """Standard error of a statistic from its K values with one of K parts left out: sqrt((K-1)/K sum (v - mean)^2)."""
    return float((np.var(values) * (len(values) - 1)) ** 0.5)


def thousandfold(measure: Measure) -> str:
    """The kernel distance times 1000, as it is usually printed."""
    return plus_minus(1000 * measure["kid"], measure["kid_error"] and 1000 * measure["kid_error"])


def plus_minus(value: float, error: float | None) -> str:
    """A number and its error bar, if it has one: three or four digits. Rounding leaves no -0.000."""
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 100 else 1
    return f"{round(value, digits) + 0:.{digits}f}" + (f" ± {error:.{digits}f}" if error is not None else "")
