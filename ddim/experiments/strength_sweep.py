"""The dilemma of partial noising: too little noise and the edit does not happen, too much and the image is lost.

A point is the result of editing n test images with one strength: "error", the mean squared error ([0, 1] scale) over
the pixels that the edit should leave alone, and "accuracy", the share of images that show the edit.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import tqdm

import ddpm
from ddpm.diffusion import last
from ddpm.evaluation import edits
from ddpm.evaluation.frechet import plus_minus
from ddpm.evaluation.judge import all_shown
from ddpm.experiments.common import check_settings, model_data, model_facts, result, shown_words, write
from ddpm.model import Trained, in_batches
from ddpm.utils import cli
from ddpm.utils.device import best_device
from ddpm.utils.images import from_bytes, save_figure, sheet, squared_error, to_bytes

from .edit import METHODS, add_method_flags, check_strengths, editor

EXAMPLE = "python -m ddim sweep --model shapes --n 16 --steps 20 --edits colour"
STRENGTHS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
LEVELS = (0.5, 0.8, 0.9, 0.95)  # accuracies at which the methods are compared
Points = list[dict[str, float]]

# ---- measure ---------------------------------------------------------------------------------------------------------


def points(
    edited: Callable[[float], np.ndarray],
    strengths: list[float],
    images: np.ndarray,
    keep: np.ndarray,
    shown: Callable[[np.ndarray], np.ndarray],
) -> Iterator[tuple[dict[str, float], np.ndarray]]:
    """A point for each strength, with the edited images uint8 (N, 3, H, W) that it was measured on.

    keep: (N, H, W) bool, the pixels to leave alone. shown: images -> (N,) bool, which of them show the edit.
    """
    for strength in strengths:
        after = edited(strength)
        error = float(np.mean(squared_error(images, after, keep)))
        yield {"strength": strength, "error": error, "accuracy": float(np.mean(shown(after)))}, after


def shows_edit(data: str, kind: str, e: edits.Edits, images: np.ndarray) -> np.ndarray:
    """(N,) bool: of shapes, which images show every word of their target; else, which show the word that was edited."""
    words = shown_words(data, images, e.targets)
    return all_shown(words) if data == "shapes" else words[kind] == 1


def edited(trained: Trained, args: argparse.Namespace, e: edits.Edits, method: str, strength: float) -> np.ndarray:
    """All images edited with one method, uint8 (n, 3, H, W); image i has seed --seed + i."""
    parts = []
    for part in in_batches(len(e.images), trained.device):
        edit = editor(trained, args, e.sources[part], e.targets[part])
        x_0 = from_bytes(e.images[part]).to(trained.device)
        seeds = range(args.seed + part.start, args.seed + part.stop)
        parts.append(to_bytes(last(edit(method, x_0, strength, seeds))))
    return np.concatenate(parts)


def measure(
    trained: Trained, args: argparse.Namespace, kind: str, e: edits.Edits
) -> tuple[dict[str, Points], list[np.ndarray]]:
    """Each method's points, and its images at every strength, uint8 (strengths, n, 3, H, W)."""
    curves, after, shown = {}, [], partial(shows_edit, trained.info["data"], kind, e)
    for method in args.methods:
        walk = points(partial(edited, trained, args, e, method), args.strengths, e.images, e.keep, shown)
        found, images = zip(*tqdm(walk, f"{kind}, {method}", len(args.strengths)), strict=True)
        curves[method] = list(found)
        after.append(np.stack(images))
    return curves, after


def at_success(points: Points, level: float) -> float | None:
    """The error at the smallest strength whose accuracy is `level`, between two strengths by linear interpolation.

    points: in order of their strength. None where no accuracy is as high.
    """
    if points[0]["accuracy"] >= level:
        return points[0]["error"]
    for low, high in pairwise(points):
        if high["accuracy"] >= level:
            share = (level - low["accuracy"]) / (high["accuracy"] - low["accuracy"])
            return low["error"] + share * (high["error"] - low["error"])
    return None


# ---- as text and as images -------------------------------------------------------------------------------------------


def summary(settings: dict) -> str:
    """The settings in one line."""
    return (
        f"n = {settings['n']} of each edit, {settings['steps']} steps, eta {settings['eta']} (SDEdit), "
        f"guidance {settings['guidance']:g}, seed {settings['seed']}"
    )


def text(record: dict) -> str:
    """A table over strengths for each kind of edit, then the errors at equal accuracy."""
    settings = record["settings"]
    lines = [f"sweep: model {settings['model']}, data {settings['data']}", summary(settings)]
    for kind, curves in record["curves"].items():
        lines += ["", f"{kind + ', strength':40s}" + "".join(f"{s:>8g}" for s in settings["strengths"])]
        for method, found in curves.items():
            name = METHODS[method]
            lines.append(f"{name + ', error x 1000':40s}" + "".join(f"{1000 * p['error']:>8.2f}" for p in found))
            lines.append(f"{name + ', accuracy in %':40s}" + "".join(f"{100 * p['accuracy']:>8.1f}" for p in found))
        lines.append(f"{'error x 1000 at equal accuracy':40s}" + "".join(f"{f'{100 * v:g} %':>8s}" for v in LEVELS))
        for method, found in curves.items():
            values = [at_success(found, level) for level in LEVELS]
            cells = ["-" if value is None else plus_minus(1000 * value, None) for value in values]
            lines.append(f"{METHODS[method]:40s}" + "".join(f"{cell:>8s}" for cell in cells))
    return "\n".join(lines) + "\n"


