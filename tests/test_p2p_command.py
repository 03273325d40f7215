"""python -m p2p: edits, schedules, scores and truths from the command line, on an untrained network."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import code_of, far
from PIL import Image
from tiny import SIXTEEN, make_data, make_trained, save_model

import ddim
import ddpm.utils.images
import p2p
from ddpm import Noise, last
from ddpm.data.shapes import Shape, draw
from ddpm.experiments import common
from ddpm.utils.images import from_bytes, overlay, to_bytes
from p2p.__main__ import main
from p2p.experiments import edit, score
from p2p.experiments.baselines import SETTINGS

SOURCE = "a photo of a large red circle on a blue background"
TARGET = "a photo of a large green circle on a blue background"
SHORT = "a photo of a circle on a blue background"
CROSS = SOURCE.replace("circle", "cross")
CHANGE = "red -> green"
EDIT, NEW = f"Prompt-to-Prompt\n{CHANGE}", f"new caption only\n{CHANGE}"
TRAINED = make_trained()
IMAGE = draw([Shape("circle", "red", "blue", "large")])


@pytest.fixture
def run(model, tmp_path):
    """Run an edit, of three steps and without guidance if no flag says else, into tmp_path: its exit code."""

    def call(*flags) -> int:
        given = {"--model": model, "--device": "cpu", "--steps": 3, "--scale": 1, "--source": SOURCE, "--out": tmp_path}
        given = [word for flag, value in given.items() if flag not in flags for word in (flag, value)]
        return code_of(main, "edit", *given, *flags)

    return call


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Here: real.png, IMAGE three times as large and wider than high."""
    monkeypatch.chdir(tmp_path)
    pixels = np.pad(IMAGE[0].repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (0, 0), (8, 8)))
    Image.fromarray(pixels.transpose(1, 2, 0)).save("real.png")


@pytest.fixture
def columns(run, monkeypatch):
    """Run an edit and give what it would draw: name -> images uint8 (n, 3, 16, 16); "notes": one for each block."""

    def call(*flags) -> dict:
        seen = {}

        def sheet(path, images, rows, names, title, fold, notes):
            assert len(set(names)) == len(names) and len(fold) + 1 == len(notes)
            assert max(np.diff([0, *fold, len(names)])) <= 8
            seen.update(zip(names, images.swapaxes(0, 1), strict=True), notes=notes)

        monkeypatch.setattr(edit, "sheet", sheet)
        seeds = () if {"--image", "--seeds"} & {*flags} else ("--seeds", "0-1")
        assert run(*seeds, *flags) == 0
        return seen

    return call


def x_T() -> torch.Tensor:
    return Noise([0, 1]).start(TRAINED.shape)


def alone(prompt: str, scale: float = 1.0, sampler=ddim.sample) -> np.ndarray:
    """The images of seeds 0 and 1 without any edit."""
    return to_bytes(last(sampler(TRAINED.eps([prompt], scale), TRAINED.schedule, x_T(), 3)))


def edited(**how) -> np.ndarray:
    """The edits of seeds 0 and 1."""
    return to_bytes(last(p2p.edit(TRAINED, SOURCE, TARGET, x_T(), 3, **how))[2:])


# ---- edits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "schedule"),
    [
        (["--target", SHORT], ("- large red (refine)", 80, 40)),
        (["--target", CROSS], ("circle -> cross (replace)", 60, 0)),
        (["--target", TARGET, "--weight", "green=2"], ("red -> green, green x 2 (replace and reweight)", 100, 0)),
        (["--weight", "red=-2,0"], ("red x -2 (reweight)", 100, 40)),
        (["--target", TARGET.upper() + ".", "--cross-until", "0.5"], ("red -> green (replace)", 50, 0)),
    ],
)
def test_an_edit_has_the_schedule_of_its_kind(columns, capsys, flags, schedule):
    columns(*flags)
    out, err = capsys.readouterr()
    assert "{}: cross-attention injected in {}% of the steps, self-attention in {}%".format(*schedule) in out
    assert "edits: 100%" in err


