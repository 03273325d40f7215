"""There and back: test pictures inverted and sampled again, DDIM's Table 2."""

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from tqdm import tqdm

import ddpm
from ddpm.diffusion import EpsFn, to_pictures
from ddpm.gaussian import gaussian_like
from ddpm.model import Trained

from .. import figures, reconstruct, table
from ..grids import timesteps
from .common import at_least_two, check_free, head, in_batches, model_facts, of_split, once, result, tell

NO_NETWORK = (
    f"{reconstruct.GAUSSIAN}: no network, data of the training set's mean and covariance: what the steps lose"
)


def round_trips(
    trained: Trained, args: argparse.Namespace, x_0: torch.Tensor, captions: list[str]
) -> Iterator[tuple[str, int, int, torch.Tensor]]:
    """x_0 there and back in every variant: (variant, S, network calls, what came back)."""
    chosen = {name: reconstruct.VARIANTS[name] for name in args.variants if name != reconstruct.GAUSSIAN}
    todo = [(name, variant, S) for name, variant in chosen.items() for S in args.steps]
    cost = {(name, S): reconstruct.calls(steps_of(trained, args, S), variant) for name, variant, S in todo}

    def trip(eps: EpsFn, part: slice, S: int, way: int | str = 0) -> torch.Tensor:
        return reconstruct.round_trip(eps, trained.schedule, x_0[part], S, args.spacing, way)

    with tqdm(total=len(x_0) * sum(cost.values()), unit=" calls", unit_scale=True) as bar:
        for name, variant, S in todo:
            parts = []
            for part in in_batches(len(x_0)):
                eps = trained.eps(captions[part] if variant.captions else None, variant.scale)
                parts.append(trip(eps, part, S, variant.way))
                bar.update(len(parts[-1]) * cost[name, S])
            yield name, S, cost[name, S], torch.cat(parts)
    if reconstruct.GAUSSIAN in args.variants:
        training = to_pictures(of_split(trained, args.data_dir, "train").images).to(x_0)
        eps = gaussian_like(trained.schedule, training)
        for S in args.steps:
            yield reconstruct.GAUSSIAN, S, 0, torch.cat([trip(eps, part, S) for part in in_batches(len(x_0))])


def steps_of(trained: Trained, args: argparse.Namespace, S: int) -> int:
    """How many steps the grid of S steps really has. ValueError: an S outside 1..T."""
    return len(timesteps(trained.schedule.T, S, args.spacing)) - 1


def reconstruct_command(args: argparse.Namespace) -> None:
    """Invert test pictures and sample them again: DDIM's Table 2, and what guidance and exact inversion do to it."""
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
        raise ValueError(f"n is {args.n}, but the test split has {len(test)} pictures")
    images, captions = test.images[: args.n], [several[0] for several in test.captions[: args.n]]
    x_0, rows, shown = to_pictures(images).to(trained.device), [], {}
    for name, S, calls, again in round_trips(trained, args, x_0, captions):
        shown[name, S] = ddpm.to_bytes(again[:6].nan_to_num())
        rows.append({"variant": name, "S": S, "calls": calls} | reconstruct.summary(x_0, again))
    more = (
        "mean squared error per dimension, pictures in [0, 1]; S steps each way, nothing clipped; network in float32",
        "paper: DDIM Table 2 (CIFAR-10, unconditional); largest: difference of a value in [-1, 1]; calls: network's",
        *([NO_NETWORK] if reconstruct.GAUSSIAN in args.variants else []),
        *(table.grid_line(trained.schedule.T, S, args.spacing) for S in args.steps),
    )
    record = {"model": args.model} | model_facts(trained) | {"spacing": args.spacing, "rows": rows}
    tell(args, record, reconstruct.text(head(trained, args, *more), rows), ending)
    base = args.variants[0]
    middle = max((S for S in args.steps if S <= 50), default=args.steps[0])
    cells = [(base, S) for S in args.steps] + [(name, middle) for name in args.variants[1:]]
    columns = ["original", *("\n".join([*name.split(maxsplit=1), f"S = {S}"]) for name, S in cells)]
    strip = np.stack([images[:6], *(shown[cell] for cell in cells)], axis=1)
    print(figures.sheet(result(args, f"{ending}.png"), strip, [""] * len(strip), columns))
