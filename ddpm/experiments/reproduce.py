"""Train a model and make its table, reconstructions, figures, edits and scores within given minutes, on one page.

A few timed steps decide the network and the numbers of images. The same command goes on where it stopped.
"""

import argparse
import html
import os
import shlex
import subprocess
import sys
from pathlib import Path

import torch

from ddim.experiments.table import ROWS
from unet import PRESETS
from unet.precision import resolve

from ..data import load_data
from ..evaluation.features import KINDS, fetched, imagenet
from ..training import RECIPES
from ..utils import cli
from ..utils.device import select_device
from ..utils.files import CHECKPOINT, read_json, write_json, write_text
from . import records, speed

EXAMPLE = "python -m ddpm reproduce --data cifar10 --minutes 720 --dry-run"
ROOT, PLAN = Path(__file__).parents[2], "plan.json"
PHOTOGRAPHS = ("cifar10", "celeba")
IMAGES = {"ddpm": 50_000_000, "cifar10": 2_000_000, "celeba64": 1_500_000}  # that a large network must see in training
EDITS = {  # the captions before and after Prompt-to-Prompt
    "cifar10": ("a photo of a brown horse on a green background", "a photo of a white horse on a green background"),
    "celeba": ("a photo of a woman with brown hair", "a photo of a woman with blond hair"),
    "scenes": ("a photo of a gray cat on a red couch", "a photo of a gray dog on a red couch"),
    "shapes": ("a photo of a red circle on a blue background", "a photo of a red square on a blue background"),
}
TABLE = f"--rows {' '.join(ROWS)} --columns 10 20 50 100"  # and 1000, if all columns can have 5,000 images
COUNTS = (50_000, 10_000, 5_000, 2_000, 1_000, 500, 200, 100, 50, 20)  # images that are measured
FIXED, EACH = 10_600, 1_000  # calls of the network, about: figures and one edit; an image inverted, sampled and edited


def timed(preset: str, device: torch.device) -> dict[str, float]:
    """Images per second in training and through the network, by a few steps on the device."""
    works = speed.works_of(speed.OURS, preset, 16, device, resolve("auto", device))
    seconds = speed.measure({name: works[name] for name in ("training", "DDIM step")}, 3, device)
    return {"training": 16 / seconds["training"], "sampling": 16 / seconds["DDIM step"]}


def plan(args: argparse.Namespace, preset: str, rates: dict[str, float]) -> list[tuple[float, str, list[str], Path]]:
    """The commands in their order: minutes, title, words, folder; half for training. ValueError: too few minutes."""
    out, budget = Path(args.out), 60 * args.minutes / 2 * rates["sampling"] - FIXED
    most = min(budget * 2 / 3, budget - COUNTS[-1] * EACH)
    for table, calls in ((f"{TABLE} 1000", 6 * 1180), (TABLE, 6 * 180)):  # calls of the network for an image
        n = next((n for n in COUNTS if n * calls <= most), COUNTS[-1])
        if n >= 5_000:
            break
    few = next((few for few in COUNTS[4:] if few * EACH <= budget - n * calls), COUNTS[-1])
    if (used := n * calls + few * EACH) > budget:
        enough = (used + FIXED) / rates["sampling"] / 30 + 0.01
        raise ValueError(f"--minutes is {args.minutes:g}: expected at least {enough:.2f}, half of it for training")
    runs = sorted((out / "runs").glob(f"*/{CHECKPOINT}"), key=lambda file: file.stat().st_mtime)
    model = runs[-1].parent if runs else out / "runs" / f"00000-{preset}"
    source, target = map(shlex.quote, EDITS[args.data])
    parts, own = [], ["--device", args.device, "--data-dir", args.data_dir]
    for cost, title, command in (
        (n * calls, "Frechet distance over steps and eta", f"ddim table --n {n} {table} --features {args.features}"),
        (360 * few, "DDIM inversion", f"ddim reconstruct --n {few} --variants 'null prompt' 'Gaussian, exact eps'"),
        (10_000, "Samples over eta and S", "ddim figures"),
        (40 * few, "Do images show their caption?", f"ddpm score --n {few}"),
        (600, "Prompt-to-Prompt", f"p2p edit --source {source} --target {target} --seeds 0-3 --steps 30"),
        (600 * few, "Prompt-to-Prompt and its baselines", f"p2p score --n {few}"),
    ):
        folder = out / "-".join(command.split()[:2])
        words = ["-m", *shlex.split(command), *own, "--model", str(model), "--out", str(folder)]
        parts.append((cost / rates["sampling"] / 60, title, words, folder))
    left = args.minutes - sum(minutes for minutes, *_ in parts)
    new = ["--data", args.data, "--preset", preset, "--minutes", f"{left:.3g}", "--out", str(out / "runs")]
    words = [str(ROOT / "train.py"), *(["--resume", str(model)] if runs else new), *own]
    return [(left, "Training", words, model), *parts]


