"""How much detail pictures have, by its size: how much of it few steps leave, and what noise adds."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from ddpm.pictures import save_figure

from .ruler import Ruler, noisy, plus_minus
from .table import label

GRAIN = (0, 3, 5, 8, 12)  # standard deviations of noise, in 0..255, that are added to samples


def power(images: np.ndarray) -> np.ndarray:
    """(size // 2,) mean power at 1, 2, ... cycles across the picture, of uint8 (N, 3, size, size) taken to [-1, 1].

    A frequency (u, v) counts at the whole number nearest to its length; the corners beyond size / 2 are left out.
    Summed over all frequencies but zero, power is the pictures' variance (Parseval).
    """
    size = images.shape[-1]
    parts = (images[first : first + 1000] / 127.5 - 1 for first in range(0, len(images), 1000))  # 50,000 are gigabytes
    mean = sum((np.abs(np.fft.fft2(part) / size**2) ** 2).sum(axis=(0, 1)) for part in parts) / (3 * len(images))
    cycles = np.fft.fftfreq(size, 1 / size)
    length = np.rint(np.hypot(cycles[:, None], cycles)).astype(int)
    return np.array([mean[length == k].sum() for k in range(1, size // 2 + 1)])


def grained(ruler: Ruler, features: Callable[[np.ndarray], Tensor], images: np.ndarray) -> list[float]:
    """The Frechet distance of pictures uint8 (N, 3, H, W) with noise of each strength in `GRAIN` on them."""
    return [ruler.frechet(features(noisy(images, strength) if strength else images)) for strength in GRAIN]


def text(head: Sequence[str], rows: dict[str, dict]) -> str:
    """Two tables: power by cycles as a share of real pictures' power, and the distance with noise added."""
    shares = next(iter(rows.values()))["power"]
    lines = [*head, "", "power, as a share of real pictures' power, at this many cycles across the picture"]
    lines.append(f"{'':8s}" + "".join(f"{k:>7d}" for k in range(1, len(shares) + 1)))
    lines += [f"{label(row):8s}" + "".join(f"{share:7.2f}" for share in found["power"]) for row, found in rows.items()]
    lines += ["", "distance, with noise of this standard deviation (of 255) on the samples"]
    lines.append(f"{'':8s}" + "".join(f"{strength:>9d}" for strength in GRAIN))
    for row, found in rows.items():
        lines.append(f"{label(row):8s}" + "".join(f"{plus_minus(value, None):>9s}" for value in found["grain"]))
    return "\n".join(lines) + "\n"


def plot(path: Path, title: str, rows: dict[str, dict]) -> Path:
    """Power over cycles, a line for each row, real pictures at 1; and the distance over the noise added."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for row, found in rows.items():
        left.plot(range(1, len(found["power"]) + 1), found["power"], marker="o", ms=3, label=label(row))
        right.plot(GRAIN, found["grain"], marker="o", ms=3, label=label(row))
    left.axhline(1, color="k", lw=0.8, ls=":")
    left.set(xlabel="cycles across the picture", ylabel="power, as a share of real pictures'")
    right.set(xlabel="noise added, standard deviation (pixel values 0..255)", ylabel="distance to the training set")
    for axis in (left, right):
        axis.grid(alpha=0.3, which="both")
    left.legend(fontsize=8)
    figure.suptitle(title, fontsize=9)
    return save_figure(figure, path)
