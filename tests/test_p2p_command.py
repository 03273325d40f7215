"""python -m p2p: edits and scores from the terminal, on an untrained network."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from helpers import code_of
from PIL import Image
from tiny import SIXTEEN, make_data, make_trained, save_model

import ddim
import ddpm.utils.images
import p2p
from ddpm import Noise, last
from ddpm.data.shapes import Shape, draw, shapes
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
TRAINED = make_trained()
IMAGE = draw([Shape("circle", "red", "blue", "large")])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A file of TRAINED."""
    return save_model(tmp_path_factory.mktemp("model") / "tiny.pt", replace(SIXTEEN, predicts="v"))


@pytest.fixture
def run(model, tmp_path):
    """Run an edit of three steps and two seeds into tmp_path: the code with which it ends."""

    given = ("--model", model, "--device", "cpu", "--steps", 3, "--seeds", "0-1", "--scale", 1)
    return partial(code_of, main, "edit", *given, "--source", SOURCE, "--out", tmp_path)


@pytest.fixture
def run_score(model, tmp_path):
    """Run a score of two steps into tmp_path / score-tiny.json."""

    return partial(code_of, main, "score", "--model", model, "--steps", 2, "--device", "cpu", "--out", tmp_path)


@pytest.fixture
def image_path(tmp_path):
    """IMAGE in a file, three times as large and wider than high."""
    pixels = np.pad(IMAGE[0].repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (0, 0), (8, 8)))
    Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / "real.png")
    return tmp_path / "real.png"


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
        assert run(*flags) == 0
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


def far(one: np.ndarray, other: np.ndarray) -> int:
    return abs(one.astype(int) - other).max()


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


def test_the_columns_are_before_after_plain_and_the_maps_of_content_words_in_colour_over_grey(columns):
    seen = columns("--target", TARGET, "--scale", "2", "--cross-until", "1", "--self-until", "1")
    assert list(seen)[:-1] == ["before", f"after\n{CHANGE}", f"plain\n{CHANGE}", "large", "red", "circle", "blue"]
    assert seen["notes"] == [edit.EDITS_NOTE, edit.MAPS_NOTE]
    before, after, plain = (seen[name] for name in list(seen)[:3])
    assert far(before, alone(SOURCE, 2.0)) <= 1 and far(plain, alone(TARGET, 2.0)) <= 1
    store = p2p.AttentionStore([SOURCE] * 2 + [TARGET] * 2)
    expected = edited(scale=2.0, cross_until=1.0, self_until=1.0, store=store)
    assert far(after, expected) <= 1 < far(after, plain)
    image = seen["red"]
    assert far(image, overlay(before, store.word([["red"]] * 2 + [[]] * 2, 16)[:2])) <= 2
    assert not np.array_equal(image[:, 0], image[:, 2])  # red and blue differ: no grey image


def test_a_sheet_of_more_than_four_images_has_no_maps(columns):
    seen = columns("--target", TARGET, "--seeds", "0-4")
    assert list(seen)[:-1] == ["before", f"after\n{CHANGE}", f"plain\n{CHANGE}"]


def test_images_of_a_sheet_have_96_pixels_or_more(run, tmp_path, monkeypatch, capsys):
    """In three blocks: source and edits, plain re-generations, maps."""
    figures = []
    monkeypatch.setattr(ddpm.images, "save_figure", lambda figure, path: figures.append(figure))
    assert run("--target", TARGET, SHORT, SOURCE.replace("circle", "square"), CROSS) == 0
    assert str(tmp_path / "edit-tiny.png") in capsys.readouterr().out
    figures[0].canvas.draw()
    assert len(figures[0].axes) == 3
    for axis in figures[0].axes:
        assert axis.get_window_extent().height * 16 / 34 >= 96  # two images of 16 rows, each with a white one


def test_word_until_and_weights_reach_the_edit_each_weight_in_a_column(columns):
    """A share of 0 for every word is the target's caption with the source's START alone."""
    until = dict.fromkeys(TARGET.split(), 0.0)
    flags = [flag for word in until for flag in ("--word-until", f"{word}=0")]
    expected = edited(cross_until=1.0, self_until=0.0, word_until=until)
    assert far(columns("--target", TARGET, *flags)[f"after\n{CHANGE}"], expected) <= 1
    seen = columns("--target", TARGET, "--weight", "green=1,2")
    one, two = (f"after\n{CHANGE}\ngreen x {weight}" for weight in (1, 2))
    assert list(seen)[:4] == ["before", one, two, f"plain\n{CHANGE}"]
    assert far(seen[one], edited(cross_until=1.0, self_until=0.0)) <= 1 < far(seen[one], expected)
    assert far(seen[two], edited(cross_until=1.0, self_until=0.0, weights={"green": 2.0})) <= 1


