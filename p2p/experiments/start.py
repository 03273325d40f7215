"""Where an edit starts: from noise, or from a real image that is inverted."""

import argparse
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

import ddim
import ddpm
from ddpm.data import image_files as reading
from ddpm.data import load_data
from ddpm.diffusion import last
from ddpm.images import from_bytes, to_bytes
from ddpm.model import Trained

from .. import real
from ..editing import edit
from .baselines import SAMPLERS


def real_image(trained: Trained, args: argparse.Namespace) -> Tensor:
    """--image, a file or a number in the test split, as x_0 (1, 3, H, W) in [-1, 1]."""
    size = trained.unet.config.size
    if args.image.isdecimal():
        images = load_data(trained.info["data"], args.data_dir, "test", size).images
        if int(args.image) >= len(images):
            raise ValueError(f"--image is {args.image}, but the test split has the images 0 .. {len(images) - 1}")
        image = images[int(args.image)]
    else:
        image = reading.to_array(reading.square(reading.open_image(Path(args.image))), size)
    return from_bytes(image[None]).to(trained.device)


def inversion(args: argparse.Namespace) -> str | None:
    """The way a real image is inverted: as asked, else exactly without guidance, and with null text under it."""
    if args.image is None:
        return None
    return args.inversion or ("exact" if args.scale == 1 else "null-text")


def start_of(trained: Trained, args: argparse.Namespace) -> tuple[dict, np.ndarray | None]:
    """Where the edit starts, as keywords of `edit` (x_T and what belongs to it), and the real image, if there is one.

    A real image is inverted exactly when there is no guidance, else with null prompts that undo the guidance.
    """
    if args.image is None:
        x_T = ddpm.Noise(args.seeds).start(trained.shape, trained.device)
        return {"x_T": x_T, "sampler": SAMPLERS[args.sampler](args.seeds)}, None
    x_0, way = real_image(trained, args), inversion(args)
    if way == "exact":
        x_T = real.latent_pair(trained, [args.source], x_0, args.steps, args.scale)
        start = {"x_T": x_T, "sampler": ddim.sample_exact}
    else:
        start = {"x_T": real.latent(trained, [args.source], x_0, args.steps), "sampler": ddim.sample}
    if way == "null-text":
        walk = real.null_text(trained, [args.source], x_0, args.steps, args.scale, args.rounds or real.ROUNDS)
        states = {t: state for t, _, state in tqdm(walk, "null text", args.steps)}
        report_error(trained, args, start, x_0, f"{way}, guidance {args.scale:g}, before")
        start["null"] = real.null_of(trained, states)
    report_error(trained, args, start, x_0, f"{way}, guidance {args.scale:g}")
    return start, to_bytes(x_0)


def report_error(trained: Trained, args: argparse.Namespace, start: dict, x_0: Tensor, name: str) -> None:
    """Print how far the source half of the edit ends from the real image."""
    walk = edit(trained, args.source, args.source, steps=args.steps, scale=args.scale, **start)
    again = to_bytes(last(walk)[:1]).astype(float)
    print(f"reconstruction, {name}: mean squared error {((again - to_bytes(x_0)) ** 2).mean() / 255**2:.6f}")
