"""python -m p2p: edits and scores from the terminal, on an untrained network."""

import json

import numpy as np
import pytest
import torch
from helpers import code_of
from PIL import Image
from tiny import make_data, make_trained

import ddim
import ddpm.images
import p2p
from ddpm import Noise, checkpoints, files, last
from ddpm.data.shapes import Shape, draw
from ddpm.images import from_bytes, to_bytes
from p2p.__main__ import COMMANDS, main
from p2p.experiments import edit, score
from p2p.experiments.baselines import RECIPES

SOURCE = "a photo of a large red circle on a blue background"
TARGET = "a photo of a large green circle on a blue background"
SHORT = "a photo of a circle on a blue background"
TRAINED = make_trained()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint file of an untrained network that fits the shapes."""
    content = checkpoints.description(TRAINED.unet.config, TRAINED.tokenizer, TRAINED.schedule)
    path = tmp_path_factory.mktemp("model") / "tiny.pt"
    info = {"info": {"ema": 0.05, "data": "shapes"}, "ema": {0.05: dict(TRAINED.unet.named_parameters())}}
    files.save(path, content | info)
    return path


@pytest.fixture
def run(model, tmp_path):
    """Run an edit of three steps and two seeds into tmp_path: the code with which it ends."""

    def call(*flags) -> int:
        given = ("--model", model, "--device", "cpu", "--steps", 3, "--seeds", "0-1", "--scale", 1)
        return code_of(main, "edit", *given, "--source", SOURCE, "--out", tmp_path, *flags)

    return call


@pytest.fixture
def run_score(model, tmp_path):
    """Run a score of two steps into tmp_path / score-tiny.json."""

    def call(*flags) -> int:
        return code_of(main, "score", "--model", model, "--steps", 2, "--device", "cpu", "--out", tmp_path, *flags)

    return call


@pytest.fixture
def image_path(tmp_path):
    """An image file that is not square."""
    path = tmp_path / "real.png"
    image = draw([Shape("circle", "red", "blue", "large")])[0].transpose(1, 2, 0)
    Image.fromarray(image).resize((64, 48), Image.Resampling.NEAREST).save(path)
    return path


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


def alone(prompt: str, scale: float = 1.0) -> np.ndarray:
    """The images of seeds 0 and 1 without any edit."""
    x_T = Noise([0, 1]).start(TRAINED.shape)
    return to_bytes(last(ddim.sample(TRAINED.eps([prompt], scale), TRAINED.schedule, x_T, 3)))


def edited(**how) -> np.ndarray:
    """The edits of seeds 0 and 1."""
    x_T = Noise([0, 1]).start(TRAINED.shape)
    return to_bytes(last(p2p.edit(TRAINED, SOURCE, TARGET, x_T, 3, **how))[2:])


def far(one: np.ndarray, other: np.ndarray) -> int:
    return abs(one.astype(int) - other).max()


# ---- edits -----------------------------------------------------------------------------------------------------------


def test_without_a_command_both_are_listed_with_an_example_each(capsys):
    assert code_of(main) == 0
    page = capsys.readouterr().out
    assert all(module.EXAMPLE in page for module in COMMANDS.values())


@pytest.mark.parametrize(
    ("flags", "schedule"),
    [
        (["--target", TARGET], ("red -> green (replace)", 100, 0)),
        (["--target", SHORT], ("- large red (refine)", 80, 40)),
        (["--target", SOURCE.replace("circle", "cross")], ("circle -> cross (replace)", 60, 0)),
        (["--target", TARGET, "--weight", "green=2"], ("red -> green, green x 2 (replace and reweight)", 100, 0)),
        (["--weight", "red=-2,0"], ("red x -2 (reweight)", 100, 40)),
        (["--target", TARGET.upper() + ".", "--cross-until", "0.5"], ("red -> green (replace)", 50, 0)),
    ],
)
def test_an_edit_has_the_schedule_of_its_kind_and_a_sheet(run, tmp_path, capsys, flags, schedule):
    assert run(*flags) == 0
    out, err = capsys.readouterr()
    assert "{}: cross-attention injected in {}% of the steps, self-attention in {}%".format(*schedule) in out
    assert str(tmp_path / "edit-tiny.png") in out and "edits: 100%" in err
    assert np.ptp(np.asarray(Image.open(tmp_path / "edit-tiny.png").convert("RGB"))) > 0


def test_the_columns_are_before_after_plain_and_the_maps_of_content_words(columns):
    seen = columns("--target", TARGET, "--scale", "2", "--cross-until", "1", "--self-until", "1")
    assert list(seen)[:3] == ["before", "after\nred -> green", "plain\nred -> green"]
    assert list(seen)[3:-1] == ["large", "red", "circle", "blue"]
    before, after, plain = (seen[name] for name in list(seen)[:3])
    assert far(before, alone(SOURCE, 2.0)) <= 1 and far(plain, alone(TARGET, 2.0)) <= 1
    assert far(after, edited(scale=2.0, cross_until=1.0, self_until=1.0)) <= 1 < far(after, plain)
    assert seen["notes"] == [edit.EDITS_NOTE, edit.MAPS_NOTE]


def test_the_maps_are_those_of_the_sources_words_in_colour_over_grey(columns):
    store = p2p.AttentionStore([SOURCE] * 2 + [TARGET] * 2)
    x = last(p2p.edit(TRAINED, SOURCE, TARGET, Noise([0, 1]).start(TRAINED.shape), 3, store=store))
    maps = store.word([["red"]] * 2 + [[]] * 2, 16)[:2]
    image = columns("--target", TARGET)["red"]
    assert far(image, edit.overlay(to_bytes(x[:2]), maps)) <= 2
    assert not np.array_equal(image[:, 0], image[:, 2])  # red and blue differ: no grey image


def test_images_of_a_sheet_have_96_pixels_or_more(run, monkeypatch):
    """In three blocks: source and edits, plain re-generations, maps."""
    figures = []
    monkeypatch.setattr(ddpm.images, "save_figure", lambda figure, path: figures.append(figure))
    targets = [TARGET, SHORT, *(SOURCE.replace("circle", shape) for shape in ("square", "cross"))]
    assert run("--target", *targets) == 0
    figures[0].canvas.draw()
    assert len(figures[0].axes) == 3
    for axis in figures[0].axes:
        assert axis.get_window_extent().height * 16 / 34 >= 96  # two images of 16 rows, each with a white one


def test_word_until_reaches_the_edit(columns):
    """A share of 0 for every word is the target's caption with the source's START alone."""
    until = [flag for word in set(TARGET.split()) for flag in ("--word-until", f"{word}=0")]
    how = ("--target", TARGET, "--cross-until", "1", "--self-until", "0")
    expected = edited(cross_until=1.0, self_until=0.0, word_until=dict.fromkeys(TARGET.split(), 0.0))
    name = "after\nred -> green"
    assert far(columns(*how, *until)[name], expected) <= 1 < far(columns(*how)[name], expected)


def test_targets_have_columns_of_their_own_named_by_their_changes(columns):
    ground = SOURCE.replace("blue", "green")
    seen = columns("--target", TARGET, ground, SHORT)
    changes = {"red -> green": TARGET, "blue -> green": ground, "- large red": SHORT}
    assert list(seen)[1:7] == [f"{way}\n{change}" for way in ("after", "plain") for change in changes]
    for change, target in changes.items():
        assert far(seen[f"plain\n{change}"], alone(target)) <= 1


def test_every_value_of_a_weight_has_a_column(columns):
    seen = columns("--target", TARGET, "--weight", "green=1,2")
    names = [f"after\nred -> green\ngreen x {weight}" for weight in (1, 2)]
    assert list(seen)[:4] == ["before", *names, "plain\nred -> green"]
    assert far(seen[names[1]], edited(cross_until=1.0, self_until=0.0, weights={"green": 2.0})) <= 1


def test_outside_a_drawn_mask_nothing_changes(columns, tmp_path):
    mask = np.zeros((16, 16, 4), dtype=np.uint8)  # white where opaque
    mask[:8] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert edit.mask_in(tmp_path / "mask.png", 16)[:, 0].tolist() == [True] * 8 + [False] * 8
    seen = columns("--target", TARGET, "--scale", "2", "--mask", tmp_path / "mask.png")
    before, after = seen["before"], seen["after\nred -> green"]
    assert far(after[:, :, 8:], before[:, :, 8:]) == 0 < far(after, before)


def test_a_blend_without_words_is_around_a_weighted_word(columns):
    seen = columns("--weight", "red=-2", "--blend", "--cross-until", "0", "--self-until", "0")
    assert far(seen["after\nred x -2"], seen["before"]) > 1


def test_a_blend_takes_size_and_threshold_of_the_recipe(run, monkeypatch):
    """Words are written as in prompts: case and commas do not count."""
    seen, original = [], p2p.edit
    monkeypatch.setattr(p2p.editing, "edit", lambda *a, blend=None, **how: seen.append(blend) or original(*a, **how))
    assert run("--target", SOURCE.replace("circle", "cross"), "--blend", "Circle,", "cross.") == 0
    recipe = RECIPES["shapes", "shape"]
    assert (seen[0].size, seen[0].threshold, seen[0].grow) == (8, recipe.threshold, recipe.grow)
    assert seen[0].words == [["circle"]] * 2 + [["cross"]] * 2


def test_the_sampler_makes_the_sources(columns):
    x_T = Noise([0, 1]).start(TRAINED.shape)
    x = last(ddim.sample_2m(TRAINED.eps([SOURCE]), TRAINED.schedule, x_T, 3))
    before = columns("--target", TARGET, "--sampler", "2m")["before"]
    assert far(before, to_bytes(x)) <= 1 < far(before, alone(SOURCE))


@pytest.mark.parametrize(("steps", "count"), [(10, 5), (10, 3), (4, 9)])
def test_a_film_starts_with_the_noise_and_shows_the_sources_at_their_times(steps, count):
    """Images whose value is their time; the last state is the source itself and is left out."""
    times = [100 * i // steps for i in range(steps - 1, -1, -1)]
    states = [(t, torch.cat([torch.full((2, 3, 4, 4), t / 100), torch.full((2, 3, 4, 4), -1.0)])) for t in times]
    columns, shown = edit.film_of(100, torch.full((2, 3, 4, 4), 1.0), states, 2, count)
    film = dict(columns)
    assert list(film) == [f"t = {t}" for t in shown]
    assert list(film)[0] == "t = 100" and "t = 0" not in film and len(film) <= count
    for name, images in film.items():
        assert (images == to_bytes(torch.full((2, 3, 4, 4), int(name.removeprefix("t = ")) / 100))).all()


def test_a_film_stands_before_the_source(columns):
    seen = columns("--target", TARGET, "--film", "3")
    assert list(seen)[:4] == ["t = 20", "t = 13", "t = 6", "before"]
    assert far(seen["t = 20"], to_bytes(Noise([0, 1]).start(TRAINED.shape))) == 0


def test_below_the_film_are_the_maps_of_the_changed_word_at_its_times(columns):
    seen = columns("--target", TARGET, "--film", "3")
    store = p2p.AttentionStore([SOURCE] * 2 + [TARGET] * 2, by_time=True)
    x = last(p2p.edit(TRAINED, SOURCE, TARGET, Noise([0, 1]).start(TRAINED.shape), 3, store=store))
    for t in (20, 13, 6):
        maps = store.word([["red"]] * 2 + [[]] * 2, 16, t=t)[:2]
        assert far(seen[f"red\nt = {t}"], edit.overlay(to_bytes(x[:2]), maps)) <= 2


# ---- real images -----------------------------------------------------------------------------------------------------


def x_0_of(path) -> torch.Tensor:
    """The image in a file as the command takes it: the square in its middle, of the model's size."""
    with Image.open(path) as whole:
        left = (whole.width - whole.height) // 2
        square = whole.crop((left, 0, left + whole.height, whole.height)).resize((16, 16), Image.Resampling.BOX)
    return from_bytes(np.asarray(square).transpose(2, 0, 1)[None])


