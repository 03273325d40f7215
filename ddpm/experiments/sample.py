"""Sample images with DDPM's ancestral sampler: T steps, one call of the network each."""

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from tqdm import tqdm

from ..data.captions import examples
from ..diffusion import EpsFn, sample
from ..model import generate, load
from ..noise import Noise
from ..schedule import Schedule
from ..utils import cli, images
from ..utils.device import best_device

EXAMPLE = 'python -m ddpm sample --prompts "a photo of a brown dog riding on a blue bicycle" --n 8'


def ancestral(eps: EpsFn, schedule: Schedule, x_T: torch.Tensor, noise: Noise) -> Iterator:
    """`ddpm.sample` behind a bar over its T steps."""
    return tqdm(sample(eps, schedule, x_T, generator=noise), f"{len(x_T)} images", schedule.T, unit=" steps")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddpm sample`."""
    cli.add_flags(parser, model="scenes")
    parser.add_argument("--prompts", nargs="+", help="captions, each in quotes; by default two of the model's data")
    cli.add_flags(parser, n=8, seed=0, scale=2.0, device=best_device(), out="results")


def run(args: argparse.Namespace) -> None:
    """Write a captioned grid: n images of every prompt, the same n seeds for each."""
    trained = load(args.model, device=args.device)
    path = cli.output(args, f"sample-{cli.name_of(args.model)}", ".png")
    captions = args.prompts or examples(trained.info["data"])
    prompts = [caption for caption in captions for _ in range(args.n)]
    seeds = list(range(args.seed, args.seed + args.n)) * len(captions)
    samples = np.concatenate(list(generate(trained, prompts, seeds, ancestral, args.scale)))
    print(images.grid(path, samples, prompts, args.n if args.n > 1 else min(8, len(prompts))))
