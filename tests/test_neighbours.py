"""python -m ddpm neighbours: each sample's nearest training image, and what the distance is compared with."""

import json
from functools import partial

import helpers
import numpy as np
from PIL import Image

from ddpm.__main__ import main
from ddpm.experiments.neighbours import nearest

code_of = partial(helpers.code_of, main)


def test_neighbours_are_the_nearest_mirrored_or_not():
    """Training images plus noise, half of them mirrored: each finds its own, at the noise's own distance."""
    rng = np.random.default_rng(0)
    training = rng.integers(60, 190, (23, 3, 8, 8), dtype=np.uint8)
    rows = rng.permutation(23)[:6]
    noise = rng.integers(-9, 10, (6, 3, 8, 8))
    moved = training[rows]
    moved[::2] = moved[::2, ..., ::-1]
    distances, where = nearest((moved + noise).astype(np.uint8), training, block=7)
    assert where.tolist() == rows.tolist()
    np.testing.assert_allclose(distances, np.sqrt(((noise / 255) ** 2).mean(axis=(1, 2, 3))), rtol=1e-12)
    assert nearest(training, training)[0].tolist() == [0] * 23


def test_the_command_compares_with_test_images(cifar, tmp_path):
    """Those of `cifar` are training images: their distance is 0."""
    flags = ("--model", cifar / "model.pt", "--data-dir", cifar, "--n", 2, "--steps", 2, "--out", tmp_path / "near.PNG")
    assert code_of("neighbours", *flags) == 0
    numbers = json.loads((tmp_path / "near.json").read_text())
    assert numbers["samples"]["1"] > 0 == numbers["test"]["90"]
    assert {file.name for file in tmp_path.iterdir()} == {"near.json", "near.PNG"}  # as it was typed
    with Image.open(tmp_path / "near.PNG") as image:
        assert image.width > 500
