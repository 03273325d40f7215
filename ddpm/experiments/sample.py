"""Sample images with DDPM's ancestral sampler: T steps, one call of the network each."""

import argparse
from pathlib import Path

import numpy as np

from ..data.captions import examples
from ..diffusion import sample
from ..model import Sampler, Trained, load
from ..utils import cli
from ..utils.files import whole_file
from ..utils.images import grid
from .common import calls_bar, images_of

EXAMPLE = 'python -m ddpm sample --prompts "a photo of a brown dog riding on a blue bicycle" --n 8'
ENDINGS = (".png", ".npz")
MOST_ON_A_SHEET = 1024


def shared_flags(parser: argparse.ArgumentParser) -> None:
    """Captions, and how the images are kept: for `python -m ddim sample`, too."""
    cli.add_flags(parser, "device", "out")
    parser.add_argument("--prompts", nargs="+", help="captions, each in quotes; by default two of the model's data")


def draw(args: argparse.Namespace, trained: Trained, seeds: list[int], sampler: Sampler, steps: int) -> None:
    """Sample every caption with every seed, and write a sheet or .npz: arr_0, uint8 (N, H, W, 3), as FID programs read.

    ValueError, before the first step: an unknown word, too many images.
    """
    captions = args.prompts or examples(trained.info["data"])
    trained.tokens(captions)
    prompts = [caption for caption in captions for _ in seeds]
    ending = Path(args.out).suffix.lower() if cli.is_file_name(args.out) else ".png"
    path = cli.output(args, f"sample-{cli.name_of(args.model)}", ending)
    if ending == ".png" and len(prompts) > MOST_ON_A_SHEET:
        there = f"{len(prompts):,} images, and a sheet shows at most {MOST_ON_A_SHEET:,}"
        raise ValueError(f"{there}: take --out samples.npz")
    with calls_bar(steps * len(prompts)) as bar:
        images = images_of(trained, prompts, seeds * len(captions), args.scale, sampler, bar)
    if ending == ".png":
        grid(path, images, prompts, len(seeds) if len(seeds) > 1 else 8)
    else:
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, images.transpose(0, 2, 3, 1))
    print(path)


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, model="scenes", n=8, seed=0, scale=2.0)
    shared_flags(parser)


def run(args: argparse.Namespace) -> None:
    """Write n images of every prompt, the same n seeds for each."""
    trained, seeds = load(args.model, device=args.device), list(range(args.seed, args.seed + args.n))
    sampler = lambda eps, schedule, x_T, noise: sample(eps, schedule, x_T, generator=noise)  # noqa: E731
    draw(args, trained, seeds, sampler, trained.schedule.T)
