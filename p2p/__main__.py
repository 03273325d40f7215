"""Prompt-to-Prompt at the terminal: edit a picture through its caption.

    python -m p2p --source "a photo of a large red circle on a blue background" \\
                  --target "a photo of a large green circle on a blue background" --out edit.png
    python -m p2p --source S --target T1 T2 T3 T4          one source, several targets
    python -m p2p --source S --weight large=-2,0,1,2,5     re-weighting, as a strip
    python -m p2p --source S --target T --image FILE       a real picture (or its number in the test split)
    python -m p2p --source S --target T --sweep            the grid of windows, with numbers
    python -m p2p score --model shapes --n 500             how good it is, beside the other ways of editing

The kind of edit follows from the prompts: as many words, and each takes the map of the word in its place (replace);
more or fewer, and the shared words keep their maps (refine); --weight scales a word's maps (reweight).
"""

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import ddim
import ddpm
from ddim.classifier import load as load_classifier
from ddim.figures import sheet
from ddim.sampling import last
from ddpm.data import load_data, reading
from ddpm.data.judging import judged
from ddpm.data.pairs import KINDS, kind_between, pairs
from ddpm.data.shapes import PALETTE, parse, read
from ddpm.diffusion import to_bytes, to_pictures
from ddpm.door import exit_code, finite, picture_file, positive
from ddpm.files import sha256, write_json
from ddpm.model import Trained

from . import measures, pictures, real, score
from .blend import LocalBlend
from .editing import edit
from .rivals import SAMPLERS, WAYS, Recipe
from .store import AttentionStore
from .words import changed, kind_of, split

CROSSES, SELVES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0), (0.0, 0.8)
MAPS, REWEIGHT = "maps", "reweight "
EXTRA = (MAPS, REWEIGHT + "colour", REWEIGHT + "background")
WEIGHTS = (-2.0, 0.0, 1.0, 2.0, 5.0)
TUNED = {
    "steps": dict(type=positive), "sampler": dict(choices=list(SAMPLERS)),
    **dict.fromkeys(("scale", "cross_until", "self_until", "strength"), dict(type=finite)),
}  # fmt: skip
USUAL = Recipe(cross_until=0.8, self_until=0.4)  # windows of an edit that is none of the scored kinds


# ---- one edit, drawn -------------------------------------------------------------------------------------------------


def seeds_of(text: str) -> list[int]:
    """0-3 or 7 or 0,4,9 -> seeds."""
    try:
        parts = [part.partition("-") for part in text.split(",")]
        seeds = [seed for low, dash, high in parts for seed in range(int(low), int(high if dash else low) + 1)]
    except ValueError:
        seeds = []
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r}: expected seeds such as 0-3 or 0,4,9")
    return seeds


