"""Edit images through their caption, and draw what came of it."""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import ddpm
from ddpm.data import image_files as reading
from ddpm.data.pairs import kind_between, kind_of_word
from ddpm.diffusion import last
from ddpm.images import sheet, to_bytes
from ddpm.model import Trained
from unet.vocabulary import GRAMMAR

from ..blend import LocalBlend
from ..commands.sweep import sweep
from ..editing import edit, listed, make_plan
from ..store import AttentionStore
from ..words import changed, kind_of, split
from . import overlays, score
from .baselines import Recipe
from .checks import check_file, check_guidance, check_steps
from .score_command import REWEIGHT
from .start import inversion, start_of

USUAL = Recipe(cross_until=0.8, self_until=0.4)  # windows of an edit that is none of the scored kinds
Column = tuple[str, np.ndarray]  # its name, and an image for each row


class Job(NamedTuple):
    """One column of edits: its name, the target's prompt, and the weights of words."""

    name: str
    target: str
    weights: dict[str, float]


def drawn_mask(path: str, size: int) -> Tensor:
    """The mask in an image file, bool (size, size): what is lighter than middle grey, and drawn at all, may change."""
    image = reading.open_image(Path(path), ground="black")
    if image.size != (size, size):
        raise ValueError(f"the mask {path} has {image.width}x{image.height} pixels: expected {size}x{size}")
    return torch.from_numpy(np.asarray(image.convert("L")) > 127)


def blend_of(args: argparse.Namespace, recipe: Recipe, job: Job, n: int, size: int) -> LocalBlend | None:
    """The local blend of --mask or --blend; --blend without words takes those that differ or are weighted."""
    if args.mask is not None:
        return LocalBlend(mask=drawn_mask(args.mask, size))
    if args.blend is None:
        return None
    gone, new = changed(args.source, job.target)
    if args.blend and not split(" ".join(args.blend)):
        raise ValueError(f"--blend {' '.join(args.blend)!r} has no word: give words, or none for all that differ")
    wanted = split(" ".join(args.blend)) or [*gone, *new, *job.weights]
    source, target = ([word for word in wanted if word in split(prompt)] for prompt in (args.source, job.target))
    if lost := [word for word in wanted if word not in source + target]:
        raise ValueError(f"--blend names {lost[0]!r}, which is in neither prompt")
    if not wanted:
        raise ValueError("--blend: the prompts do not differ, so name the words around which the image may change")
    return recipe.blend([source] * n + [target] * n)


def jobs_of(args: argparse.Namespace) -> list[Job]:
    """What to draw: each target, with each value of a weight that has several."""
    single = {word: values[0] for word, values in args.weight if len(values) == 1}
    strips = [(word, values) for word, values in args.weight if len(values) > 1]
    if len(strips) > 1:
        raise ValueError(f"--weight has several values for {strips[0][0]} and for {strips[1][0]}: one strip at a time")
    if not args.target and not args.weight:
        raise ValueError("nothing to edit: give a --target, or a --weight for a word of the source")
    if again := [target for i, target in enumerate(args.target) if target in args.target[:i]]:
        raise ValueError(f"the target {again[0]!r} is given twice")
    found = []
    for target in args.target or [args.source]:
        if not strips:
            found.append(Job("edit", target, single))
        for word, values in strips:
            found += [Job(f"{word} {value:g}", target, single | {word: value}) for value in values]
    return found


def told(source: str, target: str, weights: dict[str, float]) -> str:
    """One line on which edit is made."""
    gone, new = (" ".join(words) or "nothing" for words in changed(source, target))
    kinds = [kind_of(source, target) + f" ({gone} -> {new})"] if source != target else []
    kinds += [f"reweight ({', '.join(f'{word} x {value:g}' for word, value in weights.items())})"] if weights else []
    return f"{source!r} -> {target!r}: {' and '.join(kinds) or 'nothing changes'}"


def check_together(args: argparse.Namespace) -> None:
    """ValueError for flags that have no meaning beside each other, rather than leaving one out silently."""
    given = {name for name, value in vars(args).items() if value is not None and value is not False}
    given -= set() if args.window else {"window"}
    idle = {
        "sweep": ("cross_until", "self_until", "window", "blend", "mask", "film", "map_size"),
        "image": ("seeds", "sampler"),
        "mask": ("blend",),
    }
    for name, others in idle.items():
        if name in given and (lost := [other for other in others if other in given]):
            raise ValueError(f"--{name} leaves nothing to do for --{lost[0].replace('_', '-')}: give one of them")
    if args.image is None and args.inversion:
        raise ValueError("--inversion is of a real image: it needs --image")
    for name in ("window", "weight"):
        words = [word for word, _ in getattr(args, name)]
        if again := [word for i, word in enumerate(words) if word in words[:i]]:
            raise ValueError(f"--{name} is given twice for {again[0]!r}: give it once")
    if args.sweep and (strips := [word for word, values in args.weight if len(values) > 1]):
        raise ValueError(f"--sweep is of one edit, but --weight has several values for {strips[0]!r}: give one")
    if args.rounds is not None and inversion(args) != "null-text":
        raise ValueError("--rounds is of the null text: it needs --image with --inversion null-text, or guidance")
    if args.inversion == "null-text" and args.scale == 1:
        raise ValueError("--inversion null-text undoes guidance, and --scale 1 is none: give a larger --scale")
    if empty := [name for name in ("image", "mask") if getattr(args, name) == ""]:
        raise ValueError(f"--{empty[0]} is empty: expected an image file")
    check_guidance(args.scale)
    for suffix in (".png", ".json") if args.sweep else (".png",):
        check_file(Path(args.out).with_suffix(suffix))


