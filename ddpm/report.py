"""How good a model of the shapes is, by exact checks on the pictures it makes."""

from collections.abc import Callable, Iterator

import numpy as np

from .data.shapes import scatter, score, shapes, variants
from .model import Sampler, Trained, generate

HELD_OUT_SEED = 1  # training draws its pictures with seed 0
SPLITS = {"train": "combinations seen", "test": "combinations never seen"}
STEPS, ETA, SCALE = 20, 1.0, 2.0  # of the pictures a run shows and scores: steps, noise of each, guidance


def prompts_of(split: str, n: int) -> list[str]:
    """n full captions of held-out pictures: of combinations that training shows ("train"), or never shows ("test")."""
    return [variants(s)[0] for s in scatter(n, split, HELD_OUT_SEED)]


def score_shapes(
    trained: Trained, sampler: Sampler, n: int, split: str, scale: float, bar: Callable[[Iterator], Iterator] = iter
) -> dict[str, float]:
    """Share of n generated pictures that show their prompt's background, colour, size, shape, and all four.

    The pictures of seeds 0..n-1 are judged by `ddpm.data.shapes.read`; split as in `prompts_of`; bar wraps the batches.
    """
    prompts = prompts_of(split, n)
    images = np.concatenate(list(bar(generate(trained, prompts, list(range(n)), sampler, scale))))
    return score(images, prompts)


def score_checks(n: int, split: str) -> dict[str, float]:
    """The same share for n real renderings: how far the checks themselves can be trusted."""
    data = shapes(split, n, HELD_OUT_SEED)
    return score(data.images, [captions[0] for captions in data.captions])


def line(name: str, shares: dict[str, float]) -> str:
    """One row of the report, in percent."""
    return f"{name:24s} " + "  ".join(f"{what} {100 * share:5.1f} %" for what, share in shares.items())
