"""Measures of edits: does the image show the edit, what else has changed, and do the maps show where the words are.

Images are uint8 (n, 3, H, W). Nothing here depends on a dataset: what an image shows comes from a judge
(`ddpm.data.judge`), the place of an object from readings (`ddpm.data.shapes.read`) or from its mask.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddpm.data.shapes import Reading

Judged = dict[str, np.ndarray]
"""Kind of word -> (n,) 1.0 where an image shows its prompt's word, 0.0 where not, nan where the prompt has none."""
LEVELS = 50  # thresholds tried for the best overlap of a map with a mask


def succeeded(before: Judged, after: Judged, changed: str | None) -> np.ndarray:
    """(n,) bool: the edit shows the changed word, and every other word of its prompt that the source shows.

    before: the sources judged by their prompts, after: the edits by theirs. changed: None where a word was removed.
    """
    success = np.ones(len(next(iter(after.values()))), dtype=bool)
    for kind, shown in after.items():
        required = np.ones_like(success) if kind == changed else before.get(kind, shown * np.nan) == 1
        success &= (shown == 1) | ~required
    return success


def overlap(mask_1: np.ndarray, mask_2: np.ndarray) -> np.ndarray:
    """(n,): intersection over union of soft masks (n, H, W) in 0..1; 0 where both are empty."""
    either = np.maximum(mask_1, mask_2).sum(axis=(1, 2))
    return np.minimum(mask_1, mask_2).sum(axis=(1, 2)) / np.maximum(either, 1e-9)


def edges(images: np.ndarray) -> np.ndarray:
    """(n, H - 1, W - 1): the size of the gradient of the grey image."""
    grey = images.astype(np.float64).mean(axis=1)
    return np.hypot(np.diff(grey, axis=1)[:, :, 1:], np.diff(grey, axis=2)[:, 1:])


def edge_agreement(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(n,): correlation of the two images' edges, 1 for the same outlines; 0 where an image has none."""
    x, y = (e - e.mean(axis=(1, 2), keepdims=True) for e in (edges(before), edges(after)))
    norm = np.sqrt((x**2).sum(axis=(1, 2)) * (y**2).sum(axis=(1, 2)))
    return (x * y).sum(axis=(1, 2)) / np.maximum(norm, 1e-9)


class Place(NamedTuple):
    """Where an object is, in pixels: the middle of its lower edge, half of its width, its mask (H, W) in 0..1."""

    x: float
    y: float
    radius: float
    mask: np.ndarray


def place(mask: np.ndarray) -> Place:
    """The box of a mask (H, W) of bool; an empty one is in the image's middle, and has no width.

    An object stands on the middle of its lower edge: a true edit from a low to a tall one leaves it where it is.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return Place(mask.shape[1] / 2, mask.shape[0] / 2, 0.0, mask.astype(float))
    left, right = columns[0], columns[-1] + 1
    return Place((left + right) / 2, rows[-1] + 1.0, (right - left) / 2, mask.astype(float))


def wider(mask: np.ndarray) -> np.ndarray:
    """Masks (n, H, W) of bool, grown by a pixel to all sides: the edge of an antialiased object is part of it."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).any(axis=(3, 4))


def geometry(before: Sequence[Reading | Place], after: Sequence[Reading | Place]) -> dict[str, np.ndarray]:
    """From the readings of sources and edits: overlap of the objects, their drift and growth in pixels, (n,) each."""
    x, y, radius = np.array([[(r.x, r.y, r.radius) for r in readings] for readings in (before, after)]).T  # (n, 2) each
    drift = np.hypot(x[:, 1] - x[:, 0], y[:, 1] - y[:, 0])
    return {"overlap": overlap(masks(before), masks(after)), "drift": drift, "growth": radius[:, 1] - radius[:, 0]}


def elsewhere(before: Sequence[Reading], after: Sequence[Reading], background: bool) -> np.ndarray:
    """(n, H, W) bool, the pixels an edit should not change: outside both objects, or, for an edit of the background,
    inside both.
    """
    both = masks(before), masks(after)
    return np.minimum(*both) == 1 if background else np.maximum(*both) == 0


def masks(readings: Sequence[Reading | Place]) -> np.ndarray:
    """(n, H, W): the soft masks of the objects, in 0..1."""
    return np.stack([reading.mask for reading in readings])


def along(images: np.ndarray, where: np.ndarray, zero: np.ndarray, one: np.ndarray) -> np.ndarray:
    """(n,): the mean colour over `where` (n, H, W) bool, projected on the line through two colours (n, 3): 0 at `zero`,
    1 at `one`, less or more beyond them.
    """
    count = np.maximum(where.sum(axis=(1, 2)), 1)[:, None]
    colour = (images.astype(np.float64) * where[:, None]).sum(axis=(2, 3)) / count
    return ((colour - zero) * (one - zero)).sum(axis=1) / ((one - zero) ** 2).sum(axis=1)


# ---- do the maps show where the words are? ---------------------------------------------------------------------------


def pointing(maps: Tensor, masks: Tensor) -> Tensor:
    """(n,) bool: the largest value of a map (n, H, W) lies within its mask (n, H, W) bool."""
    return masks.flatten(1).gather(1, maps.flatten(1).argmax(dim=1, keepdim=True))[:, 0]


def best_overlap(maps: Tensor, masks: Tensor) -> Tensor:
    """(n,): the intersection over union of the mask (n, H, W) bool and the pixels above a threshold, at the best of
    LEVELS thresholds between each map's (n, H, W) least and largest value.
    """
    low, high = (getattr(maps.flatten(1), name)(dim=1) for name in ("amin", "amax"))
    best = maps.new_zeros(len(maps))
    for share in torch.linspace(0, 1, LEVELS + 2)[1:-1]:
        inside = maps > (low + share * (high - low))[:, None, None]
        both, either = ((op(inside, masks)).sum(dim=(1, 2)) for op in (torch.logical_and, torch.logical_or))
        best = torch.maximum(best, both / either.clamp(min=1))
    return best
