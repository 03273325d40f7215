"""What a Frechet distance means: distances to half of the training set whose cause is known.

The other half of the training set, the test set, and the other half with noise, JPEG or blur.
"""

import argparse
import io
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageFilter
from torch import Tensor
from tqdm import tqdm

from ddpm.data import load_data, shapes
from ddpm.evaluation import features
from ddpm.evaluation.frechet import Measure, Reference, plus_minus, thousandfold
from ddpm.experiments.common import check_settings, result, write
from ddpm.utils import cli
from ddpm.utils.device import best_device, usable

EXAMPLE = "python -m ddim reference --data shapes --n 500"


# ---- how an image can be wrong ---------------------------------------------------------------------------------------


def noisy(images: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    """Gaussian noise of standard deviation `sigma` (in 0..255) on images uint8 (N, 3, H, W)."""
    noise = np.random.default_rng(seed).normal(scale=sigma, size=images.shape)
    return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)


def compressed(images: np.ndarray, quality: int) -> np.ndarray:
    """Written as JPEG files of this quality and read again, uint8 (N, 3, H, W)."""

    def through_jpeg(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return each_image(through_jpeg, images)


def blurred(images: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur of this radius in pixels, uint8 (N, 3, H, W)."""
    return each_image(lambda image: image.filter(ImageFilter.GaussianBlur(radius)), images)


def each_image(change: Callable[[Image.Image], Image.Image], images: np.ndarray) -> np.ndarray:
    """A change of a Pillow image, made to each of uint8 (N, 3, H, W)."""
    changed = [np.asarray(change(Image.fromarray(image.transpose(1, 2, 0)))).transpose(2, 0, 1) for image in images]
    return np.stack(changed)


DISTURBANCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "noise, sigma 15 of 255": lambda images: noisy(images, 15),
    "JPEG, quality 50": lambda images: compressed(images, 50),
    "blur, radius 0.6 pixels": lambda images: blurred(images, 0.6),
}


# ---- measure ---------------------------------------------------------------------------------------------------------


def halves(images: np.ndarray, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """n images of one random half, and all of the other half. ValueError: n below 2 or more than a half has."""
    order = np.random.default_rng(seed).permutation(len(images))
    half = len(images) // 2
    if not 2 <= n <= half:
        raise ValueError(f"n is {n}, expected 2 or more and at most {half}, half of the training set")
    return images[np.sort(order[:n])], images[np.sort(order[half:])]


def measure(
    network: Callable[[np.ndarray], Tensor], train: np.ndarray, test: np.ndarray, n: int
) -> Iterator[tuple[str, Measure]]:
    """Name and distances of each line, all to the same half of the training set.

    train, test: uint8 (N, 3, H, W). n images of the other half as they are, n of the test set, and the same n of the
    training set with each disturbance. ValueError: fewer than n images.
    """
    ours, others = halves(train, n)
    if len(test) < n:
        raise ValueError(f"n is {n}, but the test set has {len(test)} images")
    reference = Reference(network(others))
    yield "training, the other half", reference.measure(network(ours))
    yield "test set", reference.measure(network(test[:n]))
    for name, disturbed in DISTURBANCES.items():
        yield name, reference.measure(network(disturbed(ours)))


def text(record: dict) -> str:
    """The record as a table."""
    settings = record["settings"]
    sets = f"{settings['n']} images of {settings['data']} against {settings['reference_n']} of the training set"
    lines = [f"{settings['distance']} of {sets}", f"features: {settings['features']}", ""]
    lines.append(f"{'':28s}{'distance':>16s}{'KID x 1000':>20s}")
    for name, m in record["lines"].items():
        lines.append(f"{name:28s}{plus_minus(m['distance'], m['error']):>16s}{thousandfold(m):>20s}")
    return "\n".join(lines) + "\n"


# ---- command ---------------------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddim reference`."""
    cli.add_flags(parser, data="shapes", data_dir="data", device=best_device(), out="results", n=None)
    features.add_flags(parser)
    parser.add_argument("--size", type=cli.positive, default=32, help="of the images, for celeba")


def run(args: argparse.Namespace) -> None:
    """Measure, write, print."""
    network = features.load(args.features, args.data, args.inception, usable(args.device))
    size = shapes.SIZE if args.data == "shapes" else args.size
    train, test = (load_data(args.data, args.data_dir, split, size).images for split in ("train", "test"))
    name, n = f"reference-{args.data}", args.n or min(len(train) // 2, len(test))
    settings = {"data": args.data, "n": n, "reference_n": len(train) - len(train) // 2, "size": size}
    settings |= {"distance": network.name, "features": network.network, "features_sha256": network.sha256}
    check_settings(result(args, name, ".json"), settings)
    lines = dict(tqdm(measure(network, train, test, n), "lines", 2 + len(DISTURBANCES)))
    record = {"settings": settings, "lines": lines}
    write(args, name, record, text(record))
