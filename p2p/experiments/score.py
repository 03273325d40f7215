"""Score Prompt-to-Prompt and the baselines on many pairs of prompts.

A kind of edit is a word to swap, add or drop; each pair has an image of its own seed. "maps" measures whether averaged
attention maps show where words are, "reweight ..." what the weight of a colour word does. Cells that the file
already has are not measured again, and the table says so.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import ddpm
from ddpm.data import load_data
from ddpm.data.celeba import where_words_show
from ddpm.data.shapes import PALETTE, Reading, parse, read
from ddpm.evaluation.classifier import load as load_classifier
from ddpm.evaluation.edits import PAIR_KINDS, PARSERS, pairs
from ddpm.evaluation.judge import all_shown
from ddpm.evaluation.judge import places as judge_places
from ddpm.experiments.common import shown_words
from ddpm.experiments.records import arithmetic
from ddpm.model import Trained
from ddpm.utils import cli
from ddpm.utils.device import best_device
from ddpm.utils.files import sha256, write_text
from ddpm.utils.images import enlarge, squared_error, to_bytes

from ..store import AttentionStore
from . import measures, records
from .baselines import (
    SAMPLERS,
    SETTINGS,
    WAYS,
    EditSettings,
    Pairs,
    prompt_to_prompt,
    sampled_pairs,
    with_flags,
    words_that_differ,
)
from .measures import Judged
from .records import Cell

EXAMPLE = "python -m p2p score --model shapes --n 100 --kinds colour --ways plain p2p"
ENDINGS = (".json",)
BATCH = 50
MAPS, REWEIGHT = "maps", "reweight "
EXTRA = {"shapes": (MAPS, REWEIGHT + "colour", REWEIGHT + "background"), "scenes": (MAPS,), "celeba": (MAPS,)}
WEIGHTS = (-2.0, 0.0, 1.0, 2.0, 5.0)
NOUNS = ("thing", "setting")  # kinds of words whose maps are measured for each noun alone, too
Bar = Callable[[Any], Any]

# ---- the pairs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """n pairs of one kind of edit: see `ddpm.data.edits.CaptionPairs`, and how their images are judged.

    judge: images and prompts -> what is shown. places: images -> kind of word -> masks of what it names; read: images
    -> the places of their objects; elsewhere: sources and edits -> bool (n, H, W), the pixels to leave alone. None
    where they cannot be known.
    """

    sources: list[str]
    targets: list[str]
    changed: str | None
    removed: bool
    judge: Callable[[np.ndarray, list[str]], Judged]
    places: Callable[[np.ndarray], dict[str, np.ndarray] | None]
    read: Callable[[np.ndarray], Sequence[Reading | measures.Place]] | None = None
    elsewhere: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None


def task_of(data: str, kind: str, n: int) -> Task:
    """n pairs of a kind of edit of a dataset: exact checks for shapes, a classifier for the rest."""
    seen = (lambda images: None) if data == "shapes" else load_classifier(data).probabilities

    def places(images: np.ndarray) -> dict[str, np.ndarray] | None:
        return judge_places(data, images, seen(images))

    task = Task(**vars(pairs(data, kind, n)), judge=partial(shown_words, data), places=places)
    if data == "shapes":
        return replace(task, read=read, elsewhere=partial(outside_shapes, background=kind == "background"))
    if data == "scenes":
        return replace(task, read=partial(things, places), elsewhere=partial(outside, places, kind.split()[-1]))
    return task


def map_task(trained: Trained, n: int, data_dir: str) -> Task:
    """n captions whose words have a known place: of faces, where real faces with and without the word differ most."""
    data, half = trained.info["data"], -(-n // 2)
    if data != "celeba":
        return task_of(data, "colour", n)
    masks = where_words_show(load_data(data, data_dir, "train", trained.unet.config.size))
    captions = [caption for kind in ("smiling", "eyeglasses") for caption in pairs(data, kind, half).targets][:n]

    def places(images: np.ndarray) -> dict[str, np.ndarray]:
        return {kind: np.broadcast_to(mask, (len(images), *mask.shape)) for kind, mask in masks.items()}

    return Task(captions, captions, None, False, partial(shown_words, data), places)


def outside_shapes(before: np.ndarray, after: np.ndarray, background: bool) -> np.ndarray:
    """`measures.elsewhere` of images."""
    return measures.elsewhere(read(before), read(after), background)


def things(places: Callable, images: np.ndarray) -> list[measures.Place]:
    """The places of the images' things."""
    return [measures.place(mask) for mask in places(images)["thing"]]


