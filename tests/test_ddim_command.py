"""python -m ddim: every command from the terminal, on an untrained network of the shapes' size."""

import json
import math
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import code_of
from PIL import Image
from tiny import SIXTEEN, make_unet

import ddim
import ddpm
from ddim.__main__ import COMMANDS, main
from ddim.experiments import common, edit, features, figures, reconstruct, sample, table
from ddim.experiments.fid import moments
from ddpm import Schedule, checkpoints, files, last
from ddpm.data import shapes
from ddpm.images import from_bytes, squared_error
from unet import Tokenizer

PROMPT = "a photo of a small red circle on a blue background"
TARGET = "a photo of a small red square on a blue background"
FEW = shapes.shapes


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint file of an untrained network that fits the shapes."""
    unet, schedule = make_unet(SIXTEEN, 20, "cosine"), Schedule(20, "cosine")
    content = checkpoints.description(SIXTEEN, Tokenizer(), schedule) | {"info": {"ema": 0.05, "data": "shapes"}}
    path = tmp_path_factory.mktemp("model") / "tiny.pt"
    files.save(path, content | {"ema": {0.05: dict(unet.named_parameters())}})
    return path


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

    def call(command: str, *flags) -> int:
        of_model = () if command == "reference" else ("--model", model)
        return code_of(main, command, *of_model, "--device", "cpu", "--out", tmp_path, *flags)

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


def is_image(path) -> bool:
    return np.ptp(np.asarray(Image.open(path).convert("RGB"))) > 0


def test_without_a_command_all_are_listed_with_an_example_each(capsys):
    assert code_of(main) == 0
    page = capsys.readouterr().out
    assert all(module.EXAMPLE in page for module in COMMANDS.values())


# ---- sample and figures ----------------------------------------------------------------------------------------------


def test_sample_is_ddim_sample_for_every_prompt_and_seed(model, run, sheets):
    assert run("sample", "--prompts", PROMPT, TARGET, "--seeds", "3,5", "--steps", 4, "--eta", 0.5, "--scale", 3) == 0
    images, captions, columns = sheets["sample-tiny"]
    assert captions == [PROMPT, PROMPT, TARGET, TARGET] and columns == 2
    trained, noise = ddpm.load(model), ddpm.Noise([3, 5, 3, 5])
    x_T = noise.start(trained.shape)
    x = last(ddim.sample(trained.eps(captions, 3.0), trained.schedule, x_T, 4, 0.5, generator=noise))
    assert np.array_equal(images, ddpm.to_bytes(x))


def test_figures_show_samples_consistency_and_interpolation(model, run, sheets, monkeypatch):
    """T = 20 of this model limits the steps, and the test split has only two captions."""
    monkeypatch.setattr(shapes, "shapes", lambda split="train", seed=0: FEW(split, 2, seed))
    monkeypatch.setattr(figures, "ROWS", ("0", "1"))
    assert run("figures", "--scale", 3) == 0
    images, rows, columns = sheets["figures-tiny-samples"]
    assert rows == ["eta 0", "eta 1"] and [name for name in columns if name] == ["S = 10", "S = 20"]
    trained = ddpm.load(model)
    captions = [several[0] for several in FEW("test", 2).captions]
    for row, eta in enumerate((0.0, 1.0)):
        noise = ddpm.Noise(range(2))
        x_T = noise.start(trained.shape)
        x = last(ddim.sample(trained.eps(captions, 3.0), trained.schedule, x_T, 20, eta, generator=noise))
        assert abs(ddpm.to_bytes(x).astype(int) - images[row, 2:]).max() <= 1
    assert sheets["figures-tiny-consistency"][2] == ["S = 5", "S = 10", "S = 20"]
    assert (sheets["figures-tiny-consistency"][0][:, 2] == images[0, 2:]).all()  # eta 0
    a, b = ddpm.Noise([2, 3]).start(trained.shape)  # the ends of the second row
    angle = math.acos((a * b).sum() / (a.norm() * b.norm()))
    halfway = (a + b)[None] / (2 * math.cos(angle / 2))
    x = last(ddim.sample(trained.eps(captions[1:], 3.0), trained.schedule, halfway, 20))
    assert abs(ddpm.to_bytes(x)[0].astype(int) - sheets["figures-tiny-interpolation"][0][1, 5]).max() <= 1


def test_figures_with_the_name_of_a_file_are_three_files(run, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "ROWS", ("0", "hat"))
    assert run("figures", "--prompts", PROMPT, "--out", tmp_path / "new" / "mine.png") == 0
    assert all(is_image(tmp_path / "new" / f"mine-{name}.png") for name in ("samples", "consistency", "interpolation"))


# ---- table and reference ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spacing", "grid"), [("linear", [20, 10, 0]), ("quadratic", [17, 1, 0])])
def test_a_cell_of_the_table_is_the_distance_by_hand(model, run, tmp_path, spacing, grid):
    assert run("table", "--n", 6, "--columns", 2, "--rows", 0.5, "--spacing", spacing) == 0
    trained, noise = ddpm.load(model), ddpm.Noise(range(6))
    x_T = noise.start(trained.shape)
    x = last(ddim.sample(trained.eps(None), trained.schedule, x_T, grid, 0.5, generator=noise))
    parts = [*moments(means(ddpm.to_bytes(x))), *moments(means(FEW("train", 60).images))]
    cell = record_in(tmp_path / "table-tiny.json")["cells"]["0.5"]["2"]
    assert cell["distance"] == pytest.approx(ddim.frechet_distance(*parts), rel=1e-6)
    assert is_image(tmp_path / "table-tiny.png")


def test_a_second_call_measures_only_what_is_missing_and_each_cell_once(run, tmp_path, monkeypatch):
    flags = ("table", "--n", 6, "--columns", 2, 2)
    assert run(*flags, "--rows", 0, "hat") == 0
    first, made, cell_sampler = record_in(tmp_path / "table-tiny.json"), [], table.cell_sampler
    monkeypatch.setattr(table, "cell_sampler", lambda *cell: made.append(cell[0]) or cell_sampler(*cell))
    assert run(*flags, "--rows", 0, "-0", 1, "1.0", "hat", "2m") == 0
    cells = record_in(tmp_path / "table-tiny.json")["cells"]
    assert made == ["1", "2m"] and list(cells) == ["0", "hat", "1", "2m"]
    assert cells["hat"] == first["cells"]["hat"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--n", 7), "n 6, not 7"),
        (("--spacing", "quadratic"), "'linear', not 'quadratic'"),
        (("--captions",), "'null', not 'captions'"),
        (("--precision", "bfloat16"), "'float32', not 'bfloat16'"),
    ],
)
def test_cells_of_other_settings_are_not_mixed(run, tmp_path, capsys, flags, named):
    assert run("table", "--n", 6, "--columns", 2, "--rows", 0) == 0
    before = (tmp_path / "table-tiny.json").read_text()
    assert run("table", "--n", 6, "--columns", 2, "--rows", 0, *flags) == 2
    assert named in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "table-tiny.json").read_text() == before


def test_a_record_without_precision_goes_on_as_float32_on_a_cpu(run, tmp_path):
    flags, path = ("table", "--n", 6, "--columns", 2), tmp_path / "table-tiny.json"
    assert run(*flags, "--rows", 0) == 0
    record = record_in(path)
    assert (record["settings"].pop("precision"), record["settings"].pop("device")) == ("float32", "cpu")
    path.write_text(json.dumps(record))
    assert run(*flags, "--rows", 0, 1) == 0
    after = record_in(path)
    assert list(after["cells"]) == ["0", "1"] and after["settings"]["precision"] == "float32"


def test_bfloat16_reaches_the_network(run, monkeypatch, tmp_path):
    seen, eps = [], ddpm.Trained.eps
    monkeypatch.setattr(ddpm.Trained, "eps", lambda self, *a: seen.append(self.precision) or eps(self, *a))
    assert run("table", "--n", 4, "--columns", 2, "--rows", 0, "--precision", "bfloat16") == 0
    assert seen == ["bfloat16"] and record_in(tmp_path / "table-tiny.json")["settings"]["precision"] == "bfloat16"


def test_a_result_is_written_before_it_is_printed(run, tmp_path, monkeypatch):
    def broken(*_):
        raise OSError("the reader has left")

    monkeypatch.setattr(common, "print", broken, raising=False)
    assert run("reference", "--n", 20) == 2
    assert (tmp_path / "reference-shapes.json").exists() and (tmp_path / "reference-shapes.txt").exists()


def test_prompts_are_captions_of_the_training_set_or_null(model):
    trained, captions = ddpm.load(model), FEW("train", 60).captions
    args = Namespace(captions=True, n=40, seed=3, data_dir="data")
    prompts = table.prompts_of(trained, args)
    assert set(prompts) <= {caption for several in captions for caption in several}
    assert not set(prompts) <= {several[0] for several in captions}  # not the fullest alone
    assert len(set(prompts)) > 20 and table.prompts_of(trained, args) == prompts
    assert table.prompts_of(trained, Namespace(captions=False, n=40)) == [""] * 40


def test_a_folder_of_images_is_a_reference(model, tmp_path):
    images = FEW("train", 60).images
    for i, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"{i:02d}.png")
    assert np.array_equal(table.reference_images(str(tmp_path), ddpm.load(model), "data"), images)


@pytest.mark.parametrize(
    ("data", "kind", "spacing"),
    [("cifar10", "linear", "quadratic"), ("cifar10", "cosine", "linear"), ("celeba", "linear", "linear")],
)
def test_the_quadratic_grid_is_the_default_where_it_starts_from_noise(model, data, kind, spacing):
    trained = replace(ddpm.load(model), info={"data": data}, schedule=Schedule(1000, kind))
    assert table.usual_spacing(trained) == spacing
    start = ddim.timesteps(1000, 50, spacing)[0]
    assert trained.schedule.alpha_bar[start] < 0.01  # of the image's variance left


def test_results_of_a_run_have_its_folders_name(tmp_path):
    for name in ("00003-shapes", "v1.5"):
        for model in (tmp_path / name, tmp_path / name / "checkpoint.pt", tmp_path / f"{name}.pt"):
            assert common.name_of(str(model)) == name


def test_reference_takes_as_many_images_as_there_are(run, tmp_path, monkeypatch):
    """Half of 60 for training, but only 12 to test."""
    sizes = {"train": 60, "test": 12}
    monkeypatch.setattr(shapes, "shapes", lambda split="train", seed=0: FEW(split, sizes[split], seed))
    assert run("reference") == 0
    record = record_in(tmp_path / "reference-shapes.json")
    assert record["settings"]["n"] == 12 and record["settings"]["reference_n"] == 30 and len(record["lines"]) == 5


# ---- reconstruct -----------------------------------------------------------------------------------------------------


def test_reconstruct_measures_every_variant(model, run, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruct, "DIVERGED", float("inf"))  # this network has learnt nothing
    assert run("reconstruct", "--n", 5, "--steps", 3, 6) == 0
    cells = record_in(tmp_path / "reconstruct-tiny-5.json")["cells"]
    assert set(cells) == set(reconstruct.CHOICES) and all(set(row) == {"3", "6"} for row in cells.values())
    assert len({cells[name]["3"]["mean"] for name in reconstruct.VARIANTS}) == len(reconstruct.VARIANTS)
    trained, test = ddpm.load(model), FEW("test", 60)
    x_0 = from_bytes(test.images[:5])
    eps = trained.eps([several[0] for several in test.captions[:5]], 4.0)
    again = last(ddim.sample(eps, trained.schedule, last(ddim.invert(eps, trained.schedule, x_0, 3)), 3))
    assert cells["guidance 4"]["3"]["mean"] == pytest.approx(((again - x_0) / 2).square().mean().item(), rel=1e-3)
    assert [cell["calls"] for cell in cells[reconstruct.GAUSSIAN].values()] == [0, 0]
    assert all(cells[name][S]["largest"] < 1e-5 for name in ("exact", "exact, guidance 7.5") for S in "36")
    assert is_image(tmp_path / "reconstruct-tiny-5.png")


def test_reconstruct_counts_the_calls_of_the_quadratic_grid(run, tmp_path):
    """Of T = 20, the quadratic grid of 10 steps: its times below one apart coincide."""
    assert run("reconstruct", "--n", 2, "--steps", 10, "--spacing", "quadratic", "--variants", "caption") == 0
    cells = record_in(tmp_path / "reconstruct-tiny-2-quadratic.json")["cells"]
    assert cells["caption"]["10"]["calls"] == 2 * len({int(i * i * 16 / 81) for i in range(10)})


def test_reconstruct_measures_only_what_is_missing_and_a_gaussian_needs_no_network(run, tmp_path, monkeypatch):
    """The few images of the sheet are reconstructed again where they were measured by an earlier call."""
    how, sizes, trip = ("reconstruct", "--n", 9, "--steps", 4), [], reconstruct.round_trip
    assert run(*how, "--variants", "caption") == 0
    first = record_in(tmp_path / "reconstruct-tiny-9.json")["cells"]
    monkeypatch.setattr(reconstruct, "round_trip", lambda *a: sizes.append(len(a[2])) or trip(*a))
    assert run(*how, "--variants", reconstruct.GAUSSIAN) == 0
    both = record_in(tmp_path / "reconstruct-tiny-9.json")["cells"]
    assert sizes == [9, 6] and both.keys() == {"caption", reconstruct.GAUSSIAN} and both["caption"] == first["caption"]
    monkeypatch.setattr(ddpm.Trained, "eps", lambda *_: pytest.fail("called the network"))
    assert run(*how, "--variants", reconstruct.GAUSSIAN, "--out", tmp_path / "alone") == 0


def test_reconstruct_refuses_cells_of_another_model(run, tmp_path, capsys):
    how, path = ("reconstruct", "--n", 2, "--steps", 2, "--variants", "caption"), tmp_path / "reconstruct-tiny-2.json"
    assert run(*how) == 0
    record = record_in(path)
    record["settings"]["model_sha256"] = "0" * 64
    path.write_text(json.dumps(record))
    assert run(*how) == 2 and "results are not mixed, choose another --out" in capsys.readouterr().err


# ---- edit and sweep --------------------------------------------------------------------------------------------------


def test_the_edits_are_those_by_hand(model, run, sheets, capsys):
    flags = ("--steps", 4, "--strength", 0.75, "--scale", 3, "--eta", 0.5, "--iterations", 2, "--seed", 5)
    assert run("edit", "--image", 3, "--target", TARGET, PROMPT, *flags) == 0
    trained, test, grid = ddpm.load(model), FEW("test", 60), [15, 10, 5, 0]
    schedule, x_0, noise = trained.schedule, from_bytes(test.images[3:4]), ddpm.Noise([5])
    source, target = trained.eps([test.captions[3][0]]), trained.eps([TARGET], 3.0)
    a = schedule.alpha_bar[15].item()
    noised = a**0.5 * x_0 + (1 - a) ** 0.5 * noise(x_0)
    sdedit = last(ddim.sample(target, schedule, noised, grid, 0.5, generator=noise))
    inverted = last(ddim.sample(target, schedule, last(ddim.invert(source, schedule, x_0, grid, iterations=2)), grid))
    *_, (_, below, _), (_, top, _) = ddim.invert_exact(source, schedule, x_0, grid)
    exact = last(ddim.sample_exact(target, schedule, (top, below), grid, dtype=x_0.dtype))
    by_hand = np.concatenate([ddpm.to_bytes(x) for x in (sdedit, inverted, exact)])
    images, rows, *_ = sheets["edit-tiny"]
    assert abs(by_hand.astype(int) - images[0, 1:]).max() <= 1 and len(rows) == 2  # a row for each target
    line = capsys.readouterr().out.splitlines()[1]
    assert float(line.split()[1]) == pytest.approx(squared_error(x_0, sdedit).item(), abs=1e-4)


def test_edit_says_which_words_of_the_target_are_missing():
    words = (("square", "red", "small"), ("circle", "red", "small"))
    images = shapes.draw([shapes.Shape(shape, colour, "blue", size) for shape, colour, size in words])
    assert edit.missing_words("shapes", images[0], TARGET) == "; all words shown"
    assert edit.missing_words("shapes", images[1], TARGET) == "; not shown: shape"
    assert edit.missing_words("folder", images[1], TARGET) == ""


def test_an_image_file_of_any_size_is_cropped_resized_and_edited_under_its_source(run, tmp_path, sheets, capsys):
    image = FEW("test", 1).images[0].transpose(1, 2, 0)
    wide = np.pad(image.repeat(3, 0).repeat(3, 1), ((0, 0), (7, 7), (0, 0)))  # three times as large, with borders
    Image.fromarray(wide).save(tmp_path / "mine.png")
    flags = ("edit", "--image", tmp_path / "mine.png", "--steps", 4, "--target", TARGET, "--methods", "ddim")
    assert run(*flags) == 2 and "--source" in capsys.readouterr().err
    assert run(*flags, "--source", PROMPT) == 0
    assert np.array_equal(sheets["edit-tiny"][0][0, 0].transpose(1, 2, 0), image)


def test_sweep_measures_each_method_at_each_strength(run, tmp_path):
    flags = ("--n", 3, "--steps", 4, "--strengths", 1, 0, 0.5, 0.5, "--edits", "colour", "shape")
    assert run("sweep", *flags) == 0
    curves = record_in(tmp_path / "sweep-tiny.json")["curves"]
    assert list(curves) == ["colour", "shape"]
    for methods in curves.values():
        assert list(methods) == list(edit.METHODS)
        for points in methods.values():
            assert [p["strength"] for p in points] == [0, 0.5, 1]
            assert (points[0]["error"], points[0]["accuracy"]) == (0, 0)  # strength 0 is the image itself
            assert points[1]["error"] > 0 and points[2]["error"] > 0
        assert len({points[2]["error"] for points in methods.values()}) == len(edit.METHODS)
    assert is_image(tmp_path / "sweep-tiny.png") and is_image(tmp_path / "sweep-tiny-strip.png")
    before = (tmp_path / "sweep-tiny.json").read_bytes()
    assert run("sweep", *flags, "--seed", 7) == 2  # another seed is another result
    assert (tmp_path / "sweep-tiny.json").read_bytes() == before


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("table", "--columns", 21), "S is 21 steps, expected a whole number in 1..20"),
        (("table", "--rows", 1.5), "'1.5': expected a number in [0, 1]"),
        (("table", "--columns", 2, "--reference", "elsewhere"), "'elsewhere': expected train, test, or a folder"),
        (("table", "--device", "banana"), "PyTorch has no device 'banana' here"),
        (("reconstruct", "--n", 2, "--steps", 21), "S is 21 steps"),
        (("reconstruct", "--steps", 2, "--n", 61), "n is 61, but the test split has 60 images"),
        (("reference", "--n", 31), "n is 31"),
        (("sweep", "--n", 2, "--steps", 10), "strength 0.1 of 10 steps is one step, and exact inversion needs two"),
        (("sweep", "--edits", "size", "--steps", 20), "'size'"),
        (("edit", "--image", 60, "--target", TARGET, "--steps", 4), "the test split has the images 0 .. 59"),
        (("edit", "--image", "no.png", "--source", PROMPT, "--target", TARGET, "--steps", 4), "no.png is missing"),
        (("edit", "--image", 0, "--target", "a photo of a zebra", "--steps", 4), "'zebra'"),
        (("sample", "--prompts", PROMPT, "--eta", 2), "--eta: '2': expected a number in [0, 1]"),
        (("figures", "--prompts", PROMPT, "--seed", -1), "a seed is -1, expected 0 .. 2^63 - 1"),
    ],
)  # fmt: skip
def test_bad_input_is_named_in_one_line_and_nothing_is_written(run, tmp_path, capsys, flags, named):
    assert run(*flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert named in line and not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("content", [None, b"PK\x03\x04 the rest is missing"])
def test_an_inception_file_that_cannot_be_used_is_named(run, tmp_path, capsys, monkeypatch, content):
    monkeypatch.undo()
    monkeypatch.setattr(shapes, "shapes", lambda split="train", n=60, seed=0: FEW(split, n, seed))
    path = tmp_path / "inception.pt"
    if content is not None:
        path.write_bytes(content)
    assert run("table", "--n", 2, "--columns", 2, "--inception", path) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "inception.pt" in line and "fetch" in line
