"""Sample with DDIM: every prompt with every seed, in few steps."""

import argparse

import ddpm
from ddpm import cli
from ddpm.images import grid

from .common import calls_bar, images_of, name_of, result
from .table import cell_sampler

EXAMPLE = 'python -m ddim sample --prompts "a photo of a small red circle on a blue background" --seeds 0-7 --steps 20'


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddim sample`."""
    parser.add_argument("--prompts", nargs="+", required=True, help="captions, each in quotes")
    cli.add_flags(parser, model="shapes", seeds=list(range(8)), steps=50, eta=0.0, scale=2.0)
    cli.add_flags(parser, device=cli.best_device(), out="results")


def run(args: argparse.Namespace) -> None:
    """Write a captioned grid, a row for each prompt."""
    trained = ddpm.load(args.model, device=args.device)
    prompts, seeds = [prompt for prompt in args.prompts for _ in args.seeds], args.seeds * len(args.prompts)
    with calls_bar(args.steps * len(prompts)) as bar:
        images = images_of(trained, prompts, seeds, args.scale, cell_sampler(f"{args.eta:g}", args.steps), bar)
    columns = len(args.seeds) if len(args.seeds) > 1 else min(8, len(prompts))
    print(grid(result(args, f"sample-{name_of(args.model)}", ".png"), images, prompts, columns))
