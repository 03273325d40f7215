"""python -m ddpm: sampling, scoring and shipping from the terminal, on untrained networks."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import helpers
import numpy as np
import pytest

import ddpm
from ddpm.__main__ import main
from ddpm.data.cifar10 import load_images
from ddpm.evaluation import classifier
from ddpm.utils import cli

PROMPT = "a photo of a small red circle on a blue background"
code_of = partial(helpers.code_of, main)


def test_only_five_endings_make_a_file_and_a_folder_is_a_folder(tmp_path):
    """Results of --out eta0.5 and of --out eta0.2 would otherwise both be called eta0."""
    (tmp_path / "there.png").mkdir()
    for out, file in {
        "eta0.5": "eta0.5/grid.png", "exp.png/": "exp.png/grid.png", "there.png": "there.png/grid.png",
        "my.PNG": "my.PNG", "my.json": "my.png",
    }.items():  # fmt: skip
        args = SimpleNamespace(out=cli.destination(f"{tmp_path}/{out}"))
        assert cli.output(args, "grid", ".png") == tmp_path / file, out
    for module in Path(cli.__file__).parents[2].glob("*/experiments/*.py"):
        assert "with_suffix" not in module.read_text(encoding="utf-8"), module  # `output` alone knows what was typed


def test_what_a_command_reads_it_does_not_write_and_no_file_where_a_folder_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_text("mine")
    for out in ("photo.png", "."):  # the default name in a folder can be the file that was read, too
        with pytest.raises(ValueError, match="is read by this command"):
            cli.output(
                SimpleNamespace(out=cli.destination(out), image="../" + tmp_path.name + "/photo.png"), "photo", ".png"
            )
    (tmp_path / "captions.txt").write_text("photo.png\ta red circle\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is read by this command"):
        cli.output(SimpleNamespace(out="photo.png", data_dir=str(tmp_path)), "edit", ".png")
    (tmp_path / "edit.png").mkdir()
    with pytest.raises(ValueError, match="edit.png is a folder, and a file is to be written"):
        cli.output(SimpleNamespace(out="."), "edit", ".png")
    with pytest.raises(ValueError, match="edit.png is a folder"):  # refused with the record, which is written first
        cli.output(SimpleNamespace(out="edit.json"), "", ".json")


def test_sample_is_ddpms_ancestral_sampler_in_the_form_that_other_programs_read(model, tmp_path, capsys):
    """The images of `ddpm.sample` with the same seeds, as .npz (N, H, W, 3)."""
    out = tmp_path / "new" / "two.npz"
    assert code_of("sample", "--model", model, "--prompts", PROMPT, "--n", 2, "--seed", 4, "--out", out) == 0
    assert str(out) in capsys.readouterr().out
    trained, noise = ddpm.load(model), ddpm.Noise([4, 5])
    x_T = noise.start(trained.shape)
    x = ddpm.last(ddpm.sample(trained.eps([PROMPT], 2.0), trained.schedule, x_T, generator=noise))
    with np.load(out) as file:
        assert (file["arr_0"] == ddpm.to_bytes(x).transpose(0, 2, 3, 1)).all() and file["arr_0"].dtype == np.uint8


def test_score_writes_shares_between_0_and_1_before_it_prints(model, tmp_path, monkeypatch):
    """A reader that leaves costs no measurement."""

    def gone(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", gone)
    out = tmp_path / "new" / "score.json"
    with pytest.raises(BrokenPipeError):
        code_of("score", "--model", model, "--n", 6, "--steps", 2, "--out", out)
    result = json.loads(out.read_text())
    assert (result["n"], result["steps"]) == (6, 2) and (result["precision"], result["device"]) == ("float32", "cpu")
    for split in ("on real renderings", "combinations seen", "combinations never seen"):
        assert set(result[split]) == {"background", "colour", "size", "shape", "all"}
    assert result["on real renderings"]["all"] == {"share": 1.0, "n": 6}


def test_ship_makes_a_model_that_loads_by_name_and_replaces_only_if_allowed(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ddpm.model, "SHIPPED", tmp_path / "weights")
    assert code_of("ship", model, "tiny") == 0
    assert ddpm.model.load("tiny").info["data"] == "shapes" and code_of("ship", model, "tiny") == 2
    assert "--replace" in capsys.readouterr().err and code_of("ship", model, "tiny", "--replace") == 0
    assert code_of("ship", model, "../../escaped") == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["weights"]


def test_score_of_real_images_recognises_the_real_ones(cifar, tmp_path, monkeypatch):
    """By a classifier that knows the two images of the test batch, and calls everything else a frog."""
    known = {image.tobytes(): label for image, label in zip(*load_images(cifar, "test"), strict=True)}
    judge = SimpleNamespace(
        sha256="none", probabilities=lambda images: {"class": np.eye(10)[[known.get(x.tobytes(), 6) for x in images]]}
    )
    monkeypatch.setattr(classifier, "load", lambda *_: judge)
    out = tmp_path / "score.json"
    flags = ("score", "--model", cifar / "model.pt", "--data-dir", cifar, "--n", 2, "--steps", 2, "--out", out)
    assert code_of(*flags) == 0
    result = json.loads(out.read_text())
    assert result["info"] == {"ema": 0.05, "data": "cifar10"}  # without the path of the file
    assert result["real images"]["class"] == result["real images"]["background"] == {"share": 1.0, "n": 2}
    assert result["samples"]["class"] == {"share": 0.0, "n": 2}
