"""Edits beside the truth: drawn scenes are inverted, edited, and compared with the same scene drawn with the new word.

Errors are mean squares on the [0, 1] scale, over the pixels that the true edit changes ("inside") and over all others
("outside"). Of --source and --target scenes with those captions are drawn; else edits of each kind.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

import ddim
import ddpm
from ddpm.data import scenes
from ddpm.evaluation import edits
from ddpm.experiments.common import shown_words
from ddpm.experiments.records import arithmetic
from ddpm.model import Trained
from ddpm.noise import Noise, check_seed
from ddpm.utils import cli
from ddpm.utils.device import best_device
from ddpm.utils.files import sha256
from ddpm.utils.images import from_bytes, sheet, squared_error, to_bytes

from .. import real
from ..words import changed, split
from . import baselines, records
from .baselines import SETTINGS, EditSettings, Pairs, with_flags

EXAMPLE = 'python -m p2p truth --n 5 --source "a photo of a cat on a couch" --target "a photo of a tiger on a couch"'
ENDINGS = (".json", ".png")
BATCH = 50
SHOWN = 5  # rows of a sheet
TRUE_KINDS = tuple(kind for kind in edits.SCENE_PAIRS if kind not in ("add colour", "drop colour"))

# ---- the ways of editing ---------------------------------------------------------------------------------------------


def nothing(trained: Trained, settings: EditSettings, pairs: Pairs) -> Tensor:
    """The image as it is."""
    return pairs.x_0


def plain(trained: Trained, settings: EditSettings, pairs: Pairs) -> Tensor:
    """Plain re-generation: the new caption from noise that has nothing to do with the image."""
    x_T = Noise(pairs.seeds).start(trained.shape, trained.device)
    return baselines.plain(trained, settings, replace(pairs, x_T=x_T))


def exact(trained: Trained, settings: EditSettings, pairs: Pairs, way: Callable[..., Tensor]) -> Tensor:
    """A way of Prompt-to-Prompt after the exact inversion at the settings' guidance."""
    x_T = real.latent_pair(trained, pairs.sources, pairs.x_0, settings.steps, settings.scale)
    return way(trained, settings, replace(pairs, x_T=x_T), sampler=ddim.sample_exact)


WAYS: dict[str, Callable[[Trained, EditSettings, Pairs], Tensor]] = {
    "nothing": nothing,
    "plain": plain,
    "sdedit": baselines.sdedit,
    "ddim-iterations": partial(baselines.ddim_inversion, iterations=real.ITERATIONS),
    "p2p": baselines.prompt_to_prompt,
    "p2p-blend": baselines.with_local_blend,
    "p2p-exact": partial(exact, way=baselines.prompt_to_prompt),
    "p2p-exact-blend": partial(exact, way=baselines.with_local_blend),
}
NAMES = {
    "nothing": "source", "plain": "new caption,\nnew noise", "sdedit": "SDEdit",
    "ddim-iterations": "DDIM inversion,\n3 iterations",
    "p2p": "Prompt-\nto-Prompt", "p2p-blend": "+ local\nblend", "p2p-exact": "P2P, exact\ninversion",
    "p2p-exact-blend": "+ local\nblend",
}  # fmt: skip

# ---- measure ---------------------------------------------------------------------------------------------------------


def drawn(images: Sequence[scenes.Scene]) -> np.ndarray:
    """Scenes as uint8 (n, 3, 32, 32)."""
    return np.stack([scenes.draw(scene) for scene in images])


def edited(
    trained: Trained, settings: EditSettings, chosen: list[edits.SceneEdit], ways: Sequence[str]
) -> dict[str, np.ndarray]:
    """Way -> the edits uint8 (n, 3, H, W) of drawn scenes."""
    found: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    for first in tqdm(range(0, len(chosen), BATCH), "edits", unit=" batches"):
        part = chosen[first : first + BATCH]
        sources, targets = [e.source for e in part], [e.target for e in part]
        x_0 = from_bytes(drawn([e.before for e in part])).to(trained.device)
        x_T = real.latent(trained, sources, x_0, settings.steps)
        pairs = Pairs(sources, targets, list(range(first, first + len(part))), x_T, x_0)
        for way in ways:
            found[way].append(to_bytes(WAYS[way](trained, settings, pairs)))
    return {way: np.concatenate(parts) for way, parts in found.items()}


