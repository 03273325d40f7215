"""Editing with the sampler: one image, and every way of editing over the strength."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import ddpm
from ddpm.data import classifier, edits
from ddpm.data import image_files as reading
from ddpm.data import judge as judging
from ddpm.data.base import DataError
from ddpm.diffusion import last
from ddpm.images import from_bytes
from ddpm.model import Trained

from ..editing import edit_exact, edit_inverted, edit_naive, last_steps
from . import reconstruct
from . import sheets as figures
from . import strength_sweep as tradeoff
from .common import (
    at_least_two,
    check_free,
    check_same,
    check_seed,
    head,
    in_batches,
    model_facts,
    name_of,
    of_split,
    once,
    result,
    tell,
)

WAYS = ("noise", "invert", "exact")


def editor(trained: Trained, args: argparse.Namespace, sources: list[str], targets: list[str]) -> Callable:
    """edit(way, x_0, strength, seeds) -> trajectory; the source's caption unguided, the target's guided by --scale."""
    source, target, schedule = trained.eps(sources), trained.eps(targets, args.scale), trained.schedule

    def edit(way: str, x_0: torch.Tensor, strength: float, seeds: range) -> Iterator:
        if way == "noise":
            return edit_naive(target, schedule, x_0, strength, args.steps, args.eta, generator=ddpm.Noise(seeds))
        if way == "invert":
            return edit_inverted(source, target, schedule, x_0, strength, args.steps, args.iterations)
        return edit_exact(source, target, schedule, x_0, strength, args.steps)

    return edit


def check_edit(trained: Trained, args: argparse.Namespace, strengths: list[float]) -> None:
    """ValueError, before any work, for iterations or a seed below 0, and for strengths that come to no step, or leave
    the exact way a single one.
    """
    check_seed(args.seed)  # "noise" may not be the first of the ways
    if args.iterations < 0:
        raise ValueError(f"--iterations is {args.iterations}: expected 0 or more")
    for strength in strengths:
        steps = len(last_steps(trained.schedule.T, args.steps, strength)) - 1
        if steps == 0 < strength:
            raise ValueError(f"strength {strength:g} of {args.steps} steps rounds to no step: take more --steps")
        if steps == 1 and "exact" in args.ways:
            raise ValueError(
                f"strength {strength:g} of {args.steps} steps is one step, and the exact way needs two: take more "
                "--steps, another strength, or --ways without it"
            )


def image_and_caption(trained: Trained, args: argparse.Namespace) -> tuple[np.ndarray, str | None]:
    """The image to edit, uint8 (3, H, W), and its caption if it has one: a file, or an index into the test split."""
    size = trained.unet.config.size
    if args.image.removeprefix("-").isdecimal():
        test = of_split(trained, args.data_dir, "test")
        if not 0 <= int(args.image) < len(test):
            raise DataError(f"there is no image {args.image} in the test split: expected 0..{len(test) - 1}")
        return test.images[int(args.image)], test.captions[int(args.image)][0]
    file = reading.open_image(Path(args.image))
    if file.size != (size, size):
        raise DataError(f"{args.image} has {file.width} x {file.height} pixels, the model's images {size} x {size}")
    return reading.to_array(file, size), None


def edit_command(args: argparse.Namespace) -> None:
    """Edit one image: encode, change the caption, decode."""
    check_free(args, ".png")
    trained, ways = ddpm.load(args.model, device=args.device), once(args.ways)
    check_edit(trained, args, [args.strength])
    image, caption = image_and_caption(trained, args)
    source = args.prompt if args.prompt is not None else caption
    if source is None:
        raise ValueError(f"say what {args.image} shows: --prompt")
    edit = editor(trained, args, [source], [args.target])
    x_0 = from_bytes(image[None]).to(trained.device)
    results = [last(edit(way, x_0, args.strength, range(args.seed, args.seed + 1))) for way in ways]
    images = np.concatenate([image[None], *(ddpm.to_bytes(x) for x in results)])
    title = f"{source}\n-> {args.target}\nstrength {args.strength:g}, {args.steps} steps, guidance {args.scale:g}"
    for way, x, judged in zip(ways, results, verdicts(trained.info["data"], images[1:], args.target), strict=True):
        distance = reconstruct.squared_errors(x_0, x).item()
        print(f"{tradeoff.NAMES[way]:20s} squared difference from the original {distance:.4f} ([0, 1] scale){judged}")
    columns = ["original", *(tradeoff.NAMES[way].replace(" ", "\n") for way in ways)]
    print(figures.sheet(result(args, ".png"), images[None], [""], columns, title))


def verdicts(data: str, images: np.ndarray, target: str) -> list[str]:
    """Of each image, whether it shows the target; empty words where nobody can tell."""
    try:
        told = None if data == "shapes" else classifier.load(data).probabilities(images)
        found = judging.judged(data, images, [target] * len(images), told)
    except ValueError:  # a sentence or a data set without a judge
        return [""] * len(images)
    missed = [", ".join(kind for kind, shown in found.items() if shown[i] == 0) for i in range(len(images))]
    return [f"; caption not met: {kinds}" if kinds else "; caption met" for kinds in missed]


def met(data: str, todo: edits.Edits, images: np.ndarray) -> np.ndarray:
    """(N,) bool, which images show their target: all exact checks of the shapes, elsewhere the classifier's head."""
    if data == "shapes":
        found = judging.judged(data, images, todo.targets, None)
        return np.all([np.asarray(shown) != 0 for shown in found.values()], axis=0)
    judge = classifier.load(data)
    told = judge.probabilities(images)[todo.head].argmax(1).tolist()
    return np.array([judge.heads[todo.head][k] == word for k, word in zip(told, todo.wanted, strict=True)])


