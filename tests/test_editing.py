"""Editing with the sampler: what strength means, and what the same condition on both ways gives back."""

from itertools import pairwise

import pytest
import torch

import ddim
from ddim.editing import lower_part
from ddpm import GaussianEps, Noise, Schedule

SCHEDULE = Schedule(1000, "cosine")
NARROW, WIDE = GaussianEps(SCHEDULE, 0.5, 0.04), GaussianEps(SCHEDULE, -0.3, 0.25)
PICTURES = 0.5 + 0.2 * torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
WAYS = {
    "noise": lambda source, target, x, strength, steps: ddim.edit_naive(
        target, SCHEDULE, x, strength, steps, generator=Noise(range(len(x)))
    ),
    "invert": lambda source, target, x, strength, steps: ddim.edit_inverted(
        source, target, SCHEDULE, x, strength, steps
    ),
    "exact": lambda source, target, x, strength, steps: ddim.edit_exact(source, target, SCHEDULE, x, strength, steps),
}
ENCODERS = ("invert", "exact")


def edited(way: str, source, target, strength: float, steps: int = 40) -> torch.Tensor:
    *_, (t, x, _) = WAYS[way](source, target, PICTURES, strength, steps)
    assert t == 0
    return x


# ---- how far ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0, 0.1, 0.25, 0.5, 0.77, 1])
def test_strength_is_the_share_of_the_grids_steps(strength):
    grid = ddim.timesteps(1000, 20)
    part = lower_part(1000, 20, strength)
    assert len(part) - 1 == round(20 * strength)
    assert part == grid[len(grid) - len(part) :]


def test_strength_counts_the_steps_of_the_quadratic_grid_and_of_ones_own():
    grid = ddim.timesteps(1000, 100, "quadratic")  # has fewer than 100 steps
    assert lower_part(1000, grid, 1.0) == grid
    assert lower_part(1000, [900, 500, 100, 0], 2 / 3) == [500, 100, 0]


@pytest.mark.parametrize("strength", [-0.1, 1.1])
def test_a_strength_outside_0_to_1_is_refused(strength):
    with pytest.raises(ValueError, match=str(strength)):
        lower_part(1000, 10, strength)


@pytest.mark.parametrize(
    ("times", "says"),
    [([900, 500, 100], "end at 100: an edit needs the way down"), ([900, 2.7, 0], "the time 2.7 is no whole number")],
)
def test_times_of_ones_own_are_whole_and_go_down_to_the_image(times, says):
    with pytest.raises(ValueError, match=says):
        lower_part(1000, times, 0.5)


@pytest.mark.parametrize("way", WAYS)
def test_strength_0_leaves_the_image_alone(way):
    assert torch.equal(edited(way, NARROW, WIDE, 0), PICTURES)


@pytest.mark.parametrize("way", WAYS)
def test_the_walk_goes_up_and_comes_down_the_same_times(way):
    times = [t for t, _, _ in WAYS[way](NARROW, WIDE, PICTURES, 0.5, 10)]
    part = lower_part(1000, 10, 0.5)
    top = times.index(max(times))
    assert times[top] == part[0]
    if way != "noise":  # which is there in one jump
        assert times[: top + 1] == part[::-1]
    assert times[top + 1 :] == part[2 if way == "exact" else 1 :]  # whose latent holds the second time as well


# ---- the same condition both ways ------------------------------------------------------------------------------------


def test_the_exact_way_gives_the_image_back():
    assert (edited("exact", WIDE, WIDE, 0.7) - PICTURES).abs().max() < 1e-9


def test_the_inverted_way_gives_it_back_as_steps_grow():
    """The round trip's error falls like 1 / S."""
    errors = [(edited("invert", WIDE, WIDE, 0.6, S) - PICTURES).abs().max().item() for S in (50, 100, 200)]
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2, rel=0.15)


def test_iterations_take_the_error_away():
    *_, (_, x, _) = ddim.edit_inverted(WIDE, WIDE, SCHEDULE, PICTURES, 0.6, 50, iterations=30)
    assert (x - PICTURES).abs().max() < 1e-9


# ---- another condition -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ENCODERS)
def test_an_edit_follows_both_flows(way):
    """Up by the source's flow and down by the target's: each coordinate keeps its number of standard deviations."""
    top = lower_part(1000, 400, 0.8)[0]
    expected = WIDE.flow(NARROW.flow(PICTURES, 0, top), top, 0)
    assert (edited(way, NARROW, WIDE, 0.8, 400) - expected).abs().max() < 0.02


def test_the_naive_way_forgets_the_image_and_samples_the_target_at_strength_1():
    images = torch.full((64, 3, 8, 8), 0.9, dtype=torch.float64)
    *_, (_, x, _) = ddim.edit_naive(WIDE, SCHEDULE, images, 1.0, 200, generator=Noise(range(64)))
    n = x.numel()
    assert x.mean().item() == pytest.approx(-0.3, abs=5 * 0.5 / n**0.5)
    assert x.std().item() == pytest.approx(0.5, abs=5 * 0.5 / n**0.5 + 0.01)  # 0.01: 200 steps are not infinitely many


def test_the_naive_way_lands_where_the_gaussians_composed_say():
    """Deterministic decoding maps x_t linearly, so the mean over noises is the flow of the mean of q(x_t | x_0)."""
    image = torch.full((400, 1, 4, 4), 0.2, dtype=torch.float64)
    top = lower_part(1000, 400, 0.5)[0]
    *_, (_, x, _) = ddim.edit_naive(WIDE, SCHEDULE, image, 0.5, 400, eta=0.0, generator=Noise(range(400)))
    signal = SCHEDULE.alpha_bar[top].sqrt().item()
    expected = WIDE.flow(torch.tensor([[[[signal * 0.2]]]], dtype=torch.float64), top, 0).item()
    assert x.mean().item() == pytest.approx(expected, abs=0.02)


def test_a_image_of_a_seed_is_the_same_in_any_batch():
    *_, (_, together, _) = ddim.edit_naive(WIDE, SCHEDULE, PICTURES, 0.5, 10, generator=Noise(range(4)))
    *_, (_, alone, _) = ddim.edit_naive(WIDE, SCHEDULE, PICTURES[2:3], 0.5, 10, generator=Noise([2]))
    assert torch.equal(together[2:3], alone)


def test_the_exact_way_needs_two_steps():
    with pytest.raises(ValueError, match="at least 2"):
        edited("exact", WIDE, WIDE, 0.1, 10)