def measure(chosen: list[edits.SceneEdit], images: np.ndarray, kind: str) -> dict[str, float]:
    """Errors to the truth, x 1000, and the share of the images that show the new word, in percent."""
    before, after = drawn([e.before for e in chosen]), drawn([e.after for e in chosen])
    inside = (before != after).any(axis=1)
    cell = {f"{name} x 1000": 1000 * float(np.nanmean(squared_error(images, after, where)))
            for name, where in (("inside", inside), ("outside", ~inside), ("all", None))}  # fmt: skip
    answers = shown_words("scenes", images, [e.target for e in chosen])
    word = kind.split()[-1]
    return cell | ({"new word shown": 100 * float(np.mean(answers[word] == 1))} if not kind.startswith("drop") else {})


# ---- the command -----------------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m p2p truth`."""
    cli.add_flags(parser, model="scenes", source=None, n=500, seed=0, steps=None, scale=None)
    cli.add_flags(parser, device=best_device(), out="results")
    parser.add_argument("--target", help="caption of the edit")
    parser.add_argument("--kinds", nargs="+", choices=TRUE_KINDS, default=list(TRUE_KINDS), help="kinds of edit")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="ways of editing")
    for name in ("cross", "self"):
        parser.add_argument(f"--{name}-until", type=cli.share, help="in place of that of each kind")


def edits_of(source: str, target: str, n: int) -> tuple[str, list[edits.SceneEdit]]:
    """The kind of edit between two captions, and n scenes of the test split that the source is true of.

    ValueError: no edit of TRUE_KINDS, too few such scenes.
    """
    kind = edits.kind_between("scenes", source, target)
    if kind not in TRUE_KINDS:
        raise ValueError(f"{source!r} -> {target!r}: expected captions of scenes that differ in one of {TRUE_KINDS}")
    word, said = kind.split()[-1], {name: value for name, value in scenes.parse(source).items() if value}
    new = scenes.parse(target)[word]
    all_scenes, can_have = scenes.scatter(400 * n, "test", edits.HELD_OUT_SEED), edits.SCENE_PAIRS[kind]
    fitting = [s for s in all_scenes if said.items() <= vars(s).items() and can_have(s)]  # no flag for one with a flag
    if len(fitting) < n:
        raise ValueError(f"{len(fitting)} scenes of {source!r} in the test split: expected --n {n}, try fewer words")
    return kind, [edits.SceneEdit(s, scenes.replace(s, **{word: new}), source, target) for s in fitting[:n]]


def run(args: argparse.Namespace) -> None:
    """Edit, measure, and write the numbers and a sheet for each kind of edit that the record does not have yet."""
    trained = ddpm.load(args.model, device=args.device)
    if trained.info["data"] != "scenes":
        raise ValueError(f"{args.model} is a model of {trained.info['data']}: the true edit is known of scenes alone")
    if (args.source is None) != (args.target is None):
        raise ValueError("--source and --target belong together")
    check_seed(args.seed)
    model = {"model": cli.name_of(args.model), "sha256": sha256(Path(trained.info["path"]))} | arithmetic(trained)
    model |= {"n": args.n, "seed": args.seed}
    record_path = cli.output(args, f"truth-{cli.name_of(args.model)}", ".json")
    jobs = dict([edits_of(args.source, args.target, args.n)]) if args.source else {}
    for kind in jobs or args.kinds:
        chosen = jobs.get(kind) or edits.scene_edits(kind, args.n, args.seed)
        settings = with_flags(SETTINGS["scenes", kind], args)
        facts = model | asdict(settings)
        if not jobs:
            record = records.read_record(record_path)
            records.check_settings(record_path, record, kind, facts)
            if set(args.ways) <= set(record["cells"].get(kind, {})):  # measured before: a long command goes on
                print(records.table(kind, record, record_path, {}))
                continue
        images = edited(trained, settings, chosen, args.ways)
        cells = {way: measure(chosen, images[way], kind) for way in args.ways}
        if not jobs:
            record = records.add(record_path, kind, facts, cells)
            print(records.table(kind, record, record_path, cells))
        path = cli.output(args, f"truth-{kind.replace(' ', '-')}", ".png")
        print(draw(path, chosen, images, f"{args.source} -> {args.target}" if jobs else kind))


def draw(path: Path, chosen: list[edits.SceneEdit], images: dict[str, np.ndarray], title: str) -> Path:
    """The first edits of each way beside the truth; returns where the sheet is."""
    shown = images | {"truth": drawn([e.after for e in chosen])}
    columns = [NAMES.get(way, way) for way in shown]
    pairs = [(split(e.source), split(e.target)) for e in chosen[:SHOWN]]
    rows = [" ->\n".join(" ".join(words) for words in changed(*pair)) for pair in pairs]
    pixels = np.stack([each[:SHOWN] for each in shown.values()], axis=1)
    return sheet(path, pixels, rows, columns, title)
