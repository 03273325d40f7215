"""Score Prompt-to-Prompt and the baselines on many pairs of prompts.

A kind of edit is a word to swap, add or drop; each pair has an image of its own seed. "maps" measures whether averaged
attention maps show where words are, "reweight ..." what the weight of a colour word does. Cells that the file
already has are not measured again, and the table says so.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import ddpm
from ddim.experiments.common import name_of
from ddpm import cli
from ddpm.data.classifier import load as load_classifier
from ddpm.data.edits import PAIR_KINDS, PARSERS, pairs
from ddpm.data.judge import all_shown, judged
from ddpm.data.judge import places as judge_places
from ddpm.data.shapes import PALETTE, Reading, parse, read
from ddpm.files import sha256
from ddpm.images import squared_error, to_bytes
from ddpm.model import Trained

from ..store import AttentionStore, enlarge
from ..words import word_positions
from . import measures, records
from .baselines import RECIPES, SAMPLERS, WAYS, Batch, Recipe, prompt_to_prompt, source_batch, words_that_differ
from .measures import Judged
from .records import Cell

EXAMPLE = "python -m p2p score --model shapes --n 100 --kinds colour --ways plain p2p"
BATCH = 50
CROSS, SELF = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0), (0.0, 0.8)  # the injection schedules of a sweep
SLACK = 5.0  # percent of success that a sweep gives up for less drift
MAPS, REWEIGHT = "maps", "reweight "
EXTRA = {"shapes": (MAPS, REWEIGHT + "colour", REWEIGHT + "background"), "scenes": (MAPS,)}
WEIGHTS = (-2.0, 0.0, 1.0, 2.0, 5.0)
SCHEDULE = ("cross_until", "self_until", "strength")  # of a recipe, what a sweep varies or does not use
Judge = Callable[[np.ndarray, list[str]], Judged]
Bar = Callable[[Any], Any]

# ---- the pairs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """n pairs of one kind of edit: prompts, the kind of word that changes (None: one is removed), and the judge.

    places: images -> kind of word -> masks of what it names; read: images -> the places of their objects; elsewhere:
    sources and edits -> bool (n, H, W), the pixels to leave alone. None where they cannot be known.
    """

    sources: list[str]
    targets: list[str]
    changed: str | None
    judge: Judge
    places: Callable[[np.ndarray], dict[str, np.ndarray] | None]
    read: Callable[[np.ndarray], Sequence[Reading | measures.Place]] | None = None
    elsewhere: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None


def task_of(data: str, kind: str, n: int) -> Task:
    """n pairs of a kind of edit of a dataset: exact checks for shapes, a classifier for the rest."""
    pair = pairs(data, kind, n)
    seen = (lambda images: None) if data == "shapes" else load_classifier(data).probabilities

    def judge(images: np.ndarray, prompts: list[str]) -> Judged:
        answers = judged(data, images, prompts, seen(images))
        if kind == "drop flag" and prompts is pair.targets:  # the edit is the flag's absence
            answers["flag"] = (seen(images)["flag"].argmax(dim=1) == 0).numpy().astype(float)
        return answers

    def places(images: np.ndarray) -> dict[str, np.ndarray] | None:
        return judge_places(data, images, seen(images))

    task = Task(pair.sources, pair.targets, "flag" if kind == "drop flag" else pair.changed, judge, places)
    if data == "shapes":
        return replace(task, read=read, elsewhere=partial(outside_shapes, background="background" in kind))
    if data == "scenes":
        return replace(task, read=partial(things, places), elsewhere=partial(outside, places, kind.split()[-1]))
    return task


def outside_shapes(before: np.ndarray, after: np.ndarray, background: bool) -> np.ndarray:
    """`measures.elsewhere` of images."""
    return measures.elsewhere(read(before), read(after), background)


def things(places: Callable, images: np.ndarray) -> list[measures.Place]:
    """The places of the images' things."""
    return [measures.place(mask) for mask in places(images)["thing"]]


