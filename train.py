"""Train a captioned diffusion model.

python train.py                                the embedded shapes: trains from scratch and scores the model
python train.py --data cifar10 --minutes 30    real images; --help lists all settings
python train.py --resume runs/00003-cifar10    resume a run where it stopped
torchrun --nproc_per_node 2 train.py ...       on several GPUs
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import get_args, get_origin

from ddpm.utils import interrupt as interrupt  # isort: skip  (first: the others import PyTorch)

import torch
from tqdm import tqdm

from ddpm import Schedule, model
from ddpm.data import Dataset, load_data
from ddpm.experiments import caption_accuracy
from ddpm.experiments.caption_accuracy import ETA, SCALE, STEPS
from ddpm.model import Trained, generate, in_batches
from ddpm.training import Record, Training, processes
from ddpm.training import run as run_folder
from ddpm.training.settings import RECIPES, Settings, default_preset
from ddpm.utils import cli, files, images
from ddpm.utils.device import best_device, device_name
from unet import PRESETS, Tokenizer, UNet, UNetConfig, cost
from unet.vocabulary import VOCABULARY

RESUMABLE = ("minutes", "images", "save_every", "report", "data_dir", "precision")


# ---- the command line ----------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser, record: type, title: str) -> None:
    """One flag for each field of a configuration record; its default is None, so that presets can fill it."""
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
    flags = cli.Parser(prog="train.py", description=__doc__)
    flags.add_argument("--resume", metavar="RUN", help="resume the run in this folder")
    flags.add_argument("--out", type=cli.destination, default="runs", help="where run folders are made (default: runs)")
    best = "a GPU if there is one"
    flags.add_argument("--device", choices=("cpu", "cuda"), default=best_device(), help=f"default: {best}")
    flags.add_argument("--dry-run", action="store_true", help="print what would be done, and stop")
    add_flags(flags, Settings, "training")
    add_flags(flags, UNetConfig, "network")
    return flags


def flags_given(args: argparse.Namespace, record: type) -> dict:
    """The fields of a record that the command line sets."""
    values = {f.name: getattr(args, f.name) for f in fields(record) if getattr(args, f.name) is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def configure(args: argparse.Namespace) -> tuple[Settings, UNetConfig, dict | None]:
    """Settings and network of the run, and the checkpoint's content when one is resumed."""
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no GPU here; leave the flag out to train on the CPU")
    changes, network = flags_given(args, Settings), flags_given(args, UNetConfig)
    # a new budget replaces the whole of the old one: "--images N" must not stop after the preset's minutes
    budget = {"minutes": 0.0, "images": 0} if {"minutes", "images"} & set(changes) else {}
    if args.resume:
        return resumed(Path(args.resume), changes, network, budget)
    preset = changes.get("preset") or default_preset(changes.get("data", "shapes"), args.device)
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(PRESETS)}")
    settings = replace(RECIPES[preset], **budget | changes | {"preset": preset})
    if settings.init and network:
        raise ValueError(f"--init brings its own network: leave out {', '.join(sorted(network))}")
    config = model.load(settings.init).unet.config if settings.init else replace(PRESETS[preset], **network)
    if "compile" not in changes:
        settings = replace(settings, compile=worth_compiling(settings, args.device))
    return settings, config, None


def worth_compiling(settings: Settings, device: str) -> bool:
    """A GPU gains what compilation takes, a minute or two, in a training of ten minutes or more."""
    return device == "cuda" and (settings.minutes >= 10 or settings.images >= 5_000_000)


def resumed(folder: Path, changes: dict, network: dict, budget: dict) -> tuple[Settings, UNetConfig, dict]:
    """Settings, network and checkpoint of the run in a folder, with the flags that may change it."""
    fixed = sorted((set(changes) | set(network)) - set(RESUMABLE))
    if fixed:
        may = ", ".join(RESUMABLE)
        raise ValueError(f"--resume keeps the run's own {', '.join(fixed)}: leave it out; only {may} may change")
    path = folder / model.CHECKPOINT
    content = model.read(path, model.RUN)
    if unknown := sorted(set(content["settings"]) - {f.name for f in fields(Settings)}):
        raise ValueError(
            f"{path} is of another version of the code (it sets {', '.join(unknown)}) and cannot be resumed: "
            f"start a new run from its weights with --init {folder}"
        )
    with files.fitting(path):
        settings, config = Settings(**content["settings"]), UNetConfig(**content["unet_config"])
    return replace(settings, **budget | changes), config, content


