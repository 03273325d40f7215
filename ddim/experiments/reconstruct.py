"""Does inversion reconstruct the image? Test images inverted and sampled again (DDIM, Table 2).

The error is the mean squared error per dimension with images on the [0, 1] scale, nothing clipped. Of a model of
latents what the autoencoder loses is a row of its own; the other rows compare with what it reconstructs.
"""

import argparse
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import ddpm
from ddpm.analytic import gaussian_like
from ddpm.diffusion import EpsFn, last
from ddpm.experiments import records
from ddpm.experiments.common import model_data, model_facts, of_test, write
from ddpm.model import Trained, in_batches
from ddpm.schedule import Schedule
from ddpm.utils import cli
from ddpm.utils.images import from_bytes, sheet, squared_error

from ..bdia import invert_exact, sample_exact
from ..inversion import invert
from ..sampler import Steps, sample, timesteps
from .table import grid_line

EXAMPLE = "python -m ddim reconstruct --model shapes --n 16 --steps 10 20 50 --variants caption exact"
ENDINGS = (".json", ".txt", ".png")
PAPER = {10: 0.014, 20: 0.0065, 50: 0.0023, 100: 0.0009, 200: 0.0004, 500: 0.0001, 1000: 0.0001}  # CIFAR-10 test set
DIVERGED = 1.0  # squared error above which an image counts as lost: no two images in [0, 1] differ by more
EXACT = "exact"
AUTOENCODER = "autoencoder alone"  # of a model of latents: encoded and decoded, no step
GAUSSIAN = "Gaussian, exact eps"  # no network: data of the same mean and covariance, what the steps alone lose
SHOWN = 6  # images of the sheet


@dataclass(frozen=True)
class Variant:
    """How an image is inverted and sampled again: with its caption or the null prompt, guidance, kind of inversion.

    inversion: the number of fixed-point iterations of `ddim.invert`, or "exact" for BDIA. network: or a Gaussian's eps.
    """

    captions: bool = True
    scale: float = 1.0
    inversion: int | str = 0
    network: bool = True


VARIANTS = {
    "caption": Variant(),
    "null prompt": Variant(captions=False),
    "guidance 2": Variant(scale=2.0),
    "guidance 4": Variant(scale=4.0),
    "guidance 7.5": Variant(scale=7.5),
    "2 iterations": Variant(inversion=2),
    "5 iterations": Variant(inversion=5),
    "exact": Variant(inversion=EXACT),
    "exact, guidance 7.5": Variant(scale=7.5, inversion=EXACT),
    GAUSSIAN: Variant(captions=False, network=False),
    AUTOENCODER: Variant(captions=False, network=False),
}


def round_trip(eps: EpsFn, schedule: Schedule, x_0: Tensor, steps: Steps, inversion: int | str = 0) -> Tensor:
    """x_0 (B, ...) inverted and sampled again on the same grid, S steps each; inversion as in `Variant`."""
    if inversion == EXACT:
        *_, (_, below, _), (_, x_T, _) = invert_exact(eps, schedule, x_0, steps)
        return last(sample_exact(eps, schedule, (x_T, below), steps, dtype=x_0.dtype))
    x_T = last(invert(eps, schedule, x_0, steps, iterations=inversion))
    return last(sample(eps, schedule, x_T, steps))


def calls(S: int, variant: Variant) -> int:
    """Network calls of a round trip of S steps upwards and S downwards; guidance needs two calls a step."""
    if not variant.network:
        return 0
    both_ways = 2 * S - 1 if variant.inversion == EXACT else S * (2 + variant.inversion)
    return both_ways * (2 if variant.captions and variant.scale != 1 else 1)


def summary(x_0: Tensor, again: Tensor) -> dict[str, float | None]:
    """The errors of n images (n, C, H, W) in [-1, 1] that were inverted and sampled again.

    diverged: the share whose squared error is not finite or above `DIVERGED`. The mean of the squared errors and the
    largest difference of a value are over the others, the median is over all (None where most have diverged).
    """
    errors = squared_error(x_0, again)
    largest = (again - x_0).abs().flatten(1).amax(1).double().cpu().numpy()
    kept = errors <= DIVERGED  # NaN is not
    median = float(np.median(np.where(kept, errors, np.inf)))
    return {
        "n": len(errors),
        "mean": float(errors[kept].mean()) if kept.any() else None,
        "median": median if np.isfinite(median) else None,
        "largest": float(largest[kept].max()) if kept.any() else None,
        "diverged": float(np.mean(~kept)),
    }


def shown(record: dict) -> list[tuple[str, int]]:
    """The cells that the sheet shows: the first variant at every S it has, the others at the largest S up to 50."""
    first, *others = records.rows_of(record, VARIANTS)
    steps = {name: sorted(map(int, cells)) for name, cells in record["cells"].items()}
    return [(first, S) for S in steps[first]] + [
        (name, max((S for S in steps[name] if S <= 50), default=steps[name][0])) for name in others
    ]