def outside(places: Callable, word: str, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The pixels that belong to what a word names neither before nor after the edit, nor are next to one that does."""
    return ~measures.wider(places(before)[word] | places(after)[word])


def batches(trained: Trained, recipe: Recipe, task: Task) -> Iterator[Batch]:
    """The task's source images, seed i for pair i, BATCH at a time."""
    for first in range(0, len(task.sources), BATCH):
        part = slice(first, first + BATCH)
        seeds = list(range(len(task.sources)))[part]
        yield source_batch(trained, recipe, task.sources[part], task.targets[part], seeds)


# ---- how good the edits are ------------------------------------------------------------------------------------------


def compare(trained: Trained, recipe: Recipe, task: Task, ways: Sequence[str], bar: Bar = iter) -> dict[str, Cell]:
    """Way of editing -> its measures on the task's pairs; "source": the source images themselves."""
    before, after, where = [], {way: [] for way in ways}, []
    for batch in bar(batches(trained, recipe, task)):
        before.append(to_bytes(batch.x_0))
        for way in ways:
            after[way].append(to_bytes(WAYS[way](trained, recipe, batch)))
        if task.elsewhere is None:
            where.append(~region(trained, recipe, batch))
    sources = np.concatenate(before)
    shown = task.judge(sources, task.sources)
    cells: dict[str, Cell] = {"source": {"n": len(sources), "shows its prompt": percent(all_shown(shown))}}
    for way in ways:
        elsewhere = np.concatenate(where) if where else None
        cells[way] = measure(task, shown, sources, np.concatenate(after[way]), elsewhere)
    return cells


def region(trained: Trained, recipe: Recipe, batch: Batch) -> np.ndarray:
    """(n, H, W) bool: where the averaged maps of the words that differ are high."""
    store = AttentionStore(batch.sources + batch.targets)
    prompt_to_prompt(trained, recipe, batch, store=store)
    n, size = len(batch.sources), batch.x_T.shape[-1]
    blend = recipe.blend(words_that_differ(batch))
    return blend.region(store, torch.Size((2 * n, 3, size, size)))[:, 0].cpu().numpy()


def measure(task: Task, shown: Judged, before: np.ndarray, after: np.ndarray, elsewhere: np.ndarray | None) -> Cell:
    """The measures of one way of editing: percentages and means; drift and growth are medians, in pixels.

    shown: the judged sources. elsewhere: (n, H, W) bool, the pixels an edit should not change; the task's if None.
    """
    edited = task.judge(after, task.targets)
    success = measures.succeeded(shown, edited, task.changed)
    cell: Cell = {"success": percent(success), "shows its prompt": percent(all_shown(edited))}
    if task.changed is not None:
        cell["changed word shown"] = percent(edited[task.changed] == 1)
    if task.read is not None:
        moved = measures.geometry(task.read(before), task.read(after))
        cell |= {
            "overlap": mean(moved["overlap"]),
            "overlap, good sources": mean(moved["overlap"][all_shown(shown)]),
            "drift": float(np.median(moved["drift"])),
            "growth": float(np.median(abs(moved["growth"]))),
        }
    if task.elsewhere is not None:
        elsewhere = task.elsewhere(before, after)
    error = squared_error(before, after, elsewhere)
    cell["error elsewhere"] = mean(error[np.isfinite(error)])
    return cell | {"edges": mean(measures.edge_agreement(before, after))}


def mean(values: np.ndarray) -> float | None:
    """The mean, None of no values."""
    return float(values.mean()) if len(values) else None


def percent(hits: np.ndarray) -> float:
    """The share of True, in percent."""
    return 100 * float(np.mean(hits))


# ---- the injection schedule ------------------------------------------------------------------------------------------


def sweep(trained: Trained, recipe: Recipe, task: Task, bar: Bar = iter) -> dict[str, Cell]:
    """P2P's measures for each injection schedule, as "cross_until self_until"."""
    cells = {}
    for cross, pixels in bar([(cross, pixels) for cross in CROSS for pixels in SELF]):
        schedule = replace(recipe, cross_until=cross, self_until=pixels)
        cells[f"{cross:g} {pixels:g}"] = compare(trained, schedule, task, ["p2p"])["p2p"]
    return cells


def best_schedule(cells: dict[str, Cell]) -> str:
    """The schedule with the least drift (else the most edge agreement) of those whose success is at most SLACK percent
    below the best.
    """
    best = max(cell["success"] for cell in cells.values())
    near = {schedule: cell for schedule, cell in cells.items() if cell["success"] >= best - SLACK}
    return min(near, key=lambda schedule: near[schedule].get("drift", -near[schedule]["edges"]))


# ---- maps and weights of words ---------------------------------------------------------------------------------------


def localise(trained: Trained, recipe: Recipe, task: Task, bar: Bar = iter) -> dict[str, Cell]:
    """Kind of word -> for each map size, pointing game and best overlap of its averaged map with its true place, mean
    over the source images that show it, in percent; and their number. The place of a background is all but the object.
    """
    words = [PARSERS[trained.info["data"]](source) for source in task.sources]
    values: dict[str, dict[str, list[torch.Tensor]]] = {}
    for batch in bar(batches(trained, recipe, replace(task, targets=task.sources))):
        store = AttentionStore(batch.sources * 2)
        prompt_to_prompt(trained, recipe, batch, store=store)
        for kind, masks in task.places(to_bytes(batch.x_0)).items():
            rows = [i for i, seed in enumerate(batch.seeds) if words[seed][kind] and masks[i].any()]
            if not rows:
                continue
            own, mask = [words[batch.seeds[i]][kind] for i in rows], torch.from_numpy(masks[rows])
            for size in sorted({site.size for site in store.sites if site.kind == "cross"}, reverse=True):
                maps = store.maps(size).cpu()[rows]
                each = [maps[j, ..., word_positions(batch.sources[i], own[j])] for j, i in enumerate(rows)]
                maps = enlarge(torch.stack([word.sum(dim=-1) for word in each]), mask.shape[-1])
                cell = values.setdefault(kind, {})
                cell.setdefault(f"pointing, {size} x {size}", []).append(measures.pointing(maps, mask).float())
                cell.setdefault(f"overlap, {size} x {size}", []).append(measures.best_overlap(maps, mask))
    return {
        kind: {"n": len(torch.cat(next(iter(cell.values()))))}
        | {name: 100 * torch.cat(parts).mean().item() for name, parts in cell.items()}
        for kind, cell in values.items()
    }


def reweighting(trained: Trained, recipe: Recipe, task: Task, kind: str, bar: Bar = iter) -> dict[str, Cell]:
    """Weight of a colour word -> the colour of its place, 0 at the pair's other colour and 1 at the word's own; and the
    percentage of images in which no larger weight gives less of it.

    kind: "colour", whose place is the source's object, or "background", all else.
    """
    words, zero, one = colours_of(task.sources, kind)
    strengths = []
    for batch in bar(batches(trained, recipe, replace(task, targets=task.sources))):
        readings = task.read(to_bytes(batch.x_0))
        place = measures.elsewhere(readings, readings, background=kind == "colour")
        for weight in WEIGHTS:
            weights = [{words[i]: weight} for i in batch.seeds]
            edited = to_bytes(prompt_to_prompt(trained, recipe, batch, weights=weights))
            strengths.append(measures.along(edited, place, zero[batch.seeds], one[batch.seeds]))
    rows = [np.concatenate(strengths[i :: len(WEIGHTS)]) for i in range(len(WEIGHTS))]  # (n,) for each weight
    rising = (np.diff(rows, axis=0) >= -1 / 255).all(axis=0)  # up to the rounding of bytes
    cells = {f"weight {weight:g}": {"strength": mean(row)} for weight, row in zip(WEIGHTS, rows, strict=True)}
    return cells | {"all weights": {"rising": percent(rising)}}


def colours_of(sources: list[str], kind: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The colour word of a kind in each prompt of shapes, the prompt's other colour (n, 3), and the word's own."""
    captions, other = [parse(source) for source in sources], "background" if kind == "colour" else "colour"
    zero, one = (np.array([PALETTE[caption[name]] for caption in captions], dtype=float) for name in (other, kind))
    return [caption[kind] for caption in captions], zero, one


# ---- the command -----------------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m p2p score`."""
    cli.add_flags(parser, model="scenes", device=cli.best_device(), n=500, steps=None, scale=None, out="results")
    parser.add_argument("--kinds", nargs="+", help="kinds of edit, such as colour; by default all of the model's data")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="ways of editing")
    parser.add_argument("--sampler", choices=list(SAMPLERS), help="ddpm: eta = 1, with the same noise for both images")
    for name in SCHEDULE:
        parser.add_argument(f"--{name.replace('_', '-')}", type=cli.share, help="in place of the recipe of each kind")
    parser.add_argument("--sweep", action="store_true", help="P2P over injection schedules, in place of the ways")


def run(args: argparse.Namespace) -> None:
    """Measure what the record lacks, write it, and print the table."""
    trained = ddpm.load(args.model, device=args.device)
    kinds, path = kinds_of(trained.info["data"], args), output(args)
    recipes = {kind: recipe_of(trained.info["data"], kind, args) for kind in kinds}
    settings = {kind: settings_of(trained, args, recipe) for kind, recipe in recipes.items()}
    record = records.read_record(path)
    for kind in kinds:
        records.check_settings(path, record, kind, settings[kind])
    for kind in kinds:
        new = missing(trained, args, recipes[kind], kind, record["cells"].get(kind, {}))
        record = records.add(path, kind, settings[kind], new)
        print(records.table(kind, record, path, new))
        if args.sweep:
            print(f"  least drift within {SLACK:g} % of the best success: {best_schedule(record['cells'][kind])}")
    print(path)


def output(args: argparse.Namespace) -> Path:
    """The file of the record."""
    return cli.output(args, f"{'sweep' if args.sweep else 'score'}-{name_of(args.model)}", ".json")


def kinds_of(data: str, args: argparse.Namespace) -> list[str]:
    """--kinds, by default all of the dataset. ValueError: a dataset or kind that is not known."""
    if data not in PAIR_KINDS:
        raise ValueError(f"no kinds of edit of the dataset {data!r}: expected one of {', '.join(PAIR_KINDS)}")
    known = PAIR_KINDS[data] + (() if args.sweep else EXTRA.get(data, ()))
    kinds = list(dict.fromkeys(args.kinds or known))
    if unknown := [kind for kind in kinds if kind not in known]:
        raise ValueError(f"no kind of edit {unknown[0]!r} of {data}: expected one of {', '.join(known)}")
    return kinds


def recipe_of(data: str, kind: str, args: argparse.Namespace) -> Recipe:
    """The recipe of a kind of edit, with what the flags give in its place."""
    names = ("steps", "sampler", "scale", *SCHEDULE)
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return replace(RECIPES.get((data, kind), Recipe()), **given)


def settings_of(trained: Trained, args: argparse.Namespace, recipe: Recipe) -> dict[str, Any]:
    """What the cells of one kind of edit depend on."""
    how = {name: value for name, value in asdict(recipe).items() if not (args.sweep and name in SCHEDULE)}
    return {"model": name_of(args.model), "sha256": sha256(Path(trained.info["path"])), "n": args.n} | how


def missing(trained: Trained, args: argparse.Namespace, recipe: Recipe, kind: str, old: dict) -> dict[str, Cell]:
    """Measure the cells of one kind of edit that are not among the old ones."""
    ways = [way for way in args.ways if way not in old]
    extra = kind in EXTRA.get(trained.info["data"], ())
    if not ways or (old and (args.sweep or extra)):
        return {}
    word = "colour" if kind == MAPS else kind.removeprefix(REWEIGHT)
    task, bar = task_of(trained.info["data"], word, args.n), partial(tqdm, desc=kind, total=-(-args.n // BATCH))
    if kind == MAPS:
        return localise(trained, recipe, task, bar)
    if extra:
        return reweighting(trained, recipe, task, word, bar)
    if args.sweep:
        return sweep(trained, recipe, task, partial(tqdm, desc=kind))
    return compare(trained, recipe, task, ways, bar)
