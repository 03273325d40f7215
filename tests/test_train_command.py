"""train.py: the files of a run, exact resume, how each mistake is reported. In this process, with a tiny network."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import train
from ddpm import checkpoints, files, run_folder
from ddpm.cli import exit_code
from ddpm.data.shapes import SIZE, shapes
from ddpm.experiments.caption_accuracy import SPLITS
from ddpm.training import Training
from unet import PRESETS

ROOT = Path(__file__).parent.parent
TINY = [
    "--channels", "8", "--groups", "4", "--multipliers", "1", "2", "--head-channels", "8", "--text-width", "8",
    "--text-heads", "2", "--stem", "4", "--cross-sizes", str(SIZE // 4), str(SIZE // 8), "--self-sizes", str(SIZE // 8),
]  # fmt: skip
SHORT = [
    "--device", "cpu", "--batch", "8", "--lr-decay", "0", "--warmup", "2", "--learning-rate", "1e-3", "--report", "0",
    "--precision", "float32", *TINY,
]  # fmt: skip


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    """200 images are drawn faster than 30,000."""
    real = train.load_data

    def load_data(name, data_dir, split, size):
        return shapes(split, 200) if name == "shapes" and size == SIZE else real(name, data_dir, split, size)

    monkeypatch.setattr(train, "load_data", load_data)


def call(*flags: str) -> None:
    train.run(train.parser().parse_args([str(flag) for flag in flags]))


def exit_of(*flags: str) -> int:
    """The code with which the command ends; argparse leaves by itself."""
    try:
        return exit_code("train.py", lambda: call(*flags))
    except SystemExit as end:
        return end.code


def weights(folder: Path) -> dict:
    """All that training changes: weights, averages, optimizer state, step."""
    content = checkpoints.read(folder / checkpoints.CHECKPOINT, checkpoints.RUN)
    return {key: content[key] for key in ("unet", "ema", "optimizer", "step")}


def same(one, two) -> bool:
    """Equal to the last bit, through dicts and lists."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(same(a, b) for a, b in zip(one, two, strict=True))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """One whole run of 64 images with a report of 8 images, made once and only read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "load_data", lambda name, data_dir, split, size: shapes(split, 200))
        place = tmp_path_factory.mktemp("runs")
        call("--out", place, "--images", 64, *SHORT, "--report", 8)
    return place


# ---- the files of a run --------------------------------------------------------------------------------------------


def test_a_run_folder_explains_itself(out):
    (folder,) = out.iterdir()
    assert folder.name == "00000-shapes"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    grid = "samples/000000064.png"
    assert names == {"config.json", "metrics.jsonl", "loss.png", "report.json", checkpoints.CHECKPOINT, grid}
    config = json.loads((folder / "config.json").read_text())
    assert config["network"]["channels"] == 8 and config["network"]["multipliers"] == [1, 2]
    assert {"code", "torch", "device"} <= set(config["at the start"])
    flags = {"images": 64, "minutes": 0.0, "batch": 8, "learning_rate": 1e-3, "warmup": 2, "seed": 0}
    assert flags.items() <= config["settings"].items()
    settings = checkpoints.read(folder / checkpoints.CHECKPOINT, checkpoints.RUN)["settings"]
    assert json.loads(json.dumps(settings)) == config["settings"]
    (record,) = run_folder.lines(folder / "metrics.jsonl")
    assert record["step"] == 8 and record["images"] == 64 and record["progress"] == 1
    assert record["learning_rate"] == 1e-3 and 0 < record["loss"] < 3 and record["rate"] > 0
    for name in ("loss.png", grid):
        with Image.open(folder / name) as image:
            assert min(image.size) > 100 and np.ptp(np.asarray(image.convert("L"))) > 50


def test_the_report_has_the_accuracy_and_the_time(out):
    report = json.loads((out / "00000-shapes" / "report.json").read_text())
    checks = report["checks"]
    assert report["images"] == 64 and report["seconds"] > 0 and checks["n"] == 8
    for name in ("on real renderings", *SPLITS.values()):
        assert set(checks[name]) == {"background", "colour", "size", "shape", "all"}
        assert all(0 <= share <= 1 for share in checks[name].values())
    assert checks["on real renderings"]["all"] == 1