def text(record: dict) -> str:
    """The record as a table: a line for each variant and S, the unguided ones beside the paper's."""
    settings, titles = record["settings"], ("mean", "median", "paper", "largest", "diverged", "calls", "n")
    lines = [
        f"reconstruct: model {settings['model']}, data {settings['data']}",
        "mean squared error per dimension, images in [0, 1]; S steps each way, nothing clipped; network in float32",
        "paper: DDIM Table 2 (CIFAR-10, unconditional); largest: difference of a value in [-1, 1]; calls: network's",
    ]
    if GAUSSIAN in record["cells"]:
        lines += [f"{GAUSSIAN}: no network, data of the training set's mean and covariance: what the steps lose"]
    if AUTOENCODER in record["cells"]:
        error = next(iter(record["cells"][AUTOENCODER].values()))["mean"]
        psnr = f", PSNR {-10 * np.log10(error):.1f} dB" if error else ""
        lines += [f"{AUTOENCODER}: images against their reconstructions{psnr}; the other rows compare with these"]
    lines += [grid_line(settings["T"], S, settings["spacing"]) for S in records.columns_of(record)]
    table = [("", "S", titles)]
    for name in records.rows_of(record, VARIANTS):
        for S, cell in sorted(record["cells"][name].items(), key=lambda item: int(item[0])):
            paper = PAPER.get(int(S)) if name in ("caption", "null prompt") else None
            errors = [scientific(value) for value in (cell["mean"], cell["median"], paper, cell["largest"])]
            table.append((name, S, [*errors, f"{100 * cell['diverged']:.1f} %", str(cell["calls"]), str(cell["n"])]))
    lines += ["", *(f"{name:22s}{S:>5s}" + "".join(f"{word:>12s}" for word in words) for name, S, words in table)]
    return "\n".join(lines) + "\n"


def scientific(value: float | None) -> str:
    """Two digits, or a dash for None."""
    return "-" if value is None else f"{value:.1e}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "data_dir", "out", model="shapes", n=128)
    steps, variants = [10, 20, 50, 100], list(VARIANTS)
    parser.add_argument("--steps", type=cli.positive, nargs="+", default=steps, help="numbers of steps S, each way")
    parser.add_argument("--variants", nargs="+", choices=variants, help="by default all; first: shown at every S")


def prepare(args: argparse.Namespace) -> tuple[Trained, np.ndarray, list[str], Path, dict]:
    """The model, n test images uint8 and their captions, the record's file and the record. ValueError, OSError."""
    trained = ddpm.load(args.model, device=args.device)
    latents = [AUTOENCODER] if trained.autoencoder else []
    args.variants = args.variants or [name for name in VARIANTS if name != AUTOENCODER] + latents
    if AUTOENCODER in args.variants and not latents:
        raise ValueError(f"--variants {AUTOENCODER!r}: {args.model} is a model of pixels, leave it out")
    exact = [name for name in args.variants if VARIANTS[name].inversion == EXACT]
    for S in args.steps:
        if len(timesteps(trained.schedule.T, S)) == 2 and exact:
            raise ValueError(f"--steps {S} is one step, and the variant {exact[0]!r} needs two: leave one of them out")
    images, captions, _ = of_test(trained, args)
    path = cli.output(args, f"reconstruct-{cli.name_of(args.model)}-{args.n}", ".json")
    settings = model_facts(trained, args) | {"n": args.n, "spacing": "linear"}
    return trained, images, captions, path, records.resume(path, settings)


def run(args: argparse.Namespace) -> None:
    """Measure the cells that are missing; write and print the table, and show some of the images."""
    trained, originals, captions, path, record = prepare(args)
    schedule, found, x_0 = trained.schedule, {}, trained.encode(from_bytes(originals))
    decoded = trained.decode(x_0)

    @cache
    def gaussian() -> EpsFn:
        images = model_data(trained, args.data_dir, "train").images
        return gaussian_like(schedule, trained.encode(from_bytes(images)))

    def again(row: str, S: int, x_0: Tensor) -> Tensor:
        variant, parts = VARIANTS[row], []
        if row == AUTOENCODER:
            bar.update(len(x_0) * S)
            return x_0
        for part in in_batches(len(x_0), trained.device):
            prompts = captions[part] if variant.captions else None
            eps = trained.eps(prompts, variant.scale) if variant.network else gaussian()
            parts.append(round_trip(eps, schedule, x_0[part], S, variant.inversion))
            bar.update(len(parts[-1]) * S)
        return torch.cat(parts)

    def measure(row: str, S: int) -> records.Cell:
        x = again(row, S, x_0)
        found[row, S] = x[:SHOWN]
        expected = from_bytes(originals).to(decoded) if row == AUTOENCODER else decoded
        return {"calls": calls(S, VARIANTS[row])} | summary(expected, trained.decode(x))

    todo = records.missing(record, [(row, S) for S in args.steps for row in args.variants])
    with tqdm(total=len(x_0) * sum(S for _, S in todo), unit=" steps", unit_scale=True) as bar:
        for row, S, cell in records.fill(path, record, todo, measure):
            tqdm.write(f"{row}, S = {S}: {scientific(cell['mean'])}")
        cells = shown(record)
        earlier = [cell for cell in cells if cell not in found]  # measured by an earlier command: made again
        bar.total += len(x_0[:SHOWN]) * sum(S for _, S in earlier)
        found |= {cell: again(*cell, x_0[:SHOWN]) for cell in earlier}
    write(args, path, record, text, records.together)
    names = ["original", *("\n".join([*row.split(maxsplit=1), f"S = {S}"]) for row, S in cells)]
    images = [originals[:SHOWN], *(trained.images(found[cell].nan_to_num()) for cell in cells)]
    images = np.stack(images, axis=1)
    print(sheet(cli.output(args, path.stem, ".png"), images, [""] * len(images), names))
