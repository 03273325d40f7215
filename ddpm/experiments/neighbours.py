"""Does the model memorise its training images? Every sample beside the training image nearest to it.

Beside the samples the same is measured of test images, which no model has seen.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from ..data import Dataset
from ..model import Trained, load
from ..utils import cli
from ..utils.files import write_json
from ..utils.images import save_figure, subplots
from .caption_accuracy import ETA, HELD_OUT_SEED, SCALE, STEPS, few_steps, samples_of
from .common import model_data, of_test, own_record
from .records import arithmetic

EXAMPLE = "python -m ddpm neighbours --model cifar10 --n 64"
ENDINGS = (".json", ".png")
PERCENTILES = (1, 10, 50, 90)


def nearest(images: np.ndarray, training: np.ndarray, block: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """For each image uint8 (N, 3, H, W): its distance to the nearest training image (M, 3, H, W), and which.

    The distance is the root of the mean squared difference per value, on [0, 1]; mirrored training images count too.
    """

    def flat(images: np.ndarray) -> torch.Tensor:  # whole numbers in float64 add and multiply without rounding
        return torch.from_numpy(images.astype(np.float64).reshape(len(images), -1))

    x = flat(images)
    least, where = torch.full((len(x),), torch.inf, dtype=x.dtype), torch.zeros(len(x), dtype=torch.long)
    for first in range(0, len(training), block):
        part = training[first : first + block]
        for y in (flat(part), flat(part[..., ::-1])):
            squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
            distance, row = squares.min(dim=1)
            where = torch.where(distance < least, row + first, where)
            least = torch.minimum(least, distance)
    return (least / x.shape[1]).sqrt().numpy() / 255, where.numpy()


def plot(path: Path, samples: np.ndarray, training: np.ndarray, distances: dict[str, np.ndarray]) -> Path:
    """Samples in rows of 8, each above its nearest training image (N, 3, H, W), beside the distances' distributions.

    distances: the name of a set of images, and how far each is from its nearest; drawn as cumulative shares.
    """
    figure, (left, right) = subplots(10, 4.6, 1, 2, width_ratios=(1.2, 1))
    wide = min(8, len(samples))
    whole = np.stack([samples, training])[:, : len(samples) // wide * wide]
    pairs = rearrange(whole, "two (r k) c h w -> (r two h) (k w) c", k=wide)
    left.imshow(pairs, interpolation="nearest")
    left.set_title("the samples nearest to a training image, and under each that image", fontsize=9)
    left.axis("off")
    for name, values in distances.items():
        right.plot(np.sort(values), np.arange(1, len(values) + 1) / len(values), label=name)
    right.set(xlabel="distance to the nearest training image", ylabel="share of the images", ylim=(0, 1))
    right.legend(fontsize=8)
    right.grid(alpha=0.3)
    return save_figure(figure, path)


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "data_dir", "out", model="shapes", n=500, steps=STEPS, eta=ETA, scale=SCALE)


def prepare(args: argparse.Namespace) -> tuple[Trained, Dataset, list[str], np.ndarray, Path]:
    """The model, its training set, the prompts of the samples, the test images beside these, the record's file."""
    trained = load(args.model, device=args.device).for_many_images(compiled=False)
    few_steps(trained.schedule.T, args.steps)  # refuses too many of them
    others, prompts, _ = of_test(trained, args, seed=HELD_OUT_SEED)
    path = own_record(args, f"neighbours-{cli.name_of(args.model)}", "a record of ddpm neighbours", "samples", "test")
    return trained, model_data(trained, args.data_dir, "train"), prompts, others, path


def run(args: argparse.Namespace) -> None:
    """Samples, and as many test images: write how far each is from its nearest training image, and draw some."""
    trained, training, prompts, others, path = prepare(args)
    samples = samples_of(trained, prompts, args.scale, args.steps, args.eta)
    (least, where), (others_least, _) = (nearest(images, training.images) for images in (samples, others))
    distances = {"samples": least, "test": others_least}
    result = {
        name: dict(zip(PERCENTILES, np.percentile(distance, PERCENTILES).round(5).tolist(), strict=True))
        for name, distance in distances.items()
    }
    settings = {key: getattr(args, key) for key in ("model", "n", "steps", "eta", "scale")}
    write_json(path, settings | {"info": trained.card} | arithmetic(trained) | result)
    first = least.argsort()[:32]  # a copy would be among these
    image = plot(cli.output(args, path.stem, ".png"), samples[first], training.images[where[first]], distances)
    for name, percentiles in result.items():
        parts = ", ".join(f"{share} % are below {value}" for share, value in percentiles.items())
        print(f"{name}: distance to the nearest training image: {parts}")
    print(path, image, sep="\n")