# ---- the run -------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """A run on disk: its folder (None but in the first process), the training, and what its files need.

    captions: of the sample grids. data_sha256: `Dataset.sha256`.
    """

    folder: Path | None
    training: Training
    tokenizer: Tokenizer
    captions: list[str]
    data_sha256: str
    began: float

    @property
    def info(self) -> dict:
        """How the weights were made: part of every checkpoint."""
        training, settings = self.training, self.training.settings
        return {
            "data": settings.data,
            "data_sha256": self.data_sha256,
            "preset": settings.preset,
            **({"init": settings.init} if settings.init else {}),  # its images and minutes are not counted below
            "images": training.images,
            "minutes": round(training.seconds / 60, 2),
            "ema": settings.ema[0],
            "device": device_name(training.device),
            "precision": training.precision,
            "processes": training.world,
            "code": run_folder.code_version(),
            "torch": str(torch.__version__),  # its own class of string would not load with weights_only
        }

    @property
    def trained(self) -> Trained:
        """The model as it is now, with the averaged weights."""
        training = self.training
        unet = training.averaged(training.settings.ema[0])
        return Trained(unet, self.tokenizer, training.schedule, self.info, training.precision)

    def save(self) -> None:
        """The checkpoint, replaced as a whole."""
        training = self.training
        about = model.description(training.unet.config, self.tokenizer, training.schedule)
        content = about | {"settings": asdict(training.settings), "info": self.info} | training.state()
        files.save(self.folder / model.CHECKPOINT, content)

    def save_samples(self) -> Path:
        """A captioned sample grid and the loss curve; returns the grid's path."""
        sampler = caption_accuracy.few_steps
        (grid,) = generate(self.trained, self.captions, list(range(len(self.captions))), sampler, SCALE)
        (self.folder / "samples").mkdir(exist_ok=True)
        images.loss_curve(self.folder / "loss.png", run_folder.lines(self.folder / "metrics.jsonl"))
        return images.grid(self.folder / "samples" / f"{self.training.images:09d}.png", grid, self.captions)


def assemble(
    settings: Settings, config: UNetConfig, start: Trained | None, data: Dataset
) -> tuple[UNet, Tokenizer, Schedule]:
    """A new run's network, fresh from the seed or with the weights of --init, its tokenizer and schedule.

    The model learns the words of the data's captions. Those without a token in the weights of --init get new ones,
    whose embeddings come from the seed.
    """
    torch.manual_seed(settings.seed)
    own, schedule = start.tokenizer if start else Tokenizer(known=()), Schedule(settings.T, settings.schedule)
    tokenizer = own.extended({caption for captions in data.captions for caption in captions})
    unet = UNet(config, len(tokenizer), schedule.alpha_bar)  # of this run's schedule, not of that of the weights
    if start:
        weights, name = start.unet.state_dict(), "text.words.weight"
        weights[name] = torch.cat([weights[name], unet.text.words.weight[len(own) :]])
        unet.load_state_dict(weights)
    return unet, tokenizer, schedule


def prepare(args: argparse.Namespace, settings: Settings, config: UNetConfig, content: dict | None) -> Run:
    """Everything before the first step: network, data, run folder."""
    began, device = time.monotonic(), processes.start(args.device)
    start = model.load(settings.init) if settings.init and content is None else None
    words = content["words"] if content is not None else start.tokenizer.words if start else ()
    with processes.rank_zero_first():
        source = settings.data, settings.data_dir, "train", config.size
        data = load_data(*source, words=(*VOCABULARY, *words), longest=config.words - 1)
    if content is not None:
        check_data(data, content["info"], settings)
        unet, tokenizer, schedule = model.build(content)
    else:
        unet, tokenizer, schedule = assemble(settings, config, start, data)
    training = Training(settings, unet.to(device), tokenizer, schedule, data)
    if content is not None:
        training.restore(content)
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(settings.seed))[:32]
    run = Run(None, training, tokenizer, [data.captions[i][0] for i in rows], data.sha256, began)
    if processes.rank() == 0:
        run.folder = Path(args.resume) if args.resume else run_folder.new_run(Path(args.out), settings.preset)
        files.clear_leftovers(run.folder / model.CHECKPOINT)
        run_folder.drop_torn_line(run.folder / "metrics.jsonl")
        record = {"settings": asdict(settings), "network": asdict(unet.config), "at the start": run.info}
        files.write_json(run.folder / "config.json", record)
        where = f"{device_name(device)} in {training.precision}"
        print(f"{run.folder}: {settings.preset} on {where}, {len(data)} images")
    return run


