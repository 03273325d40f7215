"""python -m ddpm neighbours: each sample's nearest training image, and what the distance is compared with."""

import json
from dataclasses import replace
from functools import partial

import helpers
import numpy as np
from PIL import Image
from test_real_data import write_cifar
from tiny import CONFIG, save_model

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


def test_the_command_compares_with_test_images(tmp_path):
    """Those of `write_cifar` are training images: their distance is 0."""
    write_cifar(tmp_path)
    model = save_model(tmp_path / "model.pt", replace(CONFIG, size=32, stem=4, words=24), data="cifar10")
    flags = ("--model", model, "--data-dir", tmp_path, "--n", 2, "--steps", 2, "--out", tmp_path / "out")
    assert code_of("neighbours", *flags) == 0
    numbers = json.loads((tmp_path / "out" / "neighbours-model.json").read_text())
    assert numbers["samples"]["1"] > 0 == numbers["test"]["90"]
    with Image.open(tmp_path / "out" / "neighbours-model.png") as image:
        assert image.width > 500
