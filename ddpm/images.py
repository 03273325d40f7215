"""Pictures of pictures: captioned grids and loss curves, as PNG files."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure without needing a display; returns the path."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=100)
    return path


def grid(path: Path, images: np.ndarray, captions: list[str], columns: int = 8) -> Path:
    """Pictures uint8 (N, 3, H, W) in rows of `columns`, each above its caption."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.5 * columns, 1.95 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, image, caption in zip(axes, images, captions, strict=False):
        axis.imshow(image.transpose(1, 2, 0), interpolation="nearest")
        axis.set_title("\n".join(textwrap.wrap(caption, 26)), fontsize=6, y=0, va="top", pad=-3)
    return save_figure(figure, path)


def strip(rows: dict[str, np.ndarray], columns: Sequence[str] = (), width: float = 6.0) -> Figure:
    """Named rows of equally many pictures, uint8 (N, 3, H, W) each, N columns named or none: for a notebook.

    One white pixel parts a picture from the next. The figure is `width` inches wide.
    """
    padded = [np.pad(row, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=255) for row in rows.values()]
    whole = np.concatenate([np.concatenate([*row], axis=2) for row in padded], axis=1)  # (3, R (H+1), N (W+1))
    side = whole.shape[1] / len(rows)
    figure = Figure(figsize=(width, 0.8 * width * whole.shape[1] / whole.shape[2] + 0.4), layout="constrained")
    axis = figure.subplots()
    axis.imshow(whole.transpose(1, 2, 0), interpolation="nearest")
    axis.set_yticks(np.arange(len(rows)) * side + side / 2, rows, fontsize=8)
    axis.set_xticks(np.arange(len(columns)) * side + side / 2, columns, fontsize=7)
    axis.tick_params(length=0)
    return figure


def loss_curve(path: Path, records: list[dict]) -> Path:
    """The loss against the images seen: every record, and their mean over windows of a fortieth of the run."""
    images, losses = (np.array([record[key] for record in records]) for key in ("images", "loss"))
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axis = figure.subplots()
    axis.plot(images, losses, lw=0.5, alpha=0.35)
    window = max(1, len(losses) // 40)
    kept = len(losses) // window * window
    axis.plot(*(values[:kept].reshape(-1, window).mean(axis=1) for values in (images, losses)), lw=1.5)
    axis.set(xlabel="images seen", ylabel="loss", yscale="log")
    axis.grid(alpha=0.3, which="both")
    return save_figure(figure, path)
