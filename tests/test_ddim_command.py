"""python -m ddim: every command from the terminal, on an untrained network of the shapes' size."""

import argparse
import hashlib
import json
import math
import re
from dataclasses import replace
from functools import partial
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import SIXTEEN, make_unet

import ddim
import ddpm
from ddim import __main__ as command
from ddim.experiments import edit as editing
from ddim.experiments import features, overhead, reconstruct, table
from ddim.experiments import figures as drawing
from ddim.experiments import reconstruct_command as rebuilding
from ddim.experiments import table_command as tabling
from ddim.experiments.common import name_of
from ddim.experiments.edit import WAYS
from ddim.experiments.table_command import prompts_for, usual_spacing
from ddim.spectrum import power
from ddpm import Schedule, checkpoints, files
from ddpm.cli import exit_code
from ddpm.data import edits, shapes
from unet import Tokenizer

PROMPT = "a photo of a small red circle on a blue background"
TARGET = "a photo of a small red square on a blue background"
FEW, LOAD = shapes.shapes, features.load


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint file of an untrained network that fits the shapes."""
    unet, schedule = make_unet(SIXTEEN, 20, "cosine"), Schedule(20, "cosine")
    content = checkpoints.description(SIXTEEN, Tokenizer(), schedule) | {"info": {"ema": 0.05, "data": "shapes"}}
    path = tmp_path_factory.mktemp("model") / "tiny.pt"
    files.save(path, content | {"ema": {0.05: dict(unet.named_parameters())}})
    return path


def means(images: np.ndarray) -> torch.Tensor:
    """Features one can work out by hand: each channel's mean and spread."""
    images = torch.from_numpy(images).float() / 255
    return torch.cat([images.mean((2, 3)), images.std((2, 3))], dim=1)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Sixty drawings of each split, and features without a network."""
    monkeypatch.setattr(shapes, "shapes", lambda split="train", n=60, seed=0: FEW(split, n, seed))
    network = features.Features("FD-classifier", "means", "0" * 64, means)
    monkeypatch.setattr(features, "load", lambda *asked: network)


def code_of(*flags) -> int:
    """The code with which the command ends; argparse leaves by itself."""
    try:
        return exit_code("python -m ddim", lambda: command.main([str(flag) for flag in flags]))
    except SystemExit as end:
        return end.code


def last_error(capsys) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def is_image(path) -> bool:
    return np.ptp(np.asarray(Image.open(path).convert("RGB"))) > 0


# ---- table -----------------------------------------------------------------------------------------------------------


def table_flags(model, out, *more):
    return ("table", "--model", model, "--out", out, "--n", 6, "--columns", 2, *more)


@pytest.mark.parametrize(("spacing", "grid"), [("linear", [20, 10, 0]), ("quadratic", [17, 1, 0])])
def test_the_tables_cell_is_the_distance_by_hand(model, tmp_path, spacing, grid):
    assert code_of(*table_flags(model, tmp_path, "--rows", 0.5, "--spacing", spacing)) == 0
    record = json.loads((tmp_path / "table-tiny.json").read_text())
    trained = ddpm.load(model)
    noise = ddpm.Noise(range(6))
    x_T = noise.start(trained.shape)
    *_, (_, x, _) = ddim.sample(trained.eps(None), trained.schedule, x_T, grid, 0.5, generator=noise)
    parts = [*ddim.moments(means(ddpm.to_bytes(x))), *ddim.moments(means(FEW("train", 60).images))]
    assert record["cells"]["0.5"]["2"]["distance"] == pytest.approx(ddim.frechet_distance(*parts), rel=1e-6)
    assert is_image(tmp_path / "table-tiny.png")


def test_a_second_call_samples_only_what_is_missing(model, tmp_path, monkeypatch):
    assert code_of(*table_flags(model, tmp_path, "--rows", 0, "hat")) == 0
    first = (tmp_path / "table-tiny.json").read_text()
    made, cell_sampler = [], table.cell_sampler

    def noted(row, S, spacing):
        made.append(row)
        return cell_sampler(row, S, spacing)

    monkeypatch.setattr(table, "cell_sampler", noted)
    assert code_of(*table_flags(model, tmp_path, "--rows", 0, 1, "hat", "2m")) == 0
    assert made == ["1", "2m"]
    record = json.loads((tmp_path / "table-tiny.json").read_text())
    assert list(record["cells"]) == ["0", "hat", "1", "2m"]
    assert record["cells"]["hat"] == json.loads(first)["cells"]["hat"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--n", 7), "n 6, not 7"),
        (("--seed", 1), "seed 0, not 1"),
        (("--spacing", "quadratic"), "'linear', not 'quadratic'"),
        (("--prompts", "captions"), "'null', not 'captions'"),
        (("--reference", "test"), "reference"),
    ],
)
def test_cells_of_other_settings_are_refused(model, tmp_path, capsys, flags, named):
    assert code_of(*table_flags(model, tmp_path, "--rows", 0)) == 0
    before = (tmp_path / "table-tiny.json").read_text()
    assert code_of(*table_flags(model, tmp_path, "--rows", 0, *flags)) == 2
    assert named in last_error(capsys)
    assert (tmp_path / "table-tiny.json").read_text() == before


def test_captions_and_guidance_change_the_samples(model, tmp_path):
    flags = ("--rows", 0, "--prompts", "captions")
    assert code_of(*table_flags(model, tmp_path / "a", *flags)) == 0
    assert code_of(*table_flags(model, tmp_path / "b", *flags, "--scale", 3)) == 0
    a, b = (json.loads((tmp_path / name / "table-tiny.json").read_text()) for name in "ab")
    assert a["cells"] != b["cells"] and b["settings"]["guidance"] == 3


def test_a_row_and_a_column_given_twice_are_one_cell(model, tmp_path, monkeypatch):
    made, cell_sampler = [], table.cell_sampler
    monkeypatch.setattr(table, "cell_sampler", lambda *cell: made.append(cell) or cell_sampler(*cell))
    assert code_of(*table_flags(model, tmp_path, 2, "--rows", 0, "0.0", "-0")) == 0
    assert made == [("0", 2, "linear")]


def test_captions_are_drawn_from_the_training_set_and_null_prompts_are_empty():
    args = argparse.Namespace(prompts="captions", n=40, seed=3)
    split, captions = partial(FEW, n=60), FEW("train", 60).captions
    drawn = prompts_for(args, split)
    assert set(drawn) <= {caption for several in captions for caption in several}
    assert not set(drawn) <= {several[0] for several in captions}  # not the fullest alone
    assert len(set(drawn)) > 20 and prompts_for(args, split) == drawn
    args.seed = 4
    assert prompts_for(args, split) != drawn
    args.prompts = "null"
    assert prompts_for(args, split) == [""] * 40


def test_the_training_set_is_read_once_for_images_and_captions(model, tmp_path, monkeypatch):
    loaded, of_split = [], tabling.of_split
    monkeypatch.setattr(tabling, "of_split", lambda *asked: loaded.append(asked[-1]) or of_split(*asked))
    assert code_of(*table_flags(model, tmp_path, "--rows", 0, "--prompts", "captions")) == 0
    assert loaded == ["train"]


def test_a_split_is_a_split_even_beside_a_folder_of_its_name(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").mkdir()
    assert code_of(*table_flags(model, tmp_path / "out", "--rows", 0)) == 0


def test_results_of_a_run_have_its_folders_name(tmp_path):
    for name in ("00003-shapes", "v1.5"):
        for model in (tmp_path / name, tmp_path / name / "checkpoint.pt", tmp_path / f"{name}.pt"):
            assert name_of(str(model)) == name


def test_two_samples_are_enough(model, tmp_path):
    assert code_of("table", "--model", model, "--out", tmp_path, "--n", 2, "--columns", 1, "--rows", 0) == 0
    assert json.loads((tmp_path / "table-tiny.json").read_text())["cells"]["0"]["1"]["error"] is None


def test_a_folder_of_images_is_a_reference(model, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(FEW("train", 60).images):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{i:02d}.png")
    assert code_of(*table_flags(model, tmp_path / "a", "--rows", 0, "--reference", folder)) == 0
    assert code_of(*table_flags(model, tmp_path / "b", "--rows", 0)) == 0
    a, b = (json.loads((tmp_path / name / "table-tiny.json").read_text()) for name in "ab")
    assert a["settings"]["reference_n"] == 60
    assert a["cells"]["0"]["2"]["distance"] == pytest.approx(b["cells"]["0"]["2"]["distance"], rel=1e-6)


@pytest.mark.parametrize(
    ("data", "kind", "spacing"),
    [("cifar10", "linear", "quadratic"), ("cifar10", "cosine", "linear"), ("celeba", "linear", "linear")],
)
def test_the_quadratic_grid_is_usual_where_it_starts_from_noise(model, data, kind, spacing):
    trained = replace(ddpm.load(model), info={"data": data}, schedule=Schedule(1000, kind))
    assert usual_spacing(trained) == spacing
    start = ddim.timesteps(1000, 50, spacing)[0]
    assert trained.schedule.alpha_bar[start] < 0.01  # of the image's variance left


# ---- the other commands ----------------------------------------------------------------------------------------------


def test_the_ruler_takes_as_many_as_there_are(tmp_path, monkeypatch):
    """Half of 60 for training, but only 12 to test."""
    sizes = {"train": 60, "test": 12}
    monkeypatch.setattr(shapes, "shapes", lambda split="train", seed=0: FEW(split, sizes[split], seed))
    assert code_of("ruler", "--out", tmp_path) == 0
    assert json.loads((tmp_path / "ruler-shapes.json").read_text())["settings"]["n"] == 12


def test_the_ruler_measures_halves_test_set_and_disturbances(tmp_path):
    assert code_of("ruler", "--n", 20, "--out", tmp_path) == 0
    record = json.loads((tmp_path / "ruler-shapes.json").read_text())
    assert len(record["lines"]) == 11
    assert record["settings"]["n"] == 20 and record["settings"]["reference_n"] == 30
    assert "20 images" in (tmp_path / "ruler-shapes.txt").read_text()


def test_reconstruct_tells_every_variant(model, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruct, "DIVERGED", float("inf"))  # this network has learnt nothing
    assert code_of("reconstruct", "--model", model, "--n", 5, "--steps", 3, 6, "--out", tmp_path) == 0
    cells = json.loads((tmp_path / "reconstruct-tiny-5.json").read_text())["cells"]
    assert set(cells) == set(reconstruct.CHOICES) and all(set(row) == {"3", "6"} for row in cells.values())
    assert {cell["n"] for row in cells.values() for cell in row.values()} == {5}
    assert len({cells[name]["3"]["mean"] for name in reconstruct.VARIANTS}) == len(reconstruct.VARIANTS)
    trained, test = ddpm.load(model), FEW("test", 60)
    x_0 = ddpm.diffusion.from_bytes(test.images[:5])
    eps = trained.eps([several[0] for several in test.captions[:5]], 4.0)
    *_, (_, x_T, _) = ddim.invert(eps, trained.schedule, x_0, 3)
    *_, (_, again, _) = ddim.sample(eps, trained.schedule, x_T, 3)
    assert cells["guidance 4"]["3"]["mean"] == pytest.approx(((again - x_0) / 2).square().mean().item(), rel=1e-3)
    assert [cell["calls"] for cell in cells[reconstruct.GAUSSIAN].values()] == [0, 0]
    assert all(cells[name][S]["largest"] < 1e-5 for name in ("exact", "exact, guidance 7.5") for S in "36")
    assert is_image(tmp_path / "reconstruct-tiny-5.png")


def test_reconstruct_counts_the_calls_of_the_quadratic_grid(model, tmp_path):
    """Of T = 20, the quadratic grid of 10 steps: its times below one apart coincide."""
    how = ("--n", 2, "--steps", 10, "--spacing", "quadratic", "--variants", "caption", "--out", tmp_path)
    assert code_of("reconstruct", "--model", model, *how) == 0
    cells = json.loads((tmp_path / "reconstruct-tiny-2-quadratic.json").read_text())["cells"]
    assert cells["caption"]["10"]["calls"] == 2 * len({int(i * i * 16 / 81) for i in range(10)})


def test_a_second_call_measures_only_what_is_missing_and_a_gaussian_needs_no_network(model, tmp_path, monkeypatch):
    """The strip walks its few images again where they came back in an earlier call."""
    how = ("reconstruct", "--model", model, "--n", 9, "--steps", 4, "--out", tmp_path)
    assert code_of(*how, "--variants", "caption") == 0
    record, image = tmp_path / "reconstruct-tiny-9.json", tmp_path / "reconstruct-tiny-9.png"
    first, strip = json.loads(record.read_text())["cells"], image.read_bytes()
    asked, trip = [], reconstruct.round_trip

    def noted(eps, schedule, x_0, *more):
        asked.append(len(x_0))
        return trip(eps, schedule, x_0, *more)

    monkeypatch.setattr(reconstruct, "round_trip", noted)
    assert code_of(*how, "--variants", "caption") == 0
    assert asked == [6] and json.loads(record.read_text())["cells"] == first and image.read_bytes() == strip
    asked.clear()
    assert code_of(*how, "--variants", reconstruct.GAUSSIAN) == 0
    both = json.loads(record.read_text())["cells"]
    assert asked == [9, 6] and both.keys() == {"caption", reconstruct.GAUSSIAN} and both["caption"] == first["caption"]
    monkeypatch.setattr(ddpm.Trained, "eps", lambda *_: pytest.fail("asked the network"))
    assert code_of(*how[:-1], tmp_path / "alone", "--variants", reconstruct.GAUSSIAN) == 0


def test_reconstruct_refuses_cells_of_another_model(model, tmp_path, capsys):
    how = ("reconstruct", "--model", model, "--n", 2, "--steps", 2, "--variants", "caption", "--out", tmp_path)
    assert code_of(*how) == 0
    record = tmp_path / "reconstruct-tiny-2.json"
    record.write_text(record.read_text().replace(hashlib.sha256(model.read_bytes()).hexdigest(), "0" * 64))
    before = record.read_text()
    assert code_of(*how) == 2 and "results are not mixed, choose another --out" in last_error(capsys)
    assert record.read_text() == before


def test_reconstruct_says_which_model_and_shows_the_other_variants_at_the_largest_s(model, tmp_path, monkeypatch):
    """Whatever is asked for twice is done once."""
    sheets = []
    monkeypatch.setattr(rebuilding.figures, "sheet", lambda *shown: sheets.append(shown))
    how = ("--n", 2, "--steps", 2, 4, 4, "--variants", "caption", "exact", "caption", "--out", tmp_path)
    assert code_of("reconstruct", "--model", model, *how) == 0
    assert sheets[0][3] == ["original", "caption\nS = 2", "caption\nS = 4", "exact\nS = 4"]
    record = json.loads((tmp_path / "reconstruct-tiny-2.json").read_text())
    assert {name: list(row) for name, row in record["cells"].items()} == {"caption": ["2", "4"], "exact": ["2", "4"]}
    assert record["settings"] == {
        "model": "tiny", "data": "shapes", "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "T": 20, "schedule": "cosine", "n": 2, "spacing": "linear",
    }  # fmt: skip


def test_the_edits_are_the_walks_by_hand_at_the_scale_eta_and_iterations_asked_for(model, tmp_path, monkeypatch):
    sheets = []
    monkeypatch.setattr(editing.figures, "sheet", lambda path, images, *names: sheets.append(images))
    flags = ("--steps", 4, "--strength", 0.75, "--scale", 3, "--eta", 0.5, "--iterations", 2, "--seed", 5)
    assert code_of("edit", "--model", model, "--out", tmp_path, "--image", 3, "--target", TARGET, *flags) == 0
    trained, test, grid = ddpm.load(model), FEW("test", 60), [15, 10, 5, 0]
    schedule, x_0, noise = trained.schedule, ddpm.diffusion.from_bytes(test.images[3:4]), ddpm.Noise([5])
    source, target = trained.eps([test.captions[3][0]]), trained.eps([TARGET], 3.0)
    a = schedule.alpha_bar[15].item()
    noised = a**0.5 * x_0 + (1 - a) ** 0.5 * noise(x_0)
    *_, (_, naive, _) = ddim.sample(target, schedule, noised, grid, 0.5, generator=noise)
    *_, (_, inverted, _) = ddim.invert(source, schedule, x_0, grid, iterations=2)
    *_, (_, again, _) = ddim.sample(target, schedule, inverted, grid)
    *_, (_, below, _), (_, top, _) = ddim.invert_exact(source, schedule, x_0, grid)
    *_, (_, exact, _) = ddim.sample_exact(target, schedule, (top, below), grid, dtype=x_0.dtype)
    by_hand = np.concatenate([ddpm.to_bytes(x) for x in (naive, again, exact)])
    assert abs(by_hand.astype(int) - sheets[0][0, 1:]).max() <= 1


def test_edit_says_whether_the_new_caption_is_met():
    """Of drawings: one of the target, one of another shape, one of another colour and size; and what nobody reads."""
    words = (("square", "red", "small"), ("circle", "red", "small"), ("square", "green", "large"))
    images = shapes.draw([shapes.Shape(shape, colour, "blue", size) for shape, colour, size in words])
    met, other_shape, other = editing.verdicts("shapes", images, TARGET)
    assert met == "; caption met" and other_shape == "; caption not met: shape"
    assert set(other.removeprefix("; caption not met: ").split(", ")) == {"colour", "size"}
    assert editing.verdicts("shapes", images, "a photo of a cat") == [""] * 3
    assert editing.verdicts("folder", images, TARGET) == [""] * 3


def test_an_edit_of_real_images_is_met_where_the_classifier_says_so(monkeypatch):
    told = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.7, 0.3]])  # a dog, a cat, a cat
    judge = SimpleNamespace(heads={"class": ("cat", "dog")}, probabilities=lambda images: {"class": told})
    monkeypatch.setattr(editing.classifier, "load", lambda name: judge)
    images = np.zeros((3, 3, 8, 8), dtype=np.uint8)
    asked = edits.Edits(images, ["a"] * 3, ["b"] * 3, edits.everywhere(images), "class", ["dog", "dog", "cat"])
    assert editing.met("cifar10", asked, images).tolist() == [True, False, True]


def test_an_edit_of_drawings_is_met_where_every_word_is_right():
    words = (("square", "red", "small"), ("circle", "red", "small"), ("square", "green", "small"))
    images = shapes.draw([shapes.Shape(shape, colour, "blue", size) for shape, colour, size in words])
    asked = edits.Edits(images, [PROMPT] * 3, [TARGET] * 3, edits.everywhere(images), "shape", ["square"] * 3)
    assert editing.met("shapes", asked, images).tolist() == [True, False, False]


def test_the_strip_shows_the_first_image_that_every_way_edits():
    assert editing.example([np.array([True, False, True, True]), np.array([False, True, True, True])]) == 2
    assert editing.example([np.array([True, False]), np.array([False, True])]) == 0


def test_edit_writes_original_and_edits(model, tmp_path):
    flags = ("--model", model, "--out", tmp_path, "--steps", 4, "--target", TARGET)
    assert code_of("edit", "--image", 3, *flags) == 0
    first = (tmp_path / "edit-tiny.png").read_bytes()
    assert code_of("edit", "--image", 4, *flags, "--scale", 2, "--ways", "invert") == 0
    assert is_image(tmp_path / "edit-tiny.png") and (tmp_path / "edit-tiny.png").read_bytes() != first


def test_edit_says_how_far_each_edit_is_from_its_image(model, tmp_path, capsys):
    """Strength 0 is the image itself, all the way up and down with another caption is not."""
    flags = ("--model", model, "--out", tmp_path, "--steps", 4, "--image", 3, "--target", TARGET)
    for strength in (0, 1):
        assert code_of("edit", *flags, "--strength", strength) == 0
        lines = capsys.readouterr().out.splitlines()[: len(WAYS)]
        distances = [float(line.split("original")[1].split()[0]) for line in lines]
        assert all(d == 0 for d in distances) if strength == 0 else all(d > 1e-4 for d in distances)


def test_a_image_file_is_edited_with_its_prompt(model, tmp_path, capsys):
    Image.fromarray(FEW("test", 1).images[0].transpose(1, 2, 0)).save(tmp_path / "mine.png")
    flags = ("--image", tmp_path / "mine.png", "--model", model, "--out", tmp_path, "--steps", 4, "--target", TARGET)
    assert code_of("edit", *flags) == 2
    assert "--prompt" in last_error(capsys)
    assert code_of("edit", *flags, "--prompt", PROMPT) == 0


def test_sweep_measures_each_way_at_each_strength(model, tmp_path):
    flags = ("--n", 3, "--steps", 4, "--strengths", 1, 0, 0.5, 0.5, "--edits", "colour", "shape", "--out", tmp_path)
    assert code_of("sweep", "--model", model, *flags, "--ways", *WAYS, "noise") == 0
    record = json.loads((tmp_path / "sweep-tiny.json").read_text())
    curves = record["curves"]
    assert record["settings"]["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert list(curves) == ["colour", "shape"] and list(curves["colour"]) == list(WAYS)
    for ways in curves.values():
        for points in ways.values():
            assert [p["strength"] for p in points] == [0, 0.5, 1]
            assert (points[0]["lost"], points[0]["met"]) == (0, 0)  # strength 0 is the image itself
            assert points[1]["lost"] > 0 and points[2]["lost"] > 0
        assert len({ways[way][2]["lost"] for way in WAYS}) == len(WAYS)
    assert is_image(tmp_path / "sweep-tiny.png") and is_image(tmp_path / "sweep-tiny-strip.png")


def test_the_sweeps_noise_has_the_seed_that_is_asked_for(model, tmp_path):
    lost = []
    for seed in (0, 0, 7):
        flags = ("--n", 3, "--steps", 4, "--strengths", 0.5, "--edits", "colour", "--ways", "noise", "--seed", seed)
        out = tmp_path / str(seed)
        assert code_of("sweep", "--model", model, *flags, "--out", out) == 0
        lost.append(json.loads((out / "sweep-tiny.json").read_text())["curves"]["colour"]["noise"][0]["lost"])
    assert lost[0] == lost[1] != lost[2]


@pytest.mark.parametrize(
    ("how", "named"),
    [
        (("sweep", "--steps", 4, "--strengths", 0.5, "--edits", "colour", "--ways", "noise"), "seed 0, not 7"),
        (("spectrum", "--steps", 2, "--rows", 0), "seed 0, not 7"),
    ],
)
def test_other_settings_do_not_write_over_a_result(model, tmp_path, capsys, how, named):
    how = (*how, "--model", model, "--n", 3, "--out", tmp_path)
    assert code_of(*how) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert code_of(*how, "--seed", 7) == 2
    assert f"was made with {named}: results are not mixed" in last_error(capsys)
    (record,) = tmp_path.glob("*.json")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    record.write_text("[]")
    assert code_of(*how) == 2 and "is no record of results: choose another --out" in last_error(capsys)
    record.write_text("{")
    assert code_of(*how) == 2 and "is no record of results (" in last_error(capsys)


def test_spectrum_tells_detail_and_grain_of_each_row(model, tmp_path):
    flags = ("--model", model, "--out", tmp_path, "--n", 6, "--steps", 2, "--rows", 0.5, "hat", "hat")
    assert code_of("spectrum", *flags) == 0
    rows = json.loads((tmp_path / "spectrum-tiny.json").read_text())["rows"]
    assert list(rows) == ["0.5", "hat"]
    noise = ddpm.Noise(range(6))
    trained = ddpm.load(model)
    x_T = noise.start(trained.shape)
    *_, (_, x, _) = ddim.sample(trained.eps(None), trained.schedule, x_T, 2, 0.5, generator=noise)
    parts = [*ddim.moments(means(ddpm.to_bytes(x))), *ddim.moments(means(FEW("train", 60).images))]
    assert rows["0.5"]["grain"][0] == pytest.approx(ddim.frechet_distance(*parts), rel=1e-6)
    shares = power(ddpm.to_bytes(x)) / power(FEW("train", 60).images)
    assert rows["0.5"]["power"] == pytest.approx(shares.tolist(), rel=0.05)
    assert is_image(tmp_path / "spectrum-tiny.png")


def test_figure_3_has_a_row_for_each_eta_and_a_block_for_each_number_of_steps(model, tmp_path, monkeypatch):
    """T = 20 of this model cuts the many steps, and the test split has only two captions."""
    monkeypatch.setattr(shapes, "shapes", lambda split="train", seed=0: FEW(split, 2, seed))
    monkeypatch.setattr(table, "ROWS", ("0", "1", "2m"))
    sheets = {}
    monkeypatch.setattr(drawing.figures, "sheet", lambda path, *shown: sheets.update({path.stem: shown}))
    assert code_of("figures", "--model", model, "--out", tmp_path, "--scale", 3) == 0
    images, rows, columns = sheets["figures-tiny-samples"]
    assert rows == ["eta 0", "eta 1"] and [name for name in columns if name] == ["S = 10", "S = 20"]
    trained, noise = ddpm.load(model), ddpm.Noise(range(2))
    captions = [several[0] for several in FEW("test", 2).captions]
    eps, x_T = trained.eps(captions, 3.0), noise.start(trained.shape)
    for row, eta in enumerate((0.0, 1.0)):
        noise = ddpm.Noise(range(2))
        noise.start(trained.shape)
        *_, (_, x, _) = ddim.sample(eps, trained.schedule, x_T, 20, eta, generator=noise)
        assert abs(ddpm.to_bytes(x).astype(int) - images[row, 2:]).max() <= 1
    assert sheets["figures-tiny-consistency"][2] == ["S = 5", "S = 10", "S = 20"]
    assert (sheets["figures-tiny-consistency"][0][:, 2] == images[0, 2:]).all()  # eta 0
    assert sheets["figures-tiny-interpolation"][-1] == "slerp of x_T, S = 20"
    a, b = ddpm.Noise([2, 3]).start(trained.shape)  # the ends of the second row
    angle = math.acos((a * b).sum() / (a.norm() * b.norm()))
    halfway = (a + b)[None] / (2 * math.cos(angle / 2))
    *_, (_, x, _) = ddim.sample(trained.eps(captions[1:2], 3.0), trained.schedule, halfway, 20)
    assert abs(ddpm.to_bytes(x)[0].astype(int) - sheets["figures-tiny-interpolation"][0][1, 5]).max() <= 1


def test_figures_draws_three(model, tmp_path):
    small_grid = {"COLUMNS": (2, 4), "ROWS": ("0", "hat", "2m")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in small_grid.items():
            patch.setattr(table, name, value)
        patch.setattr(drawing, "FIGURE_3", (2, 4))
        patch.setattr(drawing, "of_split", lambda *_: pytest.fail("read the data set, which it has no use for"))
        assert code_of("figures", "--model", model, "--prompts", PROMPT, TARGET, "--out", tmp_path) == 0
    for name in ("samples", "consistency", "interpolation"):
        assert is_image(tmp_path / f"figures-tiny-{name}.png")


def test_overhead_counts_loop_and_network(model, tmp_path, capsys, monkeypatch):
    """By a clock that ticks whenever it is read: two calls of the network are two ticks, and three pass around them."""
    monkeypatch.setattr(overhead, "time", SimpleNamespace(perf_counter=count().__next__))
    assert code_of("overhead", "--model", model, "--batch", 2, "--steps", 2, "--out", tmp_path) == 0
    kept = json.loads((tmp_path / "overhead-tiny.json").read_text())["rows"]
    assert list(kept.values()) == [{"network_s": 2, "loop_s": 3}] * 3
    lines = [line for line in capsys.readouterr().out.splitlines() if "network" in line]
    assert len(lines) == 3
    assert all(re.findall(r"\d+\.\d+", line) == ["2.00", "3.000", "150.00"] for line in lines)


def test_overhead_refuses_more_steps_than_times_before_it_measures(model, capsys):
    assert code_of("overhead", "--model", model, "--steps", 21) == 2
    told = capsys.readouterr()
    assert told.out == "" and "S is 21 steps, expected a whole number in 1..20" in told.err


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("table", "--columns", "21"), "21"),
        (("table", "--columns", "0"), "S is 0 steps, expected a whole number in 1..20"),
        (("table", "--rows", "1.5"), "1.5"),
        (("table", "--columns", "2", "--n", "1"), "n is 1"),
        (("table", "--columns", "2", "--scale", "2"), "captions"),
        (("table", "--columns", "2", "--reference", "elsewhere"), "no reference 'elsewhere'"),
        (("reconstruct", "--steps", "21"), "21"),
        (("reconstruct", "--steps", "0"), "S is 0 steps, expected a whole number in 1..20"),
        (("reconstruct", "--steps", "2", "--n", "1"), "n is 1"),
        (("reconstruct", "--steps", "2", "1", "--n", "2"), "S = 1 is one step, and the exact way needs two"),
        (("reconstruct", "--steps", "2", "--n", "61"), "n is 61, but the test split has 60 images"),
        (("sweep", "--n", "1"), "n is 1"),
        (("sweep", "--n", "0"), "n is 0"),
        (("sweep", "--n", "2", "--steps", "4", "--iterations", "-1"), "--iterations is -1: expected 0 or more"),
        (("edit", "--image", "0", "--target", TARGET, "--iterations", "-1"), "--iterations is -1: expected 0 or more"),
        (("sweep", "--n", "2", "--steps", "4", "--eta", "2"), "--eta: '2': expected a number in [0, 1]"),
        (("edit", "--image", "0", "--target", TARGET, "--eta", "hat"), "--eta: 'hat': expected a number"),
        (("edit", "--image", "-1", "--target", TARGET, "--steps", "4"), "no image -1 in the test split: expected"),
        (("edit", "--image", "0", "--target", TARGET, "--strength", "0.1", "--steps", "4"), "0.1 of 4 steps rounds to"),
        (("sweep", "--n", "2", "--strengths", "0.5", "1.1"), "--strengths: '1.1': expected a number in [0, 1]"),
        (("spectrum", "--n", "2", "--seed", "-1"), "a seed is -1, expected 0 .. 2^63 - 1"),
        (("figures", "--seed", "-1"), "a seed is -1, expected 0 .. 2^63 - 1"),
        (("table", "--columns", "2", "--device", "meta"), "PyTorch has no device 'meta' here"),
        (("sweep", "--n", "2", "--steps", "4", "--ways", "invert", "--seed", "-1"), "a seed is -1"),
        (("sweep", "--n", "2", "--steps", "10"), "strength 0.1 of 10 steps is one step"),
        (("sweep", "--n", "2", "--scale", "nan"), "'nan': expected a number"),
        (("edit", "--image", "0", "--target", TARGET, "--strength", "0.1", "--steps", "10"), "strength 0.1 of 10"),
        (("edit", "--image", "0", "--target", TARGET, "--scale", "inf"), "'inf': expected a number"),
        (("table", "--columns", "2", "--device", "banana"), "PyTorch has no device 'banana' here"),
        (("table", "--columns", "2", "--seed", "-1"), "expected 0 .. 2^63 - 1"),
        (("edit", "--image", "0", "--target", "a photo of a zebra", "--steps", "4"), "'zebra'"),
        (("edit", "--image", "0", "--prompt", "a photo of a zebra", "--target", TARGET, "--steps", "4"), "'zebra'"),
        (("edit", "--image", "60", "--target", TARGET, "--steps", "4"), "no image 60 in the test split: expected"),
        (("edit", "--image", "nowhere.png", "--target", TARGET, "--steps", "4"), "nowhere.png is missing"),
        (("edit", "--image", "0", "--target", TARGET, "--strength", "1.5"), "1.5"),
        (("edit", "--image", "0", "--target", TARGET, "--steps", "21"), "21"),
        (("edit", "--image", "0", "--target", TARGET, "--steps", "0"), "'0'"),
        (("edit", "--image", "0", "--target", TARGET, "--eta", "-1", "--steps", "4"), "-1"),
        (("sweep", "--edits", "size", "--steps", "20"), "'size'"),
        (("figures", "--prompts", "a photo of a zebra"), "'zebra'"),
    ],
)
def test_bad_input_is_told_with_its_value(model, tmp_path, capsys, flags, named):
    assert code_of(*flags, "--model", model, "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("work", ["table", "reconstruct", "sweep", "figures"])
def test_a_model_that_is_not_there_is_told(tmp_path, capsys, work):
    assert code_of(work, "--model", tmp_path / "nothing", "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nothing" in line and "shipped model" in line


def test_a_image_of_the_wrong_size_is_told(model, tmp_path, capsys):
    Image.new("RGB", (40, 30)).save(tmp_path / "wide.png")
    flags = ("--model", model, "--prompt", PROMPT, "--target", TARGET, "--out", tmp_path, "--steps", 4)
    assert code_of("edit", "--image", tmp_path / "wide.png", *flags) == 2
    assert "40 x 30" in (line := last_error(capsys)) and "16 x 16" in line


def test_a_file_that_is_no_image_is_told(model, tmp_path, capsys):
    (tmp_path / "text.png").write_text("hello")
    flags = ("--model", model, "--prompt", PROMPT, "--target", TARGET, "--out", tmp_path, "--steps", 4)
    assert code_of("edit", "--image", tmp_path / "text.png", *flags) == 2
    assert "text.png cannot be read" in last_error(capsys)


@pytest.mark.parametrize("n", [0, 1])
def test_a_reference_folder_with_too_few_images_is_told(model, tmp_path, capsys, n):
    (tmp_path / "few").mkdir()
    for i in range(n):
        Image.new("RGB", (16, 16)).save(tmp_path / "few" / f"{i}.png")
    assert code_of(*table_flags(model, tmp_path / "out", "--reference", tmp_path / "few")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"few has {n} .png, .jpg or .webp files: expected 2 or more" in line


def test_a_seed_that_is_none_is_told_before_the_reference_is_read(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tabling, "reference_set", lambda *_: pytest.fail("read images first"))
    assert code_of(*table_flags(model, tmp_path, "--seed", -1)) == 2
    assert "a seed is -1" in last_error(capsys)


def test_an_edit_that_cannot_be_is_told_before_the_image_is_read(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(editing, "of_split", lambda *_: pytest.fail("read images first"))
    flags = ("--model", model, "--out", tmp_path, "--steps", 21)
    for work in (("edit", "--image", 0, "--target", TARGET), ("sweep", "--n", 2)):
        assert code_of(*work, *flags) == 2
        assert "S is 21 steps, expected a whole number in 1..20" in last_error(capsys)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (("table", "--n", 2), "table-tiny.png"), (("spectrum", "--n", 2), "spectrum-tiny.txt"),
        (("reconstruct", "--n", 2), "reconstruct-tiny-2.json"), (("sweep", "--n", 2), "sweep-tiny-strip.png"),
        (("edit", "--image", 0, "--target", TARGET), "edit-tiny.png"), (("figures",), "figures-tiny-samples.png"),
    ],
)  # fmt: skip
def test_a_folder_in_a_results_place_is_told_before_any_work(model, tmp_path, capsys, monkeypatch, flags, name):
    (tmp_path / name).mkdir()
    monkeypatch.setattr(ddpm, "load", lambda *_, **__: pytest.fail("worked first"))
    assert code_of(*flags, "--model", model, "--out", tmp_path) == 2
    assert f"{name} is a folder" in last_error(capsys)


@pytest.mark.parametrize("work", ["table", "ruler", "spectrum"])
def test_an_inception_file_without_its_kind_of_features_is_told(model, tmp_path, capsys, monkeypatch, work):
    monkeypatch.setattr(features, "load", LOAD)
    asked = () if work == "ruler" else ("--model", model, "--n", 2)
    asked += {"table": ("--columns", 2), "spectrum": ("--steps", 2)}.get(work, ())
    assert code_of(work, *asked, "--out", tmp_path, "--inception", "mine.pt") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--inception mine.pt goes with --features inception, not classifier" in line


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 the rest is missing"])
def test_an_inception_file_that_cannot_be_used_is_told(model, tmp_path, capsys, monkeypatch, content):
    monkeypatch.setattr(features, "load", LOAD)
    path = tmp_path / "inception.pt"
    if content is not None:
        path.write_bytes(content)
    assert code_of(*table_flags(model, tmp_path / "out", "--features", "inception", "--inception", path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "inception.pt" in line and "fetch" in line


@pytest.mark.parametrize("work", ["table", "reconstruct", "sweep", "figures"])
def test_an_out_that_is_a_file_is_told_before_any_work(model, tmp_path, capsys, monkeypatch, work):
    (tmp_path / "out").write_text("mine")
    monkeypatch.setattr(ddpm.Trained, "eps", lambda *_: pytest.fail("worked first"))
    assert code_of(work, "--model", model, "--out", tmp_path / "out") == 2
    assert "expected a folder to write to" in last_error(capsys) and (tmp_path / "out").read_text() == "mine"


def test_data_without_edits_are_named(tmp_path, capsys, monkeypatch, model):
    monkeypatch.setattr(ddpm, "load", lambda *a, **k: replace(checkpoints.load(model), info={"data": "folder"}))
    monkeypatch.setattr(editing, "of_split", lambda *_: pytest.fail("looked for images first"))
    assert code_of("sweep", "--model", model, "--out", tmp_path) == 2
    assert "no edits are known for the data set 'folder': expected one of shapes" in last_error(capsys)


def test_a_ruler_on_a_device_that_is_not_there_is_told(tmp_path, capsys):
    assert code_of("ruler", "--device", "banana", "--out", tmp_path) == 2
    assert "PyTorch has no device 'banana' here" in last_error(capsys)


def test_a_ruler_of_one_image_is_told_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tabling, "load_data", lambda *_: pytest.fail("read images first"))
    assert code_of("ruler", "--n", 1, "--out", tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "n is 1, expected 2 or more images" in line


def test_a_ruler_longer_than_its_images_is_told(tmp_path, capsys):
    assert code_of("ruler", "--n", 31, "--out", tmp_path) == 2
    assert "n is 31" in last_error(capsys)