def test_the_checkpoint_is_a_model(out):
    trained = checkpoints.load(out / "00000-shapes")
    x = torch.randn(1, *trained.shape, generator=torch.Generator().manual_seed(0))
    eps = trained.eps(["a photo of a small red circle on a blue background"])(x, torch.tensor([500]))
    assert eps.shape == x.shape and eps.isfinite().all()
    assert trained.info["images"] == 64 and trained.info["preset"] == "shapes"
    assert trained.unet.config.predicts == PRESETS["shapes"].predicts  # no flag, so the preset's


def test_run_folders_are_numbered_and_never_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("not a run")
    (tmp_path / "00006-mine").mkdir()
    assert [run_folder.new_run(tmp_path, "a").name, run_folder.new_run(tmp_path, "a").name] == ["00007-a", "00008-a"]
    assert list((tmp_path / "00006-mine").iterdir()) == []


def test_a_dry_run_makes_nothing_and_prints_everything(tmp_path, capsys):
    call("--dry-run", "--out", tmp_path / "runs", "--images", 64, *SHORT)
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr().out
    for what in ('"batch": 8', '"channels": 8', "M parameters", "GFLOP per image", "device cpu"):
        assert what in printed


def test_flags_of_presets_can_be_changed_one_by_one(tmp_path):
    def configured(*flags):
        return train.configure(train.parser().parse_args(["--device", "cpu", *flags]))[:2]

    recipe, network = configured()
    assert recipe.data == "shapes" and recipe.images > 0 and network == PRESETS["shapes"]
    settings, _ = configured("--images", "500")
    assert settings.images == 500 and settings.minutes == 0  # a budget replaces the preset's
    settings, network = configured("--data", "cifar10", "--no-flip", "--ema", "0.1", "0.2", "--dropout", "0.25")
    assert settings.preset == "cifar10-cpu" and not settings.flip and settings.ema == (0.1, 0.2)
    assert network.dropout == 0.25 and network.channels == PRESETS["cifar10-cpu"].channels
    settings, network = configured("--data", "celeba", "--preset", "ddpm")
    assert settings.data == "celeba" and network == PRESETS["ddpm"]


# ---- resume ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 240 images in one go: 30 steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "load_data", lambda name, data_dir, split, size: shapes(split, 200))
        patch.setattr(train.Run, "save_samples", lambda run: None)
        place = tmp_path_factory.mktemp("whole")
        call("--out", place, "--images", 240, *SHORT, "--dropout", "0.2")
    return place / "00000-shapes"


@pytest.fixture
def no_images(monkeypatch):
    """Sample grids have their own test."""
    monkeypatch.setattr(train.Run, "save_samples", lambda run: None)


def test_a_resumed_run_ends_where_the_whole_one_does(whole, tmp_path, no_images):
    call("--out", tmp_path, "--images", 120, *SHORT, "--dropout", "0.2")
    folder = tmp_path / "00000-shapes"
    assert weights(folder)["step"] == 15
    call("--resume", folder, "--images", 240)
    assert weights(folder)["step"] == 30 and same(weights(folder), weights(whole))
    assert [path.name for path in tmp_path.iterdir()] == ["00000-shapes"]
    records, expected = run_folder.lines(folder / "metrics.jsonl"), run_folder.lines(whole / "metrics.jsonl")
    assert [record["step"] for record in records] == [10, 15, 25, 30]
    assert [record["step"] for record in expected] == [10, 20, 30]
    assert records[0]["loss"] == expected[0]["loss"]


@pytest.mark.slow
def test_ctrl_c_loses_only_what_came_after_the_last_checkpoint(whole, tmp_path, no_images, monkeypatch, capsys):
    """Checkpoints at every record (steps 10, 20, 30), Ctrl-C in step 26."""
    one_step = Training.one_step

    def interrupted(self, rate):
        if self.step == 25:
            raise KeyboardInterrupt
        return one_step(self, rate)

    flags = ["--out", tmp_path, "--images", 240, "--save-every", 1e-9, *SHORT, "--dropout", "0.2"]
    with monkeypatch.context() as patch:
        patch.setattr(Training, "one_step", interrupted)
        assert exit_of(*flags) == 130
    assert "interrupted" in capsys.readouterr().err
    folder = tmp_path / "00000-shapes"
    assert weights(folder)["step"] == 20
    call("--resume", folder)
    assert same(weights(folder), weights(whole))
    assert [record["step"] for record in run_folder.lines(folder / "metrics.jsonl")] == [10, 20, 30]


