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
from ..words import Words, alignment, per_word, split, swap_map

ROW = [{"label": f"{name}: {what}", "side": side if what != "x_t" else None}
       for side, name in enumerate(("source", "Prompt-to-Prompt")) for what in ("x_t", "predicted x_0")]  # fmt: skip
NOTE = (
    "{steps} steps, guidance {scale:g}. Point at a word (or Tab): its attention map, mean over heads and layers of "
    "{size} x {size}, from the least to the largest value; at t = 0 over all steps"
)
RESERVE = 18  # lines of the window's height that captions and controls take


def check(trained: Trained, steps: int, images: int, edits: int) -> None:
    """ValueError, before any work, for a page that would be too large."""
    advice = "take fewer --steps, --seeds or targets"
    page.check_size(2 * images * (1 + edits) * (steps + 1), trained.shape[-1], advice)


def tracks(source: Words, target: Words, how: dict[str, Any], steps: int, length: int) -> list[dict[str, Any]]:
    """The bars beside the slider: in how many steps the source's cross- and self-attention maps are injected, the
    former also for each word of the target. A new word takes no map.
    """
    progress = torch.arange(steps) / steps
    until = per_word("cross_until", how["word_until"], [target], length, how["cross_until"], 0.0, 1.0)[0]
    taken = (progress[:, None] < until).sum(dim=0) * (alignment(source, target, length).sum(dim=0) > 0)
    words = {"cross": taken[1 : len(target) + 1].tolist(), "self": None}
    return [
        {"label": f"{kind} maps injected", "parts": [{"from": 0, "to": count, "text": ""}], "words": words[kind]}
        for kind in words
        for count in [int((progress < how[f"{kind}_until"]).sum())]
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
    n, length, grid = len(rows), trained.unet.config.words, as_grid(trained.schedule.T, steps)
    labels, prompt = [f"step {k} of {steps}, t = {t}" for k, t in enumerate(grid)], " ".join(source)
    for at_each in zip(*levels.values(), strict=True):
        scenes.append([])
        for label, target, how in at_each:
            store, name = AttentionStore([prompt] * n + [target] * n, by_time=True), ", ".join(label.splitlines())
            way = editing.edit(trained, prompt, target, **start, store=store, **how)
            states = list(tqdm(finite(way, scale), name, steps))
            seen, size = page.frames_of([torch.cat([x, x]) for x in x_T], states), size or store.largest
            # at each time, mean over heads and layers, and at t = 0 over all times; of a latent pair the network sees
            # only the second image
            each = [store.maps(size, t=min(t, max(store.by_time))) for t in grid[:-1]]
            weights = torch.stack([*each, store.maps(size)]).cpu().numpy()  # (S + 1, 2n, size, size, L)
            captions = page.captions(prompt, target, how["weights"])
            shared = {"labels": labels, "turn": 0, "tracks": tracks(source, split(target), how, steps, length)}
            for i in range(n):
                scene: dict[str, Any] = {"frames": [], "maps": [], "scales": []}
                for row, caption in zip((i, n + i), captions, strict=True):  # the image's source and its edit
                    words = np.moveaxis(weights[:, row, ..., 1 : len(caption["words"]) + 1], -1, 0)[:, :, None]
                    most = np.maximum(words.max(axis=(1, 2, 3, 4)), 1e-9)
                    grey = np.round(255 * words / most[:, None, None, None, None]).astype(np.uint8)
                    scene["frames"] += [frames.add(part[:, row]) for part in seen]
                    scene["maps"].append([maps.add(word) for word in grey])
                    scene["scales"].append(most.tolist())
                scenes[-1].append(shared | scene)
        pairs = [(i - 1, j - 1) for i, j in swap_map(source, split(target), length).nonzero().tolist() if i > 0]
        choices.append({"name": name, "captions": captions, "pairs": pairs})
    level = {"name": "share", "values": list(levels)} if len(levels) > 1 else {"name": "image", "values": rows}
    data = {
        "note": NOTE.format(steps=steps, scale=scale, size=size), "reserve": RESERVE, "rows": [ROW],
        "level": level, "start": {"level": len(levels) // 2, "step": steps}, "choices": choices, "scenes": scenes,
    }  # fmt: skip
    return page.write(path, f"Prompt-to-Prompt: {prompt}", data, frames, maps)
