"""The lecture's dilemma, measured: too little noise and the edit does not happen, too much and the image is lost.

A point is what editing n images with one strength gives: `lost`, the mean squared error ([0, 1] scale) over the
pixels that the edit should leave alone, and `met`, the share of images that show what the new caption says.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ddpm.images import save_figure

from .fid import plus_minus

Points = list[dict[str, float]]
LEVELS = (0.5, 0.8, 0.9, 0.95)  # shares of success at which ways are compared
NAMES = {"noise": "noise and denoise", "invert": "DDIM inversion", "exact": "exact inversion"}


def lost(before: np.ndarray, after: np.ndarray, keep: np.ndarray) -> float:
    """Mean over images uint8 (N, 3, H, W) of the squared error, [0, 1] scale, over the pixels of keep (N, H, W)."""
    squared = ((after.astype(np.float64) - before) / 255) ** 2
    return float(((squared.mean(axis=1) * keep).sum(axis=(1, 2)) / keep.sum(axis=(1, 2))).mean())


def points(
    edited: Callable[[float], np.ndarray],
    strengths: list[float],
    images: np.ndarray,
    keep: np.ndarray,
    met: Callable[[np.ndarray], np.ndarray],
) -> Iterator[tuple[dict[str, float], np.ndarray]]:
    """A point for each strength, with the edited images uint8 (N, 3, H, W) that it was measured on.

    met: which of the images show their target, (N,).
    """
    for strength in strengths:
        after = edited(strength)
        yield {"strength": strength, "lost": lost(images, after, keep), "met": float(np.mean(met(after)))}, after


def at_success(points: Points, level: float) -> float | None:
    """What is lost at the smallest strength that meets `level`, between two strengths on a straight line; None if none
    does. Points in order of their strength.
    """
    if points[0]["met"] >= level:
        return points[0]["lost"]
    for low, high in pairwise(points):
        if high["met"] >= level:
            share = (level - low["met"]) / (high["met"] - low["met"])
            return low["lost"] + share * (high["lost"] - low["lost"])
    return None


def text(head: list[str], curves: dict[str, dict[str, Points]]) -> str:
    """curves[kind of edit][way] as a table over strengths, then what is lost at equal success."""
    lines = list(head)
    for kind, ways in curves.items():
        strengths = [point["strength"] for point in next(iter(ways.values()))]
        lines += ["", f"{kind + ', strength':40s}" + "".join(f"{s:>8g}" for s in strengths)]
        for way, found in ways.items():
            lines.append(f"{NAMES[way] + ', lost x 1000':40s}" + "".join(f"{1000 * p['lost']:>8.2f}" for p in found))
            lines.append(f"{NAMES[way] + ', caption met, %':40s}" + "".join(f"{100 * p['met']:>8.1f}" for p in found))
        lines.append(f"{'lost x 1000 at equal success':40s}" + "".join(f"{f'{100 * v:g} %':>8s}" for v in LEVELS))
        for way, found in ways.items():
            values = [at_success(found, level) for level in LEVELS]
            cells = ["-" if value is None else plus_minus(1000 * value, None) for value in values]
            lines.append(f"{NAMES[way]:40s}" + "".join(f"{cell:>8s}" for cell in cells))
    return "\n".join(lines) + "\n"


def plot(path: Path, curves: dict[str, dict[str, Points]], title: str) -> Path:
    """A row for each kind of edit: the dilemma of its first way over strength, and the trade-off of all ways."""
    figure = Figure(figsize=(7.5, 2.6 * len(curves) + 0.3), layout="constrained")
    figure.suptitle(title, fontsize=9)
    for (left, right), (kind, ways) in zip(figure.subplots(len(curves), 2, squeeze=False), curves.items(), strict=True):
        first = next(iter(ways))
        draw_dilemma(left, ways[first], f"{kind}: {NAMES[first]}")
        for way, found in ways.items():
            right.plot([p["lost"] for p in found], [p["met"] for p in found], "o-", ms=3, label=NAMES[way])
        right.set_xscale("symlog", linthresh=1e-4)
        right.set(xlabel="lost (mean squared error)", ylabel="caption met", title=f"{kind}: trade-off")
        right.title.set_fontsize(9)
        right.grid(alpha=0.3)
        right.legend(fontsize=7)
    return save_figure(figure, path)


def draw_dilemma(axis, found: Points, title: str) -> None:
    """What is met and what is lost over the strength, each with its own scale."""
    strengths = [p["strength"] for p in found]
    axis.plot(strengths, [p["met"] for p in found], "o-", ms=3, color="C2")
    axis.set(xlabel="strength", ylim=(-0.03, 1.03))
    axis.set_ylabel("caption met", color="C2")
    axis.set_title(title, fontsize=9)
    axis.grid(alpha=0.3)
    other = axis.twinx()
    other.plot(strengths, [p["lost"] for p in found], "s--", ms=3, color="C3")
    other.set_ylabel("lost (mean squared error)", color="C3")
