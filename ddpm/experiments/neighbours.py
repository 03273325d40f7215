"""Has the model learnt its training images by heart? Every sample beside the training image nearest to it."""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from matplotlib.figure import Figure

from ..images import save_figure


def nearest(images: np.ndarray, training: np.ndarray, block: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """For each image uint8 (N, 3, H, W): its distance to the nearest training image (M, 3, H, W), and which.

    The distance is the root of the mean squared difference per value, on [0, 1]; mirrored training images count too.
    """
    x = flat(images)
    best, where = torch.full((len(x),), torch.inf, dtype=x.dtype), torch.zeros(len(x), dtype=torch.long)
    for first in range(0, len(training), block):
        part = training[first : first + block]
        for candidates in (part, part[..., ::-1].copy()):
            y = flat(candidates)
            squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
            distance, row = squares.min(dim=1)
            where = torch.where(distance < best, row + first, where)
            best = torch.minimum(best, distance)
    return (best / x.shape[1]).sqrt().numpy() / 255, where.numpy()


def flat(images: np.ndarray) -> torch.Tensor:
    """uint8 (N, 3, H, W) -> (N, 3 H W): whole numbers in float64, which add and multiply without rounding."""
    return rearrange(torch.from_numpy(images).double(), "n c h w -> n (c h w)")


def figure(path: Path, samples: np.ndarray, training: np.ndarray, distances: dict[str, np.ndarray]) -> Path:
    """Samples in rows of 8, each above its nearest training image (N, 3, H, W), beside the distances' distributions.

    distances: whose images, and how far each is from its nearest; drawn as cumulative shares.
    """
    drawing = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = drawing.subplots(1, 2, width_ratios=(1.2, 1))
    wide = min(8, len(samples))
    whole = np.stack([samples, training])[:, : len(samples) // wide * wide]
    pairs = rearrange(whole, "two (r k) c h w -> (r two h) (k w) c", k=wide)
    left.imshow(pairs, interpolation="nearest")
    left.set_title("samples, and under each its nearest training image", fontsize=9)
    left.axis("off")
    for whose, values in distances.items():
        right.plot(np.sort(values), np.arange(1, len(values) + 1) / len(values), label=whose)
    right.set(xlabel="distance to the nearest training image", ylabel="share of the images", ylim=(0, 1))
    right.legend(fontsize=8)
    right.grid(alpha=0.3)
    return save_figure(drawing, path)