def test_the_columns_are_source_edit_new_caption_and_the_maps_of_content_words_in_colour_over_grey(columns):
    seen = columns("--target", TARGET, "--scale", "2", "--cross-until", "1", "--self-until", "1")
    assert list(seen)[:-1] == ["source", EDIT, NEW, "large", "red", "circle", "blue"]
    assert seen["notes"] == [edit.EDITS_NOTE, edit.MAPS_NOTE]
    assert far(seen["source"], alone(SOURCE, 2.0)) <= 1 and far(seen[NEW], alone(TARGET, 2.0)) <= 1
    store = p2p.AttentionStore([SOURCE] * 2 + [TARGET] * 2)
    expected = edited(scale=2.0, cross_until=1.0, self_until=1.0, store=store)
    assert far(seen[EDIT], expected) <= 1 < far(seen[EDIT], seen[NEW])
    assert far(seen["red"], overlay(seen["source"], store.word([["red"]] * 2 + [[]] * 2, 16)[:2])) <= 2
    assert not np.array_equal(seen["red"][:, 0], seen["red"][:, 2])  # red and blue differ: no grey image
    assert list(columns("--target", TARGET, "--seeds", "0-4"))[:-1] == ["source", EDIT, NEW]  # more than four: no maps


def test_weights_reach_the_edit_each_pair_of_them_in_a_column(columns):
    seen = columns("--target", TARGET, "--weight", "green=1,2", "--weight", "blue=0,1")
    pairs = [(green, blue) for green in (1, 2) for blue in (0, 1)]
    names = {f"{EDIT}\ngreen x {green}\nblue x {blue}": {"green": green, "blue": blue} for green, blue in pairs}
    assert list(seen)[:6] == ["source", *names, NEW]
    for name, weights in names.items():
        assert far(seen[name], edited(cross_until=1.0, self_until=0.0, weights=weights)) <= 1


def test_targets_have_columns_of_their_own_named_by_their_changes(columns):
    ground = SOURCE.replace("blue", "green")
    seen = columns("--target", TARGET, ground, SHORT)
    changes = {CHANGE: TARGET, "blue -> green": ground, "- large red": SHORT}
    ways = ("Prompt-to-Prompt", "new caption only")
    assert list(seen)[1:7] == [f"{way}\n{change}" for way in ways for change in changes]
    for change, target in changes.items():
        assert far(seen[f"new caption only\n{change}"], alone(target)) <= 1


@pytest.mark.parametrize(
    ("flags", "before", "after"),
    [
        (["--target", CROSS, "--blend", "Circle,", "cross."], ["circle"], ["cross"]),  # written as in prompts
        (["--target", CROSS, "--blend", "--weight", "blue=2"], ["circle", "blue"], ["cross", "blue"]),
    ],
)
def test_a_blend_is_around_its_words_or_those_that_change(columns, monkeypatch, flags, before, after):
    seen, original = [], p2p.edit
    monkeypatch.setattr(p2p.editing, "edit", lambda *a, blend=None, **how: seen.append(blend) or original(*a, **how))
    columns(*flags)
    assert seen[0].words == [before] * 2 + [after] * 2
    assert (seen[0].size, seen[0].threshold) == (8, SETTINGS["shapes", "shape"].threshold)


def test_a_model_without_maps_of_the_settings_size_blends_by_its_own_and_one_without_any_is_refused(tmp_path, capsys):
    for sizes, code in (((16,), 0), ((), 2)):
        model = save_model(tmp_path / "other.pt", replace(SIXTEEN, cross_sizes=sizes))
        given = ("--model", model, "--device", "cpu", "--steps", 2, "--seeds", 0, "--out", tmp_path)
        assert code_of(main, "edit", *given, "--source", SOURCE, "--target", CROSS, "--blend") == code
    assert "the model has no cross-attention" in capsys.readouterr().err.splitlines()[-1]


def test_the_sampler_makes_the_sources(columns):
    before = columns("--target", TARGET, "--sampler", "2m")["source"]
    assert far(before, alone(SOURCE, sampler=ddim.sample_2m)) <= 1 < far(before, alone(SOURCE))


def test_a_film_of_the_source_stands_before_it_and_the_maps_of_the_changed_word_at_its_times_below(columns):
    """From the noise on; the last state is the source itself. Of prompts without nouns it is the first word's map."""
    seen = columns("--target", TARGET, "--film", "3")
    assert list(seen)[:4] == ["t = 20", "t = 13", "t = 6", "source"]
    store = p2p.AttentionStore([SOURCE] * 2 + [TARGET] * 2, by_time=True)
    edited(store=store)
    states = {t: x for t, x, _ in ddim.sample(TRAINED.eps([SOURCE]), TRAINED.schedule, x_T(), 3)} | {20: x_T()}
    for t in (20, 13, 6):
        assert far(seen[f"t = {t}"], states[t]) <= 1
        maps = store.word([["red"]] * 2 + [[]] * 2, 16, t=t)[:2]
        assert far(seen[f"red\nt = {t}"], overlay(seen["source"], maps)) <= 2
    assert list(columns("--target", TARGET, "--film", "2"))[:3] == ["t = 20", "t = 13", "source"]


