"""Caption accuracy: the share of samples that show what their caption says.

Samples of the shapes are read exactly; others are judged by a classifier and the rule that wrote the colour words
(`ddpm.evaluation.judge`). Real images are judged in the same way: how far the judge itself can be trusted.
"""

import argparse
from functools import partial

import numpy as np

from ..data import Dataset
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
    """DDIM in few steps, at most T: T steps of DDPM for each image would take an hour."""
    return partial(common.named, "ddim", steps=min(steps, T), eta=eta)


def samples_of(trained: Trained, prompts: list[str], scale: float, steps: int = STEPS, eta: float = ETA) -> np.ndarray:
    """One image for each prompt, of seeds 0, 1, ..., by `few_steps`: uint8 (n, 3, H, W)."""
    T, n = trained.schedule.T, len(prompts)
    with common.calls_bar(n * min(steps, T)) as bar:
        return common.images_of(trained, prompts, range(n), scale, few_steps(T, steps, eta), bar)


def random_rows(data: Dataset, n: int) -> np.ndarray:
    """The rows of n images of a dataset, the same at every call. ValueError: it has fewer."""
    if n > len(data):
        raise ValueError(f"n is {n}, but {data.name} has {len(data)} images here: ask for fewer")
    return np.random.default_rng(HELD_OUT_SEED).choice(len(data), n, replace=False)


def of_shapes(n: int) -> Judged:
    """n drawings that training never sees, and n captions each of combinations that it sees and that it never sees."""
    drawn = shapes("test", n, HELD_OUT_SEED)
    sets: Judged = {"on real renderings": (drawn.images, [captions[0] for captions in drawn.captions])}
    return sets | {
        name: (None, [variants(s)[0] for s in scatter(n, split, HELD_OUT_SEED)]) for split, name in SPLITS.items()
    }


def measure(trained: Trained, sets: Judged, *how: float) -> dict[str, dict]:
    """Name of a set -> word, or "all" words -> {"share" of the images that show it, "n" captions that have it}.

    Of the shapes, whose captions have all words, the shares alone. how: scale, steps and eta of `samples_of`.
    """
    result, data = {}, trained.info["data"]
    for name, (images, prompts) in sets.items():
        if images is None:
            images = samples_of(trained, prompts, *how)
        found = accuracy(common.shown_words(data, images, prompts))
        result[name] = {word: part["share"] for word, part in found.items()} if data == "shapes" else found
    return result


def table(result: dict[str, dict]) -> str:
    """Percentages: a row for each set of the shapes, with its words; of others a row for each kind of word."""
    if "samples" not in result:
        return "\n".join(
            f"{name:24s} " + "  ".join(f"{word} {100 * share:5.1f} %" for word, share in shares.items())
            for name, shares in result.items()
        )
    pairs = [(word, real, result["samples"][word]) for word, real in result["real images"].items()]
    again = result.get("reconstructions")  # of the real images, by the autoencoder of a model of latents
    return "\n".join(
        f"{word:12s} {real['n']:5d} prompts  real {100 * real['share']:5.1f} %  samples {100 * made['share']:5.1f} %"
        + (f"  reconstructed {100 * again[word]['share']:5.1f} %" if again else "")
        for word, real, made in pairs
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "data_dir", "out", model="shapes", n=500, steps=STEPS, eta=ETA, scale=SCALE)


def prepare(args: argparse.Namespace) -> tuple[Trained, Judged, dict]:
    """The model, what is judged, facts for the record. ValueError: too many images, steps; no judge; another's file."""
    trained = load(args.model, device=args.device).for_many_images(compiled=False)
    if args.steps > trained.schedule.T and args.steps != STEPS:  # the default is for models of fewer steps, too
        raise ValueError(f"--steps is {args.steps}: expected 1 .. {trained.schedule.T}, as this model has")
    if (name := trained.info["data"]) == "shapes":
        sets, facts = of_shapes(args.n), {}
    else:
        facts = {"classifier": classifier.load(name, trained.image_shape[-1]).sha256}
        data = common.model_data(trained, args.data_dir, "test")
        rows = random_rows(data, args.n)
        prompts = [data.captions[i][0] for i in rows]
        sets = {"real images": (data.images[rows], prompts), "samples": (None, prompts)}
        if trained.autoencoder:
            sets["reconstructions"] = trained.images(trained.encode(from_bytes(data.images[rows]))), prompts
    trained.tokens([prompt for _, prompts in sets.values() for prompt in prompts])
    common.own_record(args, f"score-{cli.name_of(args.model)}", "a record of ddpm score", *sets)
    return trained, sets, facts | {"info": trained.card} | arithmetic(trained)


def run(args: argparse.Namespace) -> None:
    trained, sets, facts = prepare(args)
    result = measure(trained, sets, args.scale, args.steps, args.eta)
    settings = {name: getattr(args, name) for name in ("model", "n", "steps", "eta", "scale")} | facts
    common.write(args, f"score-{cli.name_of(args.model)}", settings | result, table(result) + "\n")
