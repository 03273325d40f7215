"""Figures of the DDIM paper: samples over eta and S (Figure 3), one x_T over S (5), between two x_T (6).

And the three terms of its update, Eq. (12), as images.
"""

import argparse
import math
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import ddpm
from ddpm.diffusion import last, predict, q_sample
from ddpm.experiments.common import calls_bar, images_of, model_data, result
from ddpm.model import Trained
from ddpm.utils import cli
from ddpm.utils.device import best_device
from ddpm.utils.images import sheet, to_bytes
from unet.text import content_words

from ..interpolation import slerp
from ..sampler import sample, step
from .table import COLUMNS, HAT, calls, cell_sampler, label

EXAMPLE = 'python -m ddim figures --prompts "a photo of a large green cross on a white background"'
ROWS = ("0", "0.2", "0.5", "1", HAT)
FIGURE_3 = (10, 100)  # numbers of steps in the paper's figure
POINTS = 11  # of an interpolation
TERMS = ("predicted x_0", "+ direction", "+ noise", "= x_s")
TENTHS = (9, 6, 3, 1)  # of T: where the steps start whose terms are shown; each goes down by a tenth


def samples(path: Path, trained: Trained, prompts: list[str], args: argparse.Namespace, bar: tqdm) -> Path:
    """A block for each S, in it a row for each eta; the same x_T in every row."""
    seeds, counts = list(range(args.seed, args.seed + len(prompts))), up_to(trained, FIGURE_3)
    draw = partial(images_of, trained, prompts, seeds, args.scale, bar=bar)
    blocks = [np.stack([draw(cell_sampler(row, S)) for row in ROWS]) for S in counts]
    images, names = np.concatenate(blocks, axis=1), [shown(prompt) for prompt in prompts] * len(counts)
    fold, notes = range(len(prompts), len(names), len(prompts)), [f"S = {S}" for S in counts]
    return sheet(path, images, [label(row) for row in ROWS], names, "same x_T in every row", fold, notes)


def consistency(path: Path, trained: Trained, prompts: list[str], args: argparse.Namespace, bar: tqdm) -> Path:
    """A row for each x_T, a column for each S, at eta 0."""
    seeds, counts = list(range(args.seed, args.seed + len(prompts))), up_to(trained, (5, *COLUMNS))
    columns = [images_of(trained, prompts, seeds, args.scale, cell_sampler("0", S), bar) for S in counts]
    names = [f"S = {S}" for S in counts]
    rows = [shown(prompt) for prompt in prompts]
    return sheet(path, np.stack(columns, axis=1), rows, names, "each row from one x_T, eta 0")


def interpolation(path: Path, trained: Trained, prompts: list[str], args: argparse.Namespace, bar: tqdm) -> Path:
    """A row for each prompt: DDIM samples (S = 50, or T if that is less) between two x_T."""
    weights = torch.linspace(0, 1, POINTS, device=trained.device)
    rows, (S,) = [], up_to(trained, (50,))
    for i, prompt in enumerate(prompts):
        ends = ddpm.Noise([args.seed + 2 * i, args.seed + 2 * i + 1]).start(trained.shape, trained.device)
        x_T = slerp(ends[:1].expand(POINTS, -1, -1, -1), ends[1:].expand(POINTS, -1, -1, -1), weights)
        rows.append(to_bytes(last(sample(trained.eps([prompt], args.scale), trained.schedule, x_T, S))))
        bar.update(S * POINTS)
    names = [f"{w:.1f}" for w in weights.tolist()]
    return sheet(path, np.stack(rows), [shown(prompt) for prompt in prompts], names, f"slerp of x_T, S = {S}")


def terms(path: Path, trained: Trained, prompts: list[str], args: argparse.Namespace, bar: tqdm) -> Path:
    """A row for each step, a block of columns for each eta: the terms of Eq. (12) from the same x_t, and their sum."""
    schedule, eps, rows, names = trained.schedule, trained.eps(prompts, args.scale), [], []
    start, noise, z = (ddpm.Noise([args.seed + i]).start(trained.shape, trained.device) for i in range(3))
    (S,), times = up_to(trained, (50,)), [(k * schedule.T // 10, (k - 1) * schedule.T // 10) for k in TENTHS]
    x_0 = last(sample(eps, schedule, start, S))
    for t, s in times:
        x_t, row = q_sample(schedule, x_0, t, noise), []
        predicted = predict(eps, x_t, t)
        for eta in (0.0, 0.5, 1.0):
            mean, x_0_hat = step(schedule, predicted, x_t, t, s, eta, torch.zeros_like(z))
            x_s, _ = step(schedule, predicted, x_t, t, s, eta, z)
            first = math.sqrt(schedule.alpha_bar[s].item()) * x_0_hat
            row += [first, mean - first, x_s - mean, x_s]
        rows.append(to_bytes(torch.cat(row)))
    for eta in ("0 (DDIM)", "0.5", "1 (DDPM)"):
        names += [f"eta = {eta}\n{TERMS[0]}", *TERMS[1:]]
    bar.update(S + len(times))
    return sheet(path, np.stack(rows), [f"t = {t}\nto s = {s}" for t, s in times], names, prompts[0])


def shown(prompt: str) -> str:
    """What a prompt names, in short lines."""
    return textwrap.fill(" ".join(content_words(prompt)), 16)


def up_to(trained: Trained, counts: tuple[int, ...]) -> list[int]:
    """Numbers of steps, none above T and none twice."""
    return list(dict.fromkeys(min(S, trained.schedule.T) for S in counts))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddim figures`."""
    cli.add_flags(parser, model="shapes", data_dir="data", device=best_device(), out="results", seed=0, scale=1.0)
    parser.add_argument("--prompts", nargs="+", help="captions, each in quotes; by default six of the dataset")


def run(args: argparse.Namespace) -> None:
    """Draw the four figures."""
    trained = ddpm.load(args.model, device=args.device).for_many_images(compiled=False)
    name = f"figures-{cli.name_of(args.model)}"
    split = "train" if trained.info["data"] == "folder" else "test"  # a folder has no other
    prompts = args.prompts or [several[0] for several in model_data(trained, args.data_dir, split).captions[:6]]
    cells = [(row, S) for S in up_to(trained, FIGURE_3) for row in ROWS]
    cells += [("0", S) for S in up_to(trained, (5, *COLUMNS))]
    T, between = trained.schedule.T, prompts[:4]
    work = calls(T, cells, "linear") * len(prompts) + (len(between) * POINTS + 1) * min(50, T) + len(TENTHS)
    figures = (samples, prompts), (consistency, prompts), (interpolation, between), (terms, prompts[:1])
    with calls_bar(work) as bar:
        for draw, captions in figures:
            path = draw(result(args, name, ".png", f"-{draw.__name__}"), trained, captions, args, bar)
            tqdm.write(str(path))
