"""Editing with the sampler: what strength means, and what the same condition on both ways gives back."""

import pytest
import torch

import ddim
from ddim.editing import last_steps
from ddpm import GaussianEps, Noise, Schedule, last

SCHEDULE = Schedule(1000, "cosine")
NARROW, WIDE = GaussianEps(SCHEDULE, 0.5, 0.04), GaussianEps(SCHEDULE, -0.3, 0.25)
IMAGES = 0.5 + 0.2 * torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
METHODS = {
    "sdedit": lambda _, to, x, *how: ddim.edit_naive(to, SCHEDULE, x, *how, generator=Noise(range(len(x)))),
    "ddim": lambda source, to, x, *how: ddim.edit_inverted(source, to, SCHEDULE, x, *how),
    "exact": lambda source, to, x, *how: ddim.edit_exact(source, to, SCHEDULE, x, *how),
}


def edited(method: str, source, target, strength: float, steps: int = 40) -> torch.Tensor:
    *_, (t, x, _) = METHODS[method](source, target, IMAGES, strength, steps)
    assert t == 0
    return x


@pytest.mark.parametrize(("strength", "steps"), [(0, 0), (0.1, 2), (0.5, 10), (0.77, 15), (0.79, 16), (1, 20)])
def test_strength_is_the_share_of_the_steps_rounded_to_the_nearest(strength, steps):
    """Of a number of steps, or of an explicit grid, whose steps are counted."""
    grid, part = ddim.timesteps(1000, 20), last_steps(1000, 20, strength)
    assert len(part) - 1 == steps and part == grid[20 - steps :]
    quadratic = ddim.timesteps(1000, 100, "quadratic")  # has fewer than 100 steps
    assert last_steps(1000, quadratic, strength) == quadratic[-1 - round(strength * (len(quadratic) - 1)) :]


@pytest.mark.parametrize("method", METHODS)
def test_an_edit_goes_up_and_down_the_same_times_and_strength_0_leaves_the_image_alone(method):
    assert torch.equal(edited(method, NARROW, WIDE, 0), IMAGES)
    times = [t for t, _, _ in METHODS[method](NARROW, WIDE, IMAGES, 0.5, 10)]
    part, top = last_steps(1000, 10, 0.5), times.index(max(times))
    assert times[top] == part[0]
    if method != "sdedit":  # which is there in one jump
        assert times[: top + 1] == part[::-1]
    assert times[top + 1 :] == part[2 if method == "exact" else 1 :]  # whose latent holds the second time as well


def test_iterations_and_exact_inversion_reconstruct_the_image():
    x = last(ddim.edit_inverted(WIDE, WIDE, SCHEDULE, IMAGES, 0.6, 50, iterations=30))
    assert (x - IMAGES).abs().max() < 1e-9
    assert (edited("exact", WIDE, WIDE, 0.7) - IMAGES).abs().max() < 1e-9


@pytest.mark.parametrize("method", ["ddim", "exact"])
def test_an_edit_follows_both_flows(method):
    """Up by the source's flow and down by the target's: each coordinate keeps its number of standard deviations."""
    top = last_steps(1000, 400, 0.8)[0]
    expected = WIDE.flow(NARROW.flow(IMAGES, 0, top), top, 0)
    assert (edited(method, NARROW, WIDE, 0.8, 400) - expected).abs().max() < 0.02


def test_sdedit_at_strength_1_samples_the_target():
    images = torch.full((64, 3, 8, 8), 0.9, dtype=torch.float64)
    x = last(ddim.edit_naive(WIDE, SCHEDULE, images, 1.0, 200, generator=Noise(range(64))))
    n = x.numel()
    assert x.mean().item() == pytest.approx(-0.3, abs=5 * 0.5 / n**0.5)
    assert x.std().item() == pytest.approx(0.5, abs=5 * 0.5 / n**0.5 + 0.01)  # 0.01: 200 steps are not infinitely many


def test_sdedit_at_eta_0_is_the_flow_of_the_noised_image():
    """Deterministic decoding maps x_t linearly, so the mean over noises is the flow of the mean of q(x_t | x_0)."""
    image = torch.full((400, 1, 4, 4), 0.2, dtype=torch.float64)
    top = last_steps(1000, 400, 0.5)[0]
    x = last(ddim.edit_naive(WIDE, SCHEDULE, image, 0.5, 400, eta=0.0, generator=Noise(range(400))))
    signal = SCHEDULE.alpha_bar[top].sqrt().item()
    expected = WIDE.flow(torch.tensor([[[[signal * 0.2]]]], dtype=torch.float64), top, 0).item()
    assert x.mean().item() == pytest.approx(expected, abs=0.02)
