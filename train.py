"""Train a captioned diffusion model.

    python train.py                                the embedded shapes, from nothing to a scored model in minutes
    python train.py --data cifar10 --minutes 30    real images; see --help for everything that can be set
    python train.py --resume runs/00003-cifar10    go on where a run stopped
    torchrun --nproc_per_node 2 train.py ...       on several GPUs
"""

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import get_args, get_origin

import torch
import torch.distributed as dist
from tqdm import tqdm

import ddim
from ddpm import Schedule, checkpoints, files, run_folder
from ddpm import images as sheets
from ddpm.cli import Parser, exit_code
from ddpm.config import RECIPES, Settings, default_preset
from ddpm.data import Dataset, load_data
from ddpm.experiments import caption_accuracy as report
from ddpm.model import Trained, generate
from ddpm.training import Record, Training
from unet import PRESETS, Tokenizer, UNet, UNetConfig, cost

RESUMABLE = ("minutes", "images", "save_every", "report", "data_dir", "precision")


def sampler(eps, schedule, x_T, noise) -> Iterator:
    """DDIM, the same for every image a run shows."""
    return ddim.sample(eps, schedule, x_T, min(report.STEPS, schedule.T), report.ETA, generator=noise)


# ---- the command line ----------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser, record: type, title: str) -> None:
    """One flag for each field of a configuration record; what is not given is None, so that presets can fill it."""
    group = parser.add_argument_group(title)
    for f in fields(record):
        name = "--" + f.name.replace("_", "-")
        text = f.metadata.get("help", "see unet.UNetConfig")
        if f.type is bool:
            group.add_argument(name, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif get_origin(f.type) is tuple:
            group.add_argument(name, type=get_args(f.type)[0], nargs="*", default=None, help=text)
        else:
            group.add_argument(name, type=f.type, default=None, help=text)


def parser() -> argparse.ArgumentParser:
    """All flags: those of the run, then one for every field of `Settings` and `UNetConfig`."""
    as_written = argparse.RawDescriptionHelpFormatter
    flags = Parser(prog="train.py", description=__doc__, formatter_class=as_written)
    flags.add_argument("--resume", metavar="RUN", help="go on with this run folder")
    flags.add_argument("--out", default="runs", help="where run folders are made (default: runs)")
    best = "cuda" if torch.cuda.is_available() else "cpu"
    flags.add_argument("--device", choices=("cpu", "cuda"), default=best, help="default: a GPU if there is one")
    flags.add_argument("--dry-run", action="store_true", help="print what would be done, and stop")
    add_flags(flags, Settings, "training")
    add_flags(flags, UNetConfig, "network")
    return flags


def given(args: argparse.Namespace, record: type) -> dict:
    """The flags of a record that the user gave."""
    values = {f.name: getattr(args, f.name) for f in fields(record) if getattr(args, f.name) is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def configure(args: argparse.Namespace) -> tuple[Settings, UNetConfig, dict | None]:
    """Settings and network of the run, and the checkpoint's content when one is resumed."""
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no GPU here; leave the flag out to train on the CPU")
    chosen, network = given(args, Settings), given(args, UNetConfig)
    # a budget that is given replaces the whole of the old one: "--images N" shall not stop after the preset's minutes
    budget = {"minutes": 0.0, "images": 0} if {"minutes", "images"} & set(chosen) else {}
    if args.resume:
        return resumed(Path(args.resume), chosen, network, budget)
    preset = chosen.get("preset") or default_preset(chosen.get("data", "shapes"), args.device)
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(PRESETS)}")
    settings = replace(RECIPES[preset], **budget | chosen | {"preset": preset})
    if settings.init and network:
        raise ValueError(f"--init brings its own network: leave out {', '.join(sorted(network))}")
    config = checkpoints.load(settings.init).unet.config if settings.init else replace(PRESETS[preset], **network)
    return settings, config, None


def resumed(folder: Path, chosen: dict, network: dict, budget: dict) -> tuple[Settings, UNetConfig, dict]:
    """Settings, network and checkpoint of the run in a folder, with the flags that may change it."""
    fixed = sorted((set(chosen) | set(network)) - set(RESUMABLE))
    if fixed:
        raise ValueError(
            f"--resume goes on with the run's own {', '.join(fixed)}: leave it out; "
            f"only {', '.join(RESUMABLE)} may change"
        )
    path = folder / checkpoints.CHECKPOINT
    content = checkpoints.read(path, checkpoints.RUN)
    with files.fitting(path):
        settings, config = Settings(**content["settings"]), UNetConfig(**content["unet_config"])
    return replace(settings, **budget | chosen), config, content


# ---- the run -------------------------------------------------------------------------------------------------------


def assemble(settings: Settings, config: UNetConfig, content: dict | None) -> tuple[UNet, Tokenizer, Schedule]:
    """The network at the start of the run: rebuilt from a checkpoint, taken from --init, or fresh from the seed."""
    if content is not None:
        return checkpoints.build(content)
    torch.manual_seed(settings.seed)
    start = checkpoints.load(settings.init) if settings.init else None
    tokenizer, schedule = start.tokenizer if start else Tokenizer(), Schedule(settings.T, settings.schedule)
    unet = UNet(config, len(tokenizer), schedule.alpha_bar)  # of this run's schedule, whatever the weights saw before
    if start:
        unet.load_state_dict(start.unet.state_dict())
    return unet, tokenizer, schedule


def read_data(settings: Settings, size: int) -> Dataset:
    """The training images; the first process goes ahead, so that a download happens once."""
    if rank() > 0:
        dist.barrier()
    data = load_data(settings.data, settings.data_dir, "train", size)
    if rank() == 0 and dist.is_initialized():
        dist.barrier()
    return data


def rank() -> int:
    """This process's number among those of torchrun; 0 when there is one."""
    return dist.get_rank() if dist.is_initialized() else 0


def info(training: Training) -> dict:
    """What a checkpoint says about its making."""
    settings = training.settings
    return {
        "data": settings.data,
        "preset": settings.preset,
        **({"init": settings.init} if settings.init else {}),  # its images and minutes are not counted below
        "images": training.images,
        "minutes": round(training.seconds / 60, 2),
        "ema": settings.ema[0],
        "device": run_folder.device_name(training.device),
        "precision": training.precision,
        "processes": training.world,
        "code": run_folder.code_version(),
        "torch": str(torch.__version__),  # its own class of string would not load with weights_only
    }


def save(folder: Path, training: Training, tokenizer: Tokenizer) -> None:
    """The run's checkpoint, replaced as a whole."""
    about = checkpoints.description(training.unet.config, tokenizer, training.schedule)
    content = about | {"settings": asdict(training.settings), "info": info(training)} | training.state()
    files.save(folder / checkpoints.CHECKPOINT, content)


def trained_so_far(training: Training, tokenizer: Tokenizer) -> Trained:
    """The model as it is now, with the averaged weights."""
    unet = training.averaged(training.settings.ema[0])
    return Trained(unet, tokenizer, training.schedule, info(training), training.precision)


def save_samples(folder: Path, training: Training, tokenizer: Tokenizer, captions: list[str]) -> Path:
    """A captioned sample grid and the loss curve; returns the grid's path."""
    trained = trained_so_far(training, tokenizer)
    (images,) = generate(trained, captions, list(range(len(captions))), sampler, report.SCALE)
    (folder / "samples").mkdir(exist_ok=True)
    sheets.loss_curve(folder / "loss.png", run_folder.lines(folder / "metrics.jsonl"))
    return sheets.grid(folder / "samples" / f"{training.images:09d}.png", images, captions)


def watch(records: Iterator[Record]) -> Iterator[Record]:
    """Pass the records on behind a bar with the rate and the time left."""
    layout = "{l_bar}{bar}| {n:.0f}/{total}% [{elapsed}<{remaining}]{postfix}"
    with tqdm(total=100, bar_format=layout, disable=rank() > 0) as bar:
        for record in records:
            state = f"{record.images} images, {record.rate:.0f} images/s, loss {record.loss:.4f}"
            bar.set_postfix_str(state, refresh=False)
            bar.update(100 * record.progress - bar.n)
            yield record


def train(training: Training, folder: Path, tokenizer: Tokenizer, captions: list[str]) -> None:
    """Run to the end of the budget; checkpoints by the clock, sample grids at every quarter."""
    saved, quarter = time.monotonic(), int(4 * training.progress())
    for record in watch(training.run()):
        if rank() > 0:
            continue
        run_folder.append(folder / "metrics.jsonl", asdict(record))
        if time.monotonic() - saved > 60 * training.settings.save_every or record.progress >= 1:
            save(folder, training, tokenizer)
            saved = time.monotonic()
        if int(4 * record.progress) > quarter:
            quarter = int(4 * record.progress)
            tqdm.write(f"samples: {save_samples(folder, training, tokenizer, captions)}")


def finish(training: Training, folder: Path, tokenizer: Tokenizer, began: float) -> None:
    """Score a model of the shapes, and write what the run came to."""
    result = info(training)
    if training.settings.data == "shapes" and training.settings.report:
        n, trained = training.settings.report, trained_so_far(training, tokenizer)
        checks = {"n": n, "steps": report.STEPS, "eta": report.ETA, "scale": report.SCALE}
        checks["on real renderings"] = report.score_checks(n, "train")
        for split, name in report.SPLITS.items():
            bar = partial(tqdm, desc=name, total=-(-n // 64))
            checks[name] = report.score_shapes(trained, sampler, n, split, report.SCALE, bar)
        result["checks"] = checks
    result["seconds"] = round(time.monotonic() - began, 1)
    (folder / "report.json").write_text(json.dumps(result, indent=2) + "\n")
    print_report(result, folder)


def print_report(result: dict, folder: Path) -> None:
    """The report as a reader wants it."""
    for name, shares in result.get("checks", {}).items():
        if isinstance(shares, dict):
            print(report.line(name, shares))
    print(f"{result['images']} images in {result['minutes']} minutes of training, {result['seconds']} s in all")
    print(f"in {folder}: weights {checkpoints.CHECKPOINT}, loss curve loss.png, images samples, report report.json")


def describe(settings: Settings, config: UNetConfig, args: argparse.Namespace) -> None:
    """What a run would do."""
    parameters, gflop = cost(UNet(config, len(Tokenizer()), Schedule(settings.T, settings.schedule).alpha_bar))
    print("settings:", json.dumps(asdict(settings), indent=2))
    print("network:", json.dumps(asdict(config), indent=2))
    print(f"{parameters / 1e6:.2f} M parameters, {gflop:.3f} GFLOP per image forward, {3 * gflop:.3f} in training")
    print(f"device {args.device}; would", f"go on in {args.resume}" if args.resume else f"make a folder in {args.out}")


def leave(training: Training) -> None:
    """End the exchange between processes.

    The wrapper that exchanges gradients goes first. While it lived on to the interpreter's end, 5 of 44 pairs of gloo
    processes that left together lost one to "terminate called without an active exception", and torchrun calls such a
    run a failure; since then none of 59 did.
    """
    training.network = training.unet
    gc.collect()
    dist.destroy_process_group()


def run(args: argparse.Namespace) -> None:
    """All of it: configure, train, report."""
    began = time.monotonic()
    settings, config, content = configure(args)
    if not settings.minutes and not settings.images:
        raise ValueError("--minutes 0 and --images 0 would train for ever: give one of them")
    if args.dry_run:
        return describe(settings, config, args)
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if args.device == "cuda" else "gloo")
    device = torch.device(args.device, int(os.environ.get("LOCAL_RANK", 0)) if args.device == "cuda" else None)
    unet, tokenizer, schedule = assemble(settings, config, content)
    data = read_data(settings, unet.config.size)
    training = Training(settings, unet.to(device), tokenizer, schedule, data)
    if content is not None:
        training.restore(content)
    folder = Path(args.resume) if args.resume else None
    if rank() == 0:
        folder = folder or run_folder.new_run(Path(args.out), settings.preset)
        record = {"settings": asdict(settings), "network": asdict(unet.config), "at the start": info(training)}
        (folder / "config.json").write_text(json.dumps(record, indent=2) + "\n")
        where = f"{run_folder.device_name(device)} in {training.precision}"
        print(f"{folder}: {settings.preset} on {where}, {len(data)} images")
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(settings.seed))[:32]
    train(training, folder, tokenizer, [data.captions[i][0] for i in chosen])
    if rank() == 0:
        finish(training, folder, tokenizer, began)
    if dist.is_initialized():
        leave(training)


if __name__ == "__main__":
    sys.exit(exit_code("train.py", lambda: run(parser().parse_args())))
