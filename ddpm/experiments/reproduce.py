"""Train a model and make its table, reconstructions, figures, edits and scores within given minutes, on one page.

A few timed steps (or the name of a GPU, for a plan on paper) decide the network, the rows of the table and the number
of images; the batch is the network's own, which `ddpm.memory` cuts into parts that fit the GPU. Parts that are done are
not done again: the same command goes on where it stopped.
"""

import argparse
import html
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from tqdm import tqdm

from ddpm.evaluation.features import KINDS, fetched
from unet import PRESETS, Tokenizer, UNet, cost
from unet.__main__ import rates
from unet.precision import resolve

from ..schedule import Schedule
from ..training import RECIPES
from ..utils import cli
from ..utils.device import best_device, usable
from ..utils.files import CHECKPOINT, CheckpointError, write_json, write_text
from . import records

EXAMPLE = "python -m ddpm reproduce --data cifar10 --minutes 720 --gpu A100 --dry-run"
ROOT = Path(__file__).parents[2]
GPUS = {  # GFLOP/s in training our networks
    "H100": 77_000,  # measured: cifar10 and celeba64 trained side by side, 9,900 images/s in all
    "A100": 47_000, "T4": 7_000,  # estimates: 15 and 11 % of the data sheets' dense half precision
    # 11 % of the data sheets' 165 and 71 TFLOP/s in bfloat16 with float32 sums; both have 24 GB, a recipe takes 14
    "RTX4090": 18_000, "RTX3090": 8_000,
}  # fmt: skip
NETWORKS = {  # from large to small, with the images that training must be able to show
    "cifar10": (("ddpm", 50_000_000), ("cifar10", 2_000_000), ("cifar10-cpu", 0)),
    "celeba": (("celeba64", 1_500_000), ("celeba64-cpu", 0)),
    "scenes": (("scenes", 0),),
    "shapes": (("shapes", 0),),
}
TRAINING, TABLE = 0.55, 0.3  # shares of the minutes: of the training at least, about; of the table at most
SHORT, LONG = (10, 20, 50, 100), (1000,)  # columns of the table
COUNTS = (50_000, 10_000, 5_000, 2_000, 1_000, 500, 200, 100, 50, 20)
ROWS = ("0", "0.2", "0.5", "1", "hat", "2m")
TABLES = (  # from large to small: rows of the short columns, of the long one, and the images that each needs
    (ROWS, ("0", "1", "hat"), 5_000),
    (ROWS, ("0", "1"), 5_000),
    (ROWS, (), 200),
    (("0", "1"), (), 0),
)
SCORE = 600  # calls of the network for one image of a score, about
RUNS = "runs"
EDITS = {  # captions of Prompt-to-Prompt: a sentence, the word that is replaced, the new word; guidance
    "shapes": ("a photo of a large red {} on a blue background", "circle", "square", 2),
    "scenes": ("a photo of a gray {} on a red couch", "cat", "dog", 2),
    "cifar10": ("a photo of a {} horse on a green background", "brown", "white", 3),
    "celeba": ("a photo of a woman with {} hair", "brown", "blond", 3),
}


@dataclass(frozen=True)
class Part:
    """One command, its estimated minutes, and what the page says above its result."""

    name: str
    minutes: float
    words: list[str]
    title: str


@dataclass(frozen=True)
class Rates:
    """Images a second in training and through the network."""

    training: float
    forward: float


# ---- the plan --------------------------------------------------------------------------------------------------------


def unet_of(preset: str) -> UNet:
    """The untrained network of a preset."""
    return UNet(PRESETS[preset], len(Tokenizer()), Schedule(1000, RECIPES[preset].schedule).alpha_bar)


def timed(preset: str, device: torch.device) -> Rates:
    """By a few steps on the device, in the precision that training would take."""
    forward, training = rates(unet_of(preset).to(device), 16, resolve("auto", device), compiled=False)
    return Rates(training, forward)


@cache
def gflop_of(preset: str) -> float:
    """Of one image's forward pass."""
    return cost(unet_of(preset))[1]


def on_paper(preset: str, gpu: str) -> Rates:
    """By the arithmetic of the network; small networks use a GPU only in part."""
    gflop = gflop_of(preset)
    effective = GPUS[gpu] * min(1.0, gflop / 2.6)
    return Rates(effective / (3 * gflop), effective / gflop)


def choose_network(data: str, minutes: float, rates_of: Callable[[str], Rates]) -> tuple[str, Rates]:
    """The largest network that sees enough images in its share of the minutes."""
    for preset, images in NETWORKS[data]:
        found = rates_of(preset)
        if 60 * TRAINING * minutes * found.training >= images:
            return preset, found
    raise AssertionError("the last network needs no images")


