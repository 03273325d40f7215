"""The injection schedule as a grid: one edit for each share of the steps with the source's cross- and self-attention.

At the upper left nothing is injected (plain sampling of the target), at the lower right everything (the source stays).
"""

import argparse

import numpy as np
from tqdm import tqdm

import ddpm
from ddpm.diffusion import last
from ddpm.utils import cli
from ddpm.utils.device import best_device
from ddpm.utils.images import sheet, to_bytes

from ..editing import edit
from .baselines import EditSettings
from .edit import GUIDANCE, change

EXAMPLE = (
    'python -m p2p schedule --source "a photo of a white house with a flag on a mountain" '
    '--target "a photo of a white tent with a flag on a mountain"'
)
ENDINGS = (".png",)
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m p2p schedule`."""
    cli.add_flags(parser, model="scenes", source=..., seed=0, steps=20, scale=GUIDANCE, device=best_device())
    cli.add_flags(parser, out="results")
    parser.add_argument("--target", required=True, help="caption of the edit")


def run(args: argparse.Namespace) -> None:
    """Edit one image with each pair of shares, and print where the sheet is."""
    trained = ddpm.load(args.model, device=args.device)
    EditSettings(scale=args.scale)  # refuses guidance below 1
    x_T = ddpm.Noise([args.seed]).start(trained.shape, trained.device)
    how = {"x_T": x_T, "steps": args.steps, "scale": args.scale}
    rows = []
    for pixels in tqdm(SHARES, "self-attention", unit=" rows"):
        shares = [{"cross_until": words, "self_until": pixels} for words in SHARES]
        pairs = [to_bytes(last(edit(trained, args.source, args.target, **how, **share))) for share in shares]
        rows.append(np.stack([pair[1] for pair in pairs]))
    source = np.broadcast_to(pairs[0][:1], (len(SHARES), *pairs[0][:1].shape))
    path = cli.output(args, f"schedule-{cli.name_of(args.model)}", ".png")
    columns = ["before", *(f"cross\n{share:.0%}" for share in SHARES)]
    labels = [f"self {share:.0%}" for share in SHARES]
    title = f"{args.source}: {change(args.source, args.target)}; shares of the steps that inject the source's maps"
    print(sheet(path, np.concatenate([source, np.stack(rows)], axis=1), labels, columns, title))
