"""The disturbances of `python -m ddim reference`, whose size is known, and its lines."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ddim.experiments.reference import DISTURBANCES, halves, measure

TILES = np.random.default_rng(0).integers(40, 216, (12, 3, 4, 4), dtype=np.uint8)
IMAGES = TILES.repeat(4, axis=2).repeat(4, axis=3)


def means(images: np.ndarray) -> torch.Tensor:
    """Features that can be worked out by hand: mean of each channel, and the images' contrast."""
    images = torch.from_numpy(images).float() / 255
    return torch.cat([images.mean((2, 3)), images.std((2, 3))], dim=1)


def test_noise_has_its_standard_deviation():
    gray = np.full((20, 3, 16, 16), 128, dtype=np.uint8)
    assert (DISTURBANCES["noise, sigma 15 of 255"](gray).astype(float) - 128).std() == pytest.approx(15, rel=0.03)


def test_blur_spreads_an_edge_by_its_radius():
    """The differences along a blurred edge are the blur's own weights."""
    edge = np.zeros((1, 3, 16, 32), dtype=np.uint8)
    edge[..., 16:] = 255
    weights = np.diff(DISTURBANCES["blur, radius 0.6 pixels"](edge)[0, 0, 8].astype(float)) / 255
    places = np.arange(31) - 15
    assert (weights * places**2).sum() ** 0.5 == pytest.approx(0.6, rel=0.05)


def test_jpeg_has_its_quality():
    Image.fromarray(IMAGES[0].transpose(1, 2, 0)).save(file := io.BytesIO(), "JPEG", quality=50)
    expected = np.asarray(Image.open(file)).transpose(2, 0, 1)
    assert np.array_equal(DISTURBANCES["JPEG, quality 50"](IMAGES[:1])[0], expected)


def test_halves_share_no_image():
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1).repeat(3, axis=1)
    ours, others = halves(images, 4)
    assert (len(ours), len(others)) == (4, 5)
    assert not set(ours[:, 0, 0, 0]) & set(others[:, 0, 0, 0])


def test_a_brighter_test_set_is_further_away_than_the_other_half():
    train = np.random.default_rng(1).integers(50, 200, (60, 3, 8, 8), dtype=np.uint8)
    lines = dict(measure(means, train, train[:20] + 40, 16))
    assert list(lines) == ["training, the other half", "test set", *DISTURBANCES]
    assert lines["test set"]["distance"] > 10 * lines["training, the other half"]["distance"]


def test_more_images_than_a_half_has_are_refused():
    with pytest.raises(ValueError, match="n is 6"):
        halves(np.zeros((10, 3, 4, 4), dtype=np.uint8), 6)
