"""Distances of feature sets against closed forms and brute force."""

import math
import statistics

import numpy as np
import pytest
import torch
from helpers import normal

import ddim
from ddpm.evaluation.frechet import Reference, jackknife_error, moments


def covariance(d, seed=0):
    root = normal(d, d, seed=seed)
    return root @ root.T / d


def rotation(d, seed=0):
    return torch.linalg.qr(normal(d, d, seed=seed))[0]


@pytest.mark.parametrize("d", [3, 20, 64])
def test_fid_eq_6_is_the_textbook_square_root_of_a_product(d):
    """(C_1 C_2)^(1/2) by Denman and Beavers' iteration on the product itself, which is not symmetric."""
    (mu_1, mu_2), eye = normal(2, d), torch.eye(d, dtype=torch.float64)
    c_1, c_2 = (covariance(d, seed) + 0.1 * eye for seed in (1, 2))
    root, inverse = c_1 @ c_2, eye
    for _ in range(50):
        root, inverse = (root + torch.linalg.inv(inverse)) / 2, (inverse + torch.linalg.inv(root)) / 2
    assert torch.allclose(root @ root, c_1 @ c_2, rtol=0, atol=1e-9)
    expected = (mu_1 - mu_2).square().sum() + torch.trace(c_1 + c_2 - 2 * root)
    assert ddim.frechet_distance(mu_1, c_1, mu_2, c_2) == pytest.approx(expected.item(), rel=1e-9)


def test_singular_covariances_work():
    """Fewer samples than features: Gaussians in a plane, turned into 50 dimensions, keep their distance."""
    (mu_1, mu_2), c_1, c_2 = normal(2, 2), covariance(2), covariance(2, seed=1)
    turn = rotation(50)[:, :2]
    moved = [turn @ mu_1, turn @ c_1 @ turn.T, turn @ mu_2, turn @ c_2 @ turn.T]
    assert ddim.frechet_distance(*moved) == pytest.approx(ddim.frechet_distance(mu_1, c_1, mu_2, c_2), abs=1e-6)
    features = normal(8, 50), normal(8, 50, seed=1) + 1
    assert math.isfinite(ddim.frechet_distance(*moments(features[0]), *moments(features[1])))


def test_frechet_distance_is_0_for_the_same_and_symmetric_in_plain_numbers():
    """In float64 whatever comes in: float32 features, or arrays, which NumPy's moments are. JSON keeps the numbers."""
    features = normal(100, 10).float()
    mu, c = moments(features)
    arrays = features.double().numpy().mean(0), np.cov(features.double().numpy(), rowvar=False)
    other, measure = moments(normal(100, 10, seed=1) * 2 + 1), Reference(features).measure(features)
    assert mu.dtype == c.dtype == torch.float64 and all(type(value) is float for value in measure.values())
    zeros = ddim.frechet_distance(mu, c, mu, c), ddim.frechet_distance(*arrays, mu, c), measure["distance"]
    assert max(map(abs, zeros)) < 1e-9
    there, back = ddim.frechet_distance(mu, c, *other), ddim.frechet_distance(*other, mu, c)
    assert there == pytest.approx(back, rel=1e-10) and there > 1


def test_kernel_distance_is_the_double_sum_over_different_pairs():
    x, y, d = normal(5, 3), normal(7, 3, seed=1) + 0.5, 3

    def k(a, b):
        return (sum(p * q for p, q in zip(a.tolist(), b.tolist(), strict=True)) / d + 1) ** 3

    def within(z):
        return sum(k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j) / (len(z) * (len(z) - 1))

    across = sum(k(a, b) for a in x for b in y) / (len(x) * len(y))
    assert ddim.kernel_distance(x, y) == pytest.approx(within(x) + within(y) - 2 * across, rel=1e-10)


def test_the_distance_is_frechets_and_kids_and_the_error_the_jackknife_of_numpys_moments(monkeypatch):
    """At 64 features far from the origin, where rounding would show; KID compares with every third reference row."""
    monkeypatch.setattr("ddpm.evaluation.frechet.MOST_IN_KERNEL", 100)
    reference, ours = normal(300, 64, seed=1) + 100, normal(200, 64, seed=2) + 100.5
    measure, parts = Reference(reference).measure(ours), np.split(np.arange(200), 10)
    assert measure["distance"] == pytest.approx(ddim.frechet_distance(*moments(ours), *moments(reference)), rel=1e-9)
    rests = [np.delete(ours.numpy(), part, axis=0) for part in parts]
    left_out = [ddim.frechet_distance(*moments(reference), rest.mean(0), np.cov(rest, rowvar=False)) for rest in rests]
    assert measure["error"] == pytest.approx(jackknife_error(left_out), rel=1e-7)
    kernel = [ddim.kernel_distance(ours[part], reference[::3]) for part in parts]
    assert measure["kid"] == pytest.approx(sum(kernel) / 10, rel=1e-9)
    assert measure["kid_error"] == pytest.approx(statistics.stdev(kernel) / 10**0.5, rel=1e-9)


def test_the_jackknife_of_a_mean_is_the_textbooks_standard_error():
    x = np.random.default_rng(3).normal(size=20)
    left_out = [np.delete(x, i).mean() for i in range(20)]
    assert jackknife_error(left_out) == pytest.approx(x.std(ddof=1) / 20**0.5, rel=1e-12)


def test_the_error_bar_is_the_spread_of_independent_repetitions():
    reference = Reference(normal(300, 3, seed=9))
    repetitions = [reference.measure(normal(200, 3, seed=s) + 0.5) for s in range(100, 140)]
    spread = np.std([m["distance"] for m in repetitions], ddof=1)
    assert np.mean([m["error"] for m in repetitions]) == pytest.approx(spread, rel=0.35)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 19, 21, 64])
def test_any_number_of_images_from_4_on_has_error_bars(n):
    measure = Reference(normal(50, 3)).measure(normal(n, 3, seed=1))
    assert np.isfinite(measure["distance"])
    assert all(measure[name] > 0 if n >= 4 else measure[name] is None for name in ("error", "kid_error"))
