"""python -m ddpm: sampling, scoring and shipping from the terminal, on an untrained network of the shapes' size."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from test_real_data import write_cifar
from tiny import CONFIG, SIXTEEN, make_unet

from ddpm import Schedule, checkpoints, files
from ddpm import __main__ as command
from ddpm.cli import exit_code
from ddpm.experiments.neighbours import nearest
from unet import Tokenizer

PROMPT = "a photo of a small red circle on a blue background"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint file of an untrained network that fits the shapes."""
    unet, schedule = make_unet(SIXTEEN, 20, "cosine"), Schedule(20, "cosine")
    content = checkpoints.description(SIXTEEN, Tokenizer(), schedule) | {"info": {"ema": 0.05, "data": "shapes"}}
    path = tmp_path_factory.mktemp("model") / "model.pt"
    files.save(path, content | {"ema": {0.05: dict(unet.named_parameters())}})
    return path


def code_of(*flags) -> int:
    """The code with which the command ends; argparse leaves by itself."""
    try:
        return exit_code("python -m ddpm", lambda: command.main([str(flag) for flag in flags]))
    except SystemExit as end:
        return end.code


def test_sample_writes_a_grid_and_says_where(model, tmp_path, capsys):
    out = tmp_path / "grid.png"
    flags = ("sample", "--model", model, "--prompts", PROMPT, "a photo of a cross", "--count", 3, "--steps", 2)
    assert code_of(*flags, "--out", out) == 0
    assert str(out) in capsys.readouterr().out
    assert np.ptp(np.asarray(Image.open(out).convert("RGB"))) > 0


def test_score_writes_shares_between_0_and_1(model, tmp_path):
    out = tmp_path / "score.json"
    assert code_of("score", "--model", model, "--n", 6, "--steps", 2, "--out", out) == 0
    result = json.loads(out.read_text())
    assert (result["n"], result["steps"]) == (6, 2)
    for split in ("on real renderings", "combinations seen", "combinations never seen"):
        assert set(result[split]) == {"background", "colour", "size", "shape", "all"}
        assert all(0 <= share <= 1 for share in result[split].values())
    assert result["on real renderings"]["all"] == 1


def test_ship_makes_a_model_that_loads_by_name(model, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "weights")
    numbers = tmp_path / "numbers.json"
    numbers.write_text('{"shape": 0.5}')
    assert code_of("ship", model, "tiny", "--numbers", numbers) == 0
    trained = checkpoints.load("tiny")
    assert trained.info["numbers"] == {"shape": 0.5}
    original = checkpoints.load(model)
    for name, weight in trained.unet.named_parameters():
        assert torch.equal(weight, original.unet.get_parameter(name).half().float())


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("sample", "--prompts", "a photo of a zebra"), "'zebra'"),
        (("sample", "--prompts", PROMPT, "--steps", "21"), "21"),
        (("sample", "--prompts", PROMPT, "--eta", "1.5"), "1.5"),
        (("sample", "--prompts", PROMPT, "--count", "0"), "'0'"),
        (("sample", "--prompts", PROMPT, "--out", "samples"), "expected a name that ends in .png"),
        (("score", "--n", "many"), "'many'"),
    ],
)
def test_bad_input_is_told_with_its_value(model, tmp_path, capsys, flags, named):
    assert code_of(*flags, "--model", model, "--out", tmp_path / "out.png") == 2
    assert named in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out.png").exists()


def test_a_model_that_is_not_there_is_told(tmp_path, capsys):
    assert code_of("score", "--model", tmp_path / "nothing") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nothing" in line and "shipped model" in line


# ---- models of real images ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cifar_model(tmp_path_factory):
    """An untrained model of 32 x 32 images, and data in the official format for it."""
    folder = tmp_path_factory.mktemp("cifar")
    write_cifar(folder)
    config, schedule = replace(CONFIG, size=32, stem=4, words=24), Schedule(20, "cosine")
    content = checkpoints.description(config, Tokenizer(), schedule) | {"info": {"ema": 0.05, "data": "cifar10"}}
    files.save(folder / "model.pt", content | {"ema": {0.05: dict(make_unet(config).named_parameters())}})
    return folder


def test_neighbours_are_the_nearest_mirrored_or_not():
    """Training images with some noise on them, half of them mirrored: found again, at the noise's own distance."""
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


def test_neighbours_command_writes_a_image_and_numbers(cifar_model, tmp_path, monkeypatch, capsys):
    out = tmp_path / "near.png"
    command.main([
        "neighbours", "--model", str(cifar_model / "model.pt"), "--data-dir", str(cifar_model), "--n", "2",
        "--steps", "2", "--out", str(out),
    ])  # fmt: skip
    numbers = json.loads(out.with_suffix(".json").read_text())
    assert numbers["test"]["90"] == 0  # this test batch is made of training images
    assert numbers["samples"]["1"] > 0
    with Image.open(out) as drawn:
        assert drawn.width > 500 and str(out) in capsys.readouterr().out


def test_more_images_than_there_are_is_refused(cifar_model, tmp_path, capsys):
    flags = ["neighbours", "--model", str(cifar_model / "model.pt"), "--data-dir", str(cifar_model), "--n", "3"]
    assert exit_code("x", lambda: command.main([*flags, "--out", str(tmp_path / "x.png")])) == 2
    assert "n is 3, but cifar10 has 2 images here" in capsys.readouterr().err


class Sure:
    """A judge that knows the two images of the test batch, and calls everything else a frog."""

    sha256 = "none"

    def probabilities(self, images):
        known, labels = images(self.folder, "test")
        told = [next((y for x, y in zip(known, labels, strict=True) if (x == image).all()), 6) for image in images]
        return {"class": np.eye(10)[told]}


def test_score_of_real_images_knows_the_real_ones(cifar_model, tmp_path, monkeypatch):
    Sure.folder = cifar_model
    monkeypatch.setattr(command.ddpm.data.classifier, "load", lambda name: Sure())
    out = tmp_path / "score.json"
    command.main([
        "score", "--model", str(cifar_model / "model.pt"), "--data-dir", str(cifar_model), "--n", "2",
        "--steps", "2", "--out", str(out),
    ])  # fmt: skip
    result = json.loads(out.read_text())
    assert result["info"] == {"ema": 0.05, "data": "cifar10"}  # and not where the file lies
    assert result["real images"]["class"] == {"share": 1.0, "n": 2}
    assert result["real images"]["background"] == {"share": 1.0, "n": 2}
    assert result["samples"]["class"] == {"share": 0.0, "n": 2}


@pytest.mark.parametrize(("flags", "name"), [(("sample", "--prompts", PROMPT), "x.png"), (("score",), "x.json")])
def test_an_out_that_is_a_folder_is_told_in_one_line_before_any_work(tmp_path, capsys, flags, name):
    (tmp_path / name).mkdir()
    assert code_of(*flags, "--out", tmp_path / name) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name}' is a folder: expected the name of a file to write" in line
