"""Sample images with DDPM's ancestral sampler: T steps, one call of the network each."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from ..data.captions import examples
from ..diffusion import EpsFn, sample
from ..model import Trained, load
from ..noise import Noise
from ..schedule import Schedule
from ..utils import cli
from ..utils.device import best_device
from .common import batches_of, calls_bar, check_samples, sample_flags, save_samples

EXAMPLE = 'python -m ddpm sample --prompts "a photo of a brown dog riding on a blue bicycle" --n 8'
ENDINGS = (".png", ".npz")


def ancestral(eps: EpsFn, schedule: Schedule, x_T: torch.Tensor, noise: Noise) -> Iterator:
    """`ddpm.sample` as a sampler of `generate`."""
    return sample(eps, schedule, x_T, generator=noise)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddpm sample`."""
    cli.add_flags(parser, model="scenes", n=8, seed=0, scale=2.0, device=best_device(), out="results")
    sample_flags(parser)


def prepare(args: argparse.Namespace) -> tuple[Trained, list[str], Path]:
    """The model, the captions, and where the images go. ValueError: what cannot be sampled or kept."""
    trained = load(args.model, device=args.device)
    captions = args.prompts or examples(trained.info["data"])
    trained.tokens(captions)
    if args.n > cli.MOST_SEEDS:
        raise ValueError(f"--n {args.n}: expected at most {cli.MOST_SEEDS:,} images of a caption")
    return trained, captions, check_samples(args, trained, args.n * len(captions))


def run(args: argparse.Namespace) -> None:
    """Write n images of every prompt, the same n seeds for each."""
    trained, captions, path = prepare(args)
    prompts = [caption for caption in captions for _ in range(args.n)]
    seeds = list(range(args.seed, args.seed + args.n)) * len(captions)
    with calls_bar(trained.schedule.T * len(prompts)) as bar:
        batches = batches_of(trained, prompts, seeds, args.scale, ancestral, bar)
        columns = args.n if args.n > 1 else 8
        print(save_samples(path, batches, prompts, columns, args.separate))
