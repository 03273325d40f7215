"""Three figures: samples over eta and S, one x_T over S, and between two x_T."""

import argparse
from functools import partial

import numpy as np
import torch

import ddpm
from ddpm.diffusion import last
from ddpm.model import Trained

from ..interpolation import slerp
from ..sampler import sample
from . import sheets as figures
from . import table
from .common import check_free, check_seed, drawn, of_split, result

FIGURE_3 = (10, 100)  # numbers of steps in the paper's figure


def figures_command(args: argparse.Namespace) -> None:
    """Three figures: samples over eta and S (the paper's Figure 3), one x_T over S, and between two x_T."""
    check_free(args, "-samples.png", "-consistency.png", "-interpolation.png")
    check_seed(args.seed)
    trained = ddpm.load(args.model, device=args.device)
    T, prompts = trained.schedule.T, args.prompts or first_captions(trained, args)
    seeds = list(range(args.seed, args.seed + len(prompts)))
    draw = partial(drawn, trained, prompts, seeds, args.scale)

    etas = [row for row in table.ROWS if row != table.SECOND_ORDER]
    few_and_many = cut(FIGURE_3, T)
    blocks = [np.stack([draw(table.cell_sampler(row, S, "linear")) for row in etas]) for S in few_and_many]
    names = [f"S = {S}" if i == 0 else "" for S in few_and_many for i in range(len(prompts))]
    path = result(args, "-samples.png")
    print(figures.sheet(path, np.concatenate(blocks, axis=1), [table.label(row) for row in etas], names))

    counts = cut((5, *table.COLUMNS), T)
    columns = [draw(table.cell_sampler("0", S, "linear")) for S in counts]
    path = result(args, "-consistency.png")
    names = [f"S = {S}" for S in counts]
    print(figures.sheet(path, np.stack(columns, axis=1), [f"x_T {i}" for i in seeds], names, "same x_T, eta 0"))

    print(figures.sheet(result(args, "-interpolation.png"), *interpolated(trained, prompts[:4], args)))


def first_captions(trained: Trained, args: argparse.Namespace) -> list[str]:
    """Captions of the first six test images."""
    return [several[0] for several in of_split(trained, args.data_dir, "test").captions[:6]]


def cut(counts: tuple[int, ...], T: int) -> list[int]:
    """Numbers of steps, none above T and none twice."""
    return list(dict.fromkeys(min(S, T) for S in counts))


def interpolated(trained: Trained, prompts: list[str], args: argparse.Namespace) -> tuple:
    """A sheet of DDIM samples (S = 50, or T if that is less) between two x_T, a row for each prompt."""
    weights = torch.linspace(0, 1, 11, device=trained.device)
    rows, S = [], min(50, trained.schedule.T)
    for i, prompt in enumerate(prompts):
        ends = ddpm.Noise([args.seed + 2 * i, args.seed + 2 * i + 1]).start(trained.shape, trained.device)
        x_T = slerp(ends[:1].expand(11, -1, -1, -1), ends[1:].expand(11, -1, -1, -1), weights)
        eps = trained.eps([prompt], args.scale)
        rows.append(ddpm.to_bytes(last(sample(eps, trained.schedule, x_T, S))))
    return np.stack(rows), [""] * len(rows), [f"{w:.1f}" for w in weights.tolist()], f"slerp of x_T, S = {S}"
