"""Edit pictures through their caption, and draw what came of it."""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import ddpm
from ddim.figures import sheet
from ddim.sampling import last
from ddpm.data import reading
from ddpm.data.pairs import kind_between
from ddpm.diffusion import to_bytes
from ddpm.model import Trained

from .. import pictures, score
from ..blend import LocalBlend
from ..editing import edit
from ..rivals import Recipe
from ..store import AttentionStore
from ..words import changed, kind_of, split
from .start import start_of
from .sweep import sweep

USUAL = Recipe(cross_until=0.8, self_until=0.4)  # windows of an edit that is none of the scored kinds


def drawn_mask(path: str, size: int) -> Tensor:
    """The mask in a picture file, bool (size, size): what is lighter than middle grey, and drawn at all, may change."""
    picture = reading.open_picture(Path(path), ground="black")
    if picture.size != (size, size):
        raise ValueError(f"the mask {path} has {picture.width}x{picture.height} pixels: expected {size}x{size}")
    return torch.from_numpy(np.asarray(picture.convert("L")) > 127)


def blend_of(
    args: argparse.Namespace, prompts: list[str], weights: dict[str, float], size: int
) -> LocalBlend | None:
    """The local blend of --mask or --blend; --blend without words takes those that differ or are weighted."""
    if args.mask:
        return LocalBlend(mask=drawn_mask(args.mask, size))
    if args.blend is None:
        return None
    n = len(prompts) // 2
    gone, new = changed(prompts[0], prompts[n])
    wanted = [word.lower() for word in args.blend] or [*gone, *new, *weights]
    source, target = ([word for word in wanted if word in split(prompt)] for prompt in (prompts[0], prompts[n]))
    if lost := [word for word in wanted if word not in source + target]:
        raise ValueError(f"--blend names {lost[0]!r}, which is in neither prompt")
    if not wanted:
        raise ValueError("--blend: the prompts do not differ, so name the words around which the picture may change")
    return LocalBlend([source] * n + [target] * n)


def variants_of(args: argparse.Namespace) -> list[tuple[str, str, dict[str, float]]]:
    """What to draw, as (name, target, weights): each target, with each value of a weight that has several."""
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
            found.append(("edit", target, single))
        for word, values in strips:
            found += [(f"{word} {value:g}", target, single | {word: value}) for value in values]
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
        raise ValueError("--inversion is of a real picture: it needs --image")
    if args.scale == 0:
        raise ValueError("--scale 0 never asks the network about the prompt: expected 1 (no guidance) or more")


def windows_for(trained: Trained, args: argparse.Namespace, target: str) -> dict[str, float]:
    """cross_until and self_until: as asked, else those that the sweep found for this kind of edit."""
    data = trained.info["data"]
    recipe = score.RECIPES.get((data, kind_between(data, args.source, target)), USUAL)
    asked = {name: getattr(args, name) for name in ("cross_until", "self_until")}
    return {name: getattr(recipe, name) if value is None else value for name, value in asked.items()}


def edit_command(args: argparse.Namespace) -> None:
    """Edit pictures through their caption and draw source, plain re-generation, edit and the words' maps."""
    check_together(args)
    trained = ddpm.load(args.model, device=args.device)
    sizes = sorted({site.size for site in trained.unet.sites if site.kind == "cross"})
    if args.map_size not in (None, *sizes):
        raise ValueError(f"--map-size is {args.map_size}: this model has cross-attention maps of the sizes {sizes}")
    args.seeds, args.sampler = args.seeds or [0, 1, 2, 3], args.sampler or "ddim"
    args.source = trained.tokenizer.decode(trained.tokens([args.source]))[0]
    args.target = trained.tokenizer.decode(trained.tokens(args.target)) if args.target else []
    variants, (start, picture) = variants_of(args), start_of(trained, args)
    n = 1 if args.image else len(args.seeds)
    if args.sweep:
        _, target, weights = variants[0]
        return sweep(trained, args, start, n, target, weights, told(args.source, target, weights))
    how = {"steps": args.steps, "scale": args.scale, "windows": dict(args.window)} | start
    columns = {} if picture is None else {"picture": picture}
    maps = None
    for name, target, weights in tqdm(variants, "edits", disable=len(variants) == 1):
        kept = windows_for(trained, args, target)
        shares = "keeps cross-attention for {cross_until:.0%} of the steps, self-attention for {self_until:.0%}"
        print(f"{told(args.source, target, weights)}; {shares.format(**kept)}")
        store = AttentionStore([args.source] * n + [target] * n)
        blend = blend_of(args, store.prompts, weights, trained.shape[-1])
        walk = edit(trained, args.source, target, **how, **kept, weights=weights, blend=blend, store=store)
        states = [(t, x) for t, x, _ in walk]
        source, edited = np.split(to_bytes(states[-1][1]), 2)
        if args.film and maps is None:
            columns |= film(trained.schedule.T, start["x_T"], states, n, args.film)
        columns["source"] = source
        if target != args.source:
            again = edit(trained, args.source, target, **how | {"cross_until": 0, "self_until": 0, "windows": {}})
            columns[column("plain", args.source, target, args.target)] = to_bytes(last(again))[n:]
        columns[column(name, args.source, target, args.target)] = edited
        maps = maps or pictures.word_maps(source, store, args.map_size or store.largest)
    cells = np.concatenate([np.stack(list(columns.values()), axis=1), maps[0]], axis=1)
    rows = [Path(args.image).name] if args.image else [f"seed {seed}" for seed in args.seeds]
    print(sheet(Path(args.out), cells, rows, [*columns, *maps[1]], args.source))


def film(T: int, x_T: Tensor | tuple[Tensor, Tensor], states: list[tuple[int, Tensor]], n: int, count: int) -> dict:
    """At most `count` pictures of the sources' way from noise, evenly spaced, by their times."""
    walk = [(T, x_T[0] if isinstance(x_T, tuple) else x_T), *states[:-1]]
    return {f"t = {t}": to_bytes(x[:n]) for t, x in walk[:: -(-len(walk) // count)]}


def column(name: str, source: str, target: str, targets: list[str]) -> str:
    """The name of a column; among several targets with the words that make this one."""
    gone, new = changed(source, target)
    return "\n".join([name, *(new or ["no", *gone])]) if len(targets) > 1 else name
