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
from ddpm.experiments import neighbours
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


def test_the_nearest_other_training_image_is_found_by_leaving_it_out():
    training = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 4), dtype=np.uint8)
    rows = np.array([8, 0, 5])
    for distance, where, row in zip(*nearest(training[rows], training, rows, block=4), rows, strict=True):
        expected, other = nearest(training[row][None], np.delete(training, row, axis=0))
        assert distance == expected[0] > 0 and where == other[0] + (other[0] >= row)


def test_the_command_compares_with_test_images_and_of_a_folder_with_other_training_images(cats, tmp_path):
    write_cifar(tmp_path)
    cifar = save_model(tmp_path / "model.pt", replace(CONFIG, size=32, stem=4, words=24), data="cifar10")
    for (folder, model), name in (((tmp_path, cifar), "test"), (cats, "training images")):
        flags = ("--model", model, "--data-dir", folder, "--n", 2, "--steps", 2, "--out", tmp_path / "out")
        assert code_of("neighbours", *flags) == 0
        numbers = json.loads((tmp_path / "out" / "neighbours-model.json").read_text())
        assert (numbers["precision"], numbers["device"]) == ("float32", "cpu")
        assert numbers["samples"]["1"] > 0
        assert (numbers[name]["90"] == 0) == (name == "test")  # the test images of `write_cifar` are training images
        with Image.open(tmp_path / "out" / "neighbours-model.png") as image:
            assert image.width > 500


def test_all_that_is_wrong_is_known_before_the_first_image(cats, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(neighbours, "samples_of", None)
    folder, model = cats
    foreign = tmp_path / "other.json"
    foreign.write_text('{"hello": 1}')
    right = {"--data-dir": folder, "--n": 2, "--out": tmp_path / "out"}
    for wrong, message in (
        ({"--n": 5}, f"n is 5, but {folder.name} has 4 images"),
        ({"--steps": 101}, "S is 101 steps, expected a whole number in 1..100"),
        ({"--data-dir": tmp_path}, "captions.txt is missing"),
        ({"--out": foreign}, f"{foreign} is not a record of ddpm neighbours"),
    ):
        flags = [each for pair in (right | wrong).items() for each in pair]
        assert code_of("neighbours", "--model", model, *flags) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and message in error
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"] and foreign.read_text() == '{"hello": 1}'
