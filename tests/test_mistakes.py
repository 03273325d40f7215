"""The usual mistakes, on a Gaussian: every step is linear there, so the law of the samples is known in closed form."""

import math
from itertools import pairwise

import pytest
import torch
from helpers import normal

from ddim.experiments import mistakes
from ddpm import GaussianEps, Schedule, guided, last

SCHEDULE, S, N = Schedule(1000, "cosine"), 10, 40_000
MEAN, VARIANCE = 0.3, 0.25
EPS = GaussianEps(SCHEDULE, MEAN, VARIANCE)
TRUE, ALPHA = SCHEDULE.alpha_bar.tolist(), SCHEDULE.alpha.tolist()
LINEAR = [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
QUADRATIC = [801, 633, 484, 356, 247, 159, 89, 40, 10, 1, 0]  # (i sqrt(800) / 9)^2, rounded down, and one more; then 0
LAWS = {  # network's time, table, power of sigma, whether the last step is noisy, grid
    "right": (lambda t, s: t, TRUE, 1, False, LINEAR),
    "network gets t - 1": (lambda t, s: t - 1, TRUE, 1, False, LINEAR),
    "network gets the next t": (lambda t, s: max(s, 1), TRUE, 1, False, LINEAR),
    "alpha_bar[t - 1]": (lambda t, s: t, [1.0, *TRUE[:-1]], 1, False, LINEAR),
    "alpha for alpha_bar": (lambda t, s: t, ALPHA, 1, False, LINEAR),
    "noise in the last step": (lambda t, s: t, TRUE, 1, True, LINEAR),
    "variance for deviation": (lambda t, s: t, TRUE, 2, False, LINEAR),
    "grid: quadratic": (lambda t, s: t, TRUE, 1, False, QUADRATIC),
}


def eps_of(t: int, mean: float = MEAN, variance: float = VARIANCE) -> tuple[float, float]:
    """Slope and intercept of the exact eps of x_t ~ N(sqrt(a) mean, a variance + 1 - a)."""
    slope = math.sqrt(1 - TRUE[t]) / (TRUE[t] * variance + 1 - TRUE[t])
    return slope, -slope * math.sqrt(TRUE[t]) * mean


def law(time, table, power, noisy, grid) -> tuple[float, float]:
    """Mean and variance of the samples, from those of x_T, step by step: DDIM Eq. (12) and (16) at eta = 1."""
    mean, variance = 0.0, 1.0
    for t, s in pairwise(grid):
        a_t, a_s = table[t], table[s]
        sigma = math.sqrt((1 - a_s) / (1 - a_t) * (1 - a_t / a_s))
        per_eps = math.sqrt(1 - a_s - sigma**2) - math.sqrt(a_s / a_t * (1 - a_t))
        slope, intercept = eps_of(time(t, s))
        factor = math.sqrt(a_s / a_t) + per_eps * slope
        mean = factor * mean + per_eps * intercept
        variance = factor**2 * variance + sigma ** (2 * power) + (1 - a_t) * (noisy and s == 0)
    return mean, variance


@pytest.mark.parametrize("name", mistakes.SAMPLING)
def test_each_mistake_in_sampling_gives_the_law_that_it_must(name):
    """And not the right one: the quadratic grid and t - 1 too."""
    draw = torch.Generator().manual_seed(1)
    x = last(mistakes.SAMPLING[name](EPS, SCHEDULE, normal(N, 1), draw, S))
    (mean, variance), (right_mean, right_variance) = law(*LAWS[name]), law(*LAWS["right"])
    assert abs(x.mean().item() - mean) < 4 * math.sqrt(variance / N)
    assert abs(x.var().item() - variance) < 4 * variance * math.sqrt(2 / (N - 1))
    if name != "right":
        assert max(abs(mean - right_mean), abs(variance - right_variance)) > 1e-6


def round_trip(w: float, x: torch.Tensor) -> torch.Tensor:
    """x inverted and sampled again, by hand, with eps = null + w (conditional - null), both of Gaussians."""
    for points in (LINEAR[::-1], LINEAR):
        for now, then in pairwise(points):
            t, a, b = max(now, then), TRUE[now], TRUE[then]
            (slope, intercept), (slope_0, intercept_0) = eps_of(t), eps_of(t, 0.0, 1.0)
            eps = (slope_0 + w * (slope - slope_0)) * x + intercept_0 + w * (intercept - intercept_0)
            x = math.sqrt(b / a) * x + (math.sqrt(1 - b) - math.sqrt(b / a * (1 - a))) * eps
    return x


def test_each_mistake_in_inversion_gives_the_reconstruction_that_it_must():
    """Clipping counts for nothing as long as no predicted x_0 leaves [-1, 1]; from there on it does."""
    of, null = (lambda w: guided(EPS, GaussianEps(SCHEDULE, 0.0, 1.0), w)), SCHEDULE
    x_0 = torch.linspace(-0.5, 0.9, 8, dtype=torch.float64).view(8, 1)
    found = {name: way(of, null, x_0, S) for name, way in mistakes.INVERSION.items()}
    assert torch.allclose(found["right"], round_trip(1.0, x_0), atol=1e-9)
    assert torch.allclose(found["guidance 7.5"], round_trip(7.5, x_0), atol=1e-9)
    assert torch.allclose(found["images in [0, 1]"], round_trip(1.0, (x_0 + 1) / 2), atol=1e-9)
    assert torch.allclose(found["predicted x_0 clipped"], found["right"], atol=1e-9)
    clipped, whole = (mistakes.INVERSION[name](of, null, 3 * x_0, S) for name in ("predicted x_0 clipped", "right"))
    outside = (3 * x_0).abs() > 1
    assert ((clipped - 3 * x_0).abs() > (whole - 3 * x_0).abs())[outside].all()
