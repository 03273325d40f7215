"""Pictures of results: sheets of small pictures with named rows and columns."""

import textwrap
from pathlib import Path

import numpy as np
from einops import rearrange
from matplotlib.figure import Figure

from ddpm.pictures import save_figure

INCHES = 0.65  # of one picture


def sheet(path: Path, images: np.ndarray, rows: list[str], columns: list[str], title: str = "") -> Path:
    """Pictures uint8 (R, C, 3, H, W) as one sheet, its R rows and C columns named; returns the path."""
    R, C, _, height, width = images.shape
    gap = max(1, height // 16)
    framed = np.pad(images, ((0, 0), (0, 0), (0, 0), (0, gap), (0, gap)), constant_values=255)
    whole = rearrange(framed, "r c rgb h w -> (r h) (c w) rgb")
    inches = max(4.0, 0.3 + 0.08 * max(map(len, rows)) + INCHES * C)
    lines = [part for line in title.splitlines() for part in textwrap.wrap(line, int(15 * inches))]
    figure = Figure(figsize=(inches, 0.5 + 0.18 * len(lines) + INCHES * R), layout="constrained")
    axis = figure.subplots()
    axis.imshow(whole, interpolation="nearest")
    axis.set_xticks(np.arange(C) * (width + gap) + width / 2, columns, fontsize=7)
    axis.set_yticks(np.arange(R) * (height + gap) + height / 2, rows, fontsize=7)
    axis.tick_params(length=0)
    axis.xaxis.tick_top()
    axis.spines[:].set_visible(False)
    figure.suptitle("\n".join(lines), fontsize=8)
    return save_figure(figure, path)