def test_targets_have_columns_of_their_own_named_by_their_changes(columns):
    ground = SOURCE.replace("blue", "green")
    seen = columns("--target", TARGET, ground, SHORT)
    changes = {CHANGE: TARGET, "blue -> green": ground, "- large red": SHORT}
    assert list(seen)[1:7] == [f"{way}\n{change}" for way in ("after", "plain") for change in changes]
    for change, target in changes.items():
        assert far(seen[f"plain\n{change}"], alone(target)) <= 1


def test_outside_a_drawn_mask_nothing_changes(columns, tmp_path):
    mask = np.zeros((16, 16, 4), dtype=np.uint8)  # white where opaque
    mask[:8] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    seen = columns("--target", TARGET, "--scale", "2", "--mask", tmp_path / "mask.png")
    before, after = seen["before"], seen[f"after\n{CHANGE}"]
    assert far(after[:, :, 8:], before[:, :, 8:]) == 0 < far(after, before)


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


def test_an_image_of_the_dataset_is_edited_by_its_own_caption_and_others_need_one(model, tmp_path, capsys):
    given = ("edit", "--model", model, "--device", "cpu", "--steps", 3, "--target", TARGET, "--out", tmp_path)
    assert code_of(main, *given, "--image", 2) == 0
    assert code_of(main, *given) == 2
    out, err = capsys.readouterr()
    assert edit.change(shapes("test").captions[2][0], TARGET) in out
    assert "a generated image has no caption: say what it shows with --source" in err


def test_the_sampler_makes_the_sources(columns):
    before = columns("--target", TARGET, "--sampler", "2m")["before"]
    assert far(before, alone(SOURCE, sampler=ddim.sample_2m)) <= 1 < far(before, alone(SOURCE))


def test_a_film_of_the_source_stands_before_it_and_the_maps_of_the_changed_word_at_its_times_below(columns):
    """From the noise on; the last state is the source itself."""
    seen = columns("--target", TARGET, "--film", "3")
    assert list(seen)[:4] == ["t = 20", "t = 13", "t = 6", "before"]
    store = p2p.AttentionStore([SOURCE] * 2 + [TARGET] * 2, by_time=True)
    edited(store=store)
    states = {t: x for t, x, _ in ddim.sample(TRAINED.eps([SOURCE]), TRAINED.schedule, x_T(), 3)} | {20: x_T()}
    for t in (20, 13, 6):
        assert far(seen[f"t = {t}"], to_bytes(states[t])) <= 1
        maps = store.word([["red"]] * 2 + [[]] * 2, 16, t=t)[:2]
        assert far(seen[f"red\nt = {t}"], overlay(seen["before"], maps)) <= 2
    assert list(columns("--target", TARGET, "--film", "2"))[:3] == ["t = 20", "t = 6", "before"]


# ---- real images -----------------------------------------------------------------------------------------------------


def test_a_real_image_is_inverted_exactly_without_guidance(columns, image_path, capsys):
    seen = columns("--target", TARGET, "--image", image_path)
    assert list(seen)[:2] == ["image", "before"] and far(seen["before"], seen["image"]) <= 1
    assert far(seen["image"], IMAGE) == 0
    assert "reconstruction of the image: mean squared error 0.00000" in capsys.readouterr().out
    x_T, _ = p2p.real.latent_pair(TRAINED, [SOURCE], from_bytes(IMAGE), 3)
    assert far(columns("--target", TARGET, "--image", image_path, "--film", "9")["t = 20"], to_bytes(x_T)) <= 1


def test_a_number_is_an_image_of_the_test_split(columns, run, monkeypatch, capsys):
    monkeypatch.setattr(common, "model_data", lambda trained, root, split: {"test": make_data(5, 16)}[split])
    assert np.array_equal(columns("--target", TARGET, "--image", "3")["image"][0], make_data(5, 16).images[3])
    assert run("--target", TARGET, "--image", "5") == 2
    assert "--image is 5, but the test split has the images 0 .. 4" in capsys.readouterr().err


