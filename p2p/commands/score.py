"""How good Prompt-to-Prompt is on many pairs, beside the other ways of editing."""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

import ddpm
from ddim.classifier import load as load_classifier
from ddpm.data.judging import judged
from ddpm.data.pairs import KINDS, pairs
from ddpm.data.shapes import PALETTE, parse, read
from ddpm.door import finite, positive
from ddpm.files import sha256, write_json
from ddpm.model import Trained

from .. import score
from ..editing import check_share
from ..rivals import SAMPLERS, WAYS, Recipe

MAPS, REWEIGHT = "maps", "reweight "
EXTRA = (MAPS, REWEIGHT + "colour", REWEIGHT + "background")
WEIGHTS = (-2.0, 0.0, 1.0, 2.0, 5.0)
SWEPT = ("cross_until", "self_until", "strength")  # what a sweep goes through itself, or has no use for
TUNED = {
    "steps": dict(type=positive), "sampler": dict(choices=list(SAMPLERS)),
    **dict.fromkeys(("scale", "cross_until", "self_until", "strength"), dict(type=finite)),
}  # fmt: skip


def judge_of(trained: Trained) -> score.Judge:
    """Does a picture show its prompt? Exact checks for shapes, a classifier for the rest."""
    data = trained.info["data"]
    classifier = None if data == "shapes" else load_classifier(data)
    return lambda images, prompts: judged(data, images, prompts, classifier and classifier.probabilities(images))


def task_of(trained: Trained, kind: str, n: int) -> score.Task:
    """n pairs of a kind of edit of the model's data."""
    data = trained.info["data"]
    drawn = pairs(data, kind, n)
    where = read if data == "shapes" else None
    return score.Task(drawn.sources, drawn.targets, drawn.changed, judge_of(trained), where, "background" in kind)


def colours_of(task: score.Task, kind: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The word of a kind in each source prompt, the colour (n, 3) it would have without, and its own."""
    said = [parse(source) for source in task.sources]
    other = "background" if kind == "colour" else "colour"
    zero, one = (np.array([PALETTE[words[name]] for words in said], dtype=float) for name in (other, kind))
    return [words[kind] for words in said], zero, one


def measured(trained: Trained, args: argparse.Namespace, recipe: Recipe, kind: str, known: dict) -> dict:
    """What is not known yet of the score of one kind of edit, of the maps, or of re-weighting."""
    ways = [way for way in args.ways or WAYS if way not in known]
    if not ways or known and (args.sweep or kind == MAPS or kind.startswith(REWEIGHT)):
        return {}
    bar = partial(tqdm, desc=kind, total=-(-args.n // score.BATCH))
    if kind == MAPS:
        task = task_of(trained, "colour", args.n)
        said = [parse(source) for source in task.sources]
        words = {name: [each[name] for each in said] for name in said[0]}
        return score.localise(trained, recipe, task, words, bar)
    if kind.startswith(REWEIGHT):
        kind = kind.removeprefix(REWEIGHT)
        task = task_of(trained, kind, args.n)
        words, zero, one = colours_of(task, kind)
        return score.reweighting(trained, recipe, task, words, WEIGHTS, zero, one, bar)
    task = task_of(trained, kind, args.n)
    if not args.sweep:
        return score.run(trained, recipe, task, ways, bar)
    found = score.sweep(trained, recipe, task, score.CROSSES, score.SELVES, partial(tqdm, desc=kind))
    return found | {"chosen": score.best_windows(found)}


def check(asked: dict, args: argparse.Namespace) -> None:
    """ValueError for what no kind of edit can be measured with, or what a sweep would not heed."""
    for name in SWEPT:
        if name in asked:
            check_share(f"--{name.replace('_', '-')}", asked[name])
    for name in (*SWEPT, "ways"):
        if args.sweep and getattr(args, name) is not None:
            raise ValueError(f"--sweep leaves nothing to do for --{name.replace('_', '-')}: give one of them")


def score_command(args: argparse.Namespace) -> None:
    """Every way of editing on n pairs of each kind; what --out already holds, made in the same way, is kept."""
    trained = ddpm.load(args.model, device=args.device)
    data, name = trained.info["data"], Path(args.model).stem
    path = Path(args.out or f"p2p/results/{'sweep' if args.sweep else 'score'}-{name}.json")
    if data not in KINDS:
        raise ValueError(f"no kinds of edit are known for the data set {data!r}: expected one of {', '.join(KINDS)}")
    known = KINDS[data] + (EXTRA if data == "shapes" and not args.sweep else ())
    kinds = dict.fromkeys(args.kinds or known)
    if lost := [kind for kind in kinds if kind not in known]:
        raise ValueError(f"no kind of edit {lost[0]!r} of {data}: expected one of {', '.join(known)}")
    asked = {name: getattr(args, name) for name in TUNED if getattr(args, name) is not None}
    check(asked, args)
    found = score.resume(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        recipe = replace(score.RECIPES.get((data, kind), Recipe()), **asked)
        made = {"model": name, "sha256": sha256(Path(trained.info["path"])), "edits": score.EDITS, "n": args.n}
        made |= {name: value for name, value in recipe.as_json().items() if not (args.sweep and name in SWEPT)}
        kept = found.get(kind, {})
        kept = {name: row for name, row in kept.items() if name != "made"} if kept.get("made") == made else {}
        if new := measured(trained, args, recipe, kind, kept):
            found[kind] = {"made": made} | kept | new
            write_json(path, found)
        print(score.table(kind, found[kind]))
    print(path)
