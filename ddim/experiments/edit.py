"""Edit one image with the sampler: SDEdit, DDIM inversion and exact inversion beside each other.

--out x.html writes a page for the lecture hall instead: every step, at several strengths (by default 20 steps, not 50).
"""

import argparse
from collections.abc import Collection
from itertools import product
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

import ddpm
from ddpm.diffusion import q_sample
from ddpm.experiments import page
from ddpm.experiments.common import caption_label, finite, image_and_source, shown_words
from ddpm.experiments.page import is_page
from ddpm.model import Trained
from ddpm.utils import cli
from ddpm.utils.images import from_bytes, sheet, squared_error, to_bytes
from unet.text import split_words

from ..editing import edit_exact, edit_inverted, edit_naive, last_steps
from ..sampler import Trajectory

EXAMPLE = 'python -m ddim edit --image 1 --target "a photo of a small red circle on a green background" --strength 0.9'
ENDINGS = (".png", ".html")
METHODS = {"sdedit": "SDEdit", "ddim": "DDIM inversion", "exact": "exact inversion"}
STRENGTH, STEPS = [0.6], 50  # of a sheet
PAGE_STRENGTHS, PAGE_STEPS = [0.2, 0.4, 0.6, 0.8, 1.0], 20
State = tuple[int, Tensor, Tensor]  # t, x_t, predicted x_0
Edits = dict[tuple[str, float, str], list[State]]  # target, strength and method -> the states of the edit


def edited(
    trained: Trained, args: argparse.Namespace, method: str, x_0: Tensor, sources: list[str], targets: list[str],
    strength: float, seed: int,
) -> Trajectory:  # fmt: skip
    """Edit x_0 (B, ...): the source's caption without guidance, the target's with --scale. seed: of the first image."""
    source, target, schedule = trained.eps(sources), trained.eps(targets, args.scale), trained.schedule
    if method == "sdedit":
        noise = ddpm.Noise(range(seed, seed + len(x_0)))
        states = edit_naive(target, schedule, x_0, strength, args.steps, args.eta, noise)
    elif method == "ddim":
        states = edit_inverted(source, target, schedule, x_0, strength, args.steps, args.iterations)
    else:
        states = edit_exact(source, target, schedule, x_0, strength, args.steps)
    return finite(states, args.scale)


def add_method_flags(parser: argparse.ArgumentParser, steps: int | None, methods: Collection[str] = METHODS) -> None:
    """The flags that say how to edit; methods: all that there are."""
    cli.add_flags(parser, steps=steps, scale=1.0, seed=0, eta=1.0)
    parser.add_argument("--methods", nargs="+", choices=methods, default=list(METHODS), help="--eta is for sdedit")
    parser.add_argument("--iterations", type=cli.whole, default=0, help="fixed-point iterations of each step of ddim")


def check_methods(trained: Trained, args: argparse.Namespace, strengths: list[float]) -> dict[float, list[int]]:
    """Strength -> the times of its steps, rising.

    ValueError: a flag that no method takes, strengths that make too few steps or the same ones.
    """
    for flag, takers, default in (("eta", "sdedit", 1.0), ("seed", "sdedit p2p", 0), ("iterations", "ddim", 0)):
        if getattr(args, flag) != default and not {*takers.split()} & {*args.methods}:
            method = takers.split()[0]
            raise ValueError(f"--{flag} is for {method}, but --methods is {' '.join(args.methods)}: leave it out")
    if not any(strengths):
        raise ValueError("at strength 0 an edit is the image itself: expected a strength above 0")
    grids = {strength: last_steps(trained.schedule.T, args.steps, strength) for strength in sorted(strengths)}
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


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "out", model="shapes", image=..., source=None, target=..., data_dir=None)
    strength = f"share of the steps, in [0, 1], by default {STRENGTH[0]}; a page takes several"
    parser.add_argument("--strength", type=cli.share, nargs="+", help=strength)
    add_method_flags(parser, steps=None)


def prepare(args: argparse.Namespace) -> tuple[Trained, np.ndarray, str, dict[float, list[int]], Path]:
    """The model, the image uint8 (3, H, W), what it shows, the times at each strength, and the result's file.

    ValueError, OSError: what cannot be edited or written.
    """
    trained = ddpm.load(args.model, device=args.device)
    args.steps = args.steps or (PAGE_STEPS if is_page(args) else STEPS)
    strengths = args.strength or (PAGE_STRENGTHS if is_page(args) else STRENGTH)
    if len(strengths) > 1 and not is_page(args):
        raise ValueError(f"--strength has {len(strengths)} values, and a sheet shows one: give one, or --out x.html")
    grids = check_methods(trained, args, strengths)
    if is_page(args):
        frames = 2 * len(args.target) * len(args.methods) * sum(2 * len(grid) - 1 for grid in grids.values())
        page.check_size(frames, trained.image_shape[-1], "take fewer --steps, --strength, --methods or targets")
    image, source = image_and_source(trained, args)
    trained.tokens([source, *args.target])
    path = cli.output(args, f"edit-{cli.name_of(args.model)}", ".html" if is_page(args) else ".png")
    return trained, image, source, grids, path