def write_page(out: Path, parts: list[tuple[float, str, list[str], Path]]) -> None:
    """The results that are there, tables as text and images, in the order of the plan."""
    body = ["<!doctype html><meta charset='utf-8'><title>Results</title>"]
    for _, title, words, folder in parts:
        body.append(f"<h2>{title}</h2><p><code>python {html.escape(shlex.join(words))}</code></p>")
        body += [f"<pre>{html.escape(file.read_text(encoding='utf-8'))}</pre>" for file in sorted(folder.glob("*.txt"))]
        for file in [*sorted(folder.glob("*.png")), *sorted(folder.glob("samples/*.png"))[-1:]]:
            body.append(f"<p><img src='{html.escape(file.relative_to(out).as_posix())}' alt='{title}'></p>")
    write_text(out / "index.html", "\n".join(body) + "\n")


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", choices=EDITS, default="cifar10", help="the dataset")
    cli.add_flags(parser, "device", "data_dir", out="results/reproduce")
    parser.add_argument("--minutes", type=cli.finite, default=720.0, help="for all of it")
    parser.add_argument("--features", choices=KINDS, help="by default inception (FID) for photographs")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, and stop")


def prepare(args: argparse.Namespace) -> dict:
    """Settings, network, rates, number of parts that are done: of plan.json, or new.

    ValueError: another's, no data; files.CheckpointError: no ImageNet network.
    """
    if not 0 < args.minutes <= 10**7:
        raise ValueError(f"--minutes is {args.minutes:g}: expected more than 0, and at most 10,000,000")
    device, path = select_device(args.device), Path(args.out) / PLAN
    args.features = args.features or ("inception" if args.data in PHOTOGRAPHS else "classifier")
    if args.features == "imagenet":
        imagenet()  # raises without its packages
    settings = {name: getattr(args, name) for name in ("data", "minutes", "features")}
    if path.exists():
        record = read_json(path, "a plan of this command", (*settings, "preset", "rates", "done"))
        if any(path.parent.glob(f"runs/*/{CHECKPOINT}")):  # else nothing was done by that plan
            records.check_same(path, {name: record[name] for name in settings}, settings)
            return record
    presets = [name for name in PRESETS if RECIPES[name].data == args.data]
    if args.data in PHOTOGRAPHS and not args.dry_run:  # others are drawn
        load_data(args.data, args.data_dir, "test", PRESETS[presets[0]].size)
    for preset in presets:  # from large to small
        rates = timed(preset, device)
        if 30 * args.minutes * rates["training"] >= IMAGES.get(preset, 0):
            break
    return settings | {"preset": preset, "rates": rates, "done": 0}


def run(args: argparse.Namespace) -> None:
    record, out = prepare(args), Path(args.out)
    parts = plan(args, record["preset"], record["rates"])
    print(f"network {record['preset']}, images/s: " + ", ".join(f"{v:,.0f} in {k}" for k, v in record["rates"].items()))
    for minutes, _, words, _ in parts:
        print(f"{minutes:8.1f} min  python {shlex.join(words)}")
    if args.dry_run:
        return
    if args.features == "inception":
        print(f"Inception network: {fetched()}")  # before the training, which would be in vain without it
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    while record["done"] < len(parts):
        write_json(out / PLAN, record)
        _, title, words, _ = parts[record["done"]]
        if code := subprocess.run([sys.executable, *words], env=environment).returncode:
            raise ValueError(f"{title!r} ended with exit code {code}: mend that, and the same command goes on there")
        record["done"] += 1
        parts = plan(args, record["preset"], record["rates"])  # again: it names the run's folder when it is there
        write_page(out, parts)
    write_json(out / PLAN, record)
    print(out / "index.html")