def recipe_of(data: str, source: str, job: Job) -> Recipe:
    """What suits the kind of edit (`score.RECIPES`): of the words that change, or else of the first weighted word."""
    if job.target == source:
        kinds = [REWEIGHT + (kind_of_word(data, source, word) or "") for word in job.weights]
    else:
        kinds = [kind_between(data, source, job.target)]
    return next((score.RECIPES[data, kind] for kind in kinds if (data, kind) in score.RECIPES), USUAL)


def kept_by(trained: Trained, args: argparse.Namespace, job: Job, n: int) -> dict[str, Any]:
    """The windows, weights and local blend of a job as keywords of `edit`, checked before any work.

    Windows and blend are those that suit the kind of edit, where the flags say nothing.
    """
    asked = {name: getattr(args, name) for name in ("cross_until", "self_until")}
    recipe = recipe_of(trained.info["data"], args.source, job)
    shares = {name: getattr(recipe, name) if value is None else value for name, value in asked.items()}
    kept = shares | {"windows": dict(args.window), "weights": job.weights}
    make_plan(trained, listed([args.source, job.target], 2), **kept)
    return kept | {"blend": blend_of(args, recipe, job, n, trained.shape[-1])}


def edit_command(args: argparse.Namespace) -> None:
    """Edit images through their caption and draw source, plain re-generation, edit and the words' maps."""
    check_together(args)
    trained = ddpm.load(args.model, device=args.device)
    check_steps(args.steps, trained.schedule.T)
    sizes = sorted({site.size for site in trained.unet.sites if site.kind == "cross"})
    if args.map_size not in (None, *sizes):
        raise ValueError(f"--map-size is {args.map_size}: this model has cross-attention maps of the sizes {sizes}")
    args.seeds, args.sampler = args.seeds or [0, 1, 2, 3], args.sampler or "ddim"
    args.source = trained.tokenizer.decode(trained.tokens([args.source]))[0]
    args.target = trained.tokenizer.decode(trained.tokens(args.target)) if args.target else []
    n = 1 if args.image else len(args.seeds)
    todo = [(job, kept_by(trained, args, job, n)) for job in jobs_of(args)]
    start, image = start_of(trained, args)
    if args.sweep:
        job = todo[0][0]
        return sweep(trained, args, start, n, job.target, job.weights, told(args.source, job.target, job.weights))
    columns, maps = drawn(trained, args, start, todo, n)
    columns = columns if image is None else [("image", image), *columns]
    names, images = zip(*columns, *maps, strict=True)
    rows = [Path(args.image).name] if args.image else [f"seed {seed}" for seed in args.seeds]
    print(sheet(Path(args.out), np.stack(images, axis=1), rows, list(names), args.source, fold=len(columns)))


def drawn(
    trained: Trained, args: argparse.Namespace, start: dict, todo: list, n: int
) -> tuple[list[Column], list[Column]]:
    """The columns of all jobs: the film, the sources, each target's plain image, its edits; and the words' maps."""
    how = {"steps": args.steps, "scale": args.scale} | start
    columns, maps, plain = [], [], {args.source}
    for (name, target, weights), kept in tqdm(todo, "edits", disable=len(todo) == 1):
        shares = "keeps cross-attention for {cross_until:.0%} of the steps, self-attention for {self_until:.0%}"
        print(f"{told(args.source, target, weights)}; {shares.format(**kept)}")
        store = AttentionStore([args.source] * n + [target] * n)
        states = [(t, x) for t, x, _ in edit(trained, args.source, target, **how, **kept, store=store)]
        source, edited = np.split(to_bytes(states[-1][1]), 2)
        if not maps:
            walk = film(trained.schedule.T, start["x_T"], states, n, args.film) if args.film else {}
            columns = [*walk.items(), ("source", source)]
            images, words = overlays.word_maps(source, store, args.map_size or store.largest)
            maps = list(zip(words, images.swapaxes(0, 1), strict=True))
        label = lines_of(args.source, target, args.target)
        if target not in plain:
            again = edit(trained, args.source, target, **how, cross_until=0, self_until=0)
            columns.append(("\n".join(["plain", *label]), to_bytes(last(again))[n:]))
            plain.add(target)
        columns.append(("\n".join([name, *label]), edited))
    return columns, maps


def film(T: int, x_T: Tensor | tuple[Tensor, Tensor], states: list[tuple[int, Tensor]], n: int, count: int) -> dict:
    """At most `count` images of the sources' way from noise, evenly spaced, by their times."""
    walk = [(T, x_T[0] if isinstance(x_T, tuple) else x_T), *states[:-1]]
    return {f"t = {t}": to_bytes(x[:n]) for t, x in walk[:: -(-len(walk) // count)]}


def lines_of(source: str, target: str, targets: list[str]) -> list[str]:
    """What tells a target's columns from those of other targets: its new words, or which words go for which."""
    gone, new = ([word for word in words if word not in GRAMMAR] or words for words in changed(source, target))
    if len(targets) < 2:
        return []
    if not new:
        return ["no", *gone]
    alike = [each for each in targets if changed(source, each)[1] == changed(source, target)[1]]
    return new if len(alike) == 1 else [*gone, "->", *new]
