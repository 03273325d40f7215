"""Pictures of results: sheets of small pictures with named rows and columns."""

import textwrap
from pathlib import Path

import numpy as np
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpm.images import save_figure

INCHES = 0.65  # of one picture


def sheet(
    path: Path, images: np.ndarray, rows: list[str], columns: list[str], title: str = "", fold: int | None = None
) -> Path:
    """Pictures uint8 (R, C, 3, H, W) as one sheet, its R rows and C columns named; returns the path.

    fold: the columns from there on stand in a block of their own, below the others.
    """
    cut = fold or len(columns)
    blocks = [(images[:, part], columns[part]) for part in (slice(cut), slice(cut, None)) if columns[part]]
    widest = max(len(names) for _, names in blocks)
    inches = max(4.0, 0.3 + 0.08 * max(map(len, rows)) + INCHES * widest)
    lines = [part for line in title.splitlines() for part in textwrap.wrap(line, int(15 * inches))]
    tall = 0.18 * len(lines) + len(blocks) * (0.5 + INCHES * len(rows))
    figure = Figure(figsize=(inches, tall), layout="constrained")
    for axis, (pictures, names) in zip(figure.subplots(len(blocks), 1, squeeze=False)[:, 0], blocks, strict=True):
        draw(axis, pictures, rows, names, widest)
    figure.suptitle("\n".join(lines), fontsize=8)
    return save_figure(figure, path)


def draw(axis: Axes, images: np.ndarray, rows: list[str], columns: list[str], widest: int) -> None:
    """A block of pictures, with white to its right where it has fewer than `widest` columns."""
    R, C, _, height, width = images.shape
    gap = max(1, height // 16)
    white = ((0, 0), (0, widest - C), (0, 0), (0, 0), (0, 0))
    framed = np.pad(images, ((0, 0), (0, 0), (0, 0), (0, gap), (0, gap)), constant_values=255)
    framed = np.pad(framed, white, constant_values=255)
    axis.imshow(rearrange(framed, "r c rgb h w -> (r h) (c w) rgb"), interpolation="nearest")
    axis.set_xticks(np.arange(C) * (width + gap) + width / 2, columns, fontsize=7)
    axis.set_yticks(np.arange(R) * (height + gap) + height / 2, rows, fontsize=7)
    axis.tick_params(length=0)
    axis.xaxis.tick_top()
    axis.spines[:].set_visible(False)
