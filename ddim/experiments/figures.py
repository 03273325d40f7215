"""Figures of the DDIM paper: samples over eta and S (Figure 3), one x_T over S (5), between two x_T (6).

And the three terms of its update, Eq. (12), as images.
"""

import argparse
import math
from itertools import pairwise

import numpy as np
import torch
from tqdm import tqdm

import ddpm
from ddpm.diffusion import last, predict, q_sample
from ddpm.experiments.common import calls_bar, caption_label, finite, images_in, images_of
from ddpm.model import Trained
from ddpm.utils import cli
from ddpm.utils.images import sheet

from ..interpolation import slerp
from ..sampler import sample, step, timesteps
from .table import COLUMNS, ROWS, SECOND_ORDER, calls, cell_sampler, label

EXAMPLE = 'python -m ddim figures --prompts "a photo of a large green cross on a white background"'
ENDINGS = (".png",)
ETAS = tuple(row for row in ROWS if row != SECOND_ORDER)
FIGURE_3, FIGURE_5 = (10, 100), (5, *COLUMNS)  # numbers of steps in the paper's figures
POINTS, BETWEEN = 11, 4  # of an interpolation, and how many of them
TERMS = ("predicted x_0", "+ direction", "+ noise", "= x_s")

# ---- the figures: what `sheet` takes after the path ------------------------------------------------------------------


def samples(trained: Trained, prompts: list[str], args: argparse.Namespace, bar: tqdm) -> tuple:
    """A block for each S, in it a row for each eta; the same x_T in every row."""
    counts, n = up_to(trained, FIGURE_3), len(prompts)
    how = (trained, prompts, range(args.seed, args.seed + n), args.scale)
    images = [np.concatenate([images_of(*how, cell_sampler(row, S), bar) for S in counts]) for row in ETAS]
    columns, notes = [caption_label(prompt) for prompt in prompts] * len(counts), [f"S = {S}" for S in counts]
    fold = range(n, n * len(counts), n)
    return np.stack(images), [label(row) for row in ETAS], columns, "same x_T in every row", fold, notes


def consistency(trained: Trained, prompts: list[str], args: argparse.Namespace, bar: tqdm) -> tuple:
    """A row for each x_T, a column for each S, at eta 0."""
    counts, seeds = up_to(trained, FIGURE_5), range(args.seed, args.seed + len(prompts))
    images = [images_of(trained, prompts, seeds, args.scale, cell_sampler("0", S), bar) for S in counts]
    columns = [f"S = {S}" for S in counts]
    return np.stack(images, axis=1), list(map(caption_label, prompts)), columns, "each row from one x_T, eta 0"


def interpolation(trained: Trained, prompts: list[str], args: argparse.Namespace, bar: tqdm) -> tuple:
    """A row for each of the first prompts: DDIM samples (S = 50, or T if that is less) between two x_T."""
    images, (S,), weights = [], up_to(trained, (50,)), torch.linspace(0, 1, POINTS, device=trained.device)
    for i, prompt in enumerate(prompts[:BETWEEN]):
        ends = ddpm.Noise([args.seed + 2 * i, args.seed + 2 * i + 1]).start(trained.shape, trained.device)
        x_T = slerp(ends[:1].expand(POINTS, -1, -1, -1), ends[1:].expand(POINTS, -1, -1, -1), weights)
        states = sample(trained.eps([prompt], args.scale), trained.schedule, x_T, S)
        images.append(trained.images(last(finite(states, args.scale))))
        bar.update(S * POINTS)
    rows, columns = list(map(caption_label, prompts[:BETWEEN])), [f"{w:.1f}" for w in weights.tolist()]
    return np.stack(images), rows, columns, f"slerp of x_T, S = {S}"


def terms(trained: Trained, prompts: list[str], args: argparse.Namespace, bar: tqdm) -> tuple:
    """A row for each step, a block of columns for each eta: the terms of Eq. (12) from the same x_t, and their sum."""
    schedule, eps, images, (S,) = trained.schedule, trained.eps(prompts[:1], args.scale), [], up_to(trained, (50,))
    start, noise, z = (ddpm.Noise([args.seed + i]).start(trained.shape, trained.device) for i in range(3))
    x_0, times = last(finite(sample(eps, schedule, start, S), args.scale)), tenths(schedule.T)
    for t, s in times:
        x_t, row = q_sample(schedule, x_0, t, noise), []
        predicted = predict(eps, x_t, t)
        for eta in (0.0, 0.5, 1.0):
            mean, x_0_hat = step(schedule, predicted, x_t, t, s, eta, torch.zeros_like(z))
            x_s, _ = step(schedule, predicted, x_t, t, s, eta, z)
            first = math.sqrt(schedule.alpha_bar[s].item()) * x_0_hat
            row += [first, mean - first, x_s - mean, x_s]
        images.append(trained.images(torch.cat(row)))
    bar.update(S + len(times))
    columns = [name for eta in ("0 (DDIM)", "0.5", "1 (DDPM)") for name in (f"eta = {eta}\n{TERMS[0]}", *TERMS[1:])]
    return np.stack(images), [f"t = {t}\nto s = {s}" for t, s in times], columns, prompts[0]


def up_to(trained: Trained, counts: tuple[int, ...]) -> list[int]:
    """Numbers of steps, none above T and none twice."""
    return list(dict.fromkeys(min(S, trained.schedule.T) for S in counts))


def tenths(T: int) -> list[tuple[int, int]]:
    """The steps whose terms are shown: those from 0.9, 0.6, 0.3 and 0.1 T, each down by 0.1 T."""
    steps = list(pairwise(timesteps(T, min(10, T))))
    return [steps[k] for k in (1, 4, 7, 9) if k < len(steps)] or steps


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "data_dir", "out", model="shapes", seed=0, scale=1.0)
    parser.add_argument("--prompts", nargs="+", help="captions, each in quotes; by default six of the dataset")


def run(args: argparse.Namespace) -> None:
    trained = ddpm.load(args.model, device=args.device).for_many_images(compiled=False)
    split = "train" if trained.info["data"] == "folder" else "test"  # a folder has no other
    if (prompts := args.prompts) is None:
        there, take = images_in(trained, args.data_dir, split)
        _, prompts = take(range(min(6, there)))
    trained.tokens(prompts)
    T, n = trained.schedule.T, len(prompts)
    cells = [(row, S) for S in up_to(trained, FIGURE_3) for row in ETAS] + [("0", S) for S in up_to(trained, FIGURE_5)]
    work = calls(T, cells, "linear") * n + (min(n, BETWEEN) * POINTS + 1) * min(50, T) + len(tenths(T))
    with calls_bar(work) as bar:
        for draw in (samples, consistency, interpolation, terms):
            path = cli.output(args, f"figures-{cli.name_of(args.model)}", ".png", f"-{draw.__name__}")
            tqdm.write(str(sheet(path, *draw(trained, prompts, args, bar))))
