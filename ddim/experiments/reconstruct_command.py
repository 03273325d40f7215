"""There and back: test images inverted and sampled again, DDIM's Table 2."""

import argparse
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import ddpm
from ddpm.analytic import gaussian_like
from ddpm.data import Dataset
from ddpm.diffusion import EpsFn
from ddpm.images import from_bytes
from ddpm.model import Trained

from ..sampler import timesteps
from . import reconstruct, records, table
from . import sheets as figures
from .common import at_least_two, check_free, head, in_batches, model_facts, of_split, once, result, tell
from .reconstruct import GAUSSIAN, VARIANTS

SHOWN = 6  # images of the strip
NO_NETWORK = f"{GAUSSIAN}: no network, data of the training set's mean and covariance: what the steps lose"
Walk = Callable[[str, int, torch.Tensor], torch.Tensor]


def walker(trained: Trained, args: argparse.Namespace, captions: list[str], bar: tqdm) -> Walk:
    """walk(variant, S, images) -> how the first images of the test split come back, (n, 3, H, W)."""

    @cache
    def gaussian() -> EpsFn:
        training = of_split(trained, args.data_dir, "train").images
        return gaussian_like(trained.schedule, from_bytes(training).to(trained.device))

    def bound(name: str, part: slice) -> EpsFn:
        if name == GAUSSIAN:
            return gaussian()
        return trained.eps(captions[part] if VARIANTS[name].captions else None, VARIANTS[name].scale)

    def walk(name: str, S: int, x_0: torch.Tensor) -> torch.Tensor:
        parts, way = [], 0 if name == GAUSSIAN else VARIANTS[name].way
        for part in in_batches(len(x_0)):
            eps = bound(name, part)
            parts.append(reconstruct.round_trip(eps, trained.schedule, x_0[part], S, args.spacing, way))
            bar.update(len(parts[-1]) * cost(trained, args, name, S))
        return torch.cat(parts)

    return walk


def steps_of(trained: Trained, args: argparse.Namespace, S: int) -> int:
    """How many steps the grid of S steps really has. ValueError: an S outside 1..T."""
    return len(timesteps(trained.schedule.T, S, args.spacing)) - 1


def cost(trained: Trained, args: argparse.Namespace, name: str, S: int) -> int:
    """Network calls for an image, there and back."""
    return 0 if name == GAUSSIAN else reconstruct.calls(steps_of(trained, args, S), VARIANTS[name])


def filled(trained: Trained, args: argparse.Namespace, test: Dataset, path: Path, record: dict) -> dict:
    """Measure what the record lacks; returns the first images that come back in each cell of the strip."""
    captions = [several[0] for several in test.captions[: args.n]]
    x_0, back = from_bytes(test.images[: args.n]).to(trained.device), {}

    def work(cells: list[tuple[str, int]], n: int) -> int:
        return n * sum(cost(trained, args, name, S) for name, S in cells)

    todo = records.missing(record, args.variants, args.steps)
    with tqdm(total=work(todo, len(x_0)), unit=" calls", unit_scale=True) as bar:
        walk = walker(trained, args, captions, bar)

        def measure(name: str, S: int) -> records.Cell:
            again = walk(name, S, x_0)
            back[name, S] = again[:SHOWN]
            return {"calls": cost(trained, args, name, S)} | reconstruct.summary(x_0, again)

        for name, S, cell in records.fill(path, record, args.variants, args.steps, measure):
            tqdm.write(f"{name}, S = {S}: {reconstruct.scientific(cell['mean'])}")
        cells = reconstruct.shown(record)
        earlier = [cell for cell in cells if cell not in back]
        bar.total += work(earlier, len(x_0[:SHOWN]))
        back |= {cell: walk(*cell, x_0[:SHOWN]) for cell in earlier}
    return {cell: back[cell] for cell in cells}


def reconstruct_command(args: argparse.Namespace) -> None:
    """Invert test images and sample them again: DDIM's Table 2, and what guidance and exact inversion do to it."""
    ending = f"-{args.n}" if args.spacing == "linear" else f"-{args.n}-{args.spacing}"
    check_free(args, *(ending + kind for kind in (".json", ".txt", ".png")))
    args.steps, args.variants = once(args.steps), once(args.variants)
    trained = ddpm.load(args.model, device=args.device)
    exact = any(name.startswith(reconstruct.EXACT) for name in args.variants)
    for S in args.steps:  # a bad S is told before any work
        if steps_of(trained, args, S) < 2 and exact:
            raise ValueError(f"S = {S} is one step, and the exact way needs two: leave out S, or the exact variants")
    at_least_two(args.n)
    test = of_split(trained, args.data_dir, "test")
    if args.n > len(test):
        raise ValueError(f"n is {args.n}, but the test split has {len(test)} images")
    path = result(args, f"{ending}.json")
    settings = model_facts(trained, args) | {"n": args.n, "spacing": args.spacing}
    record = records.resume(path, settings, reconstruct.CELL)
    back = filled(trained, args, test, path, record)
    more = (
        "mean squared error per dimension, images in [0, 1]; S steps each way, nothing clipped; network in float32",
        "paper: DDIM Table 2 (CIFAR-10, unconditional); largest: difference of a value in [-1, 1]; calls: network's",
        *([NO_NETWORK] if GAUSSIAN in record["cells"] else []),
        *(table.grid_line(trained.schedule.T, S, args.spacing) for S in records.columns_of(record)),
    )
    tell(args, record, reconstruct.text(head(trained, args, *more), record), ending)
    columns = ["original", *("\n".join([*name.split(maxsplit=1), f"S = {S}"]) for name, S in back)]
    images = [test.images[: args.n][:SHOWN], *(ddpm.to_bytes(x.nan_to_num()) for x in back.values())]
    print(figures.sheet(result(args, f"{ending}.png"), np.stack(images, axis=1), [""] * len(images[0]), columns))
