"""Edit one image with the sampler: SDEdit, DDIM inversion and exact inversion beside each other.

--out x.html writes a page for the lecture hall instead: every step, at several strengths (by default 20 steps, not 50).
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor
from tqdm import tqdm

import ddpm
from ddpm.diffusion import last, q_sample
from ddpm.experiments import page
from ddpm.experiments.common import finite, image_and_source, shown_words
from ddpm.experiments.page import is_page
from ddpm.model import Trained
from ddpm.utils import cli
from ddpm.utils.images import from_bytes, sheet, squared_error, to_bytes
from unet.text import content_words, split_words

from ..editing import edit_exact, edit_inverted, edit_naive, last_steps
from ..sampler import Trajectory

EXAMPLE = 'python -m ddim edit --image 1 --target "a photo of a small red circle on a green background" --strength 0.9'
ENDINGS = (".png", ".html")
METHODS = {"sdedit": "SDEdit", "ddim": "DDIM inversion", "exact": "exact inversion"}
STRENGTH, STEPS = [0.6], 50  # of a sheet
PAGE_STRENGTHS, PAGE_STEPS = [0.2, 0.4, 0.6, 0.8, 1.0], 20
RESERVE = 9.5  # lines of the window's height that captions and names take

# ---- the methods -----------------------------------------------------------------------------------------------------


def editor(
    trained: Trained, args: argparse.Namespace, sources: list[str], targets: list[str]
) -> Callable[[str, Tensor, float, range], Trajectory]:
    """edit(method, x_0, strength, seeds): the source's caption without guidance, the target's with --scale."""
    source, target, schedule = trained.eps(sources), trained.eps(targets, args.scale), trained.schedule

    def edit(method: str, x_0: Tensor, strength: float, seeds: range) -> Trajectory:
        if method == "sdedit":
            way = edit_naive(target, schedule, x_0, strength, args.steps, args.eta, generator=ddpm.Noise(seeds))
        elif method == "ddim":
            way = edit_inverted(source, target, schedule, x_0, strength, args.steps, args.iterations)
        else:
            way = edit_exact(source, target, schedule, x_0, strength, args.steps)
        return finite(way, args.scale)

    return edit


def add_method_flags(parser: argparse.ArgumentParser, steps: int | None) -> None:
    """The flags that say how to edit."""
    cli.add_flags(parser, steps=steps, scale=1.0, seed=0, eta=1.0)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="--eta is for sdedit")
    parser.add_argument("--iterations", type=cli.whole, default=0, help="fixed-point iterations of each step of ddim")


def check_methods(trained: Trained, args: argparse.Namespace, strengths: list[float]) -> dict[float, list[int]]:
    """Strength -> the times of its steps.

    ValueError: a flag that no method takes, strengths that make too few steps or the same ones.
    """
    for flag, method, default in (("eta", "sdedit", 1.0), ("seed", "sdedit", 0), ("iterations", "ddim", 0)):
        if getattr(args, flag) != default and method not in args.methods:
            raise ValueError(f"--{flag} is for {method}, but --methods is {' '.join(args.methods)}: leave it out")
    if not any(strengths):
        raise ValueError("at strength 0 an edit is the image itself: expected a strength above 0")
    grids = {strength: last_steps(trained.schedule.T, args.steps, strength) for strength in sorted(set(strengths))}
    fewest, made = (2 if "exact" in args.methods else 1), {}
    for strength, grid in grids.items():
        n = len(grid) - 1
        if strength > 0 and n < fewest:
            what = "one step, and exact inversion needs two (or take --methods without it)" if n else "no step"
            possible = f"take {fewest / args.steps:g} or more, or " if fewest <= args.steps else "take "
            raise ValueError(f"strength {strength:g} of {args.steps} steps is {what}: {possible}more --steps")
        if (other := made.setdefault(n, strength)) != strength:
            raise ValueError(f"strengths {other:g} and {strength:g} are both {n} of {args.steps} steps: give one")
    return grids


class Plan(NamedTuple):
    """What can be known before the first step."""

    trained: Trained
    image: np.ndarray  # uint8 (3, H, W)
    source: str
    grids: dict[float, list[int]]  # strength -> the times of its steps
    path: Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "out", model="shapes", image=..., source=None, target=..., data_dir=None)
    strength = f"share of the steps, in [0, 1], by default {STRENGTH[0]}; a page takes several"
    parser.add_argument("--strength", type=cli.share, nargs="+", help=strength)
    add_method_flags(parser, steps=None)


def prepare(args: argparse.Namespace) -> Plan:
    """Load the model and the image, and look at every flag. ValueError, OSError: what cannot be edited or written."""
    trained = ddpm.load(args.model, device=args.device)
    args.steps = args.steps or (PAGE_STEPS if is_page(args) else STEPS)
    strengths = args.strength or (PAGE_STRENGTHS if is_page(args) else STRENGTH)
    if len(strengths) > 1 and not is_page(args):
        raise ValueError(f"--strength has {len(strengths)} values, and a sheet shows one: give one, or --out x.html")
    grids = check_methods(trained, args, strengths)
    if is_page(args):
        frames = 2 * len(args.target) * len(args.methods) * sum(2 * len(grid) - 1 for grid in grids.values())
        page.check_size(frames, trained.shape[-1], "take fewer --steps, --strength, --methods or targets")
    image, source = image_and_source(trained, args)
    trained.tokens([source, *args.target])
    path = cli.output(args, f"edit-{cli.name_of(args.model)}", ".html" if is_page(args) else ".png")
    return Plan(trained, image, source, grids, path)


def run(args: argparse.Namespace) -> None:
    """Encode the image, decode it under each target; show original and edits, on a sheet or a page."""
    trained, image, source, grids, path = plan = prepare(args)
    if is_page(args):
        return print(write_page(plan, args))
    (strength,), x_0 = grids, from_bytes(image[None]).to(trained.device)
    rows, lines = [], [f"{'':20s}{'squared error':>14s}  target"]
    with tqdm(total=len(args.target) * len(args.methods), desc="edits") as bar:
        for target in args.target:
            edit = editor(trained, args, [source], [target])
            rows.append([image])
            for method in args.methods:
                x = last(edit(method, x_0, strength, range(args.seed, args.seed + 1)))
                rows[-1].append(to_bytes(x)[0])
                told = target + remark(trained.info["data"], rows[-1][-1], source, target)
                lines.append(f"{METHODS[method]:20s}{squared_error(x_0, x).item():>14.4f}  {told}")
                bar.update()
    columns = ["original", *(METHODS[method].replace(" ", "\n") for method in args.methods)]
    how = f"strength {strength:g}, {args.steps} steps, guidance {args.scale:g}"
    title = "\n".join([source, *(f"-> {target}" for target in args.target), how])
    names = [" ".join(word for word in content_words(target) if word not in content_words(source))
             for target in args.target]  # fmt: skip
    sheet(path, np.array(rows), names, columns, title)
    print("\n".join([*lines, str(path)]))


def remark(data: str, image: np.ndarray, source: str, target: str) -> str:
    """What to say of an edited image uint8 (3, H, W) after its target; nothing where nobody can tell what it shows."""
    if split_words(source) == split_words(target):
        return "; the source's own caption: a reconstruction, no edit"
    try:
        words = shown_words(data, image[None], [target])
    except ValueError:  # another grammar, or a dataset without a judge
        return ""
    missing = [kind for kind, shown in words.items() if shown[0] == 0]
    return f"; not shown: {', '.join(missing)}" if missing else "; all words shown"


# ---- a page ----------------------------------------------------------------------------------------------------------


def write_page(plan: Plan, args: argparse.Namespace) -> Path:
    """A scene for each target and strength: a column for each method, x_t above and the predicted x_0 below."""
    trained, image, source, grids, _ = plan
    x_0, seeds = from_bytes(image[None]).to(trained.device), range(args.seed, args.seed + 1)
    noise, frames, choices, scenes = ddpm.Noise(seeds)(x_0), page.Atlas(), [], []
    with tqdm(total=len(args.target) * len(args.methods) * len(grids), desc="edits") as bar:
        for target in args.target:
            captions = page.captions(source, target)
            new = [word for word, other in zip(captions[1]["words"], captions[1]["changed"], strict=True) if other]
            choices.append({"name": " ".join(new) or target, "captions": captions, "pairs": []})
            edit, levels = editor(trained, args, [source], [target]), []
            for strength, grid in grids.items():
                k, ways = len(grid) - 1, []
                for method in args.methods:
                    states = list(edit(method, x_0, strength, seeds))
                    ways.append(up_and_down(trained.schedule, grid, states, x_0, noise))
                    bar.update()
                labels = [f"encode {i}/{k}, t = {t}" for i, t in enumerate(grid[::-1])]
                labels += [f"decode {i}/{k}, t = {t}" for i, t in enumerate(grid) if i]
                parts = [{"from": 0, "to": k, "text": "encode"}, {"from": k, "to": 2 * k, "text": "decode"}][: 2 * k]
                shown = [frames.add(way[row]) for row in (0, 1) for way in ways]
                scene = {"labels": labels, "turn": k, "frames": [frames.add(image[None]) * len(labels), *shown]}
                levels.append(scene | {"tracks": [{"label": "", "parts": parts, "words": None}]})
            scenes.append(levels)
    upper = ["original", *(f"{METHODS[method]}: x_t" for method in args.methods)]
    rows = [[{"label": label, "side": None} for label in row] for row in (upper, ["predicted x_0"] * len(args.methods))]
    middle = len(grids) // 2
    data = {
        "note": f"{args.steps} steps, guidance {args.scale:g}", "reserve": RESERVE,
        "level": {"name": "strength", "values": [f"{strength:g}" for strength in grids]},
        "start": {"level": middle, "step": len(scenes[0][middle]["labels"]) - 1},
        "choices": choices, "rows": [rows[0], [None, *rows[1]]], "scenes": scenes,
    }  # fmt: skip
    return page.write(plan.path, f"Editing with the sampler: {source}", data, frames)


def up_and_down(
    schedule: ddpm.Schedule, grid: list[int], states: list[page.State], x_0: Tensor, noise: Tensor
) -> list[np.ndarray]:
    """x_t and the predicted x_0 of an edit, uint8 (2k + 1, 3, H, W) each, along a grid of k steps up and down again.

    SDEdit noises in one step: below its highest time stand the image with the same noise (1, C, H, W), and the image
    itself as predicted x_0. Exact inversion decodes from the pair of its last two images.
    """
    k = len(grid) - 1
    if states[0][0] > 0:
        up, predicted, down = [q_sample(schedule, x_0, t, noise) for t in grid[::-1]], [x_0] * k, states[1:]
    else:
        up, predicted, down = [x for _, x, _ in states[: k + 1]], [p for *_, p in states[1 : k + 1]], states[k + 1 :]
    pair = up[-1:] + (up[-2:-1] if len(down) < k else [])
    decoded = page.frames_of(pair, down)
    return [
        np.concatenate([*map(to_bytes, before[:k]), *after])
        for before, after in zip((up, predicted), decoded, strict=True)
    ]
