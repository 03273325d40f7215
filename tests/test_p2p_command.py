"""python -m p2p: edits, sweeps and scores from the terminal on an untrained network."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import make_data, make_trained

import ddim
import p2p
from ddpm import Noise, checkpoints, files
from ddpm.cli import exit_code
from ddpm.data.shapes import PALETTE, Shape, draw, read
from ddpm.images import to_bytes
from p2p import __main__ as command
from p2p.experiments import edit as editing
from p2p.experiments import score
from p2p.experiments import score_command as scoring
from p2p.experiments import start as starting
from p2p.experiments import sweep as grid
from p2p.experiments.overlays import overlay

SOURCE = "a photo of a large red circle on a blue background"
TARGET = "a photo of a large green circle on a blue background"
SHORT = "a photo of a circle on a blue background"
TRAINED = make_trained()


def line_of(capsys) -> str:
    """The one line on stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint file of an untrained network that fits the shapes."""
    content = checkpoints.description(TRAINED.unet.config, TRAINED.tokenizer, TRAINED.schedule)
    path = tmp_path_factory.mktemp("model") / "model.pt"
    info = {"info": {"ema": 0.05, "data": "shapes"}, "ema": {0.05: dict(TRAINED.unet.named_parameters())}}
    files.save(path, content | info)
    return path


@pytest.fixture
def run(model, tmp_path):
    """Run an edit of three steps and two seeds into tmp_path / edit.png: the code with which it ends."""

    def start(*flags) -> int:
        given = ["--model", model, "--steps", 3, "--out", tmp_path / "edit.png", *flags]
        seeds = [] if "--seeds" in flags or "--image" in flags else ["--seeds", "0-1"]
        return code_of(*given, *seeds)

    return start


def code_of(*flags) -> int:
    """The code with which the command ends; argparse leaves by itself."""
    try:
        return exit_code("python -m p2p", lambda: command.main([str(flag) for flag in flags]))
    except SystemExit as end:
        return end.code


@pytest.fixture
def image_path(tmp_path):
    """An image file."""
    path = tmp_path / "real.png"
    image = draw([Shape("circle", "red", "blue", "large")])[0].transpose(1, 2, 0)
    Image.fromarray(image).resize((64, 48), Image.Resampling.NEAREST).save(path)
    return path


# ---- edits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--target", TARGET], "replace (red -> green)"),
        (["--target", SHORT], "refine (large red -> nothing)"),
        (["--target", TARGET, "--weight", "green=2"], "replace (red -> green) and reweight (green x 2)"),
        (["--weight", "red=-2,0,5"], "reweight (red x -2)"),
        (["--target", TARGET, SHORT], "refine (large red -> nothing)"),
        (["--target", TARGET, "--window", "green=0.3", "--blend"], "replace (red -> green)"),
        (["--target", TARGET, "--blend", "circle", "--sampler", "2m", "--scale", "2"], "replace (red -> green)"),
        (["--target", TARGET.upper() + "."], "replace (red -> green)"),
    ],
)
def test_an_edit_says_what_it_is_and_writes_its_image(run, tmp_path, capsys, flags, says):
    assert run("--source", SOURCE, *flags) == 0
    out = capsys.readouterr().out
    assert says in out and str(tmp_path / "edit.png") in out
    assert np.ptp(np.asarray(Image.open(tmp_path / "edit.png").convert("RGB"))) > 0


@pytest.fixture
def columns(run, monkeypatch):
    """Run an edit and give what it would draw: column -> images uint8 (n, 3, 16, 16)."""

    def drawn(*flags) -> dict[str, np.ndarray]:
        seen = {}

        def sheet(path, cells, rows, names, title, fold):
            assert names[fold] == "START"
            seen.update(zip(names, cells.swapaxes(0, 1), strict=True))

        monkeypatch.setattr(editing, "sheet", sheet)
        assert run("--source", SOURCE, *flags) == 0
        return seen

    return drawn


def alone(prompt: str, scale: float = 1.0) -> np.ndarray:
    """The images of seeds 0 and 1 without any edit."""
    x_T = Noise([0, 1]).start(TRAINED.shape)
    *_, (_, x, _) = ddim.sample(TRAINED.eps([prompt], scale), TRAINED.schedule, x_T, 3)
    return to_bytes(x)


def far(one: np.ndarray, other: np.ndarray) -> int:
    return abs(one.astype(int) - other).max()


def test_the_columns_are_the_source_the_caption_alone_and_the_edit(columns):
    seen = columns("--target", TARGET, "--scale", "2", "--cross-until", "1", "--self-until", "1")
    assert list(seen)[:4] == ["source", "plain", "edit", "START"] and set(list(seen)[4:]) == set(SOURCE.split())
    assert far(seen["source"], alone(SOURCE, 2.0)) <= 1 and far(seen["plain"], alone(TARGET, 2.0)) <= 1
    x_T = Noise([0, 1]).start(TRAINED.shape)
    *_, (_, x, _) = p2p.edit(TRAINED, SOURCE, TARGET, x_T, 3, 2.0, cross_until=1.0, self_until=1.0)
    assert far(seen["edit"], to_bytes(x[2:])) <= 1 < far(seen["edit"], seen["plain"])


def test_the_windows_of_a_word_reach_the_edit(columns):
    """A window of 0 for every word, and none for pixels, is the target's caption alone."""
    shut = [flag for word in set(TARGET.split()) for flag in ("--window", f"{word}=0")]
    how = ("--target", TARGET, "--cross-until", "1", "--self-until", "0")
    x_T = Noise([0, 1]).start(TRAINED.shape)
    closed = dict.fromkeys(TARGET.split(), 0.0)
    *_, (_, x, _) = p2p.edit(TRAINED, SOURCE, TARGET, x_T, 3, cross_until=1.0, self_until=0.0, windows=closed)
    assert far(columns(*how, *shut)["edit"], to_bytes(x[2:])) <= 1 < far(columns(*how)["edit"], to_bytes(x[2:]))


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        (TARGET, "keeps cross-attention for 100% of the steps, self-attention for 0%"),
        (SOURCE.replace("circle", "cross"), "keeps cross-attention for 60% of the steps, self-attention for 0%"),
        (TARGET.replace("circle", "cross"), "keeps cross-attention for 80% of the steps, self-attention for 40%"),
    ],
)
def test_each_kind_of_edit_has_its_own_windows(run, capsys, target, kept):
    assert run("--source", SOURCE, "--target", target, "--seeds", "0") == 0
    assert kept in capsys.readouterr().out


