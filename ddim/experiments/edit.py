"""Edit one image with the sampler: SDEdit, DDIM inversion and exact inversion beside each other."""

import argparse
from collections.abc import Collection

import numpy as np
from torch import Tensor
from tqdm import tqdm

import ddpm
from ddpm.experiments.common import caption_label, finite, image_and_source, shown_words
from ddpm.model import Trained
from ddpm.utils import cli
from ddpm.utils.images import from_bytes, sheet, squared_error, to_bytes
from unet.text import split_words

from ..editing import edit_exact, edit_inverted, edit_naive, last_steps
from ..sampler import Trajectory

EXAMPLE = 'python -m ddim edit --image 1 --target "a photo of a small red circle on a green background" --strength 0.9'
ENDINGS = (".png",)
METHODS = {"sdedit": "SDEdit", "ddim": "DDIM inversion", "exact": "exact inversion"}


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


def add_method_flags(parser: argparse.ArgumentParser, methods: Collection[str] = METHODS) -> None:
    """The flags that say how to edit; methods: all that there are."""
    cli.add_flags(parser, steps=50, scale=1.0, seed=0, eta=1.0)
    parser.add_argument("--methods", nargs="+", choices=methods, default=list(METHODS), help="--eta is for sdedit")
    few = cli.checked(int, lambda n: 0 <= n <= 100, "a whole number in 0 .. 100")
    parser.add_argument("--iterations", type=few, default=0, help="fixed-point iterations of each step of ddim")


def check_methods(trained: Trained, args: argparse.Namespace, strengths: list[float]) -> list[float]:
    """The strengths, rising.

    ValueError: a flag that no method takes, strengths that make too few steps or the same ones.
    """
    for flag, takers, default in (("eta", "sdedit", 1.0), ("seed", "sdedit p2p", 0), ("iterations", "ddim", 0)):
        if getattr(args, flag) != default and not {*takers.split()} & {*args.methods}:
            method = takers.split()[0]
            raise ValueError(f"--{flag} is for {method}, but --methods is {' '.join(args.methods)}: leave it out")
    if not any(strengths):
        raise ValueError("at strength 0 an edit is the image itself: expected a strength above 0")
    fewest, made = (2 if "exact" in args.methods else 1), {}
    for strength in sorted(strengths):
        n = len(last_steps(trained.schedule.T, args.steps, strength)) - 1
        if strength > 0 and n < fewest:
            what = "one step, and exact inversion needs two (or take --methods without it)" if n else "no step"
            possible = f"take {fewest / args.steps:g} or more, or " if fewest <= args.steps else "take "
            raise ValueError(f"strength {strength:g} of {args.steps} steps is {what}: {possible}more --steps")
        if (other := made.setdefault(n, strength)) != strength:
            raise ValueError(f"strengths {other:g} and {strength:g} are both {n} of {args.steps} steps: give one")
    return sorted(strengths)


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "out", model="shapes", image=..., source=None, target=..., data_dir=None)
    parser.add_argument("--strength", type=cli.share, default=0.6, help="share of the steps, in [0, 1]")
    add_method_flags(parser)


def run(args: argparse.Namespace) -> None:
    """Encode the image, decode it under each target: a row for each, a column for each method.

    Prints how far each edit is from the image. ValueError, OSError: what cannot be edited or written.
    """
    trained = ddpm.load(args.model, device=args.device)
    check_methods(trained, args, [args.strength])
    image, source = image_and_source(trained, args)
    trained.tokens([source, *args.target])
    path = cli.output(args, f"edit-{cli.name_of(args.model)}", ".png")
    original = from_bytes(image[None]).to(trained.device)
    x_0, rows, lines = trained.encode(original), [], [f"{'':20s}{'squared error':>14s}  target"]
    bar = tqdm(total=len(args.target) * len(args.methods), desc="edits")
    for target in args.target:
        rows.append([image])
        for method in args.methods:
            states = edited(trained, args, method, x_0, [source], [target], args.strength, args.seed)
            x = trained.decode(ddpm.last(states))
            rows[-1].append(to_bytes(x)[0])
            shows = remark(trained.info["data"], rows[-1][-1], source, target)
            lines.append(f"{METHODS[method]:20s}{squared_error(original, x).item():>14.4f}  {target}{shows}")
            bar.update()
    bar.close()
    columns = ["original", *(METHODS[method].replace(" ", "\n") for method in args.methods)]
    how = f"strength {args.strength:g}, {args.steps} steps, guidance {args.scale:g}"
    title = "\n".join([source, *(f"-> {target}" for target in args.target), how])
    sheet(path, np.array(rows), [caption_label(target) for target in args.target], columns, title)
    print("\n".join(lines), path, sep="\n")


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