def test_a_diverged_run_ends_with_1_and_keeps_its_good_checkpoint(tmp_path, no_images, monkeypatch, capsys):
    loss = Training.loss
    monkeypatch.setattr(Training, "loss", lambda self, batch: loss(self, batch) * (math.nan if self.step == 16 else 1))
    assert exit_of("--out", tmp_path, "--images", 240, "--save-every", 1e-9, *SHORT) == 1
    assert "step 17 is nan" in capsys.readouterr().err.splitlines()[-1]
    kept = weights(tmp_path / "00000-shapes")
    assert kept["step"] == 10 and all(value.isfinite().all() for value in kept["unet"].values())


@pytest.mark.slow
def test_a_torn_last_line_of_the_metrics_is_dropped(whole, tmp_path, no_images):
    """A full disk or a kill leaves half a line: the run resumes, and the step's record is written again."""
    call("--out", tmp_path, "--images", 120, *SHORT, "--dropout", "0.2")
    metrics = tmp_path / "00000-shapes" / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write(metrics.read_text()[:40])
    call("--resume", metrics.parent, "--images", 240)
    assert [record["step"] for record in run_folder.lines(metrics)] == [10, 15, 25, 30]


def test_resume_clears_what_a_killed_save_left(whole):
    leftover = whole / f".{checkpoints.CHECKPOINT}.k1ll3d"
    leftover.write_bytes(b"half a checkpoint")
    call("--resume", whole)
    assert not leftover.exists() and (whole / checkpoints.CHECKPOINT).exists()


def test_resume_notices_that_the_data_changed(whole, monkeypatch, capsys):
    monkeypatch.setattr(train, "load_data", lambda name, data_dir, split, size: shapes(split, 201))
    assert exit_of("--device", "cpu", "--resume", whole, "--images", 480) == 2
    assert "the dataset shapes in data has changed" in capsys.readouterr().err


def test_the_bar_shows_the_time_left_of_a_budget_in_images(tmp_path, no_images, capsys):
    call("--out", tmp_path, "--images", 160, *SHORT)
    assert re.search(r"50%.* 50/100% \[\d\d:\d\d<\d\d:\d\d", capsys.readouterr().err)


def test_a_new_budget_replaces_the_old_one(whole, tmp_path):
    """--images for a run that had used up its minutes must go on, and --minutes must not stop at the old images."""

    def resumed(*flags):
        return train.configure(train.parser().parse_args(["--device", "cpu", "--resume", str(whole), *flags]))[0]

    assert (resumed().images, resumed().minutes) == (240, 0)
    assert (resumed("--minutes", "2").images, resumed("--minutes", "2").minutes) == (0, 2)
    assert resumed("--images", "480").images == 480
    assert resumed("--report", "5").images == 240


def test_a_finished_run_resumed_changes_nothing(whole):
    before = weights(whole)
    call("--resume", whole)
    assert same(weights(whole), before)


# ---- starting from weights -----------------------------------------------------------------------------------------


def test_init_takes_the_averaged_weights_and_a_fresh_optimizer(whole, tmp_path, no_images):
    settings, config, _ = train.configure(
        train.parser().parse_args(["--device", "cpu", "--init", str(whole), "--images", "64"])
    )
    start = checkpoints.load(whole)
    assert config == start.unet.config
    unet, tokenizer, _ = train.assemble(settings, config, None)
    assert (
        unet.training and all(p.requires_grad for p in unet.parameters()) and tokenizer.words == start.tokenizer.words
    )
    assert all(torch.equal(p, start.unet.state_dict()[name]) for name, p in unet.state_dict().items())


def test_a_run_says_what_it_started_from(whole, tmp_path, no_images):
    call("--out", tmp_path, "--init", whole, "--images", 16, "--batch", 8, "--report", 0)
    assert checkpoints.load(tmp_path / "00000-shapes").info["init"] == str(whole)
    assert "init" not in checkpoints.load(whole).info


@pytest.mark.parametrize(("T", "kind"), [(300, "linear"), (1000, "cosine")])
def test_init_trains_with_its_own_schedule(whole, T, kind):
    """A v network turns v into eps with its schedule: the table must be the new run's, which its checkpoint names."""
    flags = ["--device", "cpu", "--init", str(whole), "--images", "64", "--T", str(T), "--schedule", kind]
    settings, config, _ = train.configure(train.parser().parse_args(flags))
    unet, _, schedule = train.assemble(settings, config, None)
    assert (schedule.T, schedule.kind) == (T, kind)
    assert torch.equal(unet.alpha_bar, schedule.alpha_bar)