def test_the_maps_of_the_words_are_drawn_in_colour_over_grey(columns):
    seen = columns("--target", TARGET)
    for word in ("START", "red", "circle"):
        assert not np.array_equal(seen[word][:, 0], seen[word][:, 2])  # red and blue differ: no grey image


def test_re_weighting_has_the_windows_of_its_kind_of_word(run, capsys):
    for word, kept in (("red", "100%"), ("blue", "100%"), ("large", "80%")):
        assert run("--source", SOURCE, "--weight", f"{word}=2", "--seeds", "0") == 0
        assert f"keeps cross-attention for {kept} of the steps, self-attention for 40%" in capsys.readouterr().out


def test_targets_with_the_same_new_words_have_columns_of_their_own(columns):
    ground = SOURCE.replace("blue", "green")
    seen = columns("--target", TARGET, ground, SHORT)
    names = ["red\n->\ngreen", "blue\n->\ngreen", "no\nlarge\nred"]
    assert list(seen)[1:7] == [f"{way}\n{name}" for name in names for way in ("plain", "edit")]
    for name, target in zip(names, (TARGET, ground, SHORT), strict=True):
        assert far(seen[f"plain\n{name}"], alone(target)) <= 1


def test_every_value_of_a_strip_has_a_column_and_the_plain_image_is_made_once(run, monkeypatch):
    names, walks = [], []
    monkeypatch.setattr(editing, "sheet", lambda path, cells, rows, columns, title, fold: names.extend(columns))
    monkeypatch.setattr(editing, "edit", lambda *a, **how: (walks.append(how), p2p.edit(*a, **how))[1])
    assert run("--source", SOURCE, "--target", TARGET, "--weight", "green=1,2,1") == 0
    assert names[:5] == ["source", "plain", "green 1", "green 2", "green 1"] and len(walks) == 4


