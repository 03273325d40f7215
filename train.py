"""Train a captioned diffusion model.

    python train.py                                the embedded shapes: trains from scratch and scores the model
    python train.py --data cifar10 --minutes 30    real images; --help lists all settings
    python train.py --preset autoencoder64         latent diffusion: first the autoencoder of scenes at 64 x 64, then
    python train.py --preset scenes64 --autoencoder runs/00001-autoencoder64    the U-Net on its latents
    python train.py --resume runs/00003-cifar10    resume a run where it stopped

Ctrl-C saves a checkpoint and ends; a second one ends at once.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import get_args, get_origin

from tqdm import tqdm

from ddpm.autoencoder import AutoencoderConfig
from ddpm.experiments.caption_accuracy import ETA, SCALE, STEPS, few_steps, measure, of_shapes, table
from ddpm.training import Settings, Training
from ddpm.training.run import Plan, Run, begin, in_proportion, new, on_paper, resumed
from ddpm.training.settings import without_effect
from ddpm.utils import cli, files
from ddpm.utils.device import DEVICES, best_device, cannot_compile, select_device
from unet import UNet, UNetConfig, cost

NETWORK_RECORDS = (UNetConfig, AutoencoderConfig)


def parser() -> argparse.ArgumentParser:
    """All flags: those of the run, then one for every field of `Settings` and of the networks' configurations."""
    flags = cli.Parser(prog="train.py", description=__doc__)
    flags.add_argument("--resume", metavar="RUN", help="resume the run in this folder")
    flags.add_argument("--out", type=cli.folder, help="where run folders are made (default: runs)")
    flags.add_argument("--device", choices=DEVICES, default=best_device(), help="by default the best one here")
    flags.add_argument("--dry-run", action="store_true", help="print what would be done, and stop")
    made: set[str] = set()
    for record in (Settings, *NETWORK_RECORDS):  # a flag that is not typed is None, and the preset or the run decides
        group = flags.add_argument_group(f"{record.__name__}, by default the preset's")
        for f in [f for f in fields(record) if f.name not in made]:  # both networks have a size, channels, ...
            made.add(f.name)
            how = {"action": argparse.BooleanOptionalAction} if f.type is bool else {"type": f.type}
            if get_origin(f.type) is tuple:
                how = {"type": get_args(f.type)[0], "nargs": "*"}
            group.add_argument(f"--{f.name.replace('_', '-')}", default=None, help=f.metadata["help"], **how)
    return flags


def prepare(args: argparse.Namespace) -> Plan:
    """What the flags ask for. ValueError: what cannot be, cannot work together, or would have no effect."""
    select_device(args.device)
    if (processes := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise ValueError(f"torchrun started {processes} processes, and train.py trains on one device: leave it out")
    typed = {name: tuple(v) if isinstance(v, list) else v for name, v in vars(args).items() if v is not None}
    given = {f.name: typed[f.name] for f in fields(Settings) if f.name in typed}
    network = {f.name: typed[f.name] for record in NETWORK_RECORDS for f in fields(record) if f.name in typed}
    if {"minutes", "images"} & set(given):  # a new budget replaces the whole of the preset's or the run's
        given = {"minutes": 0.0, "images": 0} | given
    if args.resume and args.out:
        raise ValueError(f"--out {args.out} has no effect, for --resume goes on in {args.resume}: leave it out")
    plan = resumed(Path(args.resume), given | network) if args.resume else new(given, network, args.device)
    for name, why in without_effect(plan.settings, plan.config).items():
        if given.get(name) or name in network:
            raise ValueError(f"--{name.replace('_', '-')} has no effect, for {why}: leave it out")
    if not plan.settings.minutes and not plan.settings.images:
        raise ValueError("--minutes 0 and --images 0 would train for ever: give one of them")
    if plan.settings.compile and not args.dry_run and (why := cannot_compile(args.device)):
        if args.compile:
            raise ValueError(f"--compile: PyTorch cannot compile here ({why}): leave it out")
        print(f"not compiled: {why}")
        plan = plan._replace(settings=replace(plan.settings, compile=False))
    return plan


@contextmanager
def interruptible(training: Training) -> Iterator[None]:
    """Ctrl-C and SIGTERM set `training.interrupted` to their number, so that it ends after its step; a second one ends
    it at once.
    """

    def interrupt(number: int, _) -> None:
        training.interrupted = number
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(run: Run) -> None:
    """Run to the end of the budget; checkpoints by the clock and when interrupted, sample grids at every quarter."""
    training, saved = run.training, time.monotonic()
    quarter, layout = int(4 * training.progress()), "{l_bar}{bar}| {n:.0f}/{total}% [{elapsed}<{remaining}]{postfix}"
    bar = tqdm(total=100, initial=100 * training.progress(), bar_format=layout)
    with bar, interruptible(training):
        for record in training.run():
            state = f"{record.images} images, {record.rate:.0f} images/s, loss {record.loss:.4f}"
            bar.set_postfix_str(state, refresh=False)
            bar.update(100 * record.progress - bar.n)
            run.log(record)
            if time.monotonic() - saved > 60 * training.settings.save_every or record.progress >= 1 or training.stopped:
                run.save()
                saved = time.monotonic()
            if int(4 * record.progress) > quarter and not training.stopped:
                quarter = int(4 * record.progress)
                scale = SCALE if training.settings.caption_dropout else 1.0  # guidance needs the empty prompt
                tqdm.write(f"samples: {run.save_samples(few_steps(training.schedule.T), scale)}")
    if training.stopped:
        print(f"train.py: interrupted; python train.py --resume {run.folder} goes on from here", file=sys.stderr)
        sys.exit(128 + int(training.stopped))


def report(run: Run, typed: int | None) -> None:
    """Measure the caption accuracy of a model of the shapes; write and print the report. typed: --report."""
    result, settings, text = run.info, run.training.settings, ""
    n = settings.report if typed else in_proportion(settings.report, result["images"] // 250)
    if settings.data == "shapes" and settings.report and isinstance(run.training.unet, UNet):
        accuracy = measure(run.trained, of_shapes(n), SCALE)
        text = f"{n} images each:\n{table(accuracy)}\n"
        result["checks"] = {"n": n, "steps": STEPS, "eta": ETA, "scale": SCALE} | accuracy
    result["seconds"] = round(time.monotonic() - run.began, 1)
    files.write_json(run.folder / "report.json", result)
    print(f"{text}{result['images']} images in {result['minutes']} minutes of training, {result['seconds']} s in all")
    print(f"in {run.folder}: weights {files.CHECKPOINT}, loss curve loss.png, grids samples/, report report.json")


def run(args: argparse.Namespace) -> None:
    """All of it: configure, train, report."""
    plan, place = prepare(args), Path(args.resume or args.out or "runs")
    if args.dry_run:
        parameters, gflop = cost(on_paper(plan))
        print(json.dumps({"settings": asdict(plan.settings), "network": asdict(plan.config)}, indent=2))
        print(f"{parameters / 1e6:.2f} M parameters, {gflop:.3f} GFLOP per image forward, {3 * gflop:.3f} in training")
        print(f"device {args.device}; would", f"resume {place}" if args.resume else f"make a folder in {place}")
        return
    begun = begin(plan, args.device, place, smaller_batch=args.batch is None)
    train(begun)
    report(begun, args.report)


if __name__ == "__main__":
    sys.exit(cli.exit_code("train.py", lambda: run(parser().parse_args())))
