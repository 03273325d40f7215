"""Datasets: images as bytes, and captions that are true of them."""

from collections.abc import Sequence
from pathlib import Path

from unet.vocabulary import VOCABULARY

from . import celeba, cifar10, folder, scenes, shapes
from .base import DataError, Dataset


def load_data(
    name: str,
    data_dir: str | Path,
    split: str = "train",
    size: int = 32,
    words: Sequence[str] = VOCABULARY,
    longest: int | None = None,
) -> Dataset:
    """A dataset by name, with images of size x size.

    words, longest: what the captions of a folder may use, and how many of them. Raises DataError for an unknown name,
    and what its loader raises.
    """
    data_dir = Path(data_dir).expanduser()
    if data_dir.is_file():
        raise DataError(f"{data_dir} is a file: expected the folder of the datasets")
    own = {"shapes": shapes.SIZE, "cifar10": cifar10.SIZE}.get(name, size)
    if size != own:
        raise DataError(f"{name} has images of {own} x {own}, the network has {size} x {size}: take one of size {own}")
    if name == "folder" and split != "train":
        why = "all of its images were used for training; give an image as a file"
        raise DataError(f"a folder of images has no {split} split: {why}")
    loaders = {
        "shapes": lambda: shapes.shapes(split),
        "scenes": lambda: scenes.scenes(data_dir, split, size=size),
        "cifar10": lambda: cifar10.cifar10(data_dir, split),
        "celeba": lambda: celeba.celeba(data_dir, split, size),
        "folder": lambda: folder.folder(data_dir, size, words, longest),
    }
    if name not in loaders:
        raise DataError(f"unknown dataset {name!r}: expected {', '.join(loaders)}")
    return loaders[name]()
