"""The lecture's dilemma, measured: too little noise and the edit does not happen, too much and the picture is lost.

A point is what editing n pictures with one strength gives: `lost`, the mean squared error ([0, 1] scale) over the
pixels that the edit should leave alone, and `met`, the share of pictures that show what the new caption says.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ddpm.pictures import save_figure

from .ruler import plus_minus

Points = list[dict[str, float]]
LEVELS = (0.5, 0.8, 0.9, 0.95)  # shares of success at which ways are compared
NAMES = {"noise": "noise and denoise", "invert": "DDIM inversion", "exact": "exact inversion (BDIA)"}


def lost(before: np.ndarray, after: np.ndarray, keep: np.ndarray) -> float:
    """Mean over pictures uint8 (N, 3, H, W) of the squared error, [0, 1] scale, over the pixels of keep (N, H, W)."""
    squared = ((after.astype(np.float64) - before) / 255) ** 2
    return float(((squared.mean(axis=1) * keep).sum(axis=(1, 2)) / keep.sum(axis=(1, 2))).mean())


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
        lines += ["", f"{kind + ', strength':34s}" + "".join(f"{s:>8g}" for s in strengths)]
        for way, points in ways.items():
            lines.append(f"{way + ': lost x 1000':34s}" + "".join(f"{1000 * p['lost']:>8.2f}" for p in points))
            lines.append(f"{way + ': caption met, %':34s}" + "".join(f"{100 * p['met']:>8.1f}" for p in points))
        lines.append("lost x 1000 where the caption is met by " + "".join(f"{f'{100 * v:g} %':>10s}" for v in LEVELS))
        for way, points in ways.items():
            values = [at_success(points, level) for level in LEVELS]
            cells = ["-" if value is None else plus_minus(1000 * value, None) for value in values]
            lines.append(f"{way:40s}" + "".join(f"{cell:>10s}" for cell in cells))
    return "\n".join(lines) + "\n"


def plot(path: Path, curves: dict[str, dict[str, Points]], title: str) -> Path:
    """A row for each kind of edit: the naive way's dilemma over strength, and the trade-off of all ways."""
    figure = Figure(figsize=(8.5, 2.9 * len(curves)), layout="constrained")
    figure.suptitle(title, fontsize=9)
    for (left, right), (kind, ways) in zip(figure.subplots(len(curves), 2, squeeze=False), curves.items(), strict=True):
        draw_dilemma(left, kind, ways)
        for way, points in ways.items():
            right.plot([p["lost"] for p in points], [p["met"] for p in points], "o-", ms=3, label=NAMES[way])
        right.set(xlabel="lost: squared error where nothing should change", ylabel="caption met", xscale="symlog")
        right.set_xscale("symlog", linthresh=1e-3)
        right.legend(fontsize=7)
    for axis in figure.axes:
        axis.grid(alpha=0.3)
    return save_figure(figure, path)


def draw_dilemma(axis, kind: str, ways: dict[str, Points]) -> None:
    """What is lost and what is met over the strength, of the naive way (or of the only one there is)."""
    way = "noise" if "noise" in ways else next(iter(ways))
    strengths = [p["strength"] for p in ways[way]]
    axis.plot(strengths, [p["met"] for p in ways[way]], "o-", ms=3, color="C2")
    axis.set(xlabel="strength", title=f"{kind}: {NAMES[way]}", ylim=(-0.03, 1.03))
    axis.set_ylabel("caption met", color="C2")
    other = axis.twinx()
    other.plot(strengths, [p["lost"] for p in ways[way]], "s--", ms=3, color="C3")
    other.set_ylabel("lost", color="C3")
