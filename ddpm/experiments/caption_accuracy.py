"""How good a model of the shapes is, by exact checks on the images it makes."""

from collections.abc import Callable, Iterator

import numpy as np

from ..data.base import Dataset
from ..data.judge import Told, judged, shares
from ..data.shapes import scatter, score, shapes, variants
from ..model import Sampler, Trained, generate

HELD_OUT_SEED = 1  # training draws its images with seed 0
SPLITS = {"train": "combinations seen", "test": "combinations never seen"}
STEPS, ETA, SCALE = 20, 1.0, 2.0  # of the images a run shows and scores: steps, noise of each, guidance


def prompts_of(split: str, n: int) -> list[str]:
    """n full captions of held-out images: of combinations that training shows ("train"), or never shows ("test")."""
    return [variants(s)[0] for s in scatter(n, split, HELD_OUT_SEED)]


def score_shapes(
    trained: Trained, sampler: Sampler, n: int, split: str, scale: float, bar: Callable[[Iterator], Iterator] = iter
) -> dict[str, float]:
    """Share of n generated images that show their prompt's background, colour, size, shape, and all four.

    The images of seeds 0..n-1 are judged by `ddpm.data.shapes.read`; split as in `prompts_of`; bar wraps the batches.
    """
    prompts = prompts_of(split, n)
    images = np.concatenate(list(bar(generate(trained, prompts, list(range(n)), sampler, scale))))
    return score(images, prompts)


def score_checks(n: int, split: str) -> dict[str, float]:
    """The same share for n real renderings: how far the checks themselves can be trusted."""
    data = shapes(split, n, HELD_OUT_SEED)
    return score(data.images, [captions[0] for captions in data.captions])


def drawn_rows(data: Dataset, n: int) -> np.ndarray:
    """The places of n images of a data set, the same at every call. ValueError: it has fewer."""
    if n > len(data):
        raise ValueError(f"n is {n}, but {data.name} has {len(data)} images here: ask for fewer")
    return np.random.default_rng(HELD_OUT_SEED).choice(len(data), n, replace=False)


def score_real(
    trained: Trained,
    sampler: Sampler,
    data: Dataset,
    tell: Callable[[np.ndarray], Told],
    n: int,
    scale: float,
    bar: Callable[[Iterator], Iterator] = iter,
) -> dict[str, dict]:
    """Which words of n captions drawn from real images are to be seen, in those images and in samples of seeds 0...

    -> {"real images": ..., "samples": ...}, each kind of word -> share and n; tell: a classifier's probabilities.
    """
    rows = drawn_rows(data, n)
    prompts = [data.captions[i][0] for i in rows]
    images = np.concatenate(list(bar(generate(trained, prompts, list(range(n)), sampler, scale))))
    sets = {"real images": data.images[rows], "samples": images}
    return {name: shares(judged(data.name, found, prompts, tell(found))) for name, found in sets.items()}


def line(name: str, shares: dict[str, float]) -> str:
    """One row of the report, in percent."""
    return f"{name:24s} " + "  ".join(f"{what} {100 * share:5.1f} %" for what, share in shares.items())
