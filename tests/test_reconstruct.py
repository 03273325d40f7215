"""Reconstruction by inversion: errors and calls, on data whose exact eps is known."""

import math

import numpy as np
import pytest
import torch
from helpers import Recorder

from ddim.experiments import reconstruct
from ddim.experiments.reconstruct import VARIANTS, Variant, round_trip, summary
from ddpm import GaussianEps, Schedule, guided
from ddpm.analytic import gaussian_like

SCHEDULE = Schedule(1000, "cosine")
EPS = GaussianEps(SCHEDULE, 0.1, 0.25)
IMAGES = 0.1 + 0.5 * torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_eps_of_a_gaussian_like_the_images_solves_its_linear_system():
    """eps = sqrt(1 - a) (a C + (1 - a) I)^-1 (x_t - sqrt(a) mean), with the covariance C as NumPy has it."""
    images = torch.randn(200, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images = (images.cumsum(2) + 0.3).contiguous()  # neighbours that go together
    flat = images.flatten(1).numpy()
    x_t, a = IMAGES[:, :, :2, :2], SCHEDULE.alpha_bar[400].item()
    covariance = a * np.cov(flat.T) + (1 - a) * np.eye(12)
    from_mean = x_t.flatten(1).numpy() - math.sqrt(a) * flat.mean(0)
    expected = math.sqrt(1 - a) * np.linalg.solve(covariance, from_mean.T).T
    found = gaussian_like(SCHEDULE, images)(x_t, torch.full((6,), 400))
    assert np.abs(found.flatten(1).numpy() - expected).max() < 1e-9


@pytest.mark.parametrize("variant", [*VARIANTS.values(), Variant(captions=False, scale=4.0)])
def test_calls_counts_the_network_calls(variant):
    """Guidance needs a caption to cost anything."""
    network, scale = Recorder(EPS), variant.scale if variant.captions else 1.0
    round_trip(guided(network, network, scale), SCHEDULE, IMAGES, 6, inversion=variant.inversion)
    assert reconstruct.calls(6, variant) == (len(network.times) if variant.network else 0)


def test_the_summary_of_whole_images():
    again = IMAGES + torch.tensor([0.0, 0.2, 0.4, 0.2, 0.2, 0.2]).view(6, 1, 1, 1)
    found = summary(IMAGES, again)
    assert found["mean"] == pytest.approx((4 * 0.01 + 0.04) / 6)
    assert found["median"] == pytest.approx(0.01)
    assert found["largest"] == pytest.approx(0.4)
    assert (found["diverged"], found["n"]) == (0, 6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e4])
def test_diverged_images_are_counted_and_leave_the_mean_a_number(bad):
    again = IMAGES.clone()
    again[0] = bad
    found = summary(IMAGES, again)
    assert (found["mean"], found["median"], found["diverged"]) == (0, 0, pytest.approx(1 / 6))
    everything = summary(IMAGES, torch.full_like(IMAGES, bad))
    assert everything == {"n": 6, "mean": None, "median": None, "largest": None, "diverged": 1.0}
