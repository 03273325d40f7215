"""Images: bytes and numbers in [-1, 1], grids, strips and sheets, squared error."""

import textwrap
from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image

from .files import whole_file

if TYPE_CHECKING:  # matplotlib is imported where something is drawn: it takes as long as all of ours
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def to_bytes(x_0: torch.Tensor) -> np.ndarray:
    """Images (B, 3, H, W) in [-1, 1] -> uint8 0..255; what lies outside is clipped."""
    return ((x_0.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()


def from_bytes(images: torch.Tensor | np.ndarray) -> torch.Tensor:
    """uint8 0..255 -> float32 in [-1, 1], the range of every image in the project."""
    images = torch.tensor(images) if isinstance(images, np.ndarray) else images
    if images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8 in 0..255, got {images.dtype}: scaled twice?")
    return images.float() / 127.5 - 1


GREY = 0.35  # how much of an image shows through its map


def enlarge(maps: torch.Tensor, size: int) -> torch.Tensor:
    """Maps (B, h, w) -> (B, size, size), bilinear."""
    return F.interpolate(maps[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def overlay(images: np.ndarray, maps: torch.Tensor) -> np.ndarray:
    """uint8 (B, 3, H, W): maps (B, h, w) in colour, each from its least to its largest value, over grey images."""
    from matplotlib import colormaps

    heat = enlarge(maps, images.shape[-1]).cpu().numpy()
    low, high = heat.min(axis=(1, 2), keepdims=True), heat.max(axis=(1, 2), keepdims=True)
    colour = colormaps["inferno"]((heat - low) / np.maximum(high - low, 1e-9))[..., :3].transpose(0, 3, 1, 2)
    grey = images.mean(axis=1, keepdims=True) / 255
    return np.round(255 * ((1 - GREY) * colour + GREY * grey)).astype(np.uint8)


# ---- figures ---------------------------------------------------------------------------------------------------------

DPI = 100
LEAST, MOST = 1.1, 2.2  # inches of one image on a sheet
WIDE, TALL = 9.0, 12.0  # inches of all its images side by side, and below each other
MOST_COLUMNS = 16  # of a grid


def subplots(wide: float, tall: float, rows: int = 1, columns: int = 1, **how: Any) -> tuple["Figure", Any]:
    """A figure of so many inches and its axes, as those of pyplot, which would need a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, tall), layout="constrained")
    return figure, figure.subplots(rows, columns, **how)


def save_figure(figure: "Figure", path: str | Path, margins: str | None = "tight") -> Path:
    """Write a figure, whole or not at all; returns the path.

    margins: None leaves the figure's own; to find tight ones it is drawn twice.
    """
    path = Path(path).expanduser()
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format=path.suffix[1:] or "png", bbox_inches=margins)
    return path


def small_png(figure: "Figure", colours: int = 256) -> bytes:
    """A figure as a PNG of at most so many colours (2..256), fewer bytes: for a notebook kept with its outputs."""
    whole, small = BytesIO(), BytesIO()
    figure.savefig(whole, format="png", bbox_inches="tight")
    rgb = Image.open(whole).convert("RGB")
    rgb.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1).save(small, "png", optimize=True)
    return small.getvalue()


def loss_curve(path: Path, records: list[dict]) -> Path:
    """The loss against the images seen: every record, and their mean over windows of a fortieth of the run."""
    images, losses = (np.array([record[key] for record in records]) for key in ("images", "loss"))
    figure, axis = subplots(6, 3.5)
    axis.plot(images, losses, lw=0.5, alpha=0.35)
    window = max(1, len(losses) // 40)
    kept = len(losses) // window * window
    axis.plot(*(values[:kept].reshape(-1, window).mean(axis=1) for values in (images, losses)), lw=1.5)
    axis.set(xlabel="images seen", ylabel="loss", yscale="log")
    axis.grid(alpha=0.3, which="both")
    return save_figure(figure, path)


def grid(path: str | Path, images: np.ndarray, captions: list[str], columns: int = 8) -> Path:
    """Images uint8 (N, 3, H, W) in rows of `columns` (at most 16), each above its caption; returns the path.

    ValueError: other images, none, no columns.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in (len(images), columns):
        given = f"{images.dtype} {tuple(images.shape)} in {columns} columns"
        raise ValueError(f"images are {given}, expected uint8 (N, 3, H, W), one or more")
    columns, (n, _, height, width) = min(columns, MOST_COLUMNS, len(images)), images.shape
    rows, below = -(-n // columns), round(0.35 * height)  # room for the caption
    framed = np.full((rows * columns, 3, height + below, width + 1), 255, dtype=np.uint8)
    framed[:n, :, :height, :width] = images
    tiled = rearrange(framed, "(r c) rgb h w -> (r h) (c w) rgb", c=columns)
    scale = max(1, 128 // width) / DPI  # whole pixels of the file for each of an image
    figure, axis = subplots(scale * tiled.shape[1], scale * tiled.shape[0])
    figure.set_layout_engine("none")
    axis.set_position((0, 0, 1, 1))
    axis.axis("off")
    axis.imshow(tiled, interpolation="nearest")
    for i, caption in enumerate(captions[:n]):
        x, y = i % columns * (width + 1) + width / 2, i // columns * (height + below) + height
        axis.text(x, y, "\n".join(textwrap.wrap(caption, 26)), fontsize=6, ha="center", va="top")
    return save_figure(figure, path, margins=None)


def strip(
    rows: dict[str, np.ndarray], columns: Sequence[str] = (), width: float = 6.0, text: float = 8.0, levels: int = 256
) -> "Figure":
    """Named rows of equally many images, uint8 (N, 3, H, W) each, N columns named above or none: for a notebook.

    The figure is `width` inches wide; text is the size of the names. levels: of each colour, rounded; few make a small
    file.
    """
    images, step = np.stack(list(rows.values())), 256 // levels
    R, N, _, high, wide = images.shape
    lines = max((name.count("\n") + 1 for name in columns), default=0)
    figure, axis = subplots(width, 0.8 * width * R * (high + 1) / (N * (wide + 1)) + 0.2 + lines * text / 50)
    rounded = np.minimum(np.round(images / step) * step, 255).astype(np.uint8)
    draw_images(axis, rounded, list(rows), columns, 1, text)
    return figure


def sheet(
    path: Path,
    images: np.ndarray,
    rows: list[str],
    columns: list[str],
    title: str = "",
    fold: Sequence[int] = (),
    notes: Sequence[str] = (),
) -> Path:
    """Images uint8 (R, C, 3, H, W) as one sheet, its R rows and C columns named; returns the path.

    fold: the columns with which a new block begins, below the others. notes: a line above each block. The fewer images
    there are, the larger they are drawn.
    """
    cuts = [0, *fold, len(columns)]
    widest = max(j - i for i, j in pairwise(cuts))
    side = min(max(LEAST, min(WIDE / widest, TALL / ((len(cuts) - 1) * len(rows)))), MOST)
    names = [wrapped(name, side) for name in columns]
    longest = max(len(line) for name in rows for line in name.split("\n"))
    inches = max(4.0, 0.4 + 0.08 * longest + side * widest)
    above = [wrapped(text, inches) for text in (title, *notes, *[""] * (len(cuts) - 1 - len(notes)))]
    lines = sum(text.count("\n") + 1 for text in above)
    lines += sum(max(name.count("\n") for name in names[i:j]) + 1 for i, j in pairwise(cuts))
    tall = 0.16 * lines + (len(cuts) - 1) * (0.15 + side * len(rows))
    figure, axes = subplots(inches, tall, len(cuts) - 1, squeeze=False)
    for axis, (i, j), note in zip(axes[:, 0], pairwise(cuts), above[1:], strict=True):
        white = ((0, 0), (0, widest - (j - i)), (0, 0), (0, 0), (0, 0))  # to the right of a narrower block
        block = np.pad(images[:, i:j], white, constant_values=255)
        draw_images(axis, block, rows, names[i:j], max(1, images.shape[-2] // 16), 8)
        axis.set_title(note, fontsize=8, loc="left")
    figure.suptitle(above[0], fontsize=8)
    return save_figure(figure, path)


def wrapped(text: str, inches: float) -> str:
    """Text in lines that fit into so many inches of a sheet."""
    return "\n".join(part for line in text.splitlines() for part in textwrap.wrap(line, int(15 * inches)))


def draw_images(
    axis: "Axes", images: np.ndarray, rows: Sequence[str], columns: Sequence[str], gap: int, size: float
) -> None:
    """Images uint8 (R, C, 3, H, W), with `gap` white pixels after each; names of rows and columns in a font's size."""
    *_, height, width = images.shape
    framed = np.pad(images, ((0, 0), (0, 0), (0, 0), (0, gap), (0, gap)), constant_values=255)
    axis.imshow(rearrange(framed, "r c rgb h w -> (r h) (c w) rgb"), interpolation="nearest")
    axis.set_xticks(np.arange(len(columns)) * (width + gap) + width / 2, columns, fontsize=size)
    axis.set_yticks(np.arange(len(rows)) * (height + gap) + height / 2, rows, fontsize=size)
    axis.tick_params(length=0)
    axis.xaxis.tick_top()
    axis.spines[:].set_visible(False)


# ---- squared error ---------------------------------------------------------------------------------------------------

Images = np.ndarray | torch.Tensor


def squared_error(x: Images, y: Images, where: np.ndarray | None = None) -> np.ndarray:
    """(n,) float64: mean squared error of each image on the [0, 1] scale.

    x, y: both uint8 (n, 3, H, W), or both float tensors in [-1, 1], which nothing rounds or clips. where: (n, H, W)
    bool, the pixels to compare, all by default; an image without any gives nan. ValueError: shapes that do not fit.
    """
    np.broadcast_shapes(x.shape, y.shape)  # ValueError, which PyTorch does not raise
    if isinstance(x, torch.Tensor):
        difference = ((x - y) / 2).double().cpu().numpy()
    else:
        difference = (x.astype(np.float64) - y) / 255
    squared = (difference**2).mean(axis=1)
    if where is None:
        return squared.mean(axis=(1, 2))
    count = where.sum(axis=(1, 2))
    return np.where(count > 0, (squared * where).sum(axis=(1, 2)) / np.maximum(count, 1), np.nan)
