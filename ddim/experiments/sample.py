"""Sample with DDIM, or with another sampler of few steps: every prompt with every seed."""

import argparse
from functools import partial

from ddpm.data.lines import drawing
from ddpm.experiments.common import named
from ddpm.experiments.sample import draw, shared_flags
from ddpm.model import load
from ddpm.utils import cli
from unet import ControlledUNet

from ..sampler import timesteps

EXAMPLE = 'python -m ddim sample --prompts "a photo of a brown dog riding on a blue bicycle" --seeds 0-7 --steps 20'
ENDINGS = (".png", ".npz")


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, model="scenes", seeds=list(range(8)), steps=50, eta=None, scale=2.0)
    names = "ddim (default), 2m (DPM-Solver++, second order) or exact (BDIA, which can be inverted)"
    parser.add_argument("--sampler", choices=("ddim", "2m", "exact"), default="ddim", help=names)
    cli.add_flags(parser, control=None, control_scale=1.0)
    shared_flags(parser)


def run(args: argparse.Namespace) -> None:
    """Write an image for each prompt and seed. ValueError: what cannot be sampled or kept."""
    if args.eta is not None and args.sampler != "ddim":
        raise ValueError(f"--eta {args.eta:g} is for --sampler ddim, but {args.sampler} adds no noise: drop one")
    if args.sampler == "exact" and args.steps < 2:
        raise ValueError(f"--steps {args.steps}: the exact sampler needs two or more")
    if args.control is None and args.control_scale != 1:
        raise ValueError(f"--control-scale {args.control_scale:g} has no effect without --control: leave it out")
    trained = load(args.model, device=args.device)
    if args.control is not None:
        if not isinstance(trained.unet, ControlledUNet):
            raise ValueError(f"{args.model} has no ControlNet and takes no --control: expected one as scenes-control")
        trained = trained.controlled(drawing(args.control, trained.unet.config.size)[None], args.control_scale)
    timesteps(trained.schedule.T, args.steps)
    how = dict(eta=args.eta or 0.0) if args.sampler == "ddim" else {}
    draw(args, trained, args.seeds, partial(named, args.sampler, steps=args.steps, **how), args.steps)
