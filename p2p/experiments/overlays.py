"""What an edit looks like: images beside the maps that made them."""

import matplotlib
import numpy as np
from torch import Tensor

from ..store import AttentionStore, enlarge

GREY = 0.35  # how much of the image shines through its map
SCALE = 2  # pixels of the sheet for one of the image


def overlay(images: np.ndarray, maps: Tensor) -> np.ndarray:
    """uint8 (B, 3, H, W): maps (B, h, w), each from its least to its largest value in colour, over grey images."""
    heat = enlarge(maps, images.shape[-1]).cpu().numpy()
    low, high = heat.min(axis=(1, 2), keepdims=True), heat.max(axis=(1, 2), keepdims=True)
    colour = matplotlib.colormaps["inferno"]((heat - low) / np.maximum(high - low, 1e-9))[..., :3].transpose(0, 3, 1, 2)
    grey = images.mean(axis=1, keepdims=True) / 255
    return np.round(255 * ((1 - GREY) * colour + GREY * grey)).astype(np.uint8)


def word_maps(images: np.ndarray, store: AttentionStore, size: int) -> tuple[np.ndarray, list[str]]:
    """The averaged map of every token of the first prompts over its image, uint8 (B, L, 3, H, W), and their names.

    store: of at least the B images, whose prompts have one length; START is the first token.
    """
    maps = store.maps(size)[: len(images)]
    names = ["START", *store.prompts[0].split()]
    return np.stack([overlay(images, maps[..., i]) for i in range(len(names))], axis=1), names
