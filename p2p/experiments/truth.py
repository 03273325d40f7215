"""Edits beside the truth: drawn scenes are inverted, edited, and compared with the same scene drawn with the new word.

Errors are mean squares on the [0, 1] scale, over the pixels that the true edit changes ("inside") and over all others
("outside"). Of --source and --target scenes with those captions are drawn; else edits of each kind.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

import ddpm
from ddpm.data import scenes
from ddpm.data.lines import outlines
from ddpm.evaluation import classifier, edits
from ddpm.experiments.common import shown_words
from ddpm.experiments.records import Cell
from ddpm.model import Trained
from ddpm.utils import cli
from ddpm.utils.images import from_bytes, sheet, squared_error
from unet import ControlledUNet

from .. import real
from ..words import changed, split
from . import baselines
from .baselines import NAMES, WAYS, EditSettings, Pairs

EXAMPLE = 'python -m p2p truth --n 5 --source "a photo of a cat on a couch" --target "a photo of a tiger on a couch"'
ENDINGS = (".json", ".png")
BATCH = 50
SHOWN = 5  # rows of a sheet
TRUE_KINDS = [kind for kind in edits.SCENE_PAIRS if kind not in ("add colour", "drop colour")]
TRIED = [way for way in WAYS if way != "ddim"]  # by default

LINES = {"p2p-lines": "before", "p2p-sketch": "after"}  # ways of a ControlNet -> whose lines the edit follows
COLUMNS = NAMES | {"p2p-lines": "+ lines of\nthe source", "p2p-sketch": "+ lines of\nthe edit"}


def drawn(images: Sequence[scenes.Scene], size: int = scenes.SIZE) -> np.ndarray:
    """Scenes as uint8 (n, 3, size, size)."""
    return np.stack([scenes.draw(scene, size) for scene in images])


def with_lines(
    trained: Trained, settings: EditSettings, pairs: Pairs, chosen: list[edits.SceneEdit], lines_of: str
) -> Tensor:
    """Prompt-to-Prompt with a ControlNet: the source follows the lines of its scene, the edit those of the scene
    "before" or "after" the true edit.
    """
    source, target = (np.stack([outlines(getattr(e, name)) for e in chosen]) for name in ("before", lines_of))
    x_T = real.latent(trained.controlled(source), pairs.sources, pairs.x_0, settings.steps)
    steered = trained.controlled(np.concatenate([source, target]))
    return baselines.prompt_to_prompt(steered, settings, replace(pairs, x_T=x_T))


def edited(
    trained: Trained, settings: EditSettings, chosen: list[edits.SceneEdit], ways: Sequence[str]
) -> dict[str, np.ndarray]:
    """Way -> the edits uint8 (n, 3, H, W) of drawn scenes."""
    found: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    for first in tqdm(range(0, len(chosen), BATCH), "edits", unit=" batches"):
        part = chosen[first : first + BATCH]
        sources, targets = [e.source for e in part], [e.target for e in part]
        x_0 = trained.encode(from_bytes(drawn([e.before for e in part], trained.image_shape[-1])))
        x_T = real.latent(trained, sources, x_0, settings.steps)
        pairs = Pairs(sources, targets, list(range(first, first + len(part))), x_T, x_0)
        tried = WAYS | {way: partial(with_lines, chosen=part, lines_of=name) for way, name in LINES.items()}
        for way in ways:
            found[way].append(trained.images(tried[way](trained, settings, pairs)))
    return {way: np.concatenate(parts) for way, parts in found.items()}


def measure(chosen: list[edits.SceneEdit], images: np.ndarray, kind: str) -> Cell:
    """Errors to the truth, x 1000, and the share of the images that show the new word, in percent."""
    size = images.shape[-1]
    before, after = drawn([e.before for e in chosen], size), drawn([e.after for e in chosen], size)
    inside = (before != after).any(axis=1)
    cell: Cell = {f"{name} x 1000": 1000 * float(np.nanmean(squared_error(images, after, where)))
                  for name, where in (("inside", inside), ("outside", ~inside), ("all", None))}  # fmt: skip
    answers = shown_words("scenes", images, [e.target for e in chosen])
    word = kind.split()[-1]
    return cell | ({"new word shown": 100 * float(np.mean(answers[word] == 1))} if not kind.startswith("drop") else {})


def edits_of(source: str, target: str, n: int, seed: int = 0) -> tuple[str, list[edits.SceneEdit]]:
    """The kind of edit between two captions, and n scenes of the test split that the source is true of.

    ValueError: no edit of TRUE_KINDS, too few such scenes.
    """
    kind = edits.kind_between("scenes", source, target)
    if kind not in TRUE_KINDS:
        raise ValueError(f"{source!r} -> {target!r}: expected captions of scenes that differ in one of {TRUE_KINDS}")
    word, said = kind.split()[-1], {name: value for name, value in scenes.parse(source).items() if value}
    new, can_have = scenes.parse(target)[word], edits.SCENE_PAIRS[kind]
    drawn = scenes.scattered(400 * n, "test", seed + edits.HELD_OUT_SEED)  # the more words, the fewer scenes
    fitting = (s for s in drawn if said.items() <= vars(s).items() and can_have(s))  # no second flag is added
    found = list(islice(fitting, n))
    if len(found) == n:
        return kind, [edits.SceneEdit(s, scenes.replace(s, **{word: new}), source, target) for s in found]
    raise ValueError(f"{len(found)} scenes of {source!r} in the test split: expected --n {n}, try fewer words")


def add_flags(parser: argparse.ArgumentParser) -> None:
    baselines.add_flags(parser, [*WAYS, *LINES], source=None, seed=0)
    parser.add_argument("--target", help="caption of the edit")


def prepare(args: argparse.Namespace) -> tuple:
    """The model; kind -> the scenes, none where the record has all its cells; kind -> its settings; the record's file
    and what it says of each kind, none of --source and --target. ValueError, OSError.
    """
    is_one, out = args.source is not None, Path(args.out)
    if is_one != (args.target is not None):
        raise ValueError("--source and --target belong together: give both, or neither for edits of each kind")
    if is_one and args.kinds:
        raise ValueError(f"--kinds {' '.join(args.kinds)} has no effect beside --source: leave one of them out")
    what, ending = ("a sheet of --source and --target", ".png") if is_one else ("a record", ".json")
    if cli.is_file_name(args.out) and out.suffix.lower() != ending:
        raise ValueError(f"--out {out}: expected a folder, or for {what} a name that ends in {ending}")
    trained = ddpm.load(args.model, device=args.device)
    if trained.info["data"] != "scenes":
        raise ValueError(f"{args.model} is a model of {trained.info['data']}: the true edit is known of scenes alone")
    if (steered := [way for way in args.ways or () if way in LINES]) and not isinstance(trained.unet, ControlledUNet):
        raise ValueError(f"--ways {steered[0]} needs a ControlNet, and {args.model} has none: try scenes-control")
    args.ways, args.kinds = args.ways or TRIED, args.kinds or TRUE_KINDS
    settings = baselines.settings_of(trained, args, TRUE_KINDS)
    if is_one:
        baselines.words_of(trained, [args.source, args.target])
        kind, chosen = edits_of(args.source, args.target, args.n, args.seed)
        return trained, {kind: chosen}, settings, None, {}
    classifier.load("scenes", trained.image_shape[-1])  # refused now where it is missing
    path, facts, cells = baselines.record_of(trained, args, "truth", settings, n=args.n, seed=args.seed)
    is_measured = {kind: set(args.ways) <= set(cells.get(kind, {})) for kind in args.kinds}
    todo = {kind: [] if done else edits.scene_edits(kind, args.n, args.seed) for kind, done in is_measured.items()}
    for kind, chosen in todo.items():
        if not is_measured[kind] and len(chosen) < args.n:
            raise ValueError(f"{len(chosen)} scenes for the edit {kind!r}: expected --n {args.n}, take fewer")
    return trained, todo, settings, path, facts


def run(args: argparse.Namespace) -> None:
    """Edit, measure, and write the numbers and a sheet for each kind of edit that the record does not have yet."""
    trained, todo, settings, path, facts = prepare(args)
    for kind, chosen in todo.items():
        images = edited(trained, settings[kind], chosen, args.ways) if chosen else {}
        if path is not None:
            new = {way: measure(chosen, each, kind) for way, each in images.items()}
            baselines.add_cells(path, kind, facts[kind], new)
        if not chosen:
            continue
        part = "" if path is None and cli.is_file_name(args.out) else f"-{kind.replace(' ', '-')}"
        columns = images | {"truth": drawn([e.after for e in chosen], trained.image_shape[-1])}
        pairs = [changed(split(e.source), split(e.target)) for e in chosen[:SHOWN]]
        rows = [" ->\n".join(" ".join(words) for words in pair) for pair in pairs]
        pixels = np.stack([each[:SHOWN] for each in columns.values()], axis=1)
        title = kind if path is not None else f"{args.source} -> {args.target}"
        names = [COLUMNS.get(way, way) for way in columns]
        print(sheet(cli.output(args, "truth", ".png", part), pixels, rows, names, title))
