"""Pictures of results: sheets of small pictures with named rows and columns, and curves."""

from pathlib import Path

import numpy as np
from einops import rearrange
from matplotlib.figure import Figure

from ddpm.pictures import save_figure


def sheet(path: Path, images: np.ndarray, rows: list[str], columns: list[str], title: str = "") -> Path:
    """Pictures uint8 (R, C, 3, H, W) as one sheet, R rows and C columns of it named; returns the path."""
    R, C, _, height, width = images.shape
    gap = max(1, height // 16)
    framed = np.pad(images, ((0, 0), (0, 0), (0, 0), (0, gap), (0, gap)), constant_values=255)
    whole = rearrange(framed, "r c rgb h w -> (r h) (c w) rgb")
    figure = Figure(figsize=(1.2 + 0.55 * C, 0.8 + 0.55 * R), layout="constrained")
    axis = figure.subplots()
    axis.imshow(whole, interpolation="nearest")
    axis.set_xticks(np.arange(C) * (width + gap) + width / 2, columns, fontsize=7, rotation=90 if C > 12 else 0)
    axis.set_yticks(np.arange(R) * (height + gap) + height / 2, rows, fontsize=7)
    axis.tick_params(length=0)
    axis.xaxis.tick_top()
    axis.spines[:].set_visible(False)
    if title:
        axis.set_title(title, fontsize=8)
    return save_figure(figure, path)