def test_a_drawn_mask_keeps_the_rest(columns, tmp_path):
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[:8] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert editing.drawn_mask(str(tmp_path / "mask.png"), 16).tolist() == (mask > 0).tolist()
    seen = columns("--target", TARGET, "--scale", "2", "--mask", tmp_path / "mask.png")
    assert far(seen["edit"][:, :, 8:], seen["source"][:, :, 8:]) == 0 < far(seen["edit"], seen["source"])


def test_white_on_nothing_is_a_mask_too(tmp_path):
    drawn = np.zeros((16, 16, 4), dtype=np.uint8)
    drawn[4:, :, :3], drawn[4:, :, 3] = 255, 255
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    assert editing.drawn_mask(str(tmp_path / "mask.png"), 16)[:, 0].tolist() == [False] * 4 + [True] * 12


def test_a_weighted_word_is_where_a_blend_without_words_looks(columns):
    """Before, nothing differed between the prompts, so nothing was allowed to change."""
    seen = columns("--weight", "red=-2", "--blend", "--cross-until", "0", "--self-until", "0")
    assert far(seen["edit"], seen["source"]) > 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "reconstruction, exact, guidance 1: mean squared error 0.000000"),
        (["--inversion", "ddim"], "reconstruction, ddim, guidance 1: mean squared error"),
        (["--scale", "2", "--rounds", "2"], "reconstruction, null-text, guidance 2, before: mean squared error"),
    ],
)
def test_a_real_image_is_inverted_and_edited(run, capsys, image_path, flags, says):
    assert run("--source", SOURCE, "--target", TARGET, "--image", image_path, *flags) == 0
    assert says in capsys.readouterr().out


def test_a_image_of_the_test_split_goes_by_its_number(columns, monkeypatch):
    images = make_data(5, 16).images
    monkeypatch.setattr(starting, "load_data", lambda data, root, split, size: {"test": make_data(5, 16)}[split])
    seen = columns("--target", TARGET, "--image", "3")
    assert np.array_equal(seen["image"][0], images[3]) and not np.array_equal(images[3], images[0])


def real_x_0(path) -> torch.Tensor:
    """The image in a file as the command takes it: the square in its middle, of the model's size."""
    with Image.open(path) as whole:
        left = (whole.width - whole.height) // 2
        square = whole.crop((left, 0, left + whole.height, whole.height)).resize((16, 16), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(square).transpose(2, 0, 1)[None].copy()).float() / 127.5 - 1


def test_inversion_by_ddim_is_sampled_back_by_ddim(columns, image_path):
    x_0 = real_x_0(image)
    *_, (_, x, _) = ddim.sample(TRAINED.eps([SOURCE]), TRAINED.schedule, p2p.real.latent(TRAINED, [SOURCE], x_0, 3), 3)
    seen = columns("--target", TARGET, "--image", image_path, "--inversion", "ddim")
    assert far(seen["image"], to_bytes(x_0)) <= 1
    assert far(seen["source"], to_bytes(x)) <= 1 < far(seen["source"], seen["image"])


def test_the_null_text_of_so_many_rounds_is_what_the_edit_uses(columns, image_path, monkeypatch):
    """At a rate that shows in bytes; 1 round would be the default."""
    monkeypatch.setattr(p2p.real, "ROUNDS", 1)
    null_text = p2p.real.null_text
    monkeypatch.setattr(p2p.real, "null_text", lambda *given: null_text(*given, rate=0.3))
    seen = columns("--target", TARGET, "--image", image_path, "--scale", "4", "--rounds", "3")["source"]
    after = {}
    for rounds in (3, 1):
        *_, (_, x, _) = null_text(TRAINED, [SOURCE], real_x_0(image), 3, 4.0, rounds, rate=0.3)
        after[rounds] = to_bytes(x)
    x_T = p2p.real.latent(TRAINED, [SOURCE], real_x_0(image), 3)
    *_, (_, x, _) = ddim.sample(TRAINED.eps([SOURCE], 4.0), TRAINED.schedule, x_T, 3)
    assert far(seen, after[3]) <= 1 < min(far(seen, after[1]), far(seen, to_bytes(x)))


