"""A page of Prompt-to-Prompt for the lecture hall: source and edit at every step, and where each word looks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ddim.sampler import as_grid
from ddpm.experiments import page
from ddpm.model import Trained

from .. import editing
from ..store import AttentionStore
from ..words import alignment, per_word, split, swap_map

Edit = tuple[str, str, dict[str, Any]]  # label, target, keywords of `p2p.edit`
ROW = [{"label": f"{name}: {what}", "side": side if what != "x_t" else None}
       for side, name in enumerate(("source", "edit")) for what in ("x_t", "predicted x_0")]  # fmt: skip
NOTE = (
    "{steps} steps, guidance {scale:g}. Point at a word (or Tab): its attention map, mean over heads and layers of "
    "{size} x {size}, from the least to the largest value; at t = 0 over all steps"
)
RESERVE = 18  # lines of the window's height that captions and controls take


def check(trained: Trained, steps: int, images: int, edits: Sequence[Edit]) -> None:
    """ValueError, before any work, for a page that would be too large."""
    frames = 2 * images * (1 + len(edits)) * (steps + 1)
    page.check_size(frames, trained.shape[-1], "take fewer --steps, --seeds or targets")


# ---- what is shown ---------------------------------------------------------------------------------------------------


def maps_of(store: AttentionStore, grid: list[int], size: int) -> Tensor:
    """(S + 1, 2n, L, size, size): the maps at each time of the grid, mean over heads and layers; at t = 0 their mean.

    The first time of a latent pair, where the network is not called, takes the maps of the second.
    """
    first = max(store.by_time or {})
    steps = [store.maps(size, t=min(t, first)) for t in grid[:-1]]
    return torch.stack([*steps, store.maps(size)]).movedim(-1, 2)


def injected(source: str, target: str, how: dict[str, Any], steps: int, length: int) -> dict[str, Any]:
    """In how many steps the source's cross-attention maps are injected, and for each word of the target; and its
    self-attention maps. A new word takes no map.
    """
    progress = torch.arange(steps) / steps
    until = per_word("cross_until", how["word_until"], [split(target)], length, how["cross_until"], 0.0, 1.0)[0]
    shared = alignment(split(source), split(target), length).sum(dim=0) > 0
    words = ((progress[:, None] < until).sum(dim=0) * shared).tolist()
    general, own = (int((progress < how[name]).sum()) for name in ("cross_until", "self_until"))
    return {"cross": general, "self": own, "words": words[1 : len(split(target)) + 1]}


def tracks(counts: dict[str, Any]) -> list[dict[str, Any]]:
    """The bars beside the slider."""
    return [
        {"label": f"{kind} maps injected", "parts": [{"from": 0, "to": counts[kind], "text": ""}], "words": words}
        for kind, words in (("cross", counts["words"]), ("self", None))
    ]


def pairs(source: str, target: str, length: int) -> list[tuple[int, int]]:
    """Which word i of the source and j of the target stand for each other, counted from 0."""
    return [(i - 1, j - 1) for i, j in swap_map(source, target, length).nonzero().tolist() if i > 0]


def as_grey(maps: Tensor) -> tuple[np.ndarray, list[float]]:
    """Maps (S + 1, W, h, w) of W words -> uint8 (W, S + 1, 1, h, w), and the weight of each word's byte 255."""
    maps = maps.movedim(1, 0)[:, :, None].cpu().numpy()
    scales = np.maximum(maps.max(axis=(1, 2, 3, 4)), 1e-9)
    return np.round(255 * maps / scales[:, None, None, None, None]).astype(np.uint8), scales.tolist()


# ---- the page --------------------------------------------------------------------------------------------------------


def write(
    path: Path,
    trained: Trained,
    source: str,
    levels: dict[str, Sequence[Edit]],
    start: dict[str, Any],
    names: list[str],
    steps: int,
    scale: float,
    size: int | None,
) -> Path:
    """Edit n images and write their page; returns its path.

    levels: share of the steps with injection -> the edits at it, as many at each; several shares are for one image.
    start: x_T of the n images, and other keywords of `p2p.edit`. names: of the images. size: of the maps, by default
    the largest. ValueError: see `p2p.edit` and `ddpm.experiments.page.write`.
    """
    frames, maps, choices, scenes = page.Atlas(), page.Atlas(), [], []
    x_T = start["x_T"] if isinstance(start["x_T"], tuple) else (start["x_T"],)
    n, length, grid = len(names), trained.unet.config.words, as_grid(trained.schedule.T, steps)
    labels = [f"step {k} of {steps}, t = {t}" for k, t in enumerate(grid)]
    for at_each in zip(*levels.values(), strict=True):
        scenes.append([])
        for label, target, how in at_each:
            store = AttentionStore([source] * n + [target] * n, by_time=True)
            way = editing.edit(trained, source, target, **start, steps=steps, scale=scale, store=store, **how)
            name, words = ", ".join(label.splitlines()), page.captions(source, target, how["weights"])
            seen = page.frames_of([torch.cat([x, x]) for x in x_T], list(tqdm(way, name, steps)))
            weights = maps_of(store, grid, size or store.largest)
            shared = {"labels": labels, "turn": 0, "tracks": tracks(injected(source, target, how, steps, length))}
            for rows in zip(range(n), range(n, 2 * n), strict=True):  # an image's source and edit
                looks = [as_grey(weights[:, r, 1 : len(w["words"]) + 1]) for r, w in zip(rows, words, strict=True)]
                own = {"frames": [frames.add(part[:, row]) for row in rows for part in seen]}
                own |= {"maps": [[maps.add(word) for word in grey] for grey, _ in looks]}
                scenes[-1].append(shared | own | {"scales": [most for _, most in looks]})
        choices.append({"name": name, "captions": words, "pairs": pairs(source, target, length)})
    note = NOTE.format(steps=steps, scale=scale, size=weights.shape[-1])
    level = {"name": "share", "values": list(levels)} if len(levels) > 1 else {"name": "image", "values": names}
    data = {"note": note, "level": level, "start": {"level": len(levels) // 2, "step": steps}}
    data |= {"reserve": RESERVE, "choices": choices, "rows": [ROW], "scenes": scenes}
    return page.write(path, f"Prompt-to-Prompt: {source}", data, frames, maps)
