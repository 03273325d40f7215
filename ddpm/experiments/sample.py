"""Sample images with DDPM's ancestral sampler: T steps, one call of the network each."""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.captions import examples
from ..diffusion import sample
from ..model import Sampler, Trained, load
from ..utils import cli
from ..utils.files import whole_file
from ..utils.images import grid
from .common import batches_of, calls_bar

EXAMPLE = 'python -m ddpm sample --prompts "a photo of a brown dog riding on a blue bicycle" --n 8'
ENDINGS = (".png", ".npz")
MOST_ON_A_SHEET = 1024


# ---- what `python -m ddim sample` shares -----------------------------------------------------------------------------


def shared_flags(parser: argparse.ArgumentParser) -> None:
    """Captions, and how the images are kept."""
    cli.add_flags(parser, "device", "out")
    parser.add_argument("--prompts", nargs="+", help="captions, each in quotes; by default two of the model's data")


class Plan(NamedTuple):
    """What is sampled, an image for each prompt and seed, and where it goes: a sheet or a .npz file."""

    trained: Trained
    prompts: list[str]
    seeds: list[int]
    columns: int
    path: Path


def plan(args: argparse.Namespace, trained: Trained, seeds: list[int]) -> Plan:
    """Every caption with every seed. ValueError: an unknown word, too many images."""
    captions = args.prompts or examples(trained.info["data"])
    trained.tokens(captions)
    count, named = len(captions) * len(seeds), cli.is_file_name(args.out)
    path = Path(args.out)
    if named and path.suffix.lower() == ".npz":
        path = cli.output(args, path.stem, ".npz")
    elif count > MOST_ON_A_SHEET:
        there = f"{count:,} images, and a sheet shows at most {MOST_ON_A_SHEET:,}"
        raise ValueError(f"{there}: take --out samples.npz")
    else:
        path = cli.output(args, f"sample-{cli.name_of(args.model)}", ".png")
    prompts = [caption for caption in captions for _ in seeds]
    return Plan(trained, prompts, seeds * len(captions), len(seeds) if len(seeds) > 1 else 8, path)


def draw(args: argparse.Namespace, plan: Plan, sampler: Sampler, steps: int) -> None:
    """Sample, and write the images where they go; .npz holds arr_0, uint8 (N, H, W, 3), as programs for FID read it."""
    trained, prompts, seeds, columns, path = plan
    with calls_bar(steps * len(prompts)) as bar:
        batches = batches_of(trained, prompts, seeds, args.scale, sampler, bar)
        if path.suffix.lower() == ".npz":
            samples = np.concatenate(list(batches)).transpose(0, 2, 3, 1)
            with whole_file(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, samples)
        else:
            grid(path, np.concatenate(list(batches)), prompts, columns)
    print(path)


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, model="scenes", n=8, seed=0, scale=2.0)
    shared_flags(parser)


def prepare(args: argparse.Namespace) -> Plan:
    """What is sampled, and where it goes. ValueError: what cannot be sampled or kept."""
    return plan(args, load(args.model, device=args.device), list(range(args.seed, args.seed + args.n)))


def run(args: argparse.Namespace) -> None:
    """Write n images of every prompt, the same n seeds for each."""
    made = prepare(args)
    steps = made.trained.schedule.T
    draw(args, made, lambda eps, schedule, x_T, noise: sample(eps, schedule, x_T, generator=noise), steps)