def test_the_sampler_asked_for_draws_the_sources(columns):
    x_T = Noise([0, 1]).start(TRAINED.shape)
    *_, (_, x, _) = ddim.sample_2m(TRAINED.eps([SOURCE]), TRAINED.schedule, x_T, 3)
    seen = columns("--target", TARGET, "--sampler", "2m")["source"]
    assert far(seen, to_bytes(x)) <= 1 < far(seen, alone(SOURCE))


@pytest.mark.parametrize("size", [8, 16])
def test_maps_are_drawn_at_the_size_asked_for(columns, size):
    store = p2p.AttentionStore([SOURCE] * 2 + [TARGET] * 2)
    *_, (_, x, _) = p2p.edit(TRAINED, SOURCE, TARGET, Noise([0, 1]).start(TRAINED.shape), 3, store=store)
    expected = overlay(to_bytes(x[:2]), store.word([["red"]] * 2 + [[]] * 2, size)[:2])
    assert far(columns("--target", TARGET, "--map-size", size)["red"], expected) <= 2


def test_a_film_comes_before_the_source_and_starts_with_the_noise(columns):
    seen = columns("--target", TARGET, "--film", "3")
    assert list(seen)[:4] == ["t = 20", "t = 13", "t = 6", "source"]
    assert far(seen["t = 20"], to_bytes(Noise([0, 1]).start(TRAINED.shape))) == 0


def test_a_sweep_writes_a_image_and_its_numbers(run, tmp_path, monkeypatch):
    monkeypatch.setattr(score, "CROSSES", (0.0, 1.0))
    assert run("--source", SOURCE, "--target", TARGET, "--sweep") == 0
    rows = json.loads((tmp_path / "edit.json").read_text())
    assert [(row["cross_until"], row["self_until"]) for row in rows] == [
        (cross, pixels) for cross in (0.0, 1.0) for pixels in score.SELVES
    ]
    assert (tmp_path / "edit.png").exists()


