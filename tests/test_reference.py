"""The real images of `python -m ddim table`: the size of a disturbance, and the halves of a set."""

import io

import numpy as np
import pytest
from PIL import Image

from ddim.experiments.reference import changed, halves

TILES = np.random.default_rng(0).integers(40, 216, (12, 3, 4, 4), dtype=np.uint8)
IMAGES = TILES.repeat(4, axis=2).repeat(4, axis=3)


def test_noise_has_its_standard_deviation():
    gray = np.full((20, 3, 16, 16), 128, dtype=np.uint8)
    assert (changed(gray, "noise").astype(float) - 128).std() == pytest.approx(15, rel=0.03)


def test_blur_spreads_an_edge_by_its_radius():
    """The differences along a blurred edge are the blur's own weights."""
    edge = np.zeros((1, 3, 16, 32), dtype=np.uint8)
    edge[..., 16:] = 255
    weights = np.diff(changed(edge, "blur")[0, 0, 8].astype(float)) / 255
    places = np.arange(31) - 15
    assert (weights * places**2).sum() ** 0.5 == pytest.approx(0.6, rel=0.05)


def test_jpeg_has_its_quality():
    Image.fromarray(IMAGES[0].transpose(1, 2, 0)).save(file := io.BytesIO(), "JPEG", quality=50)
    expected = np.asarray(Image.open(file)).transpose(2, 0, 1)
    assert np.array_equal(changed(IMAGES[:1], "jpeg")[0], expected)


def test_halves_share_no_image():
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1).repeat(3, axis=1)
    for n in (4, 9):
        ours, others = halves(images, n, seed=0)
        assert (len(ours), len(others)) == (min(n, 5), 5)
        assert not set(ours[:, 0, 0, 0]) & set(others[:, 0, 0, 0])
