"""Caption accuracy: the share of samples that show what their caption says.

Samples of the shapes are read exactly; others are judged by a classifier and the rule that wrote the colour words
(`ddpm.evaluation.judge`). Real images are judged in the same way: how far the judge itself can be trusted.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from ..data.shapes import scatter, shapes, variants
from ..evaluation import classifier
from ..evaluation.judge import accuracy
from ..model import Sampler, Trained, load
from ..utils import cli
from ..utils.images import from_bytes
from . import common
from .records import arithmetic

EXAMPLE = "python -m ddpm score --model shapes --n 64"
ENDINGS = (".json", ".txt")
HELD_OUT_SEED = 1  # training draws its shapes with seed 0
SPLITS = {"train": "combinations seen", "test": "combinations never seen"}
STEPS, ETA, SCALE = 20, 1.0, 2.0  # of the samples: steps, noise of each, guidance
Judged = dict[str, tuple[np.ndarray | None, list[str]]]  # name -> images (None: the model's samples) and captions


def few_steps(T: int, steps: int = STEPS, eta: float = ETA) -> Sampler:
    """DDIM in few steps, by default at most T: T of DDPM would take an hour. ValueError: more steps than T."""
    if steps > T and steps != STEPS:
        raise ValueError(f"--steps is {steps}: expected 1 .. {T}, as this model has")
    return partial(common.named, "ddim", steps=min(steps, T), eta=eta)


def samples_of(trained: Trained, prompts: list[str], scale: float, steps: int = STEPS, eta: float = ETA) -> np.ndarray:
    """One image for each prompt, of seeds 0, 1, ..., by `few_steps`: uint8 (n, 3, H, W)."""
    T, n = trained.schedule.T, len(prompts)
    with common.calls_bar(n * min(steps, T)) as bar:
        return common.images_of(trained, prompts, range(n), scale, few_steps(T, steps, eta), bar)


def of_shapes(n: int) -> Judged:
    """n drawings that training never sees, and n captions each of combinations that it sees and that it never sees."""
    drawn = shapes("test", n, HELD_OUT_SEED)
    sets: Judged = {"on real renderings": (drawn.images, [captions[0] for captions in drawn.captions])}
    return sets | {
        name: (None, [variants(s)[0] for s in scatter(n, split, HELD_OUT_SEED)]) for split, name in SPLITS.items()
    }


def measure(trained: Trained, sets: Judged, *how: float) -> dict[str, dict]:
    """Name of a set -> word, or "all" words -> {"share" of the images that show it, "n" captions that have it}.

    how: scale, steps and eta of `samples_of`.
    """
    result = {}
    for name, (images, prompts) in sets.items():
        images = samples_of(trained, prompts, *how) if images is None else images
        result[name] = accuracy(common.shown_words(trained.info["data"], images, prompts))
    return result


def table(result: dict[str, dict]) -> str:
    """Percent of the images that show it: a row for each kind of word, a column for each set."""
    lines = [f"{'':14s}{'prompts':>8s}" + "".join(f"{name:>25s}" for name in result)]
    for word, first in next(iter(result.values())).items():
        shares = [f"{100 * found[word]['share']:23.1f} %" for found in result.values()]
        lines.append(f"{word:14s}{first['n']:8d}" + "".join(shares))
    return "\n".join(lines)


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "data_dir", "out", model="shapes", n=500, steps=STEPS, eta=ETA, scale=SCALE)


def prepare(args: argparse.Namespace) -> tuple[Trained, Judged, dict, Path]:
    """The model, what is judged, facts for the record, its file. ValueError: too many images, steps; no judge."""
    trained = load(args.model, device=args.device).for_many_images(compiled=False)
    few_steps(trained.schedule.T, args.steps)  # refuses too many of them
    common.check_n(args.n)
    if (name := trained.info["data"]) == "shapes":
        sets, facts = of_shapes(args.n), {}
    else:
        facts = {"classifier": classifier.load(name, trained.image_shape[-1]).sha256}
        images, prompts, _ = common.of_test(trained, args, seed=HELD_OUT_SEED)
        sets = {"real images": (images, prompts), "samples": (None, prompts)}
        if trained.autoencoder:  # what it makes of the real images
            sets["reconstructions"] = trained.images(trained.encode(from_bytes(images))), prompts
    trained.tokens([prompt for _, prompts in sets.values() for prompt in prompts])
    path = common.own_record(args, f"score-{cli.name_of(args.model)}", "a record of ddpm score", *sets)
    return trained, sets, facts | {"info": trained.card} | arithmetic(trained), path


def run(args: argparse.Namespace) -> None:
    trained, sets, facts, path = prepare(args)
    result = measure(trained, sets, args.scale, args.steps, args.eta)
    settings = {name: getattr(args, name) for name in ("model", "n", "steps", "eta", "scale")} | facts
    common.write(args, path, settings | result, lambda _: table(result) + "\n")
