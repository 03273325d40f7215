"""python -m ddpm: sampling, scoring, neighbours and shipping from the terminal, on untrained networks."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from test_real_data import write_cifar
from tiny import CONFIG, save_model

import ddpm
from ddpm import checkpoints
from ddpm.__main__ import main
from ddpm.data import classifier
from ddpm.data.cifar10 import load_images
from ddpm.experiments.neighbours import nearest
from unet.__main__ import main as unet_main

PROMPT = "a photo of a small red circle on a blue background"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint file of an untrained network that fits the shapes."""
    return save_model(tmp_path_factory.mktemp("model") / "model.pt")


def code_of(*flags) -> int:
    """The exit code; argparse leaves by itself."""
    try:
        return main([str(flag) for flag in flags])
    except SystemExit as end:
        return end.code


def test_sample_is_ddpms_ancestral_sampler(model, tmp_path, capsys, monkeypatch):
    """The grid's images are those of `ddpm.sample` with the same seeds."""
    grids = []
    monkeypatch.setattr(ddpm.images, "grid", lambda path, images, *rest: grids.append(images) or path)
    assert code_of("sample", "--model", model, "--prompts", PROMPT, "--n", 2, "--seed", 4, "--out", tmp_path) == 0
    assert str(tmp_path / "samples-model.png") in capsys.readouterr().out
    trained, noise = ddpm.load(model), ddpm.Noise([4, 5])
    x_T = noise.start(trained.shape)
    x = ddpm.last(ddpm.sample(trained.eps([PROMPT], 2.0), trained.schedule, x_T, generator=noise))
    assert (grids[0] == ddpm.to_bytes(x)).all()


def test_score_writes_shares_between_0_and_1(model, tmp_path):
    out = tmp_path / "new" / "score.json"
    assert code_of("score", "--model", model, "--n", 6, "--steps", 2, "--out", out) == 0
    result = json.loads(out.read_text())
    assert (result["n"], result["steps"]) == (6, 2)
    for split in ("on real renderings", "combinations seen", "combinations never seen"):
        assert set(result[split]) == {"background", "colour", "size", "shape", "all"}
        assert all(0 <= share <= 1 for share in result[split].values())
    assert result["on real renderings"]["all"] == 1


def test_ship_makes_a_model_that_loads_by_name_and_replaces_only_if_allowed(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "weights")
    (tmp_path / "numbers.json").write_text('{"shape": 0.5}')
    assert code_of("ship", model, "tiny", "--numbers", tmp_path / "numbers.json") == 0
    trained, original = checkpoints.load("tiny"), checkpoints.load(model)
    assert trained.info["numbers"] == {"shape": 0.5}
    for name, weight in trained.unet.named_parameters():
        assert torch.equal(weight, original.unet.get_parameter(name).half().float())
    assert code_of("ship", model, "tiny") == 2
    assert "--replace" in capsys.readouterr().err and checkpoints.load("tiny").info["numbers"] == {"shape": 0.5}
    assert code_of("ship", model, "tiny", "--replace") == 0 and checkpoints.load("tiny").info["numbers"] == {}
    assert code_of("ship", model, "../../escaped") == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["numbers.json", "weights"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("sample", "--prompts", "a photo of a zebra"), "'zebra'"),
        (("sample", "--prompts", PROMPT, "--seed", "99999999999999999999999"), "a seed is 99999999999999999999999"),
        (("sample", "--prompts", PROMPT, "--n", "0"), "'0'"),
        (("score", "--n", "many"), "'many'"),
        (("score", "--model", "nothing"), "no model 'nothing': expected a shipped model"),
        (("score", "--device", "foo"), "no device 'foo'"),
    ],
)
def test_bad_input_is_named_in_one_line(model, tmp_path, capsys, flags, named):
    assert code_of(flags[0], "--model", model, *flags[1:], "--out", tmp_path / "out.png") == 2
    assert named in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out.png").exists()


def test_unet_names_an_unknown_device(capsys):
    assert unet_main(["--device", "foo"]) == 2
    assert "PyTorch has no device 'foo' here" in capsys.readouterr().err


# ---- models of real images ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """A folder with an untrained model of 32 x 32 images, and data in the official format for it."""
    folder = tmp_path_factory.mktemp("cifar")
    write_cifar(folder)
    save_model(folder / "model.pt", replace(CONFIG, size=32, stem=4, words=24), data="cifar10")
    return folder


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


def test_neighbours_writes_an_image_and_numbers(cifar, tmp_path, capsys):
    flags = ("neighbours", "--model", cifar / "model.pt", "--data-dir", cifar, "--steps", 2, "--out", tmp_path)
    assert code_of(*flags, "--n", 2) == 0
    numbers = json.loads((tmp_path / "neighbours-model.json").read_text())
    assert numbers["test"]["90"] == 0  # this test batch is made of training images
    assert numbers["samples"]["1"] > 0
    with Image.open(tmp_path / "neighbours-model.png") as image:
        assert image.width > 500 and "neighbours-model.png" in capsys.readouterr().out
    assert code_of(*flags, "--n", 3) == 2
    assert "n is 3, but cifar10 has 2 images here" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [("bound", "--n", 2), ("neighbours", "--n", 2)])
def test_training_images_of_a_folder_are_not_called_test_images(tmp_path, capsys, flags):
    path = save_model(tmp_path / "model.pt", data="folder")
    assert code_of(*flags, "--model", path, "--data-dir", tmp_path, "--out", tmp_path / "out") == 2
    assert "a folder of images has no test split" in capsys.readouterr().err


class Certain:
    """A classifier that knows the two images of the test batch, and calls everything else a frog."""

    sha256 = "none"

    def __init__(self, folder):
        self.images, self.labels = load_images(folder, "test")

    def probabilities(self, images):
        pairs = list(zip(self.images, self.labels, strict=True))
        labels = [next((y for x, y in pairs if (x == image).all()), 6) for image in images]
        return {"class": np.eye(10)[labels]}


def test_score_of_real_images_recognises_the_real_ones(cifar, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "load", lambda name: Certain(cifar))
    out = tmp_path / "score.json"
    flags = ("score", "--model", cifar / "model.pt", "--data-dir", cifar, "--n", 2, "--steps", 2, "--out", out)
    assert code_of(*flags) == 0
    result = json.loads(out.read_text())
    assert result["info"] == {"ema": 0.05, "data": "cifar10"}  # without the path of the file
    assert result["real images"]["class"] == {"share": 1.0, "n": 2}
    assert result["real images"]["background"] == {"share": 1.0, "n": 2}
    assert result["samples"]["class"] == {"share": 0.0, "n": 2}


def test_results_are_written_before_they_are_printed(model, tmp_path, monkeypatch):
    """A reader that leaves costs no measurement."""

    def gone(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", gone)
    out = tmp_path / "bound.json"
    code_of_flags = ["bound", "--model", str(model), "--n", "2", "--times", "2", "--out", str(out)]
    with pytest.raises(BrokenPipeError):
        main(code_of_flags)
    assert json.loads(out.read_text())["n"] == 2 and out.with_suffix(".png").exists()
