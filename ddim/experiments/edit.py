"""Edit one image with the sampler: SDEdit, DDIM inversion and exact inversion beside each other.

--out x.html writes a page for the lecture hall instead: every step, at several strengths (by default 20 steps, not 50).
"""

import argparse
from collections.abc import Callable

import numpy as np
from torch import Tensor
from tqdm import tqdm

import ddpm
from ddpm.diffusion import last
from ddpm.experiments.common import image_and_source, result, shown_words
from ddpm.experiments.page import check_choices, check_size, is_page
from ddpm.model import Trained
from ddpm.utils import cli
from ddpm.utils.device import best_device
from ddpm.utils.images import from_bytes, sheet, squared_error, to_bytes
from unet.text import content_words

from ..editing import edit_exact, edit_inverted, edit_naive, last_steps
from ..sampler import Trajectory
from . import page

EXAMPLE = 'python -m ddim edit --image 1 --target "a photo of a small red circle on a green background" --strength 0.9'
METHODS = {"sdedit": "SDEdit", "ddim": "DDIM inversion", "exact": "exact inversion"}
STRENGTH, STEPS = [0.6], 50  # of a sheet
PAGE_STRENGTHS, PAGE_STEPS = [0.2, 0.4, 0.6, 0.8, 1.0], 20

# ---- measure ---------------------------------------------------------------------------------------------------------


def editor(
    trained: Trained, args: argparse.Namespace, sources: list[str], targets: list[str]
) -> Callable[[str, Tensor, float, range], Trajectory]:
    """edit(method, x_0, strength, seeds): the source's caption without guidance, the target's with --scale."""
    source, target, schedule = trained.eps(sources), trained.eps(targets, args.scale), trained.schedule

    def edit(method: str, x_0: Tensor, strength: float, seeds: range) -> Trajectory:
        if method == "sdedit":
            return edit_naive(target, schedule, x_0, strength, args.steps, args.eta, generator=ddpm.Noise(seeds))
        if method == "ddim":
            return edit_inverted(source, target, schedule, x_0, strength, args.steps, args.iterations)
        return edit_exact(source, target, schedule, x_0, strength, args.steps)

    return edit


def check_strengths(trained: Trained, args: argparse.Namespace, strengths: list[float]) -> None:
    """ValueError, before any work, for a strength that leaves exact inversion a single step."""
    for strength in strengths:
        if "exact" in args.methods and len(last_steps(trained.schedule.T, args.steps, strength)) == 2:
            raise ValueError(
                f"strength {strength:g} of {args.steps} steps is one step, and exact inversion needs two: take more "
                "--steps, another strength, or --methods without it"
            )


# ---- as text ---------------------------------------------------------------------------------------------------------


def text(record: list[dict]) -> str:
    """A line for each edit: how far it is from the image, and which words of the target it does not show."""
    lines = [f"{'':20s}{'squared error':>14s}  target"]
    for row in record:
        lines.append(f"{METHODS[row['method']]:20s}{row['error']:>14.4f}  {row['target']}{row['missing']}")
    return "\n".join(lines)


def missing_words(data: str, image: np.ndarray, target: str) -> str:
    """"; not shown: colour" for an image uint8 (3, H, W); nothing where nobody can tell, or all is shown."""
    try:
        words = shown_words(data, image[None], [target])
    except ValueError:  # another grammar, or a dataset without a judge
        return ""
    missing = [kind for kind, shown in words.items() if shown[0] == 0]
    return f"; not shown: {', '.join(missing)}" if missing else "; all words shown"


def new_words(source: str, target: str) -> str:
    """The words of the target that the source does not have."""
    return " ".join(word for word in content_words(target) if word not in content_words(source))


# ---- command ---------------------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddim edit`."""
    cli.add_flags(parser, model="shapes", image=..., source=None, target=..., data_dir="data")
    cli.add_flags(parser, device=best_device(), out="results", seed=0)
    strength = f"share of the steps, in [0, 1], by default {STRENGTH[0]}; a page takes several"
    parser.add_argument("--strength", type=cli.share, nargs="+", help=strength)
    add_method_flags(parser, steps=None)


def add_method_flags(parser: argparse.ArgumentParser, steps: int | None) -> None:
    """The flags that say how to edit."""
    cli.add_flags(parser, steps=steps, scale=1.0, eta=1.0)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="--eta is for sdedit")
    parser.add_argument("--iterations", type=int, default=0, help="fixed-point iterations of each step of ddim")


def run(args: argparse.Namespace) -> None:
    """Encode the image, decode it under each target; show original and edits, on a sheet or a page."""
    trained = ddpm.load(args.model, device=args.device)
    args.steps = args.steps or (PAGE_STEPS if is_page(args) else STEPS)
    strengths = args.strength or (PAGE_STRENGTHS if is_page(args) else STRENGTH)
    check_strengths(trained, args, strengths)
    if is_page(args):
        return write_page(trained, args, sorted(set(strengths)))
    if len(strengths) > 1:
        raise ValueError(f"--strength has {len(strengths)} values, and a sheet shows one: give one, or --out x.html")
    (strength,) = strengths
    image, source = image_and_source(trained, args)
    x_0, record, images = from_bytes(image[None]).to(trained.device), [], []
    for target, method in tqdm([(t, m) for t in args.target for m in args.methods], "edits"):
        edit = editor(trained, args, [source], [target])
        x = last(edit(method, x_0, strength, range(args.seed, args.seed + 1)))
        images.append(to_bytes(x)[0])
        missing = missing_words(trained.info["data"], images[-1], target)
        record.append({"method": method, "target": target, "error": squared_error(x_0, x).item(), "missing": missing})
    rows = [[image, *images[i : i + len(args.methods)]] for i in range(0, len(images), len(args.methods))]
    columns = ["original", *(METHODS[method].replace(" ", "\n") for method in args.methods)]
    how = f"strength {strength:g}, {args.steps} steps, guidance {args.scale:g}"
    title = "\n".join([source, *(f"-> {target}" for target in args.target), how])
    path = result(args, f"edit-{cli.name_of(args.model)}", ".png")
    sheet(path, np.array(rows), [new_words(source, target) for target in args.target], columns, title)
    print(text(record))
    print(path)


def write_page(trained: Trained, args: argparse.Namespace, strengths: list[float]) -> None:
    """Edit under each target with each method at each strength, and print where the page is."""
    grids = {strength: last_steps(trained.schedule.T, args.steps, strength) for strength in strengths}
    check_choices(len(args.target))
    frames = 2 * len(args.target) * len(args.methods) * sum(2 * len(grid) - 1 for grid in grids.values())
    check_size(frames, trained.shape[-1], "take fewer --steps, --strength, --methods or targets")
    image, source = image_and_source(trained, args)
    x_0 = from_bytes(image[None]).to(trained.device)
    methods = {method: METHODS[method] for method in args.methods}
    with tqdm(total=len(args.target) * len(methods) * len(grids), desc="edits") as bar:

        def ways(target: str, method: str, strength: float) -> list:
            bar.update()
            edit = editor(trained, args, [source], [target])
            return list(edit(method, x_0, strength, range(args.seed, args.seed + 1)))

        note = f"{args.steps} steps, guidance {args.scale:g}"
        path = result(args, "", ".html")
        page.write(path, trained.schedule, x_0, source, args.target, methods, grids, ways, args.seed, note)
    print(path)