def test_a_sweep_shows_the_source_and_each_windows_edit_and_measures_the_target(run, tmp_path, monkeypatch):
    """Windows (1, 0) and (0, 1) tell which share is whose; the judge asks the target."""
    monkeypatch.setattr(score, "CROSSES", (0.0, 1.0))
    monkeypatch.setattr(score, "SELVES", (0.0, 1.0))
    seen, asked = {}, []
    monkeypatch.setattr(grid, "sheet", lambda path, cells, rows, names, title: seen.update(cells=cells, names=names))
    monkeypatch.setattr(grid, "shown", lambda trained, images, prompts: asked.append((images, prompts)) or 50.0)
    assert run("--source", SOURCE, "--target", TARGET, "--weight", "green=3", "--scale", "2", "--sweep") == 0
    assert seen["names"] == ["source", "self 0", "self 1"] and seen["cells"].shape[:2] == (2, 3)
    x_T, rows = Noise([0, 1]).start(TRAINED.shape), json.loads((tmp_path / "edit.json").read_text())
    for i, row in enumerate(rows):
        how = {"cross_until": row["cross_until"], "self_until": row["self_until"], "weights": {"green": 3.0}}
        *_, (_, x, _) = p2p.edit(TRAINED, SOURCE, TARGET, x_T, 3, 2.0, **how)
        before, after = np.split(to_bytes(x), 2)
        assert far(seen["cells"][i // 2, 0], before[0]) <= 1 and far(seen["cells"][i // 2, 1 + i % 2], after[0]) <= 1
        assert far(asked[i][0], after) <= 1 and asked[i][1] == [TARGET] * 2
        places = [np.array([(each.x, each.y) for each in read(images)]) for images in (before, after)]
        assert row["drift"] == pytest.approx(np.median(np.linalg.norm(places[1] - places[0], axis=1)), abs=1e-6)


@pytest.mark.parametrize(
    "flags",
    [["--cross-until", "2"], ["--weight", "red=2"], ["--window", "red=1"], ["--blend", "zebra"], ["--mask", "no.png"]],
)
def test_a_bad_edit_of_a_real_image_is_refused_before_the_inversion(run, monkeypatch, image_path, flags):
    monkeypatch.setattr(editing, "start_of", lambda *_: pytest.fail("inverted first"))
    assert run("--source", SOURCE, "--target", TARGET, "--image", image_path, *flags) == 2


def test_a_blend_takes_size_and_threshold_of_its_kind_of_edit(run, monkeypatch):
    """Words are written as in prompts: case and commas do not count."""
    seen = []
    monkeypatch.setattr(editing, "edit", lambda *a, blend=None, **how: (seen.append(blend), p2p.edit(*a, **how))[1])
    assert run("--source", SOURCE, "--target", SOURCE.replace("circle", "cross"), "--blend", "Circle,", "cross.") == 0
    recipe = score.RECIPES["shapes", "shape"]
    assert (seen[0].size, seen[0].threshold, seen[0].grow) == (8, recipe.threshold, recipe.grow)
    assert seen[0].words == [["circle"]] * 2 + [["cross"]] * 2


def test_seeds_are_read_as_ranges_and_lists():
    assert command.seeds_of("0-3") == [0, 1, 2, 3]
    assert command.seeds_of("7") == [7]
    assert command.seeds_of("0,4-5,9") == [0, 4, 5, 9]


# ---- the score -------------------------------------------------------------------------------------------------------


def test_a_score_is_written_and_only_what_is_missing_is_measured(model, tmp_path, capsys, monkeypatch):
    out = tmp_path / "score.json"
    flags = ("score", "--model", model, "--n", 3, "--steps", 2, "--out", out)
    assert code_of(*flags, "--kinds", "colour", "maps", "reweight colour", "--ways", "P2P") == 0
    found = json.loads(out.read_text())
    assert list(found) == ["colour", "maps", "reweight colour"]
    assert list(found["colour"]) == ["made", "source", "P2P"]
    assert found["colour"]["made"]["n"] == 3 and found["colour"]["made"]["steps"] == 2
    assert code_of(*flags, "--kinds", "colour", "--ways", "P2P", "plain re-generation") == 0
    again = json.loads(out.read_text())
    assert list(again["colour"]) == ["made", "source", "P2P", "plain re-generation"]
    assert again["colour"]["P2P"] == found["colour"]["P2P"]
    monkeypatch.setattr(scoring, "task_of", lambda *_: pytest.fail("measured again"))
    assert code_of(*flags, "--kinds", "maps", "reweight colour") == 0
    assert code_of(*flags, "--kinds", "colour", "--ways", "P2P") == 0
    assert str(out) in capsys.readouterr().out


@pytest.mark.parametrize("sweep", [[], ["--sweep"]])
def test_rows_that_were_made_otherwise_are_not_overwritten(model, tmp_path, capsys, monkeypatch, sweep):
    """The kind that is in the file comes last: nothing is measured before it is found."""
    out, flags = tmp_path / "s.json", ("score", "--model", model, "--steps", 2, *sweep, "--out", tmp_path / "s.json")
    monkeypatch.setattr(score, "CROSSES", (1.0,))
    assert code_of(*flags, "--n", 2, "--kinds", "colour") == 0
    before = out.read_text()
    monkeypatch.setattr(scoring, "task_of", lambda *_: pytest.fail("measured first"))
    assert code_of(*flags, "--n", 3, "--kinds", "shape", "colour") == 2
    assert "has 'colour' measured with n 2 (asked: 3): choose another --out" in capsys.readouterr().err.splitlines()[-1]
    assert out.read_text() == before


def test_a_sweep_of_the_score_chooses_windows(model, tmp_path, monkeypatch):
    monkeypatch.setattr(score, "CROSSES", (0.0, 1.0))
    out = tmp_path / "sweep.json"
    assert code_of("score", "--model", model, "--n", 2, "--steps", 2, "--sweep", "--kinds", "shape", "--out", out) == 0
    found = json.loads(out.read_text())["shape"]
    assert found["chosen"] in found


def test_a_task_knows_whether_it_is_about_the_background():
    for kind in ("background", "add background", "drop background", "colour", "shape"):
        assert scoring.task_of(TRAINED, kind, 1).background == kind.endswith("background")


def test_re_weighting_goes_from_the_other_colour_to_the_words_own():
    asked = score.Task([SOURCE], [SOURCE], None, None, None)  # red on blue
    for kind, word, other in (("colour", "red", "blue"), ("background", "blue", "red")):
        words, zero, one = scoring.colours_of(asked, kind)
        assert words == [word] and zero.tolist() == [list(PALETTE[other])] and one.tolist() == [list(PALETTE[word])]


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "nothing to edit: give a --target, or a --weight"),
        (["--target", "a photo of a zebra"], "unknown word 'zebra'"),
        (["--target", TARGET, "--weight", "red=2"], "'red' is not in the prompt"),
        (["--target", TARGET, "--window", "red=0.2"], "'red' is not in the prompt"),
        (["--target", TARGET, "--cross-until", "1.2"], "cross_until is 1.2: expected a share"),
        (["--target", TARGET, "--weight", "green=9"], "the weight of 'green' is 9.0: expected -2 .. 5"),
        (["--target", TARGET, "--weight", "green"], "expected a word and numbers"),
        (["--target", TARGET, "--weight", "green=1,2", "--weight", "blue=1,2"], "one strip at a time"),
        (["--target", ""], "the prompt '' has no word"),
        (["--target", "a " * 16], "has 16 words, but this model reads at most 15"),
        (["--target", TARGET, "--blend", "square"], "--blend names 'square', which is in neither prompt"),
        (["--target", TARGET, "--mask", "none.png"], "none.png is missing"),
        (["--target", TARGET, "--image", "none.png"], "none.png is missing"),
        (["--target", TARGET, "--image", "30000000"], "--image is 30000000, but the test split has the images 0 .."),
        (["--target", TARGET, "--seeds", "x"], "expected seeds such as 0-3"),
        (["--target", TARGET, "--map-size", "5"], "this model has cross-attention maps of the sizes [8, 16]"),
        (["--target", TARGET, "--window", "green=0.2,0.9"], "expected one share for a word"),
        (["--target", TARGET, TARGET], "is given twice"),
        (["--target", SOURCE, "--blend"], "--blend: the prompts do not differ"),
        (["--target", TARGET, "--scale", "nan"], "'nan': expected a number"),
        (["--target", TARGET, "--scale", "0"], "--scale is 0: expected 1 (no guidance) or more"),
        (["--target", TARGET, "--scale", "0.5"], "--scale is 0.5: expected 1 (no guidance) or more"),
        (["--target", TARGET, "--mask", ""], "--mask is empty: expected an image file"),
        (["--target", TARGET, "--blend", ","], "--blend ',' has no word"),
        (["--target", TARGET, "--seeds", "0-3,7-5"], "'0-3,7-5': expected seeds such as 0-3"),
        (["--target", TARGET, "--steps", "21"], "21 steps are more than this model's 20 times"),
        (["--target", TARGET, "--scale", "-1"], "--scale is -1: expected 1 (no guidance) or more"),
        (["--target", TARGET, "--window", "green=0.2", "--window", "Green,=0.4"], "--window is given twice"),
        (["--target", TARGET, "--weight", "green=2", "--weight", "green=1"], "--weight is given twice for 'green'"),
        (["--target", TARGET, "--weight", "green=1,2", "--sweep"], "--weight has several values for 'green': give one"),
        (["--target", TARGET, "--rounds", "3"], "--rounds is of the null text"),
        (["--target", TARGET, "--image", "3", "--rounds", "3"], "--rounds is of the null text"),
        (["--target", TARGET, "--image", "3", "--inversion", "null-text"], "--scale 1 is none: give a larger --scale"),
        (["--target", TARGET, "--seeds", "0-99999999999999999999"], "expected at most 1000 seeds in a range"),
        (["--target", TARGET, "--sweep", "--mask", "m.png"], "--sweep leaves nothing to do for --mask"),
        (["--target", TARGET, "--sweep", "--self-until", "0"], "--sweep leaves nothing to do for --self-until"),
        (["--target", TARGET, "--mask", "m.png", "--blend"], "--mask leaves nothing to do for --blend"),
        (["--target", TARGET, "--image", "3", "--sampler", "2m"], "--image leaves nothing to do for --sampler"),
        (["--target", TARGET, "--inversion", "ddim"], "--inversion is of a real image: it needs --image"),
        (["--target", TARGET, "--seeds", str(2**64)], "expected 0 .. 2^63 - 1"),
        (["--target", TARGET, "--device", "banana"], "PyTorch has no device 'banana' here"),
        (["--target", TARGET, "--out", "nowhere/edit.png"], "in a folder that exists"),
        (["--target", TARGET, "--out", "edit.txt"], "expected a name that ends in .png"),
        (["--target", TARGET, "--image", "²"], "² is missing"),
        (["--target", TARGET, "--model", "nothing"], "no model 'nothing'"),
    ],
)
def test_bad_input_ends_with_one_line_and_code_2(run, tmp_path, capsys, flags, says):
    assert run("--source", SOURCE, *flags) == 2
    assert says in line_of(capsys)
    assert not (tmp_path / "edit.png").exists()


