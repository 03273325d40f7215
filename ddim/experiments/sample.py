"""Sample with DDIM, or with another sampler of few steps: every prompt with every seed."""

import argparse
from pathlib import Path

import ddpm
from ddpm.data.captions import examples
from ddpm.experiments.common import batches_of, calls_bar, check_samples, sample_flags, save_samples
from ddpm.model import Sampler, Trained
from ddpm.utils import cli
from ddpm.utils.device import best_device

from ..bdia import sample_exact
from ..dpm_solver import sample_2m
from ..sampler import sample, timesteps

EXAMPLE = 'python -m ddim sample --prompts "a photo of a brown dog riding on a blue bicycle" --seeds 0-7 --steps 20'
ENDINGS = (".png", ".npz")
SAMPLERS = {"ddim": sample, "2m": sample_2m, "exact": sample_exact}  # eta is for the first


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddim sample`."""
    cli.add_flags(parser, model="scenes", seeds=list(range(8)), steps=50, eta=None, scale=2.0)
    names = "ddim (default), 2m (DPM-Solver++, second order) or exact (BDIA, which can be inverted)"
    parser.add_argument("--sampler", choices=SAMPLERS, default="ddim", help=names)
    cli.add_flags(parser, device=best_device(), out="results")
    sample_flags(parser)


def prepare(args: argparse.Namespace) -> tuple[Trained, list[str], Sampler, Path]:
    """The model, the captions, the sampler, and where the images go. ValueError: what cannot be sampled or kept."""
    if args.eta is not None and args.sampler != "ddim":
        raise ValueError(f"--eta {args.eta:g} is for --sampler ddim, but {args.sampler} adds no noise: drop one")
    if args.sampler == "exact" and args.steps < 2:
        raise ValueError(f"--steps {args.steps}: the exact sampler needs two or more")
    trained = ddpm.load(args.model, device=args.device)
    timesteps(trained.schedule.T, args.steps)
    captions = args.prompts or examples(trained.info["data"])
    trained.tokens(captions)

    def sampler(eps, schedule, x_T, noise):
        drawn = dict(eta=args.eta or 0.0, generator=noise) if args.sampler == "ddim" else {}
        return SAMPLERS[args.sampler](eps, schedule, x_T, args.steps, **drawn)

    return trained, captions, sampler, check_samples(args, trained, len(args.seeds) * len(captions))


def run(args: argparse.Namespace) -> None:
    """Write an image for each prompt and seed: a captioned sheet, a row for each prompt, or files of images."""
    trained, captions, sampler, path = prepare(args)
    prompts, seeds = [caption for caption in captions for _ in args.seeds], args.seeds * len(captions)
    with calls_bar(args.steps * len(prompts)) as bar:
        batches = batches_of(trained, prompts, seeds, args.scale, sampler, bar)
        columns = len(args.seeds) if len(args.seeds) > 1 else 8
        print(save_samples(path, batches, prompts, columns, args.separate))
