"""Caption accuracy: the share of samples that show what their caption says.

Samples of the shapes are read exactly; those of CIFAR-10 and CelebA are judged by a classifier and the rule that wrote
the colour words (`ddpm.data.judge`). Real images are judged in the same way: how far the judge itself can be trusted.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from tqdm import tqdm

import ddim

from ..data import Dataset, load_data
from ..data.shapes import scatter, shapes, variants
from ..diffusion import EpsFn
from ..evaluation import classifier
from ..evaluation.judge import Probabilities, accuracy, judged
from ..model import Sampler, Trained, generate, in_batches, load
from ..noise import Noise
from ..schedule import Schedule
from ..utils import cli
from ..utils.device import best_device
from ..utils.files import write_json, write_text
from . import records

EXAMPLE = "python -m ddpm score --model shapes --n 64"
ENDINGS = (".json",)
HELD_OUT_SEED = 1  # training draws its images with seed 0
SPLITS = {"train": "combinations seen", "test": "combinations never seen"}
STEPS, ETA, SCALE = 20, 1.0, 2.0  # of the samples: steps, noise of each, guidance
Bar = Callable[[Iterator], Iterable]  # wraps the batches

# ---- measure -------------------------------------------------------------------------------------------------------


def few_steps(eps: EpsFn, schedule: Schedule, x_T: torch.Tensor, noise: Noise, steps=STEPS, eta=ETA) -> Iterator:
    """DDIM in few steps: T steps of DDPM for each image would take an hour."""
    return ddim.sample(eps, schedule, x_T, min(steps, schedule.T), eta, generator=noise)


def samples_of(trained: Trained, prompts: list[str], sampler: Sampler, scale: float, bar: Bar) -> np.ndarray:
    """One image for each prompt, of seeds 0, 1, ...: uint8 (n, 3, H, W)."""
    return np.concatenate(list(bar(generate(trained, prompts, list(range(len(prompts))), sampler, scale))))


def prompts_of(split: str, n: int) -> list[str]:
    """n full captions of held-out shapes: of combinations that training shows ("train"), or never shows ("test")."""
    return [variants(s)[0] for s in scatter(n, split, HELD_OUT_SEED)]


def of_shapes(trained: Trained, sampler: Sampler, n: int, scale: float, bar: Callable[..., Bar]) -> dict[str, dict]:
    """A model of the shapes: split -> accuracy of n samples, word by word and of all words; and of real images.

    bar: takes a description (desc=) and gives what wraps the batches.
    """
    real = shapes("train", n, HELD_OUT_SEED)
    first = [captions[0] for captions in real.captions]
    result = {"on real renderings": accuracy(judged("shapes", real.images, first))}
    for split, name in SPLITS.items():
        prompts = prompts_of(split, n)
        images = samples_of(trained, prompts, sampler, scale, partial(bar, desc=name))
        result[name] = accuracy(judged("shapes", images, prompts))
    return {name: {word: part["share"] for word, part in parts.items()} for name, parts in result.items()}


def random_rows(data: Dataset, n: int) -> np.ndarray:
    """The rows of n images of a dataset, the same at every call. ValueError: it has fewer."""
    if n > len(data):
        raise ValueError(f"n is {n}, but {data.name} has {len(data)} images here: ask for fewer")
    return np.random.default_rng(HELD_OUT_SEED).choice(len(data), n, replace=False)


def of_real_images(
    trained: Trained,
    sampler: Sampler,
    data: Dataset,
    probabilities: Callable[[np.ndarray], Probabilities],
    n: int,
    scale: float,
    bar: Bar = iter,
) -> dict[str, dict]:
    """Captions of n real images: {"real images": ..., "samples": ...}, word by word -> share, and n prompts with it."""
    rows = random_rows(data, n)
    prompts = [data.captions[i][0] for i in rows]
    sets = {"real images": data.images[rows], "samples": samples_of(trained, prompts, sampler, scale, bar)}
    return {name: accuracy(judged(data.name, x, prompts, probabilities(x))) for name, x in sets.items()}


# ---- table ---------------------------------------------------------------------------------------------------------


def table(result: dict[str, dict]) -> str:
    """One row for each split, in percent; of real images one row for each kind of word."""
    if "samples" not in result:
        return "\n".join(
            f"{name:24s} " + "  ".join(f"{word} {100 * share:5.1f} %" for word, share in shares.items())
            for name, shares in result.items()
        )
    pairs = [(word, real, result["samples"][word]) for word, real in result["real images"].items()]
    return "\n".join(
        f"{word:12s} {real['n']:5d} prompts  real {100 * real['share']:5.1f} %  samples {100 * made['share']:5.1f} %"
        for word, real, made in pairs
    )


# ---- command -------------------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddpm score`."""
    cli.add_flags(parser, model="shapes", data_dir="data", n=500, steps=STEPS, eta=ETA, scale=SCALE)
    cli.add_flags(parser, device=best_device(), out="results")


def run(args: argparse.Namespace) -> None:
    """Write and print the accuracy of a model's samples."""
    trained = load(args.model, device=args.device).for_many_images(compiled=False)
    path = cli.output(args, f"score-{cli.name_of(args.model)}", ".json")
    sampler = partial(few_steps, steps=args.steps, eta=args.eta)
    settings = {name: getattr(args, name) for name in ("model", "n", "steps", "eta", "scale")} | {"info": trained.card}
    settings |= records.arithmetic(trained)
    bar = partial(tqdm, total=len(in_batches(args.n, trained.device)), unit=" batches")
    if trained.info["data"] == "shapes":
        result = of_shapes(trained, sampler, args.n, args.scale, bar)
    else:
        judge = classifier.load(trained.info["data"])
        data = load_data(trained.info["data"], args.data_dir, "test", trained.shape[1])
        result = of_real_images(trained, sampler, data, judge.probabilities, args.n, args.scale, bar)
        settings["classifier"] = judge.sha256
    write_json(path, settings | result)
    write_text(path.with_suffix(".txt"), table(result) + "\n")
    print(table(result))
    print(path)
