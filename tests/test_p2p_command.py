"""python -m p2p: edits, schedules, scores and truths from the command line, on an untrained network."""

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
    """Here: real.png, IMAGE three times as large and wider than high; and masks: half, all and none of it is light."""
    monkeypatch.chdir(tmp_path)
    pixels = np.pad(IMAGE[0].repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (0, 0), (8, 8)))
    Image.fromarray(pixels.transpose(1, 2, 0)).save("real.png")
    for name, rows in (("half", 8), ("all", 16), ("none", 0)):
        mask = np.zeros((16, 16, 4), dtype=np.uint8)  # white where opaque
        mask[:rows] = 255
        Image.fromarray(mask).save(f"{name}.png")


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


def test_images_of_a_sheet_have_96_pixels_or_more(run, tmp_path, monkeypatch, capsys):
    """In two blocks: source and edits; the map of the changed word, and below each edit its new caption only."""
    figures = []
    monkeypatch.setattr(ddpm.images, "save_figure", lambda figure, path: figures.append(figure))
    assert run("--seeds", "0-1", "--target", TARGET, SHORT, SOURCE.replace("circle", "square"), CROSS) == 0
    assert str(tmp_path / "edit-tiny.png") in capsys.readouterr().out
    figures[0].canvas.draw()
    above, below = (axis.get_xticklabels() for axis in figures[0].axes)
    words = [[label.get_text().split("\n")[-1] for label in labels] for labels in (above, below)]
    assert words[0][1:] == words[1][1:] and len(words[0]) == 5 and words[1][0].startswith("of ")
    for axis in figures[0].axes:
        assert axis.get_window_extent().height * 16 / 34 >= 96  # two images of 16 rows, each with a white one


def test_word_until_and_weights_reach_the_edit_each_weight_in_a_column(columns):
    """A share of 0 for every word is the target's caption with the source's START alone."""
    until = dict.fromkeys(TARGET.split(), 0.0)
    flags = [flag for word in until for flag in ("--word-until", f"{word}=0")]
    expected = edited(cross_until=1.0, self_until=0.0, word_until=until)
    assert far(columns("--target", TARGET, *flags)[EDIT], expected) <= 1
    seen = columns("--target", TARGET, "--weight", "green=1,2")
    one, two = (f"{EDIT}\ngreen x {weight}" for weight in (1, 2))
    assert list(seen)[:4] == ["source", one, two, NEW]
    assert far(seen[one], edited(cross_until=1.0, self_until=0.0)) <= 1 < far(seen[one], expected)
    assert far(seen[two], edited(cross_until=1.0, self_until=0.0, weights={"green": 2.0})) <= 1


def test_targets_have_columns_of_their_own_named_by_their_changes(columns):
    ground = SOURCE.replace("blue", "green")
    seen = columns("--target", TARGET, ground, SHORT)
    changes = {CHANGE: TARGET, "blue -> green": ground, "- large red": SHORT}
    ways = ("Prompt-to-Prompt", "new caption only")
    assert list(seen)[1:7] == [f"{way}\n{change}" for way in ways for change in changes]
    for change, target in changes.items():
        assert far(seen[f"new caption only\n{change}"], alone(target)) <= 1


def test_outside_a_drawn_mask_nothing_changes(columns, files):
    seen = columns("--target", TARGET, "--scale", "2", "--mask", "half.png")
    assert far(seen[EDIT][:, :, 8:], seen["source"][:, :, 8:]) == 0 < far(seen[EDIT], seen["source"])


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
        assert far(seen[f"t = {t}"], to_bytes(states[t])) <= 1
        maps = store.word([["red"]] * 2 + [[]] * 2, 16, t=t)[:2]
        assert far(seen[f"red\nt = {t}"], overlay(seen["source"], maps)) <= 2
    assert list(columns("--target", TARGET, "--film", "2"))[:3] == ["t = 20", "t = 13", "source"]


def test_prompts_without_a_noun_have_a_film_too(model, tmp_path):
    given = ("--model", model, "--device", "cpu", "--steps", 3, "--seeds", 0, "--out", tmp_path, "--film", 3)
    assert code_of(main, "edit", *given, "--source", "a photo of", "--target", "a photo of a") == 0


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
    assert far(columns("--target", TARGET, "--image", "real.png", "--film", "2")["t = 20"], to_bytes(x_T)) <= 1


def test_a_number_is_an_image_of_the_test_split_edited_by_its_own_caption(columns, run, model, monkeypatch, capsys):
    given = ("--model", model, "--device", "cpu", "--steps", 3, "--target", TARGET)
    split = make_data(5, 16)
    monkeypatch.setattr(common, "model_data", lambda trained, root, name: {"test": split}[name])
    assert " ".join(edit.prepare(edit_args(*given, "--image", 1)).source) == split.captions[1][0]
    assert np.array_equal(columns("--target", TARGET, "--image", "3")["image"][0], split.images[3])
    assert run("--target", TARGET, "--image", "5") == 2
    assert "--image is 5, but the test split has the images 0 .. 4" in capsys.readouterr().err