def test_a_real_image_is_inverted_exactly_without_guidance(columns, image_path, capsys):
    seen = columns("--target", TARGET, "--image", image_path)
    assert list(seen)[:2] == ["image", "before"] and far(seen["before"], seen["image"]) <= 1
    assert far(seen["image"], to_bytes(x_0_of(image_path))) <= 1
    assert "reconstruction of the image: mean squared error 0.00000" in capsys.readouterr().out


def test_a_number_is_an_image_of_the_test_split(columns, monkeypatch):
    monkeypatch.setattr(edit, "model_data", lambda trained, root, split: {"test": make_data(5, 16)}[split])
    assert np.array_equal(columns("--target", TARGET, "--image", "3")["image"][0], make_data(5, 16).images[3])


def test_inversion_by_ddim_is_followed_by_ddim(columns, image_path):
    x_0 = x_0_of(image_path)
    x_T = p2p.real.latent(TRAINED, [SOURCE], x_0, 3)
    x = last(ddim.sample(TRAINED.eps([SOURCE]), TRAINED.schedule, x_T, 3))
    before = columns("--target", TARGET, "--image", image_path, "--inversion", "ddim")["before"]
    assert far(before, to_bytes(x)) <= 1 < far(before, to_bytes(x_0))


def test_with_guidance_the_edit_takes_the_optimised_null_text(columns, image_path, monkeypatch):
    """At a rate that shows in bytes."""
    null_text = p2p.real.null_text
    monkeypatch.setattr(p2p.real, "null_text", lambda *given: null_text(*given, rate=0.3))
    before = columns("--target", TARGET, "--image", image_path, "--scale", "4")["before"]
    *_, (_, after, _) = null_text(TRAINED, [SOURCE], x_0_of(image_path), 3, 4.0, rate=0.3)
    x_T = p2p.real.latent(TRAINED, [SOURCE], x_0_of(image_path), 3)
    without = last(ddim.sample(TRAINED.eps([SOURCE], 4.0), TRAINED.schedule, x_T, 3))
    assert far(before, to_bytes(after)) <= 1 < far(before, to_bytes(without))


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


