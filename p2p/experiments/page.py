"""A page of Prompt-to-Prompt for the lecture hall: source and edit at every step, and each word's attention map."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ddim.sampler import as_grid
from ddpm.experiments import page
from ddpm.experiments.common import finite
from ddpm.model import Trained

from .. import editing
from ..store import AttentionStore
from ..words import Words, alignment, swap_map

ROW = [
    {"label": "source: x_t", "side": None},
    {"label": "source: predicted x_0", "side": 0},
    {"label": "Prompt-to-Prompt: x_t", "side": None},
    {"label": "P2P: predicted x_0", "side": 1},
]
NOTE = (
    "{steps} steps, guidance {scale:g}. Point at a word (or Tab): its attention map in the step, mean over heads and "
    "layers of {size} x {size}, from the least to the largest value; at t = 0 over all steps"
)
RESERVE = 18  # lines of the window's height that captions and controls take


def tracks(source: Words, target: Words, how: dict[str, Any], steps: int, length: int) -> list[dict[str, Any]]:
    """The bars beside the slider: in how many steps the source's cross- and self-attention maps are injected, the
    former also for each word of the target. A new word takes no map.
    """
    cross, own = (int((torch.arange(steps) / steps < how[f"{kind}_until"]).sum()) for kind in ("cross", "self"))
    has_map = alignment(source, target, length).any(dim=0)[1 : len(target) + 1]
    return [
        {"label": "cross maps injected", "injected": cross, "words": (cross * has_map).tolist()},
        {"label": "self maps injected", "injected": own, "words": None},
    ]


def write(
    path: Path, trained: Trained, source: Words, levels: dict[str, list], start: dict, rows: list[str], size: int | None
) -> Path:
    """Edit n images and write their page; returns its path.

    levels: share of the steps with injection -> the edits (`edit.Edit`) at it, as many at each; several shares are for
    one image. start: x_T of the n images, steps, scale and other keywords of `p2p.edit`. rows: names of the images.
    size: of the maps, by default the largest. ValueError: an image that is not finite.
    """
    frames, maps, choices, scenes = page.Atlas(), page.Atlas(), [], []
    steps, scale = start["steps"], start["scale"]
    x_T = start["x_T"] if isinstance(start["x_T"], tuple) else (start["x_T"],)
    n, length, grid, prompt = len(rows), trained.unet.config.words, as_grid(trained.schedule.T, steps), " ".join(source)
    labels = [f"step {k} of {steps}, from t = {t}" for k, t in enumerate(grid[:-1], 1)]
    labels.append(f"after {steps} steps, t = 0")
    for at_each in zip(*levels.values(), strict=True):
        scenes.append([])
        for label, words, how in at_each:
            target, name = " ".join(words), ", ".join(label.splitlines())
            store = AttentionStore([prompt] * n + [target] * n, by_time=True)
            trajectory = editing.edit(trained, prompt, target, **start, store=store, **how)
            states = list(tqdm(finite(trajectory, scale), name, steps))
            seen, size = page.frames_of(trained, [torch.cat([x, x]) for x in x_T], states), size or store.largest
            # at each time, mean over heads and layers, and at t = 0 over all times; of a latent pair the network sees
            # only the second image
            each = [store.maps(size, t=min(t, max(store.by_time))) for t in grid[:-1]]
            weights = torch.stack([*each, store.maps(size)]).cpu().numpy()  # (S + 1, 2n, size, size, L)
            captions = page.captions(prompt, target, how["weights"])
            shared = {"labels": labels, "turn": 0, "tracks": tracks(source, words, how, steps, length)}
            for i in range(n):
                scene: dict[str, Any] = {"frames": [], "maps": [], "scales": []}
                for row, caption in zip((i, n + i), captions, strict=True):  # the image's source and its edit
                    own = np.moveaxis(weights[:, row, ..., 1 : len(caption["words"]) + 1], -1, 0)[:, :, None]
                    most = np.maximum(own.max(axis=(1, 2, 3, 4)), 1e-9)
                    grey = np.round(255 * own / most[:, None, None, None, None]).astype(np.uint8)
                    scene["frames"] += [frames.add(part[:, row]) for part in seen]
                    scene["maps"].append([maps.add(word) for word in grey])
                    scene["scales"].append(most.tolist())
                scenes[-1].append(shared | scene)
        pairs = [(i - 1, j - 1) for i, j in swap_map(source, words, length).nonzero().tolist() if i > 0]
        choices.append({"name": name, "captions": captions, "pairs": pairs})
    data = {
        "note": NOTE.format(steps=steps, scale=scale, size=size), "reserve": RESERVE, "rows": [ROW],
        "level": {"name": "share", "values": list(levels)} if len(levels) > 1 else {"name": "image", "values": rows},
        "choices": choices, "scenes": scenes,
    }  # fmt: skip
    return page.write(path, f"Prompt-to-Prompt: {prompt}", data, frames, maps)
