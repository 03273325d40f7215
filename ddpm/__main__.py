"""The trained models from the terminal.

    python -m ddpm sample --model shapes --prompts "a photo of a small red circle on a blue background" --out circle.png
    python -m ddpm score --model runs/00000-shapes         how many images show what their prompt says
    python -m ddpm neighbours --model cifar10-cpu          samples beside their nearest training images
    python -m ddpm bound --model shapes --n 64             the ELBO term by term, in bits per dimension
    python -m ddpm ship runs/00000-shapes shapes           put a run's weights among the shipped models
"""

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

import ddim

from . import checkpoints
from . import images as sheets
from .cli import Parser, exit_code, finite, image_file, json_file, positive, share
from .data import load_data
from .diffusion import VARIANCES
from .experiments import caption_accuracy as report
from .experiments import likelihood as bits
from .experiments import neighbours
from .files import write_json
from .model import Sampler, Trained, generate


def sampler(args: argparse.Namespace) -> Sampler:
    """DDIM with --steps and --eta."""

    def few(eps, schedule, x_T, noise) -> Iterator:
        return ddim.sample(eps, schedule, x_T, args.steps, args.eta, generator=noise)

    return few


def sample_command(args: argparse.Namespace) -> None:
    """Write a captioned grid: every prompt with every seed."""
    trained = checkpoints.load(args.model, device=args.device)
    prompts = [prompt for prompt in args.prompts for _ in range(args.count)]
    seeds = list(range(args.seed, args.seed + args.count)) * len(args.prompts)
    batches = generate(trained, prompts, seeds, sampler(args), args.scale)
    images = np.concatenate(list(tqdm(batches, "batches", -(-len(prompts) // 64))))
    columns = args.count if args.count > 1 else min(8, len(prompts))
    print(sheets.grid(Path(args.out), images, prompts, columns))


def score_command(args: argparse.Namespace) -> None:
    """Print, and with --out write, how many images show what their prompt says."""
    trained = checkpoints.load(args.model, device=args.device)
    asked = {name: getattr(args, name) for name in ("model", "n", "steps", "eta", "scale")}
    of_shapes = trained.info["data"] == "shapes"
    result = asked | {"info": trained.card} | (score_drawings if of_shapes else score_photos)(trained, args)
    if args.out:
        print(write_json(Path(args.out), result))


def score_drawings(trained: Trained, args: argparse.Namespace) -> dict:
    """Exact checks of a model of the shapes."""
    result = {"on real renderings": report.score_checks(args.n, "train")}
    for split, name in report.SPLITS.items():
        bar = partial(tqdm, desc=name, total=-(-args.n // 64))
        result[name] = report.score_shapes(trained, sampler(args), args.n, split, args.scale, bar)
    for name, shares in result.items():
        print(report.line(name, shares))
    return result


def score_photos(trained: Trained, args: argparse.Namespace) -> dict:
    """A model of real images, by the shipped classifier and the rule that wrote the colour words."""
    data = load_data(trained.info["data"], args.data_dir, "test", trained.shape[1])
    judge = ddim.classifier.load(data.name)
    bar = partial(tqdm, total=-(-args.n // 64))
    result = report.score_real(trained, sampler(args), data, judge.probabilities, args.n, args.scale, bar)
    for kind, real in result["real images"].items():
        percent = f"real {100 * real['share']:5.1f} %  samples {100 * result['samples'][kind]['share']:5.1f} %"
        print(f"{kind:12s} {real['n']:5d} prompts  {percent}")
    return result | {"classifier": judge.sha256}


def neighbours_command(args: argparse.Namespace) -> None:
    """Samples beside their nearest training images, and how far samples and test images are from theirs."""
    trained = checkpoints.load(args.model, device=args.device)
    training, test = (load_data(trained.info["data"], args.data_dir, s, trained.shape[1]) for s in ("train", "test"))
    rows = report.drawn_rows(test, args.n)
    prompts = [test.captions[i][0] for i in rows]
    batches = generate(trained, prompts, list(range(args.n)), sampler(args), args.scale)
    samples = np.concatenate(list(tqdm(batches, "samples", -(-args.n // 64))))
    sets = {"samples": samples, "test": test.images[rows]}
    found = {name: neighbours.nearest(images, training.images) for name, images in sets.items()}
    shares = (1, 10, 50, 90)
    result = {name: dict(zip(shares, np.percentile(d, shares).round(5), strict=True)) for name, (d, _) in found.items()}
    for name, percentiles in result.items():
        told = ", ".join(f"{share} % are below {value}" for share, value in percentiles.items())
        print(f"{name}: distance to the nearest training image: {told}")
    matches, distances = training.images[found["samples"][1][:32]], {name: d for name, (d, _) in found.items()}
    asked = {name: getattr(args, name) for name in ("model", "n", "steps", "eta", "scale")}
    print(write_json(Path(args.out).with_suffix(".json"), asked | {"info": trained.card} | result))
    print(neighbours.figure(Path(args.out), samples[:32], matches, distances))


def bound_command(args: argparse.Namespace) -> None:
    """Print the terms of the variational bound; write them (--out) and a plot of L_(t-1) over t beside them."""
    out = Path(args.out)
    trained = checkpoints.load(args.model, device=args.device)
    name = trained.info["data"]
    data = load_data(name, args.data_dir, args.split, trained.unet.config.size)
    bar = partial(tqdm, desc=f"{args.n} images, {bits.BATCH} at a time")
    bound = bits.measure(trained, data, args.n, not args.null, args.variance, args.times, bar)
    parts, (times, terms) = bits.summary(bound), bits.curve(bound)
    print(bits.table(parts))
    asked = {key: getattr(args, key) for key in ("model", "split", "n", "null", "variance", "times")}
    schedule = {"T": trained.schedule.T, "kind": trained.schedule.kind}
    seen = {"data": name, "images seen": trained.info.get("images")}
    record = asked | seen | {"schedule": schedule, "bits per dimension": parts}
    print(write_json(out, record | {"t": times, "L_(t-1)": terms}))
    print(bits.plot(out.with_suffix(".png"), times, terms, f"{args.n} images of {name}, {args.split} split"))


def ship_command(args: argparse.Namespace) -> None:
    """Copy a run's averaged weights, in half precision, to where `ddpm.load` finds them by name."""
    numbers = json.loads(Path(args.numbers).read_text()) if args.numbers else {}
    print(checkpoints.ship(args.run, args.name, numbers, args.ema))


def parser() -> argparse.ArgumentParser:
    """The flags of all commands."""
    as_written = argparse.RawDescriptionHelpFormatter
    flags = Parser(prog="python -m ddpm", description=__doc__, formatter_class=as_written)
    commands = flags.add_subparsers(required=True, metavar="COMMAND")
    works = {"sample": sample_command, "score": score_command, "neighbours": neighbours_command}
    for name, work in works.items():
        command = commands.add_parser(name, help=work.__doc__)
        command.set_defaults(work=work)
        command.add_argument("--model", default="shapes", help="a shipped model's name, a run folder or a file")
        command.add_argument("--steps", type=positive, default=report.STEPS, help="DDIM steps")
        command.add_argument("--eta", type=share, default=report.ETA, help="noise of each step: 0 DDIM, 1 DDPM")
        command.add_argument("--scale", type=finite, default=report.SCALE, help="guidance, 1 for none")
        command.add_argument("--device", default="cpu")
        if name == "sample":
            command.add_argument("--prompts", nargs="+", required=True)
            command.add_argument("--count", type=positive, default=8, help="images of each prompt")
            command.add_argument("--seed", type=int, default=0, help="of the first image; the next ones count up")
            command.add_argument("--out", type=image_file, default="samples.png")
        else:
            command.add_argument("--n", type=positive, default=500, help="images of each kind")
            command.add_argument("--data-dir", default="data", help="where the data set lies (shapes needs none)")
            image = {"default": "neighbours.png", "type": image_file}
            record = {"help": "a JSON file for the result", "type": json_file}
            command.add_argument("--out", **image if name == "neighbours" else record)
    command = commands.add_parser("bound", help=bound_command.__doc__)
    command.set_defaults(work=bound_command)
    command.add_argument("--model", default="shapes", help="a shipped model's name, a run folder or a file")
    command.add_argument("--n", type=positive, default=64, help="images, from the split's first on")
    command.add_argument("--times", type=positive, help="random t for each image (default: all of them, T calls)")
    command.add_argument("--split", default="test", help="of the data the model was trained on")
    command.add_argument("--data-dir", default="data", help="where the data are (the shapes need none)")
    command.add_argument("--variance", choices=VARIANCES, default="posterior", help="of p(x_(t-1) | x_t)")
    command.add_argument("--null", action="store_true", help="tell the network no captions")
    command.add_argument("--device", default="cpu")
    beside = "a JSON file; the plot goes beside it as .png"
    command.add_argument("--out", type=json_file, default="bound.json", help=beside)
    command = commands.add_parser("ship", help=ship_command.__doc__)
    command.set_defaults(work=ship_command)
    command.add_argument("run", help="run folder")
    command.add_argument("name", help="the model's name from now on")
    command.add_argument("--ema", type=float, help="which average, by its share (default: the run's own choice)")
    command.add_argument("--numbers", help="JSON file of what was measured with these weights")
    return flags


def main(argv: list[str] | None = None) -> None:
    """Parse and call."""
    args = parser().parse_args(argv)
    args.work(args)


if __name__ == "__main__":
    sys.exit(exit_code("python -m ddpm", main))