def test_a_kind_with_other_settings_is_refused_before_any_work(run_score, tmp_path, capsys, monkeypatch):
    assert run_score("--n", 2, "--kinds", "colour", "--ways", "plain") == 0
    before = (tmp_path / "score-tiny.json").read_text()
    monkeypatch.setattr(score, "task_of", lambda *_: pytest.fail("measured first"))
    assert run_score("--n", 3, "--kinds", "shape", "colour", "--ways", "plain") == 2
    assert "was made with n 2, not 3: results are not mixed" in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "score-tiny.json").read_text() == before


def test_a_sweep_names_the_best_schedule(run_score, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(score, "CROSS", (0.0, 1.0))
    assert run_score("--n", 2, "--sweep", "--kinds", "shape") == 0
    cells = json.loads((tmp_path / "sweep-tiny.json").read_text())["cells"]["shape"]
    assert list(cells) == ["0 0", "0 0.8", "1 0", "1 0.8"]
    assert f"least drift within 5 % of the best success: {score.best_schedule(cells)}" in capsys.readouterr().out


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "nothing to edit: give a --target, or a --weight"),
        (["--target", "a zebra"], "'zebra' in the prompt 'a zebra': no known word is near it; the nouns"),
        (["--target", TARGET, "--weight", "red=2"], "'red' is not in the prompt"),
        (["--target", TARGET, "--word-until", "red=0.2"], "'red' is not in the prompt"),
        (["--target", TARGET, "--weight", "green=9"], "expected a word and weights in -2 .. 5"),
        (["--target", TARGET, "--weight", "green=1,2", "--weight", "blue=1,2"], "one strip at a time"),
        (["--target", ""], "the prompt '' has no word"),
        (["--target", TARGET, "--blend", "square"], "--blend names 'square', which is in neither prompt"),
        (["--target", TARGET, "--scale", "0"], "--scale is 0: expected 1 (no guidance) or more"),
        (["--target", TARGET, "--steps", "21"], "expected a whole number in 1..20"),
        (["--target", TARGET, "--image", "30000000"], "--image is 30000000, but the test split has the images 0 .."),
        (["--target", TARGET, "--mask", "none.png"], "none.png is missing"),
    ],
)
def test_bad_input_ends_with_one_line_and_code_2(run, tmp_path, capsys, flags, says):
    assert run(*flags) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "edit-tiny.png").exists()


def test_a_bad_edit_is_refused_before_the_inversion(run, monkeypatch, image_path):
    monkeypatch.setattr(edit, "start_of", lambda *_: pytest.fail("inverted first"))
    for flags in (["--weight", "red=2"], ["--word-until", "red=1"], ["--blend", "zebra"], ["--mask", image_path]):
        assert run("--target", TARGET, "--image", image_path, *flags) == 2


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--kinds", "colour", "smiling"], "no kind of edit 'smiling' of shapes: expected one of colour"),
        (["--cross-until", "1.5"], "expected a number in [0, 1]"),
        (["--scale", "0"], "--scale is 0: expected 1 (no guidance) or more"),
        (["--ways", "plain re-generation"], "invalid choice: 'plain re-generation'"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_any_work(run_score, capsys, monkeypatch, flags, says):
    monkeypatch.setattr(score, "task_of", lambda *_: pytest.fail("measured first"))
    assert run_score(*flags) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