def test_a_folder_is_no_file_to_write(run, model, tmp_path, capsys):
    (tmp_path / "edit.png").mkdir()
    assert run("--source", SOURCE, "--target", TARGET) == 2
    assert "is a folder: expected the name of a file" in capsys.readouterr().err
    assert code_of("score", "--model", model, "--out", tmp_path, "--kinds", "colour") == 2
    assert "is a folder: expected the name of a file" in capsys.readouterr().err


def test_files_that_are_no_images_or_of_the_wrong_size_are_named(run, tmp_path, capsys, image_path):
    (tmp_path / "text.png").write_text("no image")
    edit = ("--source", SOURCE, "--target", TARGET)
    for flags, says in (
        (("--image", tmp_path / "text.png"), "cannot be read as an image"),
        (("--mask", tmp_path / "text.png"), "cannot be read as an image"),
        (("--mask", image), "has 64x48 pixels: expected 16x16"),
    ):
        assert run(*edit, *flags) == 2
        assert says in line_of(capsys)


@pytest.mark.parametrize("content", ['{"colour": {"made": 3}}', "[]", '{"colour": 3}', "{", '{"colour": {}}'])
def test_a_file_that_is_no_record_of_scores_is_named(model, tmp_path, capsys, content):
    (tmp_path / "s.json").write_text(content)
    assert code_of("score", "--model", model, "--n", 2, "--out", tmp_path / "s.json") == 2
    assert "s.json is no record of scores" in line_of(capsys)
    assert (tmp_path / "s.json").read_text() == content


