"""Edits to measure an editor with: real images, their captions, the captions with one thing changed, and the truth.

Of the shapes the truth is known to the pixel: the edited attributes are drawn at the same place, and an edit should
leave alone every pixel in which that drawing is the image it started from.
"""

from dataclasses import dataclass, replace

import numpy as np

from . import shapes
from .base import DataError, Dataset
from .captions import face_sentence, parse_face, parse_thing, thing_sentence

HELD_OUT_SEED = 1  # the data sets draw their shapes with seed 0
RELATIVES = {
    "airplane": "bird", "bird": "airplane", "car": "truck", "truck": "car", "cat": "dog", "dog": "cat",
    "deer": "horse", "horse": "deer", "frog": "bird", "ship": "airplane",
}  # fmt: skip
ATTRIBUTES = {"smiling": "Smiling", "eyeglasses": "Eyeglasses"}  # word of a caption -> CelebA's attribute
KINDS = {"shapes": ("colour", "background", "shape"), "cifar10": ("class",), "celeba": tuple(ATTRIBUTES)}


@dataclass(frozen=True)
class Edits:
    """n edits of one kind.

    images: uint8 (n, 3, H, W). sources, targets: the captions. keep: bool (n, H, W), the pixels to leave alone.
    head, wanted: what of a classifier's answers tells that an edit was made, and the class it should give.
    """

    images: np.ndarray
    sources: list[str]
    targets: list[str]
    keep: np.ndarray
    head: str
    wanted: list[str]


def other(word: str, words: list[str], *taken: str) -> str:
    """The next of the words that is neither this one nor taken."""
    later = words[words.index(word) + 1 :] + words[: words.index(word)]
    return next(w for w in later if w not in taken)


def changed(s: shapes.Shape, kind: str) -> shapes.Shape:
    """The same image with another colour, background or shape; object and background stay different."""
    words = list(shapes.SHAPES if kind == "shape" else shapes.PALETTE)
    return replace(s, **{kind: other(getattr(s, kind), words, s.colour, s.background)})


def of_shapes(kind: str, n: int, split: str) -> Edits:
    """Edits of n drawings that no data set shows."""
    before = shapes.scatter(n, split, HELD_OUT_SEED)
    after = [changed(s, kind) for s in before]
    images = shapes.draw(before)
    keep = (images == shapes.draw(after)).all(axis=1)
    sources, targets = ([shapes.variants(s)[0] for s in group] for group in (before, after))
    return Edits(images, sources, targets, keep, kind, [getattr(s, kind) for s in after])


def of_class(dataset: Dataset, n: int) -> Edits:
    """CIFAR-10: each thing becomes a related one, colours and background stay."""
    images, sources = dataset.images[:n], [captions[0] for captions in dataset.captions[:n]]
    things = [parse_thing(sentence) for sentence in sources]
    wanted = [RELATIVES[thing.kind] for thing in things]
    targets = [thing_sentence(replace(thing, kind=kind)) for thing, kind in zip(things, wanted, strict=True)]
    return Edits(images, sources, targets, everywhere(images), "class", wanted)


def of_attribute(dataset: Dataset, word: str, n: int) -> Edits:
    """CelebA: the first n faces that lack the attribute get it."""
    faces = [parse_face(captions[0]) for captions in dataset.captions]
    rows = [i for i, face in enumerate(faces) if not getattr(face, word)][:n]
    sources = [dataset.captions[i][0] for i in rows]
    targets = [face_sentence(replace(faces[i], **{word: True})) for i in rows]
    images = dataset.images[rows]
    return Edits(images, sources, targets, everywhere(images), ATTRIBUTES[word], ["yes"] * len(rows))


def everywhere(images: np.ndarray) -> np.ndarray:
    """All pixels of (N, 3, H, W): where nobody knows which ones an edit may change."""
    return np.ones((len(images), *images.shape[2:]), dtype=bool)


def edits(dataset: Dataset, kind: str, n: int, split: str = "test") -> Edits:
    """n edits of a kind of images of the data set, which is of that split. DataError: a kind it has not, no captions
    that can be edited.
    """
    kinds = KINDS.get(dataset.name, ())
    if kind not in kinds:
        raise DataError(f"{dataset.name} has no edits {kind!r}: expected one of {', '.join(kinds) or 'none'}")
    if dataset.name == "shapes":
        return of_shapes(kind, n, split)
    return of_class(dataset, n) if dataset.name == "cifar10" else of_attribute(dataset, kind, n)