def test_the_schedule_is_the_new_caption_at_the_upper_left_and_the_source_at_the_left(model, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr("p2p.experiments.schedule.SHARES", (0.0, 1.0))
    monkeypatch.setattr("p2p.experiments.schedule.sheet", lambda path, images, *_: seen.update(images=images))
    given = ("--model", model, "--device", "cpu", "--steps", 3, "--scale", 1, "--out", tmp_path)
    assert code_of(main, "schedule", *given, "--source", SOURCE, "--target", TARGET) == 0
    assert seen["images"].shape == (2, 3, 3, 16, 16)
    assert far(seen["images"][0, 0], alone(SOURCE)[0]) <= 1 and far(seen["images"][0, 1], alone(TARGET)[0]) <= 1
    assert far(seen["images"][1, 2], edited(cross_until=1.0, self_until=1.0)[0]) <= 1


# ---- real images -----------------------------------------------------------------------------------------------------


def test_a_real_image_is_inverted_exactly_without_guidance(columns, files, capsys):
    seen = columns("--target", TARGET, "--image", "real.png")
    assert list(seen)[:2] == ["image", "source"] and far(seen["source"], seen["image"]) <= 1
    assert far(seen["image"], IMAGE) == 0
    assert "reconstruction of the image: mean squared error 0.00000" in capsys.readouterr().out
    x_T, _ = p2p.real.latent_pair(TRAINED, [SOURCE], from_bytes(IMAGE), 3)
    assert far(columns("--target", TARGET, "--image", "real.png", "--film", "2")["t = 20"], x_T) <= 1


def test_a_number_is_an_image_of_the_test_split_edited_by_its_own_caption(columns, run, model, monkeypatch, capsys):
    split, parser = make_data(5, 16), ddpm.utils.cli.Parser()
    edit.add_flags(parser)
    args = parser.parse_args(["--model", str(model), "--steps", "3", "--target", TARGET, "--image", "1"])
    monkeypatch.setattr(common, "model_data", lambda trained, root, name: {"test": split}[name])
    assert " ".join(edit.prepare(args)[1]) == split.captions[1][0]
    assert np.array_equal(columns("--target", TARGET, "--image", "3")["image"][0], split.images[3])
    assert run("--target", TARGET, "--image", "5") == 2
    assert "--image is 5, but the test split has the images 0 .. 4" in capsys.readouterr().err


def test_under_guidance_a_real_image_is_inverted_with_an_optimised_null_text(columns, files, monkeypatch):
    """At a rate that shows in bytes."""
    x_0, steps = from_bytes(IMAGE), 3
    latent = p2p.real.latent(TRAINED, [SOURCE], x_0, steps)
    found = list(p2p.real.null_text(TRAINED, [SOURCE], x_0, steps, 4.0, inner_steps=2, learning_rate=0.3))
    monkeypatch.setattr(p2p.real, "null_text", lambda *given: iter(found))
    before = columns("--target", TARGET, "--image", "real.png", "--scale", "4")["source"]
    assert far(before, found[-1][1]) <= 1 < far(before, x_0)
    without = last(ddim.sample(TRAINED.eps([SOURCE], 4.0), TRAINED.schedule, latent, steps))
    assert far(before, without) > 1


# ---- the score -------------------------------------------------------------------------------------------------------


def test_a_score_measures_what_is_missing_and_says_what_it_read(model, tmp_path, capsys, monkeypatch):
    run = partial(code_of, main, "score", "--model", model, "--steps", 2, "--device", "cpu", "--out", tmp_path)
    kinds = ("--n", 3, "--kinds", "colour", "maps")
    assert run(*kinds, "--ways", "p2p") == 0 and "read from" not in capsys.readouterr().out
    assert run("--n", 3, "--kinds", "colour", "--ways", "p2p", "plain") == 0
    *lines, path = capsys.readouterr().out.splitlines()
    assert {line.split()[0]: "read from" in line for line in lines[1:]} == {"p2p": True, "plain": False}
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    assert list(record["cells"]) == ["colour", "maps"] and list(record["cells"]["colour"]) == ["p2p", "plain"]
    assert record["settings"]["colour"]["steps"] == 2
    monkeypatch.setattr(score, "task_of", lambda *_: pytest.fail("measured again"))
    assert run(*kinds, "--ways", "p2p") == 0
    assert run("--n", 2, "--kinds", "shape", "colour") == 2  # refused before any work
    assert "was made with n 3, not 2: results are not mixed" in capsys.readouterr().err.splitlines()[-1]