def check_data(data: Dataset, info: dict, settings: Settings) -> None:
    """ValueError unless the dataset is the one that the run began with."""
    if info.get("data_sha256", data.sha256) != data.sha256:
        raise ValueError(
            f"the dataset {settings.data} in {settings.data_dir} has changed since this run began: "
            "put the old files back, or start a new run from its weights with --init"
        )


def watch(training: Training) -> Iterator[Record]:
    """Train behind a bar over the share of the budget, with the rate and the time left; yields the records."""
    layout = "{l_bar}{bar}| {n:.0f}/{total}% [{elapsed}<{remaining}]{postfix}"
    start, quiet = 100 * training.progress(), processes.rank() > 0
    with tqdm(total=100, initial=start, bar_format=layout, disable=quiet) as bar:
        for record in training.run():
            state = f"{record.images} images, {record.rate:.0f} images/s, loss {record.loss:.4f}"
            bar.set_postfix_str(state, refresh=False)
            bar.update(100 * record.progress - bar.n)
            yield record


def train(run: Run) -> None:
    """Run to the end of the budget; checkpoints by the clock, sample grids at every quarter."""
    training, saved = run.training, time.monotonic()
    quarter = int(4 * training.progress())
    for record in watch(training):
        if run.folder is None:
            continue
        run_folder.append(run.folder / "metrics.jsonl", asdict(record))
        if time.monotonic() - saved > 60 * training.settings.save_every or record.progress >= 1:
            run.save()
            saved = time.monotonic()
        if int(4 * record.progress) > quarter:
            quarter = int(4 * record.progress)
            tqdm.write(f"samples: {run.save_samples()}")


def finish(run: Run) -> None:
    """Measure the caption accuracy of a model of the shapes; write and print the report."""
    result, settings, text = run.info, run.training.settings, ""
    if settings.data == "shapes" and settings.report:
        bar = partial(tqdm, total=len(in_batches(settings.report, run.training.device)), unit=" batches")
        sets = caption_accuracy.of_shapes(settings.report)
        accuracy = caption_accuracy.measure(run.trained, caption_accuracy.few_steps, sets, SCALE, bar)
        text = caption_accuracy.table(accuracy) + "\n"
        result["checks"] = {"n": settings.report, "steps": STEPS, "eta": ETA, "scale": SCALE} | accuracy
    result["seconds"] = round(time.monotonic() - run.began, 1)
    files.write_json(run.folder / "report.json", result)
    print(f"{text}{result['images']} images in {result['minutes']} minutes of training, {result['seconds']} s in all")
    print(f"in {run.folder}: weights {model.CHECKPOINT}, loss curve loss.png, grids samples/, report report.json")


def describe(settings: Settings, config: UNetConfig, args: argparse.Namespace) -> None:
    """What a run would do."""
    parameters, gflop = cost(UNet(config, len(Tokenizer()), Schedule(settings.T, settings.schedule).alpha_bar))
    print("settings:", json.dumps(asdict(settings), indent=2))
    print("network:", json.dumps(asdict(config), indent=2))
    print(f"{parameters / 1e6:.2f} M parameters, {gflop:.3f} GFLOP per image forward, {3 * gflop:.3f} in training")
    print(f"device {args.device}; would", f"resume {args.resume}" if args.resume else f"make a folder in {args.out}")


def run(args: argparse.Namespace) -> None:
    """All of it: configure, train, report."""
    settings, config, content = configure(args)
    if not settings.minutes and not settings.images:
        raise ValueError("--minutes 0 and --images 0 would train for ever: give one of them")
    if args.dry_run:
        return describe(settings, config, args)
    run = prepare(args, settings, config, content)
    train(run)
    if run.folder is not None:
        finish(run)
    run.training.network = None  # with it goes what exchanges gradients
    processes.destroy()


if __name__ == "__main__":
    sys.exit(cli.exit_code("train.py", lambda: run(parser().parse_args())))