def plot(path: Path, record: dict) -> Path:
    """A row for each kind of edit: accuracy and error of its first method over strength, and the trade-off of all."""
    curves, settings = record["curves"], record["settings"]
    figure = Figure(figsize=(7.5, 2.6 * len(curves) + 0.3), layout="constrained")
    figure.suptitle(f"{settings['model']}: {summary(settings)}", fontsize=9)
    axes = figure.subplots(len(curves), 2, squeeze=False)
    for (left, right), (kind, methods) in zip(axes, curves.items(), strict=True):
        first = next(iter(methods))
        draw_dilemma(left, methods[first], f"{kind}: {METHODS[first]}")
        for method, found in methods.items():
            right.plot([p["error"] for p in found], [p["accuracy"] for p in found], "o-", ms=3, label=METHODS[method])
        right.set_xscale("symlog", linthresh=1e-4)
        right.set(xlabel="mean squared error", ylabel="accuracy")
        right.set_title(f"{kind}: trade-off", fontsize=9)
        right.grid(alpha=0.3)
        right.legend(fontsize=7)
    return save_figure(figure, path)


def draw_dilemma(axis: Axes, found: Points, title: str) -> None:
    """Accuracy and error over the strength, each on its own axis."""
    strengths = [p["strength"] for p in found]
    axis.plot(strengths, [p["accuracy"] for p in found], "o-", ms=3, color="C2")
    axis.set(xlabel="strength", ylim=(-0.03, 1.03))
    axis.set_ylabel("accuracy", color="C2")
    axis.set_title(title, fontsize=9)
    axis.grid(alpha=0.3)
    other = axis.twinx()
    other.plot(strengths, [p["error"] for p in found], "s--", ms=3, color="C3")
    other.set_ylabel("mean squared error", color="C3")


def strip(path: Path, args: argparse.Namespace, todo: dict[str, edits.Edits], after: dict, examples: dict) -> Path:
    """One image of each kind of edit, a row for each method, over the strengths above 0."""
    above = np.array(args.strengths) > 0
    rows = [
        np.stack([e.images[examples[kind]], *images[above, examples[kind]]])
        for kind, e in todo.items()
        for images in after[kind]
    ]
    names = [f"{kind}: {METHODS[method]}" for kind in todo for method in args.methods]
    columns = ["original", *(f"{strength:g}" for strength in args.strengths if strength > 0)]
    titles = [f"{e.sources[examples[kind]]}  ->  {e.targets[examples[kind]]}" for kind, e in todo.items()]
    return sheet(path, np.stack(rows), names, columns, "\n".join(titles))


def example(shown: list[np.ndarray]) -> int:
    """The image of the strip: the first that shows its edit with every method at full strength, else the first of all.

    shown: (n,) bool for each method.
    """
    return int(np.all(shown, axis=0).argmax())


# ---- command ---------------------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddim sweep`."""
    cli.add_flags(parser, model="shapes", data_dir="data", device=best_device(), out="results", n=64, seed=0)
    parser.add_argument("--strengths", type=cli.share, nargs="+", default=STRENGTHS, help="shares of the steps")
    parser.add_argument("--edits", nargs="+", help="kinds of edit; by default all of the dataset")
    add_method_flags(parser, steps=50)


def edits_of(trained: Trained, args: argparse.Namespace) -> dict[str, edits.Edits]:
    """Kind of edit -> n edits of test images. ValueError: a dataset without edits, fewer than n images."""
    data = trained.info["data"]
    if data not in edits.EDIT_KINDS:
        raise ValueError(f"no edits are known for the dataset {data!r}: expected one of {', '.join(edits.EDIT_KINDS)}")
    test = model_data(trained, args.data_dir, "test")
    todo = {kind: edits.edits(test, kind, args.n) for kind in args.edits or edits.EDIT_KINDS[data]}
    for kind, e in todo.items():
        if len(e.images) < args.n:
            raise ValueError(f"n is {args.n}, but the test split has {len(e.images)} images for the edit {kind!r}")
    return todo


def run(args: argparse.Namespace) -> None:
    """Measure every kind of edit with every method; write and print the table, the plot and a strip of images."""
    trained, args.strengths = ddpm.load(args.model, device=args.device), sorted(set(args.strengths))
    check_strengths(trained, args, args.strengths)
    if args.methods == ["sdedit"]:  # the others invert, and methods are compared in one precision
        trained = trained.for_many_images(compiled=False)
    todo, name = edits_of(trained, args), f"sweep-{cli.name_of(args.model)}"
    settings = model_facts(trained, args) | {"n": args.n, "steps": args.steps, "eta": args.eta, "guidance": args.scale}
    settings |= {"iterations": args.iterations, "seed": args.seed, "strengths": args.strengths}
    settings |= {"methods": args.methods, "edits": list(todo)}
    check_settings(result(args, name, ".json"), settings)
    curves, after, examples = {}, {}, {}
    for kind, e in todo.items():
        curves[kind], after[kind] = measure(trained, args, kind, e)
        examples[kind] = example([shows_edit(trained.info["data"], kind, e, images[-1]) for images in after[kind]])
    record = {"settings": settings, "curves": curves}
    write(args, name, record, text(record))
    print(plot(result(args, name, ".png"), record))
    print(strip(result(args, name, ".png", "-strip"), args, todo, after, examples))