def sweep_command(args: argparse.Namespace) -> None:
    """Every way of editing over the strength: what is lost of the image, and how often the new caption is met."""
    at_least_two(args.n)
    check_free(args, ".json", ".txt", ".png", "-strip.png")
    trained, args.ways, args.strengths = load_for_sweep(args)
    test, data = of_split(trained, args.data_dir, "test"), trained.info["data"]
    todo = {kind: edits.edits(test, kind, args.n) for kind in args.edits or edits.KINDS[data]}
    if few := [kind for kind, e in todo.items() if len(e.images) < args.n]:
        most = len(todo[few[0]].images)
        raise ValueError(f"n is {args.n}, but the test split has {most} images for the edit {few[0]!r}")
    settings = model_facts(trained, args) | {"n": args.n, "steps": args.steps, "eta": args.eta, "guidance": args.scale}
    settings |= {"iterations": args.iterations, "seed": args.seed, "strengths": args.strengths, "ways": args.ways}
    settings |= {"edits": list(todo)}
    check_same(args, settings)
    curves, strips, titles, moved = {}, [], [], np.array(args.strengths) > 0
    for kind, e in todo.items():
        curves[kind], after = swept(trained, args, kind, e)
        shown = example([met(data, e, images[-1]) for images in after])
        strips += [np.stack([e.images[shown], *images[moved, shown]]) for images in after]
        titles.append(f"{e.sources[shown]}  ->  {e.targets[shown]}")
    asked = f"n = {args.n} of each edit, {args.steps} steps, eta {args.eta} (noise), guidance {args.scale:g}"
    asked += f", seed {args.seed}"
    tell(args, {"settings": settings, "curves": curves}, tradeoff.text(head(trained, args, asked), curves))
    print(tradeoff.plot(result(args, ".png"), curves, f"{name_of(args.model)}: {asked}"))
    names = [f"{kind}: {tradeoff.NAMES[way]}" for kind in todo for way in args.ways]
    columns = ["original", *(f"{strength:g}" for strength in args.strengths if strength > 0)]
    print(figures.sheet(result(args, "-strip.png"), np.stack(strips), names, columns, "\n".join(titles)))


def load_for_sweep(args: argparse.Namespace) -> tuple[Trained, list[str], list[float]]:
    """The model, the ways and the rising strengths. ValueError for what cannot be swept."""
    trained = ddpm.load(args.model, device=args.device)
    if (data := trained.info["data"]) not in edits.KINDS:
        raise ValueError(f"no edits are known for the data set {data!r}: expected one of {', '.join(edits.KINDS)}")
    check_edit(trained, args, args.strengths)
    return trained, once(args.ways), sorted(set(args.strengths))


def swept(
    trained: Trained, args: argparse.Namespace, kind: str, e: edits.Edits
) -> tuple[dict[str, tradeoff.Points], list[np.ndarray]]:
    """Each way's points, and its images at every strength, uint8 (strengths, n, 3, H, W)."""
    curves, strips, judge = {}, [], partial(met, trained.info["data"], e)
    for way in args.ways:
        walk = tradeoff.points(partial(edited, trained, args, e, way), args.strengths, e.images, e.keep, judge)
        points, images = zip(*tqdm(walk, f"{kind}, {way}", len(args.strengths)), strict=True)
        curves[way] = list(points)
        strips.append(np.stack(images))
    return curves, strips


def example(met_by: list[np.ndarray]) -> int:
    """The image that the strip shows: the first whose edit every way brings about when it goes furthest, or else the
    first of all.
    """
    return int(np.all(met_by, axis=0).argmax())


def edited(trained: Trained, args: argparse.Namespace, e: edits.Edits, way: str, strength: float) -> np.ndarray:
    """All images edited one way; image i has seed --seed + i."""
    parts = []
    for part in in_batches(len(e.images)):
        edit = editor(trained, args, e.sources[part], e.targets[part])
        x_0 = from_bytes(e.images[part]).to(trained.device)
        seeds = range(args.seed + part.start, args.seed + part.stop)
        parts.append(ddpm.to_bytes(last(edit(way, x_0, strength, seeds))))
    return np.concatenate(parts)
