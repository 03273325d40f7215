"""train.py: the files of a run, exact resume, how each mistake is reported. In this process, with a tiny network."""

import json
import math
import re
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import code_of
from PIL import Image

import ddpm
import train
from ddpm.data import Dataset
from ddpm.data.shapes import SIZE, shapes
from ddpm.experiments.caption_accuracy import SPLITS
from ddpm.training import Training
from ddpm.training import run as run_folder
from ddpm.training.run import new_folder
from ddpm.utils import files
from ddpm.utils.cli import exit_code
from ddpm.utils.files import CHECKPOINT
from unet import PRESETS, UNetConfig, UnknownWordError, text
from unet.vocabulary import VOCABULARY

TINY = [
    "--channels", "8", "--groups", "4", "--multipliers", "1", "2", "--head-channels", "8", "--text-width", "8",
    "--text-heads", "2", "--stem", "4", "--cross-sizes", str(SIZE // 4), str(SIZE // 8), "--self-sizes", str(SIZE // 8),
    "--batch", "8", "--lr-decay", "0", "--warmup", "2", "--learning-rate", "1e-3", "--precision", "float32",
    "--dropout", "0.2",
]  # fmt: skip
SHORT = [*TINY, "--report", "0"]


@pytest.fixture(scope="module", autouse=True)
def few_images():
    """200 images are drawn faster than 30,000."""
    real = run_folder.load_data

    def load_data(name, data_dir, split, size, **rules):
        return shapes(split, 200) if name == "shapes" and size == SIZE else real(name, data_dir, split, size, **rules)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "load_data", load_data)
        yield


@pytest.fixture
def no_grids(monkeypatch):
    """Sample grids have their own test."""
    monkeypatch.setattr(run_folder.Run, "save_samples", lambda *of: None)


def call(*flags: object) -> None:
    train.run(train.parser().parse_args(["--device", "cpu", *map(str, flags)]))


def exit_of(*flags: object) -> int:
    """The code with which the command ends."""
    return code_of(lambda argv: exit_code("train.py", lambda: call(*argv)), *flags)


def configured(*flags: object) -> tuple[train.Settings, UNetConfig]:
    """Settings and network that flags ask for."""
    return train.prepare(train.parser().parse_args(["--device", "cpu", *map(str, flags)]))[:2]


def weights(folder: Path) -> dict:
    """All that training changes: weights, averages, optimizer state, step."""
    content = ddpm.model.read(folder / CHECKPOINT, ddpm.model.RUN)
    return {key: content[key] for key in ("unet", "ema", "optimizer", "step")}


def steps(folder: Path) -> list[int]:
    """The steps of a run's records."""
    return [record["step"] for record in run_folder.records(folder / "metrics.jsonl")]


