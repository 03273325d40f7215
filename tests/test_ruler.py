"""Distances with error bars, and the disturbances whose cause is known."""

import io
import statistics

import numpy as np
import pytest
import torch
from PIL import Image

from ddim import frechet_distance, kernel_distance, moments
from ddim.experiments.fid import (
    DISTURBANCES,
    Ruler,
    blurred,
    compressed,
    halves,
    jackknife_error,
    noisy,
    plus_minus,
    readings,
)

TILES = np.random.default_rng(0).integers(40, 216, (12, 3, 4, 4), dtype=np.uint8)
PICTURES = TILES.repeat(4, axis=2).repeat(4, axis=3)


def normal(n: int, d: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def means(images: np.ndarray) -> torch.Tensor:
    """Features one can work out: mean of each channel, and the images' contrast."""
    images = torch.from_numpy(images).float() / 255
    return torch.cat([images.mean((2, 3)), images.std((2, 3))], dim=1)


# ---- error bars ------------------------------------------------------------------------------------------------------


def test_the_distance_is_frechets_and_kids():
    reference, ours = normal(300, seed=1), normal(40, seed=2) + 0.5
    measure = Ruler(reference).measure(ours)
    assert measure["distance"] == pytest.approx(frechet_distance(*moments(ours), *moments(reference)), rel=1e-9)
    parts = [kernel_distance(ours[i : i + 4], reference) for i in range(0, 40, 4)]
    assert measure["kid"] == pytest.approx(sum(parts) / 10, rel=1e-9)
    assert measure["kid_error"] == pytest.approx(statistics.stdev(parts) / 10**0.5, rel=1e-9)


def test_the_jackknife_of_a_mean_is_the_textbooks_standard_error():
    x = np.random.default_rng(3).normal(size=20)
    left_out = [np.delete(x, i).mean() for i in range(20)]
    assert jackknife_error(left_out) == pytest.approx(x.std(ddof=1) / 20**0.5, rel=1e-12)


def test_the_error_bar_is_the_spread_of_independent_repetitions():
    ruler = Ruler(normal(300, seed=9))
    repetitions = [ruler.measure(normal(200, seed=s) + 0.5) for s in range(100, 160)]
    spread = np.std([m["distance"] for m in repetitions], ddof=1)
    assert np.mean([m["error"] for m in repetitions]) == pytest.approx(spread, rel=0.35)


@pytest.mark.parametrize("n", [4, 5, 19, 21, 64])
def test_any_number_of_images_from_4_on_has_error_bars(n):
    measure = Ruler(normal(50)).measure(normal(n, seed=1))
    assert measure["error"] > 0 and measure["kid_error"] > 0


@pytest.mark.parametrize("n", [2, 3])
def test_two_images_have_a_distance_but_no_error_bar(n):
    measure = Ruler(normal(50)).measure(normal(n, seed=1))
    assert np.isfinite(measure["distance"]) and measure["error"] is None and measure["kid_error"] is None


def test_one_image_has_no_distance():
    with pytest.raises(ValueError, match="at least 2"):
        Ruler(normal(50)).measure(normal(1))


def test_a_large_reference_is_thinned_for_kid_alone():
    reference = normal(5000)
    assert len(Ruler(reference).kernel_sample) == 1000  # every fifth
    assert torch.equal(Ruler(reference).moments[0], reference.double().mean(0))


# ---- disturbances ----------------------------------------------------------------------------------------------------


def test_noise_has_the_spread_it_says():
    gray = np.full((20, 3, 16, 16), 128, dtype=np.uint8)
    assert (noisy(gray, 10).astype(float) - 128).std() == pytest.approx(10, rel=0.03)


@pytest.mark.parametrize("change", [lambda x: noisy(x, 0), lambda x: blurred(x, 0)])
def test_no_disturbance_changes_nothing(change):
    assert np.array_equal(change(PICTURES), PICTURES)


def test_blur_and_jpeg_keep_a_plain_image():
    plain = np.full((2, 3, 16, 16), 200, dtype=np.uint8)
    assert np.array_equal(blurred(plain, 2.0), plain)
    assert abs(compressed(plain, 90).astype(int) - 200).max() <= 1


@pytest.mark.parametrize("kind", ["noise", "JPEG", "blur"])
def test_a_stronger_disturbance_errs_more(kind):
    errors = [
        np.square(change(PICTURES).astype(float) - PICTURES).mean()
        for name, change in DISTURBANCES.items()
        if name.startswith(kind)
    ]
    assert len(errors) == 3 and 0 < errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize(
    ("name", "sigma"), [("noise, sigma 5 of 255", 5), ("noise, sigma 15", 15), ("noise, sigma 45", 45)]
)
def test_the_noises_have_the_spread_that_their_lines_say(name, sigma):
    gray = np.full((20, 3, 16, 16), 128, dtype=np.uint8)
    assert (DISTURBANCES[name](gray).astype(float) - 128).std() == pytest.approx(sigma, rel=0.03)


@pytest.mark.parametrize(
    ("name", "radius"), [("blur, radius 0.3 pixels", 0.3), ("blur, radius 0.6", 0.6), ("blur, radius 1.2", 1.2)]
)
def test_the_blurs_spread_an_edge_by_the_radius_that_their_lines_say(name, radius):
    """The differences along a blurred edge are the blur's own weights."""
    edge = np.zeros((1, 3, 16, 32), dtype=np.uint8)
    edge[..., 16:] = 255
    weights = np.diff(DISTURBANCES[name](edge)[0, 0, 8].astype(float)) / 255
    places = np.arange(31) - 15
    assert (weights * places**2).sum() ** 0.5 == pytest.approx(radius, rel=0.05)


@pytest.mark.parametrize("quality", [90, 50, 10])
def test_the_jpegs_have_the_quality_that_their_lines_say(quality):
    Image.fromarray(PICTURES[0].transpose(1, 2, 0)).save(file := io.BytesIO(), "JPEG", quality=quality)
    expected = np.asarray(Image.open(file)).transpose(2, 0, 1)
    assert np.array_equal(DISTURBANCES[f"JPEG, quality {quality}"](PICTURES[:1])[0], expected)


# ---- the ruler's lines -----------------------------------------------------------------------------------------------


def test_halves_share_no_image():
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1).repeat(3, axis=1)
    ours, others = halves(images, 4)
    assert (len(ours), len(others)) == (4, 5)
    assert not set(ours[:, 0, 0, 0]) & set(others[:, 0, 0, 0])


@pytest.mark.parametrize("n", [1, 6])
def test_an_n_that_a_half_cannot_give_is_refused(n):
    with pytest.raises(ValueError, match=f"n is {n}"):
        halves(np.zeros((10, 3, 4, 4), dtype=np.uint8), n)


def test_the_lines_know_the_training_set_from_a_brighter_one():
    train = np.random.default_rng(1).integers(50, 200, (60, 3, 8, 8), dtype=np.uint8)
    lines = dict(readings(means, train, train[:20] + 40, 16))
    assert list(lines) == ["training, the other half", "test set", *DISTURBANCES]
    assert lines["test set"]["distance"] > 10 * lines["training, the other half"]["distance"]
    with pytest.raises(ValueError, match="test set has 3"):
        dict(readings(means, train, train[:3], 16))


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [(0.12345, 0.01, "0.123 ± 0.010"), (12.3456, None, "12.35"), (367.4, 2.0, "367.4 ± 2.0")],
)
def test_numbers_have_the_digits_they_deserve(value, error, words):
    assert plus_minus(value, error) == words