def outside(places: Callable, word: str, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The pixels that belong to what a word names neither before nor after the edit, nor are next to one that does."""
    return ~measures.wider(places(before)[word] | places(after)[word])


def batches(trained: Trained, settings: EditSettings, task: Task) -> Iterator[Pairs]:
    """The task's pairs with their source images, seed i for pair i, BATCH at a time."""
    for first in range(0, len(task.sources), BATCH):
        part = slice(first, first + BATCH)
        seeds = list(range(len(task.sources)))[part]
        yield sampled_pairs(trained, settings, task.sources[part], task.targets[part], seeds)


# ---- how good the edits are ------------------------------------------------------------------------------------------


def compare(
    trained: Trained, settings: EditSettings, task: Task, ways: Sequence[str], bar: Bar = iter
) -> dict[str, Cell]:
    """Way of editing -> its measures on the task's pairs; "source": the source images themselves."""
    before, after, where = [], {way: [] for way in ways}, []
    for batch in bar(batches(trained, settings, task)):
        before.append(to_bytes(batch.x_0))
        for way in ways:
            after[way].append(to_bytes(WAYS[way](trained, settings, batch)))
        if task.elsewhere is None:
            where.append(~region(trained, settings, batch))
    sources, elsewhere = np.concatenate(before), np.concatenate(where) if where else None
    shown = task.judge(sources, task.sources)
    cells: dict[str, Cell] = {"source": {"n": len(sources), "shows its prompt": percent(all_shown(shown))}}
    return cells | {way: measure(task, shown, sources, np.concatenate(after[way]), elsewhere) for way in ways}


def region(trained: Trained, settings: EditSettings, batch: Pairs) -> np.ndarray:
    """(n, H, W) bool: where the averaged maps of the words that differ are high."""
    store = AttentionStore(batch.sources + batch.targets)
    prompt_to_prompt(trained, settings, batch, store=store)
    blend, (n, *shape) = settings.blend(words_that_differ(batch)), batch.x_0.shape
    return blend.region(store, torch.Size((2 * n, *shape)))[:, 0].cpu().numpy()


def measure(task: Task, shown: Judged, before: np.ndarray, after: np.ndarray, elsewhere: np.ndarray | None) -> Cell:
    """The measures of one way of editing: percentages and means; drift and growth are medians, in pixels.

    shown: the judged sources. elsewhere: (n, H, W) bool, the pixels an edit should not change; the task's if None.
    """
    edited = judged_edits(task, after)
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


def judged_edits(task: Task, images: np.ndarray) -> Judged:
    """Edits judged by their targets. These say nothing of a removed word: it must not be shown any more."""
    edited = task.judge(images, task.targets)
    if task.removed:
        edited[task.changed] = 1 - task.judge(images, task.sources)[task.changed]
    return edited


def mean(values: np.ndarray) -> float | None:
    """The mean, None of no values."""
    return float(values.mean()) if len(values) else None


def percent(hits: np.ndarray) -> float:
    """The share of True, in percent."""
    return 100 * float(np.mean(hits))


# ---- maps and weights of words ---------------------------------------------------------------------------------------


def localise(trained: Trained, settings: EditSettings, task: Task, bar: Bar = iter) -> dict[str, Cell]:
    """Kind of word -> for each map size, pointing game and best overlap of its averaged map with its true place, mean
    over the source images that show it, in percent; and their number. The place of a background is all but the object.

    "thing: cat" and the like are the same of one noun alone.
    """
    words = [PARSERS[trained.info["data"]](source) for source in task.sources]
    found: dict[str, dict[str, list[torch.Tensor]]] = defaultdict(lambda: defaultdict(list))
    for batch in bar(batches(trained, settings, replace(task, targets=task.sources))):
        store = AttentionStore(batch.sources * 2)
        prompt_to_prompt(trained, settings, batch, store=store)
        sizes = sorted({site.size for site in store.sites if site.kind == "cross"}, reverse=True)
        for kind, masks in task.places(to_bytes(batch.x_0)).items():
            rows = [i for i, seed in enumerate(batch.seeds) if words[seed][kind] and masks[i].any()]
            own = [[named(words[seed][kind], kind)] if i in rows else [] for i, seed in enumerate(batch.seeds)]
            for size in sizes if rows else ():
                maps = enlarge(store.word(own * 2, size).cpu()[rows], masks.shape[-1])
                mask = torch.from_numpy(masks[rows])
                hits = measures.pointing(maps, mask).float(), measures.best_overlap(maps, mask)
                for name, values in zip(("pointing", "overlap"), hits, strict=True):
                    for i, value in zip(rows, values, strict=True):
                        for group in (kind, f"{kind}: {own[i][0]}") if kind in NOUNS else (kind,):
                            found[group][f"{name}, {size} x {size}"].append(value)
    cells = {group: {name: torch.stack(values) for name, values in cell.items()} for group, cell in found.items()}
    return {
        group: {"n": len(next(iter(cell.values())))} | {name: 100 * hits.mean().item() for name, hits in cell.items()}
        for group, cell in cells.items()
    }


def named(word: str | bool, kind: str) -> str:
    """The word of a caption: of what it either has or not, the name of the kind."""
    return kind if word is True else word


def reweighting(trained: Trained, settings: EditSettings, task: Task, kind: str, bar: Bar = iter) -> dict[str, Cell]:
    """Weight of a colour word -> the colour of its place, 0 at the pair's other colour and 1 at the word's own; and the
    percentage of images in which no larger weight gives less of it.

    kind: "colour", whose place is the source's object, or "background", all else.
    """
    captions, other = [parse(source) for source in task.sources], "background" if kind == "colour" else "colour"
    zero, one = (np.array([PALETTE[caption[name]] for caption in captions], dtype=float) for name in (other, kind))
    strengths = []  # (weights, batch) for each batch
    for batch in bar(batches(trained, settings, replace(task, targets=task.sources))):
        readings, ends = task.read(to_bytes(batch.x_0)), (zero[batch.seeds], one[batch.seeds])
        place = measures.elsewhere(readings, readings, background=kind == "colour")
        words = [captions[seed][kind] for seed in batch.seeds]
        edits = [prompt_to_prompt(trained, settings, batch, weights=[{word: x} for word in words]) for x in WEIGHTS]
        strengths.append([measures.along(to_bytes(edit), place, *ends) for edit in edits])
    rows = np.concatenate(strengths, axis=1)  # (weights, n)
    rising = (np.diff(rows, axis=0) >= -1 / 255).all(axis=0)  # up to the rounding of bytes
    cells = {f"weight {weight:g}": {"strength": mean(row)} for weight, row in zip(WEIGHTS, rows, strict=True)}
    return cells | {"all weights": {"rising": percent(rising)}}


# ---- the command -----------------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m p2p score`."""
    cli.add_flags(parser, model="scenes", device=best_device(), n=500, steps=None, scale=None, out="results")
    cli.add_flags(parser, data_dir="data")  # only for the maps of faces
    parser.add_argument("--kinds", nargs="+", help="kinds of edit, such as colour; by default all of the model's data")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="ways of editing")
    parser.add_argument("--sampler", choices=list(SAMPLERS), help="ddpm: eta = 1, with the same noise for both images")
    for name in ("cross-until", "self-until", "strength"):
        parser.add_argument(f"--{name}", type=cli.share, help="in place of that of each kind")


