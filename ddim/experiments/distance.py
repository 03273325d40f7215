"""Distances between two sets of images, measured on their features. Which features is the caller's business."""

import torch


def moments(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (d,) and unbiased covariance (d, d), float64, of features (n, d), n >= 2."""
    check_features(features)
    features = features.double()
    mu = features.mean(0)
    centred = features - mu
    return mu, centred.T @ centred / (len(features) - 1)


def frechet_distance(mu_1, cov_1, mu_2, cov_2) -> float:
    """|mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)), between two Gaussians: Heusel et al. 2017, Eq. (6).

    mu (d,) and cov (d, d) are tensors or arrays, worked on in float64. C_1 C_2 has the eigenvalues of the symmetric
    R C_2 R with R = C_1^(1/2), so eigenvalues of symmetric matrices are all it takes: singular covariances (fewer
    samples than features) work, and no imaginary parts appear. ValueError: shapes that do not fit, values not finite.
    """
    mu_1, cov_1, mu_2, cov_2 = (torch.as_tensor(a, dtype=torch.float64) for a in (mu_1, cov_1, mu_2, cov_2))
    check_moments(mu_1, cov_1, mu_2, cov_2)
    root = symmetric_root(cov_1)
    middle = root @ cov_2 @ root
    overlap = torch.linalg.eigvalsh((middle + middle.T) / 2).clamp(min=0).sqrt().sum()
    return ((mu_1 - mu_2).square().sum() + cov_1.trace() + cov_2.trace() - 2 * overlap).item()


def symmetric_root(matrix: torch.Tensor) -> torch.Tensor:
    """The positive semidefinite square root of a symmetric matrix; rounding below 0 is taken as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def kernel_distance(features_1: torch.Tensor, features_2: torch.Tensor) -> float:
    """KID: squared maximum mean discrepancy of two feature sets (n, d), (m, d) under k(x, y) = (x.y / d + 1)^3.

    Binkowski et al. 2018, section 3: unbiased whatever n and m >= 2, and so slightly negative at times when the sets
    agree. Usually printed times 1000. ValueError: fewer than 2 rows, unequal d.
    """
    check_features(features_1)
    check_features(features_2)
    if features_1.shape[1] != features_2.shape[1]:
        raise ValueError(f"the sets have {features_1.shape[1]} and {features_2.shape[1]} features, expected as many")
    x, y = features_1.double(), features_2.double()
    within = sum(off_diagonal_mean(polynomial_kernel(z, z)) for z in (x, y))
    return (within - 2 * polynomial_kernel(x, y).mean()).item()


def polynomial_kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(n, m) of (x.y / d + 1)^3."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def off_diagonal_mean(matrix: torch.Tensor) -> torch.Tensor:
    """Mean over all pairs of different rows: leaving each sample's product with itself out makes KID unbiased."""
    n = len(matrix)
    return (matrix.sum() - matrix.trace()) / (n * (n - 1))


def check_features(features: torch.Tensor) -> None:
    """ValueError unless features are (n, d) with n >= 2."""
    if features.dim() != 2 or len(features) < 2:
        raise ValueError(f"features have shape {tuple(features.shape)}, expected (n, d) with n at least 2")


def check_moments(*moments: torch.Tensor) -> None:
    """ValueError unless the four are (d,), (d, d), (d,), (d, d) and finite."""
    shapes, d = [tuple(m.shape) for m in moments], moments[0].numel()
    if shapes != [(d,), (d, d), (d,), (d, d)]:
        raise ValueError(f"mu_1, cov_1, mu_2, cov_2 have shapes {shapes}, expected (d,), (d, d), (d,), (d, d)")
    if not all(m.isfinite().all() for m in moments):
        raise ValueError("a mean or covariance holds a value that is not finite")
