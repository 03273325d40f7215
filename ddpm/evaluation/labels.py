"""Labels of images, as numbers: what the classifiers learn."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet.vocabulary import CLASSES, SHAPES, SIZES

from ..data import celeba, cifar10, scenes, shapes
from ..data.base import DataError

NO_YES = ("no", "yes")


@dataclass(frozen=True)
class Labelled:
    """images uint8 (N, 3, H, W); heads: labels and their classes; labels (N, heads) int64, indices of classes.

    parts: of the scenes, uint8 (N, H, W), the part that each pixel belongs to, an index of `scenes.PARTS`.
    """

    images: np.ndarray
    heads: dict[str, tuple[str, ...]]
    labels: np.ndarray
    parts: np.ndarray | None = None


def load_labelled(name: str, data_dir: str | Path, split: str = "train", size: int = 32) -> Labelled:
    """A dataset with labels: cifar10's class, celeba's 40 attributes, what captions of shapes or scenes name.

    size is celeba's choice alone. Raises DataError for an unknown name, and what the dataset's loader raises.
    """
    if name == "shapes":
        attributes = shapes.scatter(30_000 if split == "train" else 5_000, "train", 0 if split == "train" else 1)
        colours = tuple(shapes.PALETTE)
        heads = {"shape": SHAPES, "colour": colours, "background": colours, "size": SIZES}
        rows = [[classes.index(getattr(s, head)) for head, classes in heads.items()] for s in attributes]
        return Labelled(shapes.draw(attributes), heads, np.array(rows))
    if name == "scenes":
        drawn = scenes.scatter(30_000 if split == "train" else 5_000, split, 0)
        heads = scene_heads()
        captions = [scenes.parse(scenes.caption(scene)) for scene in drawn]
        rows = [[classes.index(scene_class(c[head])) for head, classes in heads.items()] for c in captions]
        images, parts = (np.stack([draw(scene) for scene in drawn]) for draw in (scenes.draw, scenes.parts))
        return Labelled(images, heads, np.array(rows), parts)
    if name == "cifar10":
        images, labels = cifar10.load_images(data_dir, split)
        return Labelled(images, {"class": CLASSES}, labels.astype(np.int64)[:, None])
    if name == "celeba":
        files = celeba.files_of(data_dir, split)
        heads = dict.fromkeys(next(iter(files.values())), NO_YES)
        rows = [[int(attributes[head]) for head in heads] for attributes in files.values()]
        return Labelled(celeba.load_images(data_dir, list(files), size, split), heads, np.array(rows))
    raise DataError(f"no labels for the dataset {name!r}: expected shapes, scenes, cifar10 or celeba")


def scene_heads() -> dict[str, tuple[str, ...]]:
    """What a caption of the scenes can name, and the words for it; "no" where it names nothing."""
    colours = ("no", *scenes.RGB)
    things = (*scenes.BUILDINGS, *scenes.ANIMALS, "butterfly")
    settings = (*scenes.PLACES, *scenes.SEATS)
    heads = {"thing": things, "colour": colours, "setting": settings, "setting_colour": colours}
    return heads | {"flag": NO_YES, "spikey": NO_YES}


def scene_class(word: str | bool | None) -> str:
    """A value of `scenes.parse` as a class of `scene_heads`."""
    return NO_YES[bool(word)] if not isinstance(word, str) else word
