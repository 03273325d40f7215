"""The variational bound (ELBO) of a model over images of its dataset, term by term, in bits per dimension."""

import argparse
import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..bound import Bound, bits_per_dim, check_bound
from ..diffusion import VARIANCES
from ..model import LARGEST_BATCH, Trained, in_batches, load
from ..noise import Noise
from ..utils import cli
from ..utils.files import write_json
from ..utils.images import from_bytes, save_figure, subplots
from . import common
from .records import arithmetic

EXAMPLE = "python -m ddpm bound --model shapes --n 32"
ENDINGS = (".json", ".png")
TITLES = ("prior matching L_T", "denoising, sum of L_(t-1)", "reconstruction L_0", "bound on -log2 p(x_0)")


def measure(
    trained: Trained,
    images: np.ndarray,
    captions: list[str] | None,
    variance: str = "posterior",
    progress: Callable[[list], Iterable] = iter,
) -> Bound:
    """The bound of images uint8 (n, 3, H, W), in bits per dimension: see `bits_per_dim`.

    captions: None for the empty prompt. Image i draws from seed i.
    ValueError: what `bits_per_dim` raises; a bound that is not finite.
    """
    parts = []
    for part in in_batches(len(images), trained.device):
        x_0, noise = from_bytes(images[part]).to(trained.device), Noise(range(part.start, part.stop))
        eps = trained.eps(captions and captions[part])
        parts.append(bits_per_dim(eps, trained.schedule, x_0, variance, noise, progress=progress))
        if not parts[-1].total.isfinite().all():
            raise ValueError(f"the bound of images {part.start} .. {part.stop - 1} is not finite: the model is broken")
    return Bound(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Bound)))


def summary(bound: Bound) -> dict[str, dict[str, float]]:
    """Mean over the images, and its standard error, of the three parts of the lecture's ELBO and of their sum."""
    n, denoising = len(bound.total), bound.total - bound.prior - bound.reconstruction
    parts = {"prior": bound.prior, "denoising": denoising, "reconstruction": bound.reconstruction, "total": bound.total}
    return {
        name: {"mean": part.mean().item(), "standard error": part.std().item() / math.sqrt(n)}
        for name, part in parts.items()
    }


def curve(bound: Bound, parts: int = 50) -> tuple[list[float], list[float]]:
    """L_{t-1} over t, in bits per dimension: the means of t and of the term in each of (at most) 50 equal parts of
    log t, over all images.
    """
    times = bound.times.flatten().cpu().double()
    edges = torch.logspace(math.log10(times.min()), math.log10(times.max()), parts, dtype=torch.float64)
    place = torch.bucketize(times, edges).unique(return_inverse=True)[1]
    of_time, of_term = (place.bincount(weights=value) for value in (times, bound.denoising.flatten().cpu().double()))
    return (of_time / place.bincount()).tolist(), (of_term / place.bincount()).tolist()


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "data_dir", "out", model="shapes", n=64)
    parser.add_argument("--variance", choices=VARIANCES, default="posterior", help="of p(x_(t-1) | x_t)")
    parser.add_argument("--null", action="store_true", help="the empty prompt instead of captions")


def prepare(args: argparse.Namespace) -> tuple[Trained, np.ndarray, list[str] | None, Path]:
    """The model, images, their captions and the record's file. ValueError: too few images or times, another's file."""
    trained = load(args.model, device=args.device)
    if trained.autoencoder:
        raise ValueError(f"{args.model} is a model of latents, whose bound says nothing of pixels: take one of pixels")
    check_bound(trained.schedule, torch.zeros(1), args.variance, 256)
    path = common.own_record(args, f"bound-{cli.name_of(args.model)}", "a record of ddpm bound", "bits per dimension")
    images, captions, _ = common.of_test(trained, args, least=2)  # a standard error needs two
    return trained, images, None if args.null else captions, path


def run(args: argparse.Namespace) -> None:
    trained, images, captions, path = prepare(args)
    bar = partial(tqdm, desc=f"{args.n} images, {LARGEST_BATCH[trained.device.type]} at a time", unit=" times")
    bound = measure(trained, images, captions, args.variance, bar)
    parts, (times, terms) = summary(bound), curve(bound)
    settings = {key: getattr(args, key) for key in ("model", "n", "null", "variance")} | {"split": "test"}
    settings |= {"data": trained.info["data"], "images seen": trained.info.get("images")} | arithmetic(trained)
    settings |= {"schedule": {"T": trained.schedule.T, "kind": trained.schedule.kind}}
    write_json(path, settings | {"bits per dimension": parts, "t": times, "L_(t-1)": terms})
    print(f"{'bits per dimension':28s}{'mean':>10s}  standard error over the images")
    for title, part in zip(TITLES, parts.values(), strict=True):
        print(f"{title:28s}{part['mean']:10.5f}  +- {part['standard error']:.5f}")
    figure, axis = subplots(6, 3.5)
    axis.plot(times, terms, ".-", ms=5, lw=0.8)
    axis.set(xlabel="t", ylabel="$L_{t-1}$, bits per dimension", xscale="log", yscale="log")
    axis.set_title(f"{args.n} images of {trained.info['data']}, test split")
    axis.grid(alpha=0.3, which="both")
    print(path, save_figure(figure, cli.output(args, path.stem, ".png")), sep="\n")
