"""The grid of both windows for one pair of prompts."""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ddim.figures import sheet
from ddim.sampling import last
from ddpm.diffusion import to_bytes
from ddpm.files import write_json
from ddpm.model import Trained

from .. import measures, score
from ..editing import edit
from .score import judge_of, reader


def sweep(
    trained: Trained, args: argparse.Namespace, start: dict, n: int, target: str, weights: dict[str, float], title: str
) -> None:
    """Draw the first picture and its edit for all windows, and write numbers over all n pictures."""
    grid, rows = [(cross, pixels) for cross in score.CROSSES for pixels in score.SELVES], []
    images, place = [], reader(trained)
    for cross, pixels in tqdm(grid, "windows"):
        how = {"steps": args.steps, "scale": args.scale, "weights": weights, **start}
        walk = edit(trained, args.source, target, cross_until=cross, self_until=pixels, **how)
        before, after = np.split(to_bytes(last(walk)), 2)
        images.append(after[0])
        rows.append({
            "cross_until": cross, "self_until": pixels, "edges": float(measures.edge_agreement(before, after).mean()),
            "shows the target": shown(trained, after, [target] * n),
        })  # fmt: skip
        if place:
            rows[-1]["drift"] = float(np.median(measures.geometry(place(before), place(after))["drift"]))
        print("  ".join(f"{key} {value:.2f}" for key, value in rows[-1].items() if value is not None))
    shares = {"cross": score.CROSSES, "self": score.SELVES}
    cells = np.stack(images).reshape(*map(len, shares.values()), *images[0].shape)
    cells = np.concatenate([np.broadcast_to(before[0], (len(cells), 1, *before[0].shape)), cells], axis=1)
    names = [[f"{kind} {share:g}" for share in values] for kind, values in shares.items()]
    print(sheet(Path(args.out), cells, names[0], ["source", *names[1]], title))
    print(write_json(Path(args.out).with_suffix(".json"), rows))


def shown(trained: Trained, images: np.ndarray, prompts: list[str]) -> float | None:
    """Percent of pictures that show their prompt; None for a prompt outside the grammar of the model's data, or data
    that nothing judges.
    """
    try:
        return score.share(measures.all_shown(judge_of(trained)(images, prompts)))
    except ValueError:
        return None
