"""How good Prompt-to-Prompt is on many pairs, beside the other ways of editing."""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

import ddpm
from ddpm.cli import finite, positive
from ddpm.data.classifier import load as load_classifier
from ddpm.data.judge import judged
from ddpm.data.pairs import KINDS, pairs
from ddpm.data.shapes import PALETTE, parse, read
from ddpm.files import sha256, write_json
from ddpm.model import Trained

from ..editing import check_share
from . import score
from .baselines import SAMPLERS, WAYS, Recipe
from .checks import check_file, check_guidance, check_steps

MAPS, REWEIGHT = "maps", "reweight "
EXTRA = (MAPS, REWEIGHT + "colour", REWEIGHT + "background")
WEIGHTS = (-2.0, 0.0, 1.0, 2.0, 5.0)
SWEPT = ("cross_until", "self_until", "strength")  # what a sweep goes through itself, or has no use for
TUNED = {
    "steps": dict(type=positive), "sampler": dict(choices=list(SAMPLERS)),
    **dict.fromkeys(("scale", "cross_until", "self_until", "strength"), dict(type=finite)),
}  # fmt: skip


def judge_of(trained: Trained) -> score.Judge:
    """Does an image show its prompt? Exact checks for shapes, a classifier for the rest."""
    data = trained.info["data"]
    classifier = None if data == "shapes" else load_classifier(data)
    return lambda images, prompts: judged(data, images, prompts, classifier and classifier.probabilities(images))


def reader(trained: Trained) -> score.Read | None:
    """What tells where the things of an image are, of shapes; None for other data."""
    return read if trained.info["data"] == "shapes" else None


def task_of(trained: Trained, kind: str, n: int) -> score.Task:
    """n pairs of a kind of edit of the model's data."""
    drawn, judge = pairs(trained.info["data"], kind, n), judge_of(trained)
    return score.Task(drawn.sources, drawn.targets, drawn.changed, judge, reader(trained), "background" in kind)


def colours_of(task: score.Task, kind: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The word of a kind in each source prompt, the colour (n, 3) it would have without, and its own."""
    said = [parse(source) for source in task.sources]
    other = "background" if kind == "colour" else "colour"
    zero, one = (np.array([PALETTE[words[name]] for words in said], dtype=float) for name in (other, kind))
    return [words[kind] for words in said], zero, one


def measured(trained: Trained, args: argparse.Namespace, recipe: Recipe, kind: str, known: dict) -> dict:
    """What is not known yet of the score of one kind of edit, of the maps, or of re-weighting."""
    ways = [way for way in args.ways or WAYS if way not in known]
    if not ways or known and (args.sweep or kind in EXTRA):
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


def check(asked: dict, args: argparse.Namespace, kinds: list[str]) -> None:
    """ValueError for what no kind of edit can be measured with, or what a sweep or these kinds would not heed."""
    for name in SWEPT:
        if name in asked:
            check_share(f"--{name.replace('_', '-')}", asked[name])
    for name in (*SWEPT, "ways"):
        if args.sweep and getattr(args, name) is not None:
            raise ValueError(f"--sweep leaves nothing to do for --{name.replace('_', '-')}: give one of them")
    for name in ("ways", "strength"):
        if getattr(args, name) is not None and all(kind in EXTRA for kind in kinds):
            raise ValueError(f"--kinds {', '.join(kinds)} leaves nothing to do for --{name}: it is of other kinds")
    check_guidance(asked.get("scale", 1))


def check_made(path: Path, found: dict, kind: str, made: dict) -> None:
    """ValueError for a file whose rows of a kind were made in another way: they would be lost."""
    old = found[kind]["made"] if kind in found else made
    if other := [name for name in old | made if old.get(name) != made.get(name)]:
        ways = ", ".join(f"{name} {old.get(name)} (asked: {made.get(name)})" for name in other)
        raise ValueError(f"{path} has {kind!r} measured with {ways}: choose another --out, or delete it")


def score_command(args: argparse.Namespace) -> None:
    """Every way of editing on n pairs of each kind; what --out already holds, made in the same way, is kept."""
    trained = ddpm.load(args.model, device=args.device)
    data, name = trained.info["data"], Path(args.model).stem
    path = Path(args.out or f"notebooks/results/p2p/{'sweep' if args.sweep else 'score'}-{name}.json")
    if data not in KINDS:
        raise ValueError(f"no kinds of edit are known for the data set {data!r}: expected one of {', '.join(KINDS)}")
    known = KINDS[data] + (EXTRA if data == "shapes" and not args.sweep else ())
    kinds = list(dict.fromkeys(args.kinds or known))
    if lost := [kind for kind in kinds if kind not in known]:
        raise ValueError(f"no kind of edit {lost[0]!r} of {data}: expected one of {', '.join(known)}")
    asked = {name: getattr(args, name) for name in TUNED if getattr(args, name) is not None}
    check(asked, args, kinds)
    check_file(path)
    found = score.resume(path)
    recipes = {kind: replace(score.RECIPES.get((data, kind), Recipe()), **asked) for kind in kinds}
    same = {"model": name, "sha256": sha256(Path(trained.info["path"])), "edits": score.EDITS, "n": args.n}
    made = {kind: same | told(recipe, args.sweep) for kind, recipe in recipes.items()}
    for kind in kinds:
        check_steps(recipes[kind].steps, trained.schedule.T)
        check_made(path, found, kind, made[kind])
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind, recipe in recipes.items():
        kept = {name: row for name, row in found.get(kind, {}).items() if name != "made"}
        if new := measured(trained, args, recipe, kind, kept):
            found[kind] = {"made": made[kind]} | kept | new
            write_json(path, found)
        print(score.table(kind, found[kind]))
    print(path)


def told(recipe: Recipe, sweep: bool) -> dict:
    """A recipe as a file of results tells it; a sweep's without what it goes through itself."""
    return {name: value for name, value in recipe.as_json().items() if not (sweep and name in SWEPT)}