same = partial(torch.testing.assert_close, rtol=0, atol=0)  # to the last bit, through dicts and lists


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 240 images in one go, 30 steps, with grids and a report; made once and only read."""
    place = tmp_path_factory.mktemp("whole")
    call("--out", place, "--images", 240, *TINY)
    return place / "00000-shapes"


def test_a_run_folder_explains_itself(whole):
    names = {str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file()}
    images = {"loss.png", *(f"samples/{images:09d}.png" for images in (80, 160, 240))}
    assert names == {"config.json", "metrics.jsonl", "report.json", CHECKPOINT, *images}
    config = json.loads((whole / "config.json").read_text())
    assert config["network"]["channels"] == 8 and {"code", "torch", "device"} <= set(config["at the start"])
    settings = ddpm.model.read(whole / CHECKPOINT, ddpm.model.RUN)["settings"]
    assert json.loads(json.dumps(settings)) == config["settings"] and settings["warmup"] == 2
    record = run_folder.records(whole / "metrics.jsonl")[-1]
    assert (record["step"], record["images"], record["progress"], record["learning_rate"]) == (30, 240, 1, 1e-3)
    for name in images:
        with Image.open(whole / name) as image:
            assert min(image.size) > 100 and np.ptp(np.asarray(image.convert("L"))) > 50
    report = json.loads((whole / "report.json").read_text())
    assert report["images"] == 240 and report["checks"]["n"] == 8 and set(SPLITS.values()) <= set(report["checks"])
    info = ddpm.model.load(whole).info
    assert info["images"] == 240 and info["preset"] == "shapes" and "init" not in info


def test_run_folders_are_numbered_and_never_overwritten(tmp_path):
    for name in ("00006-mine", "²³-z", "notes.txt"):
        (tmp_path / name).mkdir()
    assert [new_folder(tmp_path, "a").name for _ in range(2)] == ["00007-a", "00008-a"]
    (tmp_path / "100000-y").mkdir()
    assert new_folder(tmp_path, "a").name == "100001-a"


def test_a_run_of_a_folder_is_called_by_it_and_its_batch_fits_it(cats, tmp_path, no_grids, capsys):
    (folder, _), i = cats, SHORT.index("--batch")
    flags = ("--data", "folder", "--data-dir", folder, "--size", SIZE, *SHORT[:i], *SHORT[i + 2 :])
    call("--out", tmp_path, "--images", 4, *flags)
    assert [path.name for path in tmp_path.iterdir()] == [f"00000-{folder.name}"]
    assert "folder has 4 images here: batch 4\n" in capsys.readouterr().out


def test_a_dry_run_prints_what_it_would_do_and_makes_nothing(tmp_path, capsys):
    call("--dry-run", "--out", tmp_path / "runs", "--images", 64, *SHORT)
    assert '"channels": 8' in capsys.readouterr().out and list(tmp_path.iterdir()) == []


def test_torchrun_is_refused(tmp_path, monkeypatch, capsys):
    """Else each of its processes would train the same model alone."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert exit_of("--out", tmp_path / "runs", "--images", 64, *SHORT) == 2
    assert "torchrun started 2 processes" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_flags_change_a_preset_or_a_run_one_by_one_and_a_new_budget_replaces_the_old_one(whole):
    """--images for a run that had used up its minutes must go on, and --minutes must not stop at the old images."""
    settings, network = configured("--data", "cifar10", "--no-flip", "--ema", 0.1, 0.2, "--dropout", 0.25)
    assert settings.preset == "cifar10-cpu" and not settings.flip and settings.ema == (0.1, 0.2)
    assert network == replace(PRESETS["cifar10-cpu"], dropout=0.25)
    resume = ["--resume", whole]
    for flags, *budget in [(["--images", 500], 500, 0), (resume, 240, 0), ([*resume, "--minutes", 2], 0, 2)]:
        settings = configured(*flags)[0]
        assert [settings.images, settings.minutes] == budget


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_keeps_its_last_step_and_says_how_it_goes_on_and_ends_where_the_whole_one_does(
    whole, tmp_path, no_grids, monkeypatch, capsys, number, code
):
    """In step 26; the clock asks for no checkpoint. The signal is handled as before afterwards. Three images are
    scored, as typed at its start, not eight.
    """
    one_step, handler = Training.one_step, signal.getsignal(number)

    def interrupted(self, rate):
        if self.step == 25:
            signal.raise_signal(number)
        return one_step(self, rate)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "one_step", interrupted)
        assert exit_of("--out", tmp_path, "--images", 240, *TINY, "--report", 3) == code
    folder = tmp_path / "00000-shapes"
    assert f"python train.py --resume {folder}" in capsys.readouterr().err.splitlines()[-1]
    assert weights(folder)["step"] == 26 and signal.getsignal(number) == handler
    call("--resume", folder)
    same(weights(folder), weights(whole))
    assert json.loads((folder / "report.json").read_text())["checks"]["n"] == 3
    assert steps(folder) == [10, 20, 26, 30] and steps(whole) == [10, 20, 30]


def test_what_is_not_typed_fits_what_is(whole, tmp_path, monkeypatch, capsys):
    """A prediction of eps takes Ho et al.'s pair; attention follows the size; a resumed run the
    precision that was measured at its start; without a compiler a GPU trains uncompiled, or --compile ends."""
    content = ddpm.model.read(whole / CHECKPOINT)
    content["settings"]["precision"], content["info"]["precision"] = "auto", "bfloat16"
    files.save(tmp_path / CHECKPOINT, content)
    assert configured("--resume", tmp_path)[0].precision == "bfloat16"
    settings = configured("--predicts", "eps")[0]
    assert (settings.schedule, settings.weighting, settings.T) == ("linear", "eps", 1000)
    usual, half = (configured("--data", "cifar10", *size)[1] for size in ((), ("--size", 16)))
    assert [2 * n for n in half.cross_sizes + half.self_sizes] == [*usual.cross_sizes, *usual.self_sizes]
    monkeypatch.setattr(train, "cannot_compile", lambda device: "no compiler")
    monkeypatch.setattr(train, "new", lambda *of: run_folder.Plan(replace(settings, compile=True), PRESETS["shapes"]))
    assert not configured()[0].compile and capsys.readouterr().out == "not compiled: no compiler\n"
    with pytest.raises(ValueError, match="cannot compile here .no compiler.*leave it out"):
        configured("--compile")