def run(args: argparse.Namespace) -> None:
    """Encode the image, decode it under each target; show original and edits, on a sheet or a page."""
    trained, image, source, grids, path = prepare(args)
    x_0, edits = trained.encode(from_bytes(image[None])), {}
    for key in tqdm(list(product(args.target, grids, args.methods)), "edits"):
        target, strength, method = key
        edits[key] = list(edited(trained, args, method, x_0, [source], [target], strength, args.seed))
    if is_page(args):
        write_page(path, trained, args, image, x_0, source, grids, edits)
    else:
        draw_sheet(path, trained, args, image, source, edits)
    print(path)


def draw_sheet(
    path: Path, trained: Trained, args: argparse.Namespace, image: np.ndarray, source: str, edits: Edits
) -> None:
    """A row for each target, a column for each method; prints how far each edit is from the image."""
    rows, (strength, *_) = [], [strength for _, strength, _ in edits]
    print(f"{'':20s}{'squared error':>14s}  target")
    for target in args.target:
        rows.append([image])
        for method in args.methods:
            x = trained.decode(edits[target, strength, method][-1][1])
            rows[-1].append(to_bytes(x)[0])
            shows = remark(trained.info["data"], rows[-1][-1], source, target)
            error = squared_error(from_bytes(image[None]).to(x), x).item()
            print(f"{METHODS[method]:20s}{error:>14.4f}  {target}{shows}")
    columns = ["original", *(METHODS[method].replace(" ", "\n") for method in args.methods)]
    how = f"strength {strength:g}, {args.steps} steps, guidance {args.scale:g}"
    title = "\n".join([source, *(f"-> {target}" for target in args.target), how])
    sheet(path, np.array(rows), [caption_label(target) for target in args.target], columns, title)


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


def write_page(
    path: Path, trained: Trained, args: argparse.Namespace, image: np.ndarray, x_0: Tensor, source: str,
    grids: dict[float, list[int]], edits: Edits,
) -> None:  # fmt: skip
    """A scene for each target and strength: a column for each method, x_t above and the predicted x_0 below."""
    noise, frames, choices, scenes = ddpm.Noise([args.seed])(x_0), page.Atlas(), [], []
    for target in args.target:
        captions = page.captions(source, target)
        new = [word for word, other in zip(captions[1]["words"], captions[1]["changed"], strict=True) if other]
        choices.append({"name": " ".join(new) or target, "captions": captions})
        scenes.append([])
        for strength, grid in grids.items():
            k, states = len(grid) - 1, (edits[target, strength, method] for method in args.methods)
            ways = [up_and_down(trained, grid, each, x_0, noise) for each in states]
            labels = [f"encode {i}/{k}, t = {t}" for i, t in enumerate(grid[::-1])]
            labels += [f"decode {i}/{k}, t = {t}" for i, t in enumerate(grid) if i]
            parts = [{"from": 0, "to": k, "text": "encode"}, {"from": k, "to": 2 * k, "text": "decode"}][: 2 * k]
            panels = [frames.add(image[None]) * len(labels)]
            panels += [frames.add(way[row][:, 0]) for row in (0, 1) for way in ways]
            scenes[-1].append({"labels": labels, "turn": k, "frames": panels, "parts": parts})
    upper = ["original", *(f"{METHODS[method]}: x_t" for method in args.methods)]
    lower = [f"{METHODS[method].split()[0]}: predicted x_0" for method in args.methods]
    data = {
        "note": f"{args.steps} steps, guidance {args.scale:g}",
        "level": {"name": "strength", "values": [f"{strength:g}" for strength in grids]},
        "choices": choices, "rows": [upper, [None, *lower]], "scenes": scenes,
    }  # fmt: skip
    page.write(path, f"Editing with the sampler: {source}", data, frames)


def up_and_down(trained: Trained, grid: list[int], states: list[State], x_0: Tensor, noise: Tensor) -> list[np.ndarray]:
    """x_t and the predicted x_0 of an edit, uint8 (2k + 1, 1, 3, H, W) each, along a grid of k steps up and down again.

    SDEdit noises in one step: below its highest time stand the image with the same noise (1, C, H, W), and the image
    itself as predicted x_0. Exact inversion decodes from the pair of its last two images: the lower one is shown again.
    """
    k = len(grid) - 1
    if states[0][0] > 0:
        states = [(t, q_sample(trained.schedule, x_0, t, noise), x_0) for t in grid[:0:-1]] + states
    if len(states) == 2 * k:
        (_, below, _), _, (t, _, predicted) = states[k - 1 : k + 2]
        states = [*states[: k + 1], (t, below, predicted), *states[k + 1 :]]
    x = [x for _, x, _ in states]
    x_0 = [*(x_0 for *_, x_0 in states[1:]), x[-1]]  # what is predicted from the x_t above; at t = 0 the image itself
    return [np.stack([trained.images(each) for each in way]) for way in (x, x_0)]
