"""Sample with DDIM: every prompt with every seed, in few steps."""

import argparse

from torch import Tensor

import ddpm
from ddpm import Noise, Schedule
from ddpm.data.captions import examples
from ddpm.diffusion import EpsFn
from ddpm.experiments.common import calls_bar, images_of, result
from ddpm.utils import cli
from ddpm.utils.device import best_device
from ddpm.utils.images import grid

from ..sampler import Trajectory, sample

EXAMPLE = 'python -m ddim sample --prompts "a photo of a brown dog riding on a blue bicycle" --seeds 0-7 --steps 20'


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddim sample`."""
    parser.add_argument("--prompts", nargs="+", help="captions, each in quotes; by default two of the model's data")
    cli.add_flags(parser, model="scenes", seeds=list(range(8)), steps=50, eta=0.0, scale=2.0)
    cli.add_flags(parser, device=best_device(), out="results")


def run(args: argparse.Namespace) -> None:
    """Write a captioned grid, a row for each prompt."""
    trained = ddpm.load(args.model, device=args.device)
    captions = args.prompts or examples(trained.info["data"])
    prompts, seeds = [caption for caption in captions for _ in args.seeds], args.seeds * len(captions)

    def sampler(eps: EpsFn, schedule: Schedule, x_T: Tensor, noise: Noise) -> Trajectory:
        return sample(eps, schedule, x_T, args.steps, args.eta, generator=noise)

    with calls_bar(args.steps * len(prompts)) as bar:
        images = images_of(trained, prompts, seeds, args.scale, sampler, bar)
    columns = len(args.seeds) if len(args.seeds) > 1 else min(8, len(prompts))
    print(grid(result(args, f"sample-{cli.name_of(args.model)}", ".png"), images, prompts, columns))
