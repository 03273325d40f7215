"""Real images for `python -m ddim table`: the reference set, and rows whose distance to it has a known cause.

A row is n images of the training or the test set as they are, or n training images with noise, JPEG or blur. A set is
not compared with itself: the reference "half" is one random half of the training set, and the rows take the other.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ddpm.data.base import DataError, open_image, square, to_array
from ddpm.experiments.common import model_data
from ddpm.model import Trained

ROWS = {  # name -> how it is printed
    "train": "training images",
    "test": "test images",
    "noise": "noise, sigma 15 of 255",
    "jpeg": "JPEG, quality 50",
    "blur": "blur, radius 0.6 pixels",
}
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")  # of the files of a reference folder


def changed(images: np.ndarray, row: str) -> np.ndarray:
    """Images uint8 (N, 3, H, W) as the row has them."""
    if row == "noise":
        noise = np.random.default_rng(0).normal(scale=15, size=images.shape)
        return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)
    if row not in ("jpeg", "blur"):
        return images
    after = []
    for image in images:
        picture = Image.fromarray(image.transpose(1, 2, 0))
        if row == "jpeg":
            picture.save(file := io.BytesIO(), "JPEG", quality=50)
            picture = Image.open(file)
        else:
            picture = picture.filter(ImageFilter.GaussianBlur(0.6))
        after.append(np.asarray(picture).transpose(2, 0, 1))
    return np.stack(after)


def halves(images: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n images of one random half (all of it, where it has fewer), and all of the other half."""
    order, half = np.random.default_rng(seed).permutation(len(images)), len(images) // 2
    return images[np.sort(order[:half][:n])], images[np.sort(order[half:])]


def real_images(
    trained: Trained, args: argparse.Namespace, rows: list[str]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The reference set, and for each row its n images before they are changed, all uint8 (N, 3, H, W).

    ValueError: rows of the reference set itself, fewer images than n, a folder with fewer than two.
    """
    split = {row: "test" if row == "test" else "train" for row in rows}
    if itself := [row for row in rows if split[row] == args.reference]:
        raise ValueError(f"--rows {itself[0]} takes images of the reference set itself: give --reference half")
    needed = {*split.values(), "train" if args.reference == "half" else args.reference} & {"train", "test"}
    sets = {name: model_data(trained, args.data_dir, name).images for name in needed}
    if args.reference == "half":
        sets["train"], reference = halves(sets["train"], args.n, args.seed)
    elif args.reference in sets:
        reference = sets[args.reference]
    else:
        size, files = trained.unet.config.size, sorted(Path(args.reference).glob("*"))
        files = [open_image(file) for file in files if file.suffix.lower() in ENDINGS]
        if len(files) < 2:
            what = f"train, test, half, or a folder of 2 or more images {ENDINGS}"
            raise DataError(f"--reference {args.reference!r}: expected {what}")
        reference = np.stack([to_array(square(image), size) for image in files])
    for row in rows:
        if (there := len(sets[split[row]])) < args.n:
            raise ValueError(f"--n is {args.n}, but for --rows {row} there are {there} images")
    return reference, {row: sets[split[row]][: args.n] for row in rows}