def test_a_diverged_run_ends_with_1_and_keeps_its_good_checkpoint(tmp_path, no_grids, monkeypatch, capsys):
    loss, spoil = Training.loss, {16: math.nan}
    monkeypatch.setattr(Training, "loss", lambda self, batch: loss(self, batch) * spoil.get(self.step, 1))
    assert exit_of("--out", tmp_path, "--images", 240, "--save-every", 1e-9, *SHORT) == 1
    err = capsys.readouterr().err
    assert "step 17 has a loss of nan" in err.splitlines()[-1]
    assert re.search(r"33%.* 33/100% \[\d\d:\d\d<\d\d:\d\d", err)  # the bar shows the time left
    kept = weights(tmp_path / "00000-shapes")
    assert kept["step"] == 10 and all(value.isfinite().all() for value in kept["unet"].values())


def test_a_run_whose_data_are_others_is_not_resumed(whole, monkeypatch, capsys):
    monkeypatch.setattr(run_folder, "load_data", lambda name, data_dir, split, size, **_: shapes(split, 5))
    assert exit_of("--resume", whole, "--images", "480", "--data-dir", "other") == 2
    assert "the dataset shapes in other is not the one that this run began with" in capsys.readouterr().err


def test_init_takes_the_averaged_weights_and_the_new_runs_schedule(whole, tmp_path):
    """A v network turns v into eps with its schedule: the table must be the new run's, which its checkpoint names."""
    flags = ["--init", str(whole), "--out", str(tmp_path), "--images", "64", "--T", "600", "--schedule", "linear"]
    args, start = train.parser().parse_args(["--device", "cpu", *flags]), ddpm.model.load(whole)
    run = run_folder.begin(train.prepare(args), "cpu", tmp_path, smaller_batch=False)
    unet, schedule = run.training.unet, run.training.schedule
    assert unet.config == start.unet.config
    assert (run.tokenizer.words, run.tokenizer.known) == (start.tokenizer.words, start.tokenizer.known)
    assert unet.training and all(p.requires_grad for p in unet.parameters())
    assert all(torch.equal(p, start.unet.state_dict()[name]) for name, p in unet.state_dict().items())
    assert (schedule.T, schedule.kind) == (600, "linear") and torch.equal(unet.alpha_bar, schedule.alpha_bar)
    assert run.info["init"] == str(whole)  # a run says what it started from


def test_a_word_added_to_the_vocabulary_is_learned_and_the_old_words_keep_their_vectors(
    whole, tmp_path, monkeypatch, no_grids, capsys
):
    start, images = ddpm.model.load(whole), shapes("train", 64).images
    monkeypatch.setattr(text, "VOCABULARY", (*VOCABULARY, "corgi", "poodle"))
    for caption, code in (("a Corgi on a dark background", 0), ("a gnu", 2)):
        data = Dataset("own", images, [(caption,)] * 64)
        monkeypatch.setattr(run_folder, "load_data", lambda *_, data=data, **__: data)
        flags = ("--out", tmp_path, "--images", 64, "--batch", 32, "--learning-rate", 1e-9, "--report", 0)
        assert exit_of("--init", whole, "--data", "folder", *flags) == code
    assert "in the captions: gnu; " in capsys.readouterr().err
    grown = ddpm.model.load(next(tmp_path.iterdir()))
    assert grown.tokenizer.words == (*start.tokenizer.words, "corgi")
    assert set(grown.tokenizer.known) == {*start.tokenizer.known, "dark", "corgi"}
    old, new = (trained.unet.text.words.weight for trained in (start, grown))
    torch.testing.assert_close(new[: len(old)], old, rtol=0, atol=1e-7)  # two steps of at most 1e-9
    with pytest.raises(UnknownWordError, match="'poodle'"):
        grown.eps(["a poodle"])


def test_what_a_run_was_made_with_cannot_change(whole, capsys):
    for flag in (["--batch", "8"], ["--channels", "8"], ["--no-flip"]):
        assert exit_of("--resume", whole, *flag) == 2
        name = flag[0].removeprefix("--no-").removeprefix("--")
        assert f"the run's own {name}" in capsys.readouterr().err
    assert exit_of("--resume", whole, "--images", "240") == 2  # it would end at once
    assert "has seen 240 images" in capsys.readouterr().err
    assert exit_of("--init", whole, "--images", "64", "--channels", "16") == 2
    assert "leave out channels" in capsys.readouterr().err  # --init brings its network


def test_what_is_no_run_of_this_version_cannot_be_resumed(whole, tmp_path, capsys):
    """Weights alone; a run of an older version, whose settings had other names: the weights of both still load."""
    content = ddpm.model.read(whole / CHECKPOINT)
    alone = {key: content[key] for key in ddpm.model.MODEL}
    older = content | {"settings": content["settings"] | {"clip": 1.0, "drop": 0.1}}
    for saved, named in ((alone, "no run to resume: it has no settings"), (older, "(it sets clip, drop)")):
        files.save(tmp_path / CHECKPOINT, saved)
        assert exit_of("--resume", tmp_path) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert named in line and ddpm.model.load(tmp_path).info["images"] == 240