def test_a_sampler_that_is_none_is_refused(model, capsys):
    assert code_of("score", "--model", model, "--sampler", "euler") == 2
    assert "invalid choice: 'euler'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--kinds", "colour", "smiling"], "no kind of edit 'smiling' of shapes: expected one of colour"),
        (["--cross-until", "1.5"], "--cross-until is 1.5: expected a share of the steps in [0, 1]"),
        (["--strength", "-1"], "--strength is -1.0: expected a share of the steps in [0, 1]"),
        (["--sweep", "--cross-until", "1"], "--sweep leaves nothing to do for --cross-until"),
        (["--scale", "0", "--kinds", "maps"], "--scale is 0: expected 1 (no guidance) or more"),
        (["--steps", "2000"], "2000 steps are more than this model's 20 times"),
        (["--kinds", "maps", "--ways", "P2P"], "--kinds maps leaves nothing to do for --ways"),
        (["--kinds", "reweight colour", "--strength", "1"], "leaves nothing to do for --strength"),
        (["--sweep", "--ways", "P2P"], "--sweep leaves nothing to do for --ways"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_any_work(model, tmp_path, capsys, monkeypatch, flags, says):
    monkeypatch.setattr(scoring, "task_of", lambda *_: pytest.fail("measured first"))
    assert code_of("score", "--model", model, *flags, "--out", tmp_path / "s.json") == 2
    assert says in line_of(capsys)


# ---- the way from noise ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "count"), [(10, 5), (10, 3), (4, 9)])
def test_the_film_starts_with_the_noise_and_shows_the_sources_at_their_times(steps, count):
    """Images whose value is their time; the last state is the source itself and stays out."""
    times = [100 * i // steps for i in range(steps - 1, -1, -1)]
    x_T = torch.full((2, 3, 4, 4), 1.0)
    states = [(t, torch.cat([torch.full((2, 3, 4, 4), t / 100), torch.full((2, 3, 4, 4), -1.0)])) for t in times]
    shown = editing.film(100, x_T, states, 2, count)
    assert list(shown)[0] == "t = 100" and "t = 0" not in shown and len(shown) <= count
    for name, images in shown.items():
        assert (images == to_bytes(torch.full((2, 3, 4, 4), int(name.removeprefix("t = ")) / 100))).all()