# ---- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--preset", "huge"], "unknown preset 'huge'"),
        (["--data", "mnist"], "unknown dataset 'mnist'"),
        (["--minutes", "-3"], "minutes is -3.0"),
        (["--minutes", "0"], "for ever"),
        (["--images", "64", "--batch", "201"], "200 images.*batch of 201"),
        (["--images", "64", "--seed", "9" * 23], "a seed is 99999"),
        (["--images", "64", "--size", str(2 * SIZE), "--cross-sizes", "--self-sizes"], f"--size {SIZE}"),
        (["--images", "64", "--channels", "30", "--groups", "8"], "groups 8"),
        (["--images", "64", "--words", "5"], "at most 4"),
        (["--images", "64", "--device", "toaster"], "toaster"),
        (["--images", "64", "--data", "folder", "--data-dir", "nowhere"], "nowhere"),
        (["--images", "64", "--init", "nowhere"], "no model 'nowhere'"),
        (["--resume", "nowhere"], "no checkpoint at nowhere"),
    ],
)
def test_a_mistake_ends_with_2_and_one_line_and_makes_no_folder(tmp_path, monkeypatch, capsys, flags, named):
    monkeypatch.chdir(tmp_path)
    assert exit_of("--device", "cpu", *flags) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("train.py: ")
    assert re.search(named, last), last
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named(capsys):
    assert exit_of("--device", "cuda", "--images", "64") == 2
    assert "finds no GPU" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [["--batch", "8"], ["--channels", "8"], ["--no-flip"]])
def test_what_a_run_was_made_with_cannot_change(whole, capsys, flag):
    assert exit_of("--device", "cpu", "--resume", whole, *flag) == 2
    name = flag[0].removeprefix("--no-").removeprefix("--")
    assert f"the run's own {name}" in capsys.readouterr().err


def test_a_network_is_not_given_twice(whole, capsys):
    assert exit_of("--device", "cpu", "--init", whole, "--images", "64", "--channels", "16") == 2
    assert "leave out channels" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_not_resumed(whole, tmp_path, capsys):
    path = tmp_path / checkpoints.CHECKPOINT
    content = (whole / checkpoints.CHECKPOINT).read_bytes()
    for part in (content[: len(content) // 2], b""):
        path.write_bytes(part)
        assert exit_of("--device", "cpu", "--resume", tmp_path) == 2
        assert str(path) in capsys.readouterr().err.strip().splitlines()[-1]
        assert [p.name for p in tmp_path.iterdir()] == [checkpoints.CHECKPOINT] and path.read_bytes() == part


def test_what_is_no_run_of_this_version_cannot_be_resumed(whole, tmp_path, capsys):
    """Weights alone; a run of an older version, whose settings had other names: its weights still load."""
    content = checkpoints.read(whole / checkpoints.CHECKPOINT)
    path = tmp_path / checkpoints.CHECKPOINT
    files.save(path, {key: content[key] for key in checkpoints.MODEL})
    assert exit_of("--device", "cpu", "--resume", tmp_path) == 2
    assert "no run to resume: it has no settings" in capsys.readouterr().err
    older = content["settings"] | {"clip": 1.0, "drop": 0.1}
    del older["grad_clip"]
    files.save(path, content | {"settings": older})
    assert exit_of("--device", "cpu", "--resume", tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "(it sets clip, drop) and cannot be resumed" in line and f"--init {tmp_path}" in line
    assert checkpoints.load(tmp_path).info["images"] == 240


def test_a_place_that_cannot_be_written_is_named_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "load_data", None)
    (tmp_path / "runs").write_text("a file where the folders should go")
    assert exit_of("--out", tmp_path / "runs" / "new", "--images", 64, *SHORT) == 2
    assert str(tmp_path / "runs") in capsys.readouterr().err


# ---- the command itself --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_share_one_run_folder(tmp_path):
    """torchrun on a folder of images: one run folder, one report, a checkpoint that loads."""
    data, place = tmp_path / "data", tmp_path / "runs"
    data.mkdir()
    for i in range(16):
        noise = np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(data / f"{i}.png")
    (data / "captions.txt").write_text("".join(f"{i}.png\ta red circle\n" for i in range(16)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    flags = ["--data", "folder", "--data-dir", str(data), "--out", str(place), "--images", "32", *SHORT]
    flags += ["--size", str(SIZE)]  # where the tiny network's maps have the sizes named above
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*torchrun, str(ROOT / "train.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    (folder,) = place.iterdir()
    assert done.stdout.count("images in") == 1 and (folder / "report.json").exists()
    assert checkpoints.load(folder).info["processes"] == 2
    assert weights(folder)["step"] == 4