def run(args: argparse.Namespace) -> None:
    """Measure what the record lacks, write it, and print the table."""
    trained = ddpm.load(args.model, device=args.device)
    data, path = trained.info["data"], cli.output(args, f"score-{cli.name_of(args.model)}", ".json")
    todo = {kind: with_flags(SETTINGS.get((data, kind), EditSettings()), args) for kind in kinds_of(data, args.kinds)}
    model = {"model": cli.name_of(args.model), "sha256": sha256(Path(trained.info["path"])), "n": args.n}
    model |= arithmetic(trained)
    record = records.read_record(path)
    for kind, settings in todo.items():
        records.check_settings(path, record, kind, model | asdict(settings))
    for kind, settings in todo.items():
        new = missing(trained, args, settings, kind, record["cells"].get(kind, {}))
        record = records.add(path, kind, model | asdict(settings), new)
        print(records.table(kind, record, path, new))
    tables = [records.table(kind, record, path, cells) for kind, cells in record["cells"].items()]
    write_text(path.with_suffix(".txt"), "\n\n".join(tables) + "\n")
    print(path)


def kinds_of(data: str, given: list[str] | None) -> list[str]:
    """--kinds, by default all of the dataset. ValueError: a dataset or kind that is not known."""
    if data not in PAIR_KINDS:
        raise ValueError(f"no kinds of edit of the dataset {data!r}: expected one of {', '.join(PAIR_KINDS)}")
    known = PAIR_KINDS[data] + EXTRA.get(data, ())
    kinds = list(dict.fromkeys(given or known))
    if unknown := [kind for kind in kinds if kind not in known]:
        raise ValueError(f"no kind of edit {unknown[0]!r} of {data}: expected one of {', '.join(known)}")
    return kinds


def missing(
    trained: Trained, args: argparse.Namespace, settings: EditSettings, kind: str, old: dict
) -> dict[str, Cell]:
    """Measure the cells of one kind of edit that are not among the old ones."""
    data, bar = trained.info["data"], partial(tqdm, desc=kind, total=-(-args.n // BATCH))
    if kind in EXTRA.get(data, ()):
        if old:
            return {}
        word = kind.removeprefix(REWEIGHT)
        if kind == MAPS:
            return localise(trained, settings, map_task(trained, args.n, args.data_dir), bar)
        return reweighting(trained, settings, task_of(data, word, args.n), word, bar)
    ways = [way for way in args.ways if way not in old]
    return compare(trained, settings, task_of(data, kind, args.n), ways, bar) if ways else {}