def numbered(text: str) -> tuple[str, list[float]]:
    """word=2 or word=-2,0,1 -> the word and its numbers."""
    word, _, values = text.partition("=")
    try:
        return word.lower(), [float(value) for value in values.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a word and numbers, as green=2 or green=0,1,2") from None


def window(text: str) -> tuple[str, float]:
    """word=0.4 -> the word and its share."""
    word, values = numbered(text)
    if len(values) > 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected one share for a word, as green=0.4")
    return word, values[0]


def real_picture(trained: Trained, args: argparse.Namespace) -> Tensor:
    """--image, a file or a number in the test split, as x_0 (1, 3, H, W) in [-1, 1]."""
    size = trained.unet.config.size
    if args.image.isdecimal():
        images = load_data(trained.info["data"], args.data_dir, "test", size).images
        if int(args.image) >= len(images):
            raise ValueError(f"--image is {args.image}, but the test split has the pictures 0 .. {len(images) - 1}")
        picture = images[int(args.image)]
    else:
        picture = reading.to_array(reading.square(reading.open_picture(Path(args.image))), size)
    return to_pictures(picture[None]).to(trained.device)


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


def start_of(trained: Trained, args: argparse.Namespace) -> tuple[dict, np.ndarray | None]:
    """Where the edit starts, as keywords of `edit` (x_T and what belongs to it), and the real picture, if there is one.

    A real picture is inverted exactly when there is no guidance, else with null prompts that undo the guidance.
    """
    if args.image is None:
        x_T = ddpm.Noise(args.seeds).start(trained.shape, trained.device)
        return {"x_T": x_T, "sampler": SAMPLERS[args.sampler]}, None
    x_0, way = real_picture(trained, args), args.inversion
    way = way or ("exact" if args.scale == 1 else "null-text")
    if way == "exact":
        start = {"x_T": real.latent_pair(trained, [args.source], x_0, args.steps), "sampler": ddim.sample_exact}
    else:
        start = {"x_T": real.latent(trained, [args.source], x_0, args.steps), "sampler": ddim.sample}
    if way == "null-text":
        walk = real.null_text(trained, [args.source], x_0, args.steps, args.scale, args.rounds)
        states = {t: state for t, _, state in tqdm(walk, "null text", args.steps)}
        report_error(trained, args, start, x_0, f"{way}, guidance {args.scale:g}, before")
        start["null"] = real.null_of(trained, states)
    report_error(trained, args, start, x_0, f"{way}, guidance {args.scale:g}")
    return start, to_bytes(x_0)


def report_error(trained: Trained, args: argparse.Namespace, start: dict, x_0: Tensor, name: str) -> None:
    """Print how far the source half of the edit ends from the real picture."""
    walk = edit(trained, args.source, args.source, steps=args.steps, scale=args.scale, **start)
    again = to_bytes(last(walk)[:1]).astype(float)
    print(f"reconstruction, {name}: mean squared error {((again - to_bytes(x_0)) ** 2).mean() / 255**2:.6f}")


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
        return sweep_command(trained, args, start, n)
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


def sweep_command(trained: Trained, args: argparse.Namespace, start: dict, n: int) -> None:
    """The grid of windows for one pair of prompts: the first picture's edits, and numbers over all pictures."""
    grid, rows = [(cross, pixels) for cross in CROSSES for pixels in SELVES], []
    target, weights = variants_of(args)[0][1:]
    images = []
    for cross, pixels in tqdm(grid, "windows"):
        how = {"steps": args.steps, "scale": args.scale, "weights": weights, **start}
        walk = edit(trained, args.source, target, cross_until=cross, self_until=pixels, **how)
        before, after = np.split(to_bytes(last(walk)), 2)
        images.append(after[0])
        rows.append({
            "cross_until": cross, "self_until": pixels, "edges": float(measures.edge_agreement(before, after).mean()),
            "shows the target": shown(trained, after, [target] * n),
        })  # fmt: skip
        print("  ".join(f"{key} {value:.2f}" for key, value in rows[-1].items() if value is not None))
    cells = np.stack(images).reshape(len(CROSSES), len(SELVES), *images[0].shape)
    names = [[f"{kind} {share:g}" for share in shares] for kind, shares in (("cross", CROSSES), ("self", SELVES))]
    print(sheet(Path(args.out), cells, *names, told(args.source, target, weights)))
    print(write_json(Path(args.out).with_suffix(".json"), rows))


def shown(trained: Trained, images: np.ndarray, prompts: list[str]) -> float | None:
    """Percent of pictures that show their prompt; None for a prompt outside the grammar of the model's data, or data
    that nothing judges.
    """
    try:
        return score.share(measures.all_shown(judge_of(trained)(images, prompts)))
    except ValueError:
        return None


# ---- the score -------------------------------------------------------------------------------------------------------


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
    found = score.sweep(trained, recipe, task, CROSSES, SELVES, partial(tqdm, desc=kind))
    return found | {"chosen": score.best_windows(found)}


def score_command(args: argparse.Namespace) -> None:
    """Every way of editing on n pairs of each kind; what --out already holds, made in the same way, is kept."""
    trained = ddpm.load(args.model, device=args.device)
    data, name = trained.info["data"], Path(args.model).stem
    path = Path(args.out or f"p2p/results/{'sweep' if args.sweep else 'score'}-{name}.json")
    if data not in KINDS:
        raise ValueError(f"no kinds of edit are known for the data set {data!r}: expected one of {', '.join(KINDS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    found = score.resume(path)
    known = KINDS[data] + (EXTRA if data == "shapes" and not args.sweep else ())
    for kind in args.kinds or known:
        if kind not in known:
            raise ValueError(f"no kind of edit {kind!r} of {data}: expected one of {', '.join(known)}")
        recipe = score.RECIPES.get((data, kind), Recipe())
        recipe = replace(recipe, **{name: getattr(args, name) for name in TUNED if getattr(args, name) is not None})
        made = {"model": name, "sha256": sha256(Path(trained.info["path"])), "edits": score.EDITS, "n": args.n}
        made |= recipe.as_json()
        kept = found.get(kind, {})
        kept = {name: row for name, row in kept.items() if name != "made"} if kept.get("made") == made else {}
        if new := measured(trained, args, recipe, kind, kept):
            found[kind] = {"made": made} | kept | new
            write_json(path, found)
        print(score.table(kind, found[kind]))
    print(path)


# ---- the flags -------------------------------------------------------------------------------------------------------


def common_flags(flags: argparse.ArgumentParser) -> None:
    """What both commands take."""
    flags.add_argument("--model", default="shapes", help="a shipped model's name, a run folder or a file")
    flags.add_argument("--device", default="cpu")
    flags.add_argument(
        "--sweep", action="store_true", help="the grid of both windows, with numbers (of the first target)"
    )


def edit_flags() -> argparse.ArgumentParser:
    """The flags of an edit."""
    as_written = argparse.RawDescriptionHelpFormatter
    flags = argparse.ArgumentParser(prog="python -m p2p", description=__doc__, formatter_class=as_written)
    common_flags(flags)
    flags.add_argument("--data-dir", default="data", help="where the real data sets are, for --image with a number")
    flags.add_argument("--source", required=True, help="the prompt of the picture to edit")
    flags.add_argument("--target", nargs="+", help="the prompt of the edit, or of several")
    flags.add_argument(
        "--weight",
        type=numbered,
        action="append",
        default=[],
        metavar="WORD=X",
        help="word=factor, -2 .. 5; several: a strip",
    )
    flags.add_argument("--window", type=window, action="append", default=[], help="word=share: its own --cross-until")
    kept = "share of the steps that keep the source's {}-attention (default: what suits the kind of edit)"
    flags.add_argument("--cross-until", type=finite, help=kept.format("cross"))
    flags.add_argument("--self-until", type=finite, help=kept.format("self"))
    flags.add_argument("--blend", nargs="*", metavar="WORD", help="change only where these words (or all new) look")
    flags.add_argument("--mask", help="a picture file of the model's size: change only where it is light")
    flags.add_argument("--seeds", type=seeds_of, help="one for each pair, such as 0-3 (default)")
    flags.add_argument("--steps", type=positive, default=50)
    flags.add_argument("--scale", type=finite, default=1.0, help="guidance, 1 for none")
    flags.add_argument("--sampler", choices=list(SAMPLERS), help="default: ddim")
    flags.add_argument("--image", help="a real picture: a file, or a number in the model's test split")
    flags.add_argument("--inversion", choices=("exact", "ddim", "null-text"), help="of the real picture")
    flags.add_argument("--rounds", type=positive, default=10, help="of the null text's optimisation, for each step")
    flags.add_argument("--film", type=positive, metavar="K", help="show the source's way from noise in K pictures")
    flags.add_argument("--map-size", type=positive, help="of the maps that are drawn (default: the largest)")
    flags.add_argument("--out", type=picture_file, default="edit.png")
    flags.set_defaults(work=edit_command)
    return flags


def score_flags() -> argparse.ArgumentParser:
    """The flags of the score."""
    flags = argparse.ArgumentParser(prog="python -m p2p score", description=score_command.__doc__)
    common_flags(flags)
    flags.add_argument("--n", type=positive, default=500, help="pairs of each kind")
    flags.add_argument("--kinds", nargs="+", help="kinds of edit (default: all of the model's data)")
    flags.add_argument("--ways", nargs="+", choices=list(WAYS), help="ways of editing (default: all)")
    for name, how in TUNED.items():
        flags.add_argument("--" + name.replace("_", "-"), **how, help="instead of the kind's own")
    flags.add_argument("--out", help="a JSON file (default: p2p/results/score-MODEL.json)")
    flags.set_defaults(work=score_command)
    return flags


def main(argv: list[str] | None = None) -> None:
    """Parse and call: `score`, or an edit."""
    argv = sys.argv[1:] if argv is None else argv
    args = score_flags().parse_args(argv[1:]) if argv[:1] == ["score"] else edit_flags().parse_args(argv)
    args.work(args)


if __name__ == "__main__":
    sys.exit(exit_code("python -m p2p", main))