def test_inversion_by_ddim_is_followed_by_ddim_and_under_guidance_by_the_optimised_null_text(
    columns, image_path, monkeypatch
):
    """At a rate that shows in bytes."""
    x_0, steps = from_bytes(IMAGE), 3
    latent = p2p.real.latent(TRAINED, [SOURCE], x_0, steps)
    found = list(p2p.real.null_text(TRAINED, [SOURCE], x_0, steps, 4.0, inner_steps=2, learning_rate=0.3))
    monkeypatch.setattr(p2p.real, "null_text", lambda *given: iter(found))
    for flags, expected in (
        (["--inversion", "ddim"], last(ddim.sample(TRAINED.eps([SOURCE]), TRAINED.schedule, latent, steps))),
        (["--scale", "4"], found[-1][1]),
    ):
        before = columns("--target", TARGET, "--image", image_path, *flags)["before"]
        assert far(before, to_bytes(expected)) <= 1 < far(before, to_bytes(x_0))
    without = last(ddim.sample(TRAINED.eps([SOURCE], 4.0), TRAINED.schedule, latent, steps))
    assert far(before, to_bytes(without)) > 1


# ---- the score -------------------------------------------------------------------------------------------------------


def test_a_score_measures_what_is_missing_and_says_what_it_read(run_score, tmp_path, capsys, monkeypatch):
    path = tmp_path / "score-tiny.json"
    kinds = ("--n", 3, "--kinds", "colour", "maps", "reweight colour")
    assert run_score(*kinds, "--ways", "p2p") == 0
    first = json.loads(path.read_text())
    assert list(first["cells"]) == ["colour", "maps", "reweight colour"]
    assert list(first["cells"]["colour"]) == ["source", "p2p"]
    assert first["settings"]["colour"]["n"] == 3 and first["settings"]["colour"]["steps"] == 2
    assert "read from" not in capsys.readouterr().out
    assert run_score("--n", 3, "--kinds", "colour", "--ways", "p2p", "plain") == 0
    second, out = json.loads(path.read_text()), capsys.readouterr().out
    assert second["cells"]["colour"]["p2p"] == first["cells"]["colour"]["p2p"]
    assert {line.split()[0]: "read from" in line for line in out.splitlines()[1:-1]} == {
        "source": False, "p2p": True, "plain": False,
    }  # fmt: skip
    monkeypatch.setattr(score, "task_of", lambda *_: pytest.fail("measured again"))
    assert run_score(*kinds, "--ways", "p2p") == 0
    assert out.splitlines()[-1] == str(path)
    assert run_score("--n", 2, "--kinds", "shape", "colour") == 2  # refused before any work
    assert "was made with n 3, not 2: results are not mixed" in capsys.readouterr().err.splitlines()[-1]
    assert json.loads(path.read_text()) == second


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "nothing to edit: give a --target, or a --weight"),
        (["--target", TARGET, "--image", "", "--inversion", "exact"], "--inversion exact is of a real image"),
        (["--target", TARGET, "--sampler", "2m"], "--sampler 2m is of generated images"),
        (["--target", TARGET, "--inversion", "null-text", "--scale", "1"], "--scale 1 has none"),
        (["--target", TARGET, "--weight", "red=2"], "'red' is not in the prompt"),
        (["--target", TARGET, "--weight", "green=9"], "expected a word and weights in -2 .. 5"),
        (["--target", TARGET, "--weight", "green=1,2", "--weight", "blue=1,2"], "one strip at a time"),
        (["--target", TARGET, "--blend", "square"], "--blend names 'square', which is in neither prompt"),
        (["--target", TARGET, "--scale", "0"], "--scale is 0: expected 1 (no guidance) or more"),
        (["--target", TARGET, "--mask", "real.png"], "real.png has 64x48 pixels: expected 16x16"),
    ],
)
def test_bad_input_ends_with_one_line_and_code_2_before_any_work(run, image_path, monkeypatch, capsys, flags, says):
    monkeypatch.setattr(edit, "start_of", lambda *_: pytest.fail("inverted first"))
    monkeypatch.chdir(image_path.parent)
    assert run("--image", "real.png", *flags) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_a_kind_or_guidance_that_cannot_be_scored_is_refused_before_any_work(run_score, capsys, monkeypatch):
    monkeypatch.setattr(score, "task_of", lambda *_: pytest.fail("measured first"))
    for flags, says in (
        (["--kinds", "colour", "smiling"], "no kind of edit 'smiling' of shapes: expected one of colour"),
        (["--scale", "0"], "--scale is 0: expected 1 (no guidance) or more"),
    ):
        assert run_score(*flags) == 2
        assert says in capsys.readouterr().err.splitlines()[-1]
