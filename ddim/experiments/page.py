"""A page for the lecture hall: the methods of `python -m ddim edit` beside each other, step by step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import ddpm
from ddpm.diffusion import q_sample
from ddpm.experiments import page
from ddpm.schedule import Schedule
from ddpm.utils.images import to_bytes

State = tuple[int, Tensor, Tensor]  # t, x_t, predicted x_0
Ways = Callable[[str, str, float], list[State]]  # target, method, strength -> all that an edit yields
RESERVE = 9.5  # lines of the window's height that captions and names take


def frames_of(schedule: Schedule, grid: list[int], states: list[State], x_0: Tensor, noise: Tensor) -> list[np.ndarray]:
    """x_t and the predicted x_0 of an edit, uint8 (2k + 1, 3, H, W) each, along a grid of k steps up and down again.

    Beside x_t is what the network predicts from it, and at the end the image itself. SDEdit noises in one step: the
    times below its highest show the image with the same noise (1, C, H, W), and the image itself as its x_0. The exact
    inversion decodes from a pair: its first step down is already known and takes the prediction of the next.
    """
    k, noised = len(grid) - 1, states[0][0] > 0
    if noised:
        up, predicted, down = [q_sample(schedule, x_0, t, noise) for t in grid[::-1]], [x_0] * k, states[1:]
    else:
        up, predicted, down = [x for _, x, _ in states[: k + 1]], [p for *_, p in states[1 : k + 1]], states[k + 1 :]
    x = [*up, *up[k - 1 : k][: k - len(down)], *(x for _, x, _ in down)]
    decoded = [*(p for *_, p in down), x[-1]]
    predicted = [*predicted, *decoded[:1] * (k + 1 - len(decoded)), *decoded]
    return [np.concatenate([to_bytes(each) for each in way]) for way in (x, predicted)]


def labels_of(grid: list[int]) -> list[str]:
    """What each of 2k + 1 frames is."""
    k = len(grid) - 1
    down = [f"decode {i}/{k}, t = {t}" for i, t in enumerate(grid)][1:]
    return [*(f"encode {i}/{k}, t = {t}" for i, t in enumerate(grid[::-1])), *down]


def write(
    path: Path,
    schedule: Schedule,
    x_0: Tensor,
    source: str,
    targets: list[str],
    methods: dict[str, str],
    grids: dict[float, list[int]],
    ways: Ways,
    seed: int,
    note: str,
) -> Path:
    """Edit the image x_0 (1, C, H, W) and write the page; returns its path.

    methods: name -> how it is printed. grids: strength -> the times of its steps. ways: makes an edit.
    ValueError: see `ddpm.experiments.page.write`.
    """
    frames, noise, choices, scenes = page.Atlas(), ddpm.Noise([seed])(x_0), [], []
    original = frames.add(to_bytes(x_0))
    for target in targets:
        captions = page.captions(source, target)
        new = [word for word, changed in zip(captions[1]["words"], captions[1]["changed"], strict=True) if changed]
        choices.append({"name": " ".join(new) or target, "captions": captions, "pairs": []})
        scenes.append([])
        for strength, grid in grids.items():
            k, shown = len(grid) - 1, []
            for method in methods:
                shown.append(frames_of(schedule, grid, ways(target, method, strength), x_0, noise))
            rows = [frames.add(each[row]) for row in (0, 1) for each in shown]
            parts = [{"from": 0, "to": k, "text": "encode"}, {"from": k, "to": 2 * k, "text": "decode"}][: 2 * k]
            scene: dict[str, Any] = {"labels": labels_of(grid), "turn": k, "frames": [original * (2 * k + 1), *rows]}
            scenes[-1].append(scene | {"tracks": [{"label": "", "parts": parts, "words": None}]})
    upper, lower = ([f"{name}: x_t" for name in methods.values()], ["predicted x_0"] * len(methods))
    panels = [[{"label": label, "side": None} for label in row] for row in (["original", *upper], lower)]
    middle = len(grids) // 2
    data = {"note": note, "level": {"name": "strength", "values": [f"{strength:g}" for strength in grids]}}
    data |= {"start": {"level": middle, "step": len(scenes[0][middle]["labels"]) - 1}, "reserve": RESERVE}
    data |= {"choices": choices, "rows": [panels[0], [None, *panels[1]]], "scenes": scenes}
    return page.write(path, f"Editing with the sampler: {source}", data, frames)