def test_inversion_by_ddim_is_followed_by_ddim_and_under_guidance_by_the_optimised_null_text(
    columns, files, monkeypatch
):
    """At a rate that shows in bytes."""
    x_0, steps = from_bytes(IMAGE), 3
    latent = p2p.real.latent(TRAINED, [SOURCE], x_0, steps)
    found = list(p2p.real.null_text(TRAINED, [SOURCE], x_0, steps, 4.0, inner_steps=2, learning_rate=0.3))
    monkeypatch.setattr(p2p.real, "null_text", lambda *given: iter(found))
    for flags, expected in (
        (["--inversion", "ddim"], last(ddim.sample(TRAINED.eps([SOURCE]), TRAINED.schedule, latent, steps))),
        (["--inversion", "null-text", "--scale", "4"], found[-1][1]),
    ):
        before = columns("--target", TARGET, "--image", "real.png", *flags)["source"]
        assert far(before, to_bytes(expected)) <= 1 < far(before, to_bytes(x_0))
    without = last(ddim.sample(TRAINED.eps([SOURCE], 4.0), TRAINED.schedule, latent, steps))
    assert far(before, to_bytes(without)) > 1


# ---- the score -------------------------------------------------------------------------------------------------------


def test_a_score_measures_what_is_missing_and_says_what_it_read(model, tmp_path, capsys, monkeypatch):
    path = tmp_path / "score-tiny.json"
    run = partial(code_of, main, "score", "--model", model, "--steps", 2, "--device", "cpu", "--out", tmp_path)
    kinds = ("--n", 3, "--kinds", "colour", "maps")
    assert run(*kinds, "--ways", "p2p") == 0
    first = json.loads(path.read_text())
    assert list(first["cells"]) == ["colour", "maps"]
    assert list(first["cells"]["colour"]) == ["p2p"]
    assert first["settings"]["colour"]["n"] == 3 and first["settings"]["colour"]["steps"] == 2
    assert "read from" not in capsys.readouterr().out
    assert run("--n", 3, "--kinds", "colour", "--ways", "p2p", "plain") == 0
    second, out = json.loads(path.read_text()), capsys.readouterr().out
    assert second["cells"]["colour"]["p2p"] == first["cells"]["colour"]["p2p"]
    assert {line.split()[0]: "read from" in line for line in out.splitlines()[1:-1]} == {"p2p": True, "plain": False}
    monkeypatch.setattr(score, "task_of", lambda *_: pytest.fail("measured again"))
    assert run(*kinds, "--ways", "p2p") == 0
    assert out.splitlines()[-1] == str(path)
    assert run("--n", 2, "--kinds", "shape", "colour") == 2  # refused before any work
    assert "was made with n 3, not 2: results are not mixed" in capsys.readouterr().err.splitlines()[-1]
    assert json.loads(path.read_text()) == second


# ---- bad input -------------------------------------------------------------------------------------------------------