def largest(counts: tuple[int, ...], calls: float, budget: float) -> int:
    """The largest n whose n * calls fit into a budget of calls, else the smallest n."""
    return next((n for n in counts if n * calls <= budget), counts[-1])


def choose_table(budget: float) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Rows, rows of the long column and n of the largest table that fits into a budget of calls.

    The next row counts more than more images: a smaller table never has more than the next larger one needs.
    """
    most = COUNTS[0]
    for rows, long_rows, least in TABLES:
        n = min(most, largest(COUNTS, len(rows) * sum(SHORT) + len(long_rows) * sum(LONG), budget))
        if n >= least:
            return rows, long_rows, n
        most = least
    raise AssertionError("the last table needs no images")


def plan(args: argparse.Namespace, preset: str, rates: Rates) -> list[Part]:
    """What is run, in this order; training has the minutes that the other parts leave. ValueError: too few."""
    out, run = Path(args.out), run_folder(Path(args.out), preset)
    budget = 60 * args.minutes * rates.forward  # calls of the network in all the minutes
    rows, long_rows, n = choose_table(TABLE * budget)
    few = largest(COUNTS[4:], 2 * sum(SHORT) + 20 + SCORE, (1 - TRAINING - TABLE) * budget)

    def part(name: str, calls: float, title: str, *words: str) -> Part:
        own = ["--model", str(run), "--device", args.device, "--out", str(out / name.partition(" ")[0])]
        reads_data = [] if words[:2] == ("p2p", "score") else ["--data-dir", args.data_dir]
        return Part(name, calls / rates.forward / 60, ["-m", *words, *own, *reads_data], title)

    def table(name: str, columns: tuple[int, ...], rows: tuple[str, ...], title: str) -> Part:
        words = ["--n", str(n), "--features", args.features, "--columns", *map(str, columns), "--rows", *rows]
        return part(name, n * len(rows) * sum(columns), title, "ddim", "table", *words)

    sentence, old, new, scale = EDITS[args.data]
    captions = ["--source", sentence.format(old), "--target", sentence.format(new), "--scale", str(scale)]
    gaussian = ["--variants", "null prompt", "Gaussian, exact eps", "--n", str(few)]
    tables = [table("table", SHORT, rows, "Frechet distance over steps and eta")]
    if long_rows:
        tables.append(table("table 1000", LONG, long_rows, ""))  # into the same record
    parts = [
        *tables,
        part("reconstruct", 2 * few * sum(SHORT), "Reconstruction by DDIM inversion", "ddim", "reconstruct", *gaussian),
        part("figures", 10_000, "Samples over eta and S", "ddim", "figures"),
        part("captions", 20 * few, "Do images show their caption?", "ddpm", "score", "--n", str(few)),
        part("edit", 600, "Prompt-to-Prompt", "p2p", "edit", *captions, "--seeds", "0-3", "--steps", "30"),
        part("score", SCORE * few, "Prompt-to-Prompt and its baselines", "p2p", "score", "--n", str(few)),
    ]
    others = sum(part.minutes for part in parts)
    if others > args.minutes / 2:
        raise ValueError(f"--minutes is {args.minutes:g}: give at least {2 * others:.0f}: half is for training")
    return [training(args, run, preset, args.minutes - others), *parts]


def run_folder(out: Path, preset: str) -> Path:
    """The folder of the training run: the newest, or the first that train.py will make."""
    return max((out / RUNS).glob("[0-9]*"), default=out / RUNS / f"00000-{preset}")


def training(args: argparse.Namespace, run: Path, preset: str, minutes: float) -> Part:
    """train.py with its minutes; resumed where a run is there."""
    words = ["--data", args.data, "--preset", preset, "--minutes", f"{minutes:.3g}", "--out", str(run.parent)]
    if (run / CHECKPOINT).exists():
        words = ["--resume", str(run)]
    return Part(RUNS, minutes, ["train.py", *words, "--device", args.device, "--data-dir", args.data_dir], "Training")


# ---- run it ----------------------------------------------------------------------------------------------------------


def show(preset: str, rates: Rates, parts: list[Part]) -> None:
    """Print the plan with its times."""
    print(f"network {preset}: {rates.training:,.0f} images/s in training, {rates.forward:,.0f} in sampling")
    for part in parts:
        print(f"{part.minutes:8.1f} min  python {shlex.join(part.words)}")
    print(f"{sum(part.minutes for part in parts):8.1f} min  in all")


def page(out: Path, parts: list[Part]) -> Path:
    """The results that are there, tables as text and images, in the order of the plan."""
    body = ["<h1>Results</h1>"]
    for part in parts:
        folder = run_folder(out, "") if part.name == RUNS else out / part.name
        images = [*sorted(folder.glob("*.png")), *sorted(folder.glob("samples/*.png"))[-1:]]
        if files := [*sorted(folder.glob("*.txt")), *images]:
            command = html.escape(shlex.join(part.words))
            body += [f"<h2>{part.title}</h2>", f"<p><code>python {command}</code></p>"]
            body += [element(file, out) for file in files]
    style = "body { font: 18px sans-serif; margin: 2em } img { max-width: 100% }"
    head = ["<!doctype html>", "<meta charset='utf-8'>", "<title>Results</title>", f"<style>{style}</style>"]
    return write_text(out / "index.html", "\n".join([*head, *body, ""]))


def element(file: Path, out: Path) -> str:
    """A result as HTML: a table's text, or an image."""
    if file.suffix == ".txt":
        return f"<pre>{html.escape(file.read_text(encoding='utf-8'))}</pre>"
    return f"<p><img src='{html.escape(str(file.relative_to(out)))}' alt='{html.escape(file.stem)}'></p>"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddpm reproduce`."""
    parser.add_argument("--data", choices=NETWORKS, default="cifar10", help="the dataset")
    cli.add_flags(parser, data_dir="data", device=best_device(), out="results/reproduce")
    parser.add_argument("--minutes", type=cli.finite, default=720.0, help="for all of it")
    parser.add_argument("--features", choices=KINDS, help="inception (FID) for photographs where it can be had")
    parser.add_argument("--gpu", choices=GPUS, help="plan for this GPU on paper, in place of timed steps")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, and stop")


def exit_code_of(words: list[str]) -> int:
    """Run a command of this repository to its end."""
    return subprocess.run([sys.executable, *words], cwd=ROOT).returncode


def choice_file(args: argparse.Namespace) -> Path:
    """Where the choice that was made at the first call is kept: another timing must not change the plan."""
    path = Path(args.out) / "plan.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def settings_of(args: argparse.Namespace) -> dict:
    """What a plan depends on."""
    return {name: getattr(args, name) for name in ("data", "minutes", "features")}


def features_of(args: argparse.Namespace) -> str:
    """The table's feature network: as asked for or as before; of photographs the official one where it can be had.

    It is fetched before the training, which would be in vain without it. CheckpointError: it was asked for and is not
    to be had.
    """
    kind, before = args.features, choice_file(args)
    if kind is None and before.exists() and not args.gpu:
        kind = records.read(before)["features"]
    wanted = kind or ("inception" if args.data in ("cifar10", "celeba") else "classifier")
    if wanted == "classifier" or args.dry_run:
        return wanted
    try:
        print(f"Inception network: {fetched()}")
    except CheckpointError as error:
        if kind:
            raise
        print(f"{error}. The table takes the classifier's features: its distance is no FID")
        return "classifier"
    return wanted


def chosen_before(args: argparse.Namespace) -> tuple[str, Rates] | None:
    """Network and rates of the plan in this folder, if there is one. ValueError: it was made for something else."""
    path = choice_file(args)
    if args.gpu or not path.exists():
        return None
    record = records.read(path)
    preset, speed = record.pop("preset"), Rates(**record.pop("rates"))
    records.check_same(path, record, settings_of(args))
    return preset, speed


def run(args: argparse.Namespace) -> None:
    """Plan, print the plan, and run what is not done yet. ValueError: a part failed."""
    if args.minutes <= 0:
        raise ValueError(f"--minutes is {args.minutes:g}: expected more than 0")
    if args.gpu and not args.dry_run:
        raise ValueError("--gpu makes a plan on paper: add --dry-run, or leave it out to time this machine")
    device, args.device = usable(args.device), "cuda" if args.gpu else args.device
    rates_of = (lambda preset: on_paper(preset, args.gpu)) if args.gpu else (lambda preset: timed(preset, device))
    args.features = features_of(args)
    preset, speed = chosen_before(args) or choose_network(args.data, args.minutes, rates_of)
    parts = plan(args, preset, speed)
    show(preset, speed, parts)
    if args.dry_run:
        return
    write_json(choice_file(args), {**settings_of(args), "preset": preset, "rates": asdict(speed)})
    marks = Path(args.out) / "done"
    marks.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(tqdm([part.name for part in parts], "parts", unit=" parts")):
        part = plan(args, preset, speed)[i]  # again: the run's folder is known once it is there
        if (marks / name).exists():
            continue
        if code := exit_code_of(part.words):
            raise ValueError(f"{name} ended with exit code {code}: mend that, and the same command goes on there")
        (marks / name).touch()
        page(Path(args.out), plan(args, preset, speed))
    print(page(Path(args.out), plan(args, preset, speed)))
