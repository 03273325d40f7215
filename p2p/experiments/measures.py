"""How good an edit is: was it made, what did it leave alone, and do the maps show where the words are.

Images are uint8 (n, 3, H, W). Nothing here knows a data set: what an image shows is told by a judge, and the true
place of things by readings, both handed in.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Judged = dict[str, np.ndarray]
"""Kind of word -> (n,) 1.0 where an image shows its prompt's word, 0.0 where not, nan where the prompt says none."""
LEVELS = 50  # thresholds tried for the best overlap of a map with a mask


def succeeded(before: Judged, after: Judged, changed: str | None) -> np.ndarray:
    """(n,) bool: the edit shows the changed word, and every other word of its prompt that the source shows.

    before: the sources judged by their prompts, after: the edits by theirs. changed: None where a word was taken away.
    """
    good = np.ones(len(next(iter(after.values()))), dtype=bool)
    for kind, shown in after.items():
        wanted = np.ones_like(good) if kind == changed else before.get(kind, shown * np.nan) == 1
        good &= (shown == 1) | ~wanted
    return good


def overlap(mask_1: np.ndarray, mask_2: np.ndarray) -> np.ndarray:
    """(n,): intersection over union of soft masks (n, H, W) in 0..1; 0 where both are empty."""
    either = np.maximum(mask_1, mask_2).sum(axis=(1, 2))
    return np.minimum(mask_1, mask_2).sum(axis=(1, 2)) / np.maximum(either, 1e-9)


def squared_error(before: np.ndarray, after: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(n,): mean squared error on the [0, 1] scale over the pixels of `where` (n, H, W) bool; nan where it is empty."""
    squared = (((after.astype(np.float64) - before) / 255) ** 2).mean(axis=1)
    count = where.sum(axis=(1, 2))
    return np.where(count > 0, (squared * where).sum(axis=(1, 2)) / np.maximum(count, 1), np.nan)


def edges(images: np.ndarray) -> np.ndarray:
    """(n, H - 1, W - 1): how steep the lightness is at each place."""
    grey = images.astype(np.float64).mean(axis=1)
    return np.hypot(np.diff(grey, axis=1)[:, :, 1:], np.diff(grey, axis=2)[:, 1:])


def edge_agreement(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(n,): correlation of the two images' edges, 1 for the same outlines; 0 where an image has none."""
    x, y = (e - e.mean(axis=(1, 2), keepdims=True) for e in (edges(before), edges(after)))
    norm = np.sqrt((x**2).sum(axis=(1, 2)) * (y**2).sum(axis=(1, 2)))
    return (x * y).sum(axis=(1, 2)) / np.maximum(norm, 1e-9)


def geometry(before: Sequence[Any], after: Sequence[Any]) -> dict[str, np.ndarray]:
    """What readings (with mask, x, y, radius) of sources and edits say: overlap, drift and growth in pixels, (n,)."""
    masks = [np.stack([reading.mask for reading in readings]) for readings in (before, after)]
    places = [np.array([(r.x, r.y, r.radius) for r in readings]) for readings in (before, after)]
    moved = places[1] - places[0]
    return {"overlap": overlap(*masks), "drift": np.hypot(moved[:, 0], moved[:, 1]), "growth": moved[:, 2]}


def to_keep(before: Sequence[Any], after: Sequence[Any], background: bool) -> np.ndarray:
    """(n, H, W) bool, the pixels an edit should leave alone: outside both true masks, or, for an edit of the
    background, inside both.
    """
    masks = [np.stack([reading.mask for reading in readings]) for readings in (before, after)]
    return np.minimum(*masks) == 1 if background else np.maximum(*masks) == 0


def along(images: np.ndarray, where: np.ndarray, zero: np.ndarray, one: np.ndarray) -> np.ndarray:
    """(n,): how far the mean colour over `where` (n, H, W) bool has gone from the colour `zero` (n, 3), where it is 0,
    towards the colour `one` (n, 3), where it is 1; beyond either it goes on.
    """
    count = np.maximum(where.sum(axis=(1, 2)), 1)[:, None]
    colour = (images.astype(np.float64) * where[:, None]).sum(axis=(2, 3)) / count
    return ((colour - zero) * (one - zero)).sum(axis=1) / ((one - zero) ** 2).sum(axis=1)


# ---- do the maps show where the words are? ---------------------------------------------------------------------------


def pointing(maps: Tensor, masks: Tensor) -> Tensor:
    """(n,) bool: the largest value of a map (n, H, W) lies within its mask (n, H, W) bool."""
    return masks.flatten(1).gather(1, maps.flatten(1).argmax(dim=1, keepdim=True))[:, 0]


def best_overlap(maps: Tensor, masks: Tensor) -> Tensor:
    """(n,): the intersection over union with the mask (n, H, W) bool of all above a threshold, at the best threshold.

    LEVELS thresholds are tried, evenly between each map's (n, H, W) least and largest value.
    """
    low, high = (getattr(maps.flatten(1), name)(dim=1) for name in ("amin", "amax"))
    best = maps.new_zeros(len(maps))
    for share in torch.linspace(0, 1, LEVELS + 2)[1:-1]:
        inside = maps > (low + share * (high - low))[:, None, None]
        both, either = ((op(inside, masks)).sum(dim=(1, 2)) for op in (torch.logical_and, torch.logical_or))
        best = torch.maximum(best, both / either.clamp(min=1))
    return best
