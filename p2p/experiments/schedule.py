"""The injection schedule as a grid: one edit for each share of the steps with the source's cross- and self-attention.

At the upper left nothing is injected (the new caption only), at the lower right everything (the source stays).
"""

import argparse

import numpy as np
from tqdm import tqdm

import ddpm
from ddim.sampler import as_grid
from ddpm.diffusion import last
from ddpm.experiments.common import finite
from ddpm.utils import cli
from ddpm.utils.images import sheet

from ..editing import edit
from .baselines import EditSettings, words_of
from .edit import GUIDANCE, change

EXAMPLE = (
    'python -m p2p schedule --source "a photo of a white house with a flag on a mountain" '
    '--target "a photo of a white tent with a flag on a mountain"'
)
ENDINGS = (".png",)
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "out", model="scenes", source=..., seed=0, steps=20, scale=GUIDANCE)
    parser.add_argument("--target", required=True, help="caption of the edit")


def run(args: argparse.Namespace) -> None:
    trained = ddpm.load(args.model, device=args.device)
    EditSettings(scale=args.scale)  # refuses guidance below 1
    as_grid(trained.schedule.T, args.steps)
    words = words_of(trained, [args.source, args.target])
    if words[0] == words[1]:
        raise ValueError(f"--target {args.target!r} is the source: change a word")
    path = cli.output(args, f"schedule-{cli.name_of(args.model)}", ".png")
    x_T = ddpm.Noise([args.seed]).start(trained.shape, trained.device)
    rows = []
    for self_until in tqdm(SHARES, "self-attention", unit=" rows"):
        edited = []
        for cross_until in SHARES:
            how = dict(cross_until=cross_until, self_until=self_until)
            states = edit(trained, args.source, args.target, x_T, args.steps, args.scale, **how)
            source, image = trained.images(last(finite(states, args.scale)))
            edited.append(image)
        rows.append([source, *edited])
    columns, labels = [f"cross\n{share:.0%}" for share in SHARES], [f"self {share:.0%}" for share in SHARES]
    title = f"{args.source}: {change(*words)}; shares of the steps that inject the source's attention maps"
    print(sheet(path, np.array(rows), labels, ["source", *columns], title))
