"""Score Prompt-to-Prompt and the baselines on many pairs of prompts.

A kind of edit is a word to swap, add or drop; each pair has an image of its own seed. "maps" measures whether averaged
attention maps show where words are. Cells that the file already has are not measured again, and the table says so.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import ddpm
from ddpm.data import load_data, scenes
from ddpm.data.celeba import where_words_show
from ddpm.data.shapes import read
from ddpm.evaluation import classifier, faces, judge
from ddpm.evaluation.edits import PAIR_KINDS, PARSERS, CaptionPairs, pairs
from ddpm.experiments.common import shown_words
from ddpm.experiments.records import Cell
from ddpm.model import Trained
from ddpm.utils.images import enlarge, squared_error

from ..store import AttentionStore
from . import baselines
from .baselines import WAYS, EditSettings, Pairs, prompt_to_prompt, sampled_pairs, words_of, words_that_differ

EXAMPLE = "python -m p2p score --model shapes --n 100 --kinds colour --ways plain p2p"
ENDINGS = (".json",)
BATCH = 50
SCORED = ["plain", "sdedit", "ddim", "ddim-iterations", "p2p", "p2p-blend"]  # of WAYS, by default
MAPS = "maps"
PLACED = ("shapes", "scenes", "celeba")  # datasets whose words have a place that is known
NOUNS = ("thing", "setting")  # kinds of words whose maps are measured for each noun alone, too
LEVELS = 50  # thresholds tried for the best overlap of a map with a mask
Judged = dict[str, np.ndarray]  # see `judge.judged`

# ---- the pairs, and what their images show ---------------------------------------------------------------------------


def task_of(trained: Trained, kind: str, n: int, data_dir: str = "") -> CaptionPairs:
    """n pairs of a kind of edit of the model's dataset; for maps, n captions whose words have a known place."""
    data, half = trained.info["data"], -(-n // 2)
    if kind != MAPS or data != "celeba":
        return replace(pairs(data, "colour" if kind == MAPS else kind, n), kind=kind)
    shown = where_words_show(load_data(data, data_dir, "train", trained.image_shape[-1]))
    captions = [caption for word in ("smiling", "eyeglasses") for caption in pairs(data, word, half).targets][:n]
    return CaptionPairs(data, kind, captions, captions, places=shown)


def places(task: CaptionPairs, images: np.ndarray) -> dict[str, np.ndarray]:
    """Kind of word -> (n, H, W) bool, the pixels of images uint8 (n, 3, H, W) that show what it names."""
    if task.places is not None:
        return {kind: np.broadcast_to(mask, (len(images), *mask.shape)) for kind, mask in task.places.items()}
    seen = None if task.data == "shapes" else classifier.load(task.data, images.shape[-1]).probabilities(images)
    return judge.places(task.data, images, seen)


def centres(task: CaptionPairs, images: np.ndarray) -> np.ndarray | None:
    """(n, 2): x and y of the object of each image, pixels; None where that cannot be known.

    Of a scene the middle of its lower edge, on which it stands: a true edit from a low to a tall one leaves it there.
    Its pixels are those of 32 x 32, so that larger images can be compared. Without an object it is the image's middle.
    """
    if task.data == "shapes":
        return np.array([(reading.x, reading.y) for reading in read(images)])
    if task.data != "scenes":
        return None
    found, unit = np.full((len(images), 2), scenes.SIZE / 2), images.shape[-1] / scenes.SIZE
    for i, mask in enumerate(places(task, images)["thing"]):
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        if len(rows):
            found[i] = (columns[0] + columns[-1] + 1) / 2 / unit, (rows[-1] + 1) / unit
    return found


def elsewhere(task: CaptionPairs, before: np.ndarray, after: np.ndarray) -> np.ndarray | None:
    """(n, H, W) bool, the pixels that an edit should leave alone; None where that cannot be known.

    Of shapes those outside both objects or, for an edit of the background, inside both; of scenes those that belong to
    what the word names neither before nor after, nor are next to one that does.
    """
    if task.data == "shapes":
        masks = [np.stack([reading.mask for reading in read(images)]) for images in (before, after)]  # in 0..1
        return np.minimum(*masks) == 1 if task.kind == "background" else np.maximum(*masks) == 0
    if task.data == "scenes":
        word = task.kind.split()[-1]
        return ~wider(places(task, before)[word] | places(task, after)[word])
    return None


def wider(mask: np.ndarray) -> np.ndarray:
    """Masks (n, H, W) of bool, grown by a pixel to all sides: the edge of an antialiased object is part of it."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).any(axis=(3, 4))


def batches(trained: Trained, settings: EditSettings, task: CaptionPairs) -> Iterator[Pairs]:
    """The task's pairs with their source images, seed i for pair i, BATCH at a time."""
    for first in tqdm(range(0, len(task.sources), BATCH), task.kind):
        part = slice(first, first + BATCH)
        seeds = list(range(len(task.sources)))[part]
        yield sampled_pairs(trained, settings, task.sources[part], task.targets[part], seeds)


# ---- how good the edits are ------------------------------------------------------------------------------------------


def compare(trained: Trained, settings: EditSettings, task: CaptionPairs, ways: Sequence[str]) -> dict[str, Cell]:
    """Way of editing -> its measures on the task's pairs."""
    before, after, where = [], {way: [] for way in ways}, []
    for batch in batches(trained, settings, task):
        before.append(trained.images(batch.x_0))
        for way in ways:
            after[way].append(trained.images(WAYS[way](trained, settings, batch)))
        if task.data not in ("shapes", "scenes"):
            where.append(~region(trained, settings, batch))
    sources, alone = np.concatenate(before), np.concatenate(where) if where else None
    shown = shown_words(task.data, sources, task.sources)
    return {way: measure(task, shown, sources, np.concatenate(after[way]), alone) for way in ways}


def region(trained: Trained, settings: EditSettings, batch: Pairs) -> np.ndarray:
    """(n, H, W) bool: where the averaged maps of the words that differ are high."""
    store = AttentionStore(batch.sources + batch.targets)
    prompt_to_prompt(trained, settings, batch, store=store)
    blend, shape = settings.blend(trained, words_that_differ(batch)), (2 * len(batch.sources), *trained.image_shape)
    return blend.region(store, torch.Size(shape))[:, 0].cpu().numpy()


def measure(task: CaptionPairs, shown: Judged, before: np.ndarray, after: np.ndarray, alone: np.ndarray | None) -> Cell:
    """One way of editing: success in percent, how far the object moves (median, pixels), and the mean squared error
    over the pixels that an edit should leave alone. Of faces, where it is installed, what a recogniser says, too.

    shown: what the sources show of their prompts. alone: those pixels, (n, H, W) bool, where `elsewhere` knows none.
    """
    edited = shown_words(task.data, after, task.targets)
    if task.removed:  # the targets say nothing of a removed word: it must not be shown any more
        edited[task.changed] = 1 - shown_words(task.data, after, task.sources)[task.changed]
    cell: Cell = {"success": 100 * float(succeeded(shown, edited, task.changed).mean())}
    if (start := centres(task, before)) is not None:
        cell["drift"] = float(np.median(np.hypot(*(centres(task, after) - start).T)))
    known = elsewhere(task, before, after)
    error = squared_error(before, after, alone if known is None else known)
    cell["error elsewhere"] = float(np.nanmean(error)) if np.isfinite(error).any() else None
    if task.data == "celeba" and faces.installed():
        person = faces.person(*map(faces.descriptors, (before, after)))
        cell |= {"same person": 100 * person["same"], "distance of faces": person["distance"]}
    return cell


def succeeded(before: Judged, after: Judged, changed: str | None) -> np.ndarray:
    """(n,) bool: the edit shows the changed word, and every other word of its prompt that the source shows.

    before: the sources judged by their prompts, after: the edits by theirs. changed: None where a word was removed.
    """
    success = np.ones(len(next(iter(after.values()))), dtype=bool)
    for kind, shown in after.items():
        required = np.ones_like(success) if kind == changed else before.get(kind, shown * np.nan) == 1
        success &= (shown == 1) | ~required
    return success


# ---- maps of words --------------------------------------------------------------------------------------------------


def localise(trained: Trained, settings: EditSettings, task: CaptionPairs) -> dict[str, Cell]:
    """Kind of word -> for each map size, pointing game and best overlap of its averaged map with its true place, mean
    over the source images that show it, in percent; and their number. The place of a background is all but the object.

    "thing: cat" and the like are the same of one noun alone.
    """
    words = [PARSERS[task.data](source) for source in task.sources]
    found: dict[str, dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
    for batch in batches(trained, settings, replace(task, targets=task.sources)):
        store = AttentionStore(batch.sources * 2)
        prompt_to_prompt(trained, settings, batch, store=store)
        sizes = sorted({site.size for site in store.sites}, reverse=True)
        for kind, masks in places(task, trained.images(batch.x_0)).items():
            own = [words[seed][kind] if masks[i].any() else None for i, seed in enumerate(batch.seeds)]
            own = [kind if word is True else word for word in own]  # a word that a caption has or not is named so
            rows = [i for i, word in enumerate(own) if word]
            for size in sizes if rows else ():
                maps = store.word([[word] if word else [] for word in own] * 2, size).cpu()[rows]
                maps, mask = enlarge(maps, masks.shape[-1]), torch.from_numpy(masks[rows])
                for name, values in (("pointing", pointing(maps, mask)), ("overlap", best_overlap(maps, mask))):
                    for i, value in zip(rows, values.float(), strict=True):
                        for group in (kind, f"{kind}: {own[i]}") if kind in NOUNS else (kind,):
                            found[group][f"{name}, {size} x {size}"].append(value)
    return {
        group: {"n": len(next(iter(cell.values())))}
        | {name: 100 * torch.stack(values).mean().item() for name, values in cell.items()}
        for group, cell in found.items()
    }


def pointing(maps: Tensor, masks: Tensor) -> Tensor:
    """(n,) bool: the largest value of a map (n, H, W) lies within its mask (n, H, W) bool."""
    return masks.flatten(1).gather(1, maps.flatten(1).argmax(dim=1, keepdim=True))[:, 0]


def best_overlap(maps: Tensor, masks: Tensor) -> Tensor:
    """(n,): the intersection over union of the mask (n, H, W) bool and the pixels above a threshold, at the best of
    LEVELS thresholds between each map's (n, H, W) least and largest value.
    """
    low, high = maps.amin(dim=(1, 2)), maps.amax(dim=(1, 2))
    best = maps.new_zeros(len(maps))
    for share in torch.linspace(0, 1, LEVELS + 2)[1:-1]:
        inside = maps > (low + share * (high - low))[:, None, None]
        both, either = (inside & masks).sum(dim=(1, 2)), (inside | masks).sum(dim=(1, 2))
        best = torch.maximum(best, both / either.clamp(min=1))
    return best


def add_flags(parser: argparse.ArgumentParser) -> None:
    baselines.add_flags(parser, data_dir=None)


def prepare(args: argparse.Namespace) -> tuple:
    """The model; kind -> its settings; kind -> what is to be edited and in which ways, where the record has it not yet;
    kind -> the settings in its record; the record's file. ValueError, OSError.
    """
    trained = ddpm.load(args.model, device=args.device)
    data = trained.info["data"]
    if data not in PAIR_KINDS:
        raise ValueError(f"no kinds of edit of the dataset {data!r}: expected one of {', '.join(PAIR_KINDS)}")
    known = [*PAIR_KINDS[data], *[MAPS] * (data in PLACED)]
    args.kinds = args.kinds or known
    if args.ways and args.kinds == [MAPS]:
        raise ValueError("--ways has no effect on --kinds maps: leave it out")
    args.ways = args.ways or ([] if args.kinds == [MAPS] else SCORED)
    settings = baselines.settings_of(trained, args, known)
    if args.data_dir is not None and not (data == "celeba" and MAPS in args.kinds):
        print(f"--data-dir {args.data_dir} has no effect: only the maps of faces need the data")
    path, facts, cells = baselines.record_of(trained, args, "score", settings, n=args.n)
    if data == "celeba":
        faces.recognises()
    if data != "shapes":
        classifier.load(data, trained.image_shape[-1])  # refused now where it is missing
    todo = {}
    for kind in args.kinds:
        ways = [way for way in args.ways if way not in cells.get(kind, {})]
        if kind not in cells if kind == MAPS else ways:
            task = task_of(trained, kind, args.n, args.data_dir or "data")
            words_of(trained, task.sources + task.targets)
            todo[kind] = task, ways
    return trained, settings, todo, facts, path


def run(args: argparse.Namespace) -> None:
    trained, settings, todo, facts, path = prepare(args)
    for kind, how in settings.items():
        task, ways = todo.get(kind, (None, []))
        new = {}
        if task is not None:
            new = localise(trained, how, task) if kind == MAPS else compare(trained, how, task, ways)
        baselines.add_cells(path, kind, facts[kind], new)
    print(path)