T, REAL = ("--target", TARGET), ("--target", TARGET, "--image", "real.png")
REFUSED = {
    "edit": [
        ((), "nothing to edit: give a --target, or a --weight"),
        (("--target", SOURCE + "."), "is the source: change a word, or give a --weight"),
        (("--target", SHORT, SHORT.upper()), f"--target has '{SHORT}' twice"),
        (("--target", TARGET, "a photo of a mauve circle"), "unknown word 'mauve'"),
        (("--target", TARGET, "..."), "--target is empty ('...')"),
        ((*T, "--steps", 21), "S is 21 steps, expected a whole number in 1..20"),
        ((*T, "--scale", "0.5"), "--scale is 0.5: expected 1 (no guidance) or more"),
        ((*T, "--scale", "1e30"), "argument --scale: '1e30'"),
        ((*T, "--weight", "red=2"), "'red' is not in the prompt"),
        ((*T, "--weight", "green=9"), "expected a word and weights in -2 .. 5"),
        ((*T, "--weight", "green=1"), "--weight green=1 has no effect"),
        ((*T, "--weight", "green=2", "--weight", "Green=3"), "--weight has 'green' twice"),
        ((*T, "--weight", "green=2,2"), "--weight green has 2.0 twice"),
        ((*T, "--weight", "green=1,2", "--weight", "blue=1,2"), "--weight green and --weight blue have several values"),
        ((*T, "--word-until", "a=0.1", "--word-until", "a=0.2"), "--word-until has 'a' twice"),
        ((*T, "--word-until", "red=0.2"), "'red' is not in the prompt"),
        ((*T, "--word-until", "green=1"), "--word-until green=1 has no effect: that is --cross-until"),
        (("--target", SOURCE.replace("large", "large green"), "--word-until", "green=0.2"), "a new word takes no map"),
        ((*T, "--cross-until", 0.2, 0.4), "--cross-until has 2 values, and a sheet shows one"),
        ((*T, "--cross-until", 0.2, 0.2, "--seeds", 0, "--out", "x.html"), "--cross-until has "),
        ((*T, "--blend", "square"), "--blend names 'square', which is in neither prompt"),
        ((*T, "--blend", "red", "red."), "--blend has 'red' twice"),
        ((*T, "--blend", "?"), "has no word"),
        ((*T, "--blend", "red", "--mask", "half.png"), "--mask and --blend both say where"),
        ((*T, "--mask", "real.png"), "real.png has 64x48 pixels: expected 16x16"),
        ((*T, "--mask", "all.png"), "light everywhere"),
        ((*T, "--mask", "none.png"), "dark everywhere"),
        ((*T, "--mask", "absent.png"), "absent.png is missing"),
        ((*T, "--film", 4), "--film 4 has more images than steps: expected at most 3"),
        ((*T, "--seeds", "0-99"), "a sheet of 100 images"),
        ((*T, "--inversion", "exact"), "--inversion exact is of a real image"),
        ((*REAL, "--sampler", "2m"), "--sampler is of generated images"),
        ((*REAL, "--seeds", "4,5"), "--seeds is of generated images"),
        ((*REAL, "--inversion", "null-text"), "--scale 1 has none"),
        ((*REAL, "--steps", 1), "--inversion exact needs two steps"),
        ((*REAL, "--out", "real.png"), "real.png is read by this command"),
        ((*T, "--mask", "half.png", "--out", "half.png"), "half.png is read by this command"),
    ],
    "schedule": [
        (("--target", "a photo of a mauve circle"), "unknown word 'mauve'"),
        (("--target", SOURCE), "is the source: change a word"),
        ((*T, "--steps", 21), "S is 21 steps"),
        ((*T, "--seed", -1), "argument --seed"),
        ((*T, "--scale", "-3"), "--scale is -3: expected 1"),
    ],
    "score": [
        (("--kinds", "colour", "smiling"), "no kind of edit 'smiling' of shapes: expected one of colour"),
        (("--scale", "0.5"), "--scale is 0.5: expected 1 (no guidance) or more"),
        (("--steps", 21), "S is 21 steps"),
        (("--n", 10**9), "--n is 1000000000: expected at most 10000 pairs"),
        (("--ways", "p2p", "p2p"), "--ways has 'p2p' twice"),
        (("--kinds", "colour", "colour"), "--kinds has 'colour' twice"),
        (("--kinds", "maps", "--ways", "p2p"), "--ways has no effect on --kinds maps"),
        (("--ways", "p2p", "--strength", 0.5), "--strength has no effect: none of --ways is sdedit"),
        (("--kinds", "maps", "--self-until", 0.5), "--self-until has no effect: none of --ways is p2p"),
        (("--ways", "p2p-exact", "--steps", 1), "p2p-exact needs two steps for its exact inversion, --steps is 1"),
    ],
    "truth": [
        ((), "is a model of shapes: the true edit is known of scenes alone"),
        (("--source", SOURCE), "--source and --target belong together"),
        ((*T, "--source", SOURCE, "--kinds", "thing"), "--kinds thing has no effect beside --source"),
        ((*T, "--source", SOURCE, "--out", "x.json"), "x.json: expected a folder, or for a sheet of --source"),
        (("--out", "x.png"), "x.png: expected a folder, or for a record a name that ends in .json"),
    ],
}  # fmt: skip
SCENES = [
    (("--ways", "p2p-exact", "--steps", 1), "p2p-exact needs two steps for its exact inversion, --steps is 1"),
    (("--ways", "nothing", "nothing"), "--ways has 'nothing' twice"),
    (("--n", 10**9), "--n is 1000000000: expected at most 10000"),
    (("--steps", 1001), "S is 1001 steps"),
    (("--source", "a photo of a cat on a couch", "--target", "a photo of a zebra on a couch"), "unknown word 'zebra'"),
    (("--source", "a photo of a cat on a couch", "--target", "a photo of a cat on a couch"), "expected captions of sc"),
]


def edit_args(*flags):
    """The parsed flags of an edit."""
    parser = ddpm.utils.cli.Parser()
    edit.add_flags(parser)
    return parser.parse_args([str(flag) for flag in flags])


@pytest.mark.parametrize("command", [*REFUSED, "truth of scenes"])
def test_bad_input_ends_with_one_line_and_code_2_before_the_network_is_called(
    command, model, files, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("unet.UNet.forward", lambda *_: pytest.fail("called the network"))
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    name, of_scenes = command.split()[0], command.endswith("scenes")
    source = ("--source", SOURCE) if name in ("edit", "schedule") else ()
    for flags, says in SCENES if of_scenes else REFUSED[name]:
        given = {"--model": "scenes" if of_scenes else model, "--device": "cpu", "--out": "results"}
        given |= {"--steps": 3, "--scale": 1} if name == "edit" else {}
        given = [word for flag, value in given.items() if flag not in flags for word in (flag, value)]
        assert code_of(main, name, *given, *source, *flags) == 2, flags
        error = capsys.readouterr().err.splitlines()
        assert says in error[-1] and len(error) == 1, (flags, error)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept, flags
