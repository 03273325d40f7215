"""Pairs of captions that differ by one edit, for images that a model makes itself: Prompt-to-Prompt's examination.

Edits of real images are in `edits`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from unet.vocabulary import SHAPES

from . import shapes
from .base import DataError
from .captions import AGES, Face, Thing, face_sentence, parse_face, parse_thing, thing_sentence
from .cifar10 import PALETTES

SWAPS = {"cat": "dog", "horse": "deer", "car": "truck", "ship": "airplane"}
BACKGROUNDS = ("white", "blue", "green", "gray", "brown", "black")  # those that many images of CIFAR-10 have
HAIR = ("black", "blond", "brown")


@dataclass(frozen=True)
class Pairs:
    """n pairs of one kind of edit.

    sources, targets: the captions. changed: the kind of word that an edit must bring, as `judging.judged` calls it;
    None where a word is only taken away.
    """

    sources: list[str]
    targets: list[str]
    changed: str | None


def another(rng: np.random.Generator, words, *taken: str) -> str:
    """A random word that is none of the taken."""
    return str(rng.choice([word for word in words if word not in taken]))


def _shape(kind: str, rng: np.random.Generator, s: shapes.Shape) -> tuple[str, str]:
    """A kind is an attribute to swap, or "add" or "drop" and the attribute to name or not to name."""
    before = {name: getattr(s, name) for name in ("size", "colour", "shape", "background")}
    after = dict(before)
    verb, _, name = kind.rpartition(" ")
    if verb:
        (before if verb == "add" else after)[name] = None
    elif name == "shape":
        after[name] = another(rng, SHAPES, s.shape)
    else:
        after[name] = another(rng, shapes.PALETTE, s.colour, s.background)
    return shapes.caption(**before), shapes.caption(**after)


def _thing(kind: str, rng: np.random.Generator) -> tuple[str, str]:
    """Both classes of a swap may have the colour that the captions name."""
    old = another(rng, SWAPS)
    shared = [word for word in PALETTES[old].split() if word in PALETTES[SWAPS[old]].split()]
    colour = another(rng, shared)
    before = Thing(old, colour, another(rng, BACKGROUNDS, colour))
    after = {
        "class": lambda: replace(before, kind=SWAPS[old]),
        "colour": lambda: replace(before, colour=another(rng, PALETTES[old].split(), colour, before.background)),
        "background": lambda: replace(before, background=another(rng, BACKGROUNDS, colour, before.background)),
    }[kind]()
    return thing_sentence(before), thing_sentence(after)


def _face(kind: str, rng: np.random.Generator) -> tuple[str, str]:
    age, hair = another(rng, AGES), another(rng, HAIR)
    before = Face(another(rng, ("man", "woman")), age=age, hair=hair)
    after = {
        "smiling": lambda: replace(before, smiling=True),
        "eyeglasses": lambda: replace(before, eyeglasses=True),
        "hair": lambda: replace(before, hair=another(rng, HAIR, hair)),
        "age": lambda: replace(before, age=another(rng, AGES, age)),
    }[kind]()
    return face_sentence(before), face_sentence(after)


SHAPE_KINDS = (
    "colour", "background", "shape",
    "add colour", "add background", "add size", "drop colour", "drop background", "drop size",
)  # fmt: skip
KINDS: dict[str, tuple[str, ...]] = {
    "shapes": SHAPE_KINDS,
    "cifar10": ("class", "colour", "background"),
    "celeba": ("smiling", "eyeglasses", "hair", "age"),
}


PARSERS: dict[str, Callable[[str], dict]] = {
    "shapes": shapes.parse,
    "cifar10": lambda caption: vars(parse_thing(caption)),
    "celeba": lambda caption: vars(parse_face(caption)),
}


def kind_between(data: str, source: str, target: str) -> str | None:
    """The kind of edit of a data set's captions that leads from one to another; None where there is none of the KINDS:
    several things differ, or nothing, or it is no caption of the data set.
    """
    try:
        before, after = (PARSERS[data](caption) for caption in (source, target))
    except (KeyError, ValueError):
        return None
    names = [name for name in before if before[name] != after[name]]
    if len(names) != 1:
        return None
    (name,) = names
    verb = "add " if before[name] is None else "drop " if after[name] is None else ""
    kind = verb + {"kind": "class"}.get(name, name)
    return kind if kind in KINDS[data] else None


def kind_of_word(data: str, caption: str, word: str) -> str | None:
    """What a word says in a data set's caption, as "colour"; None where nothing, or where it is no caption of it."""
    try:
        said = PARSERS[data](caption)
    except (KeyError, ValueError):
        return None
    return next((kind for kind, each in said.items() if each == word), None)


def pairs(data: str, kind: str, n: int, seed: int = 0) -> Pairs:
    """n random pairs of a kind of edit of a data set's captions; the same seed gives the same pairs.

    DataError: a data set or kind that has none.
    """
    if kind not in KINDS.get(data, ()):
        raise DataError(f"no edits {kind!r} of {data}: expected {KINDS.get(data) or f'a data set of {tuple(KINDS)}'}")
    rng = np.random.default_rng([seed, SHAPE_KINDS.index(kind) if data == "shapes" else 0])
    if data == "shapes":
        drawn = [_shape(kind, rng, s) for s in shapes.scatter(n, "train", seed)]
    else:
        make: Callable = _thing if data == "cifar10" else _face
        drawn = [make(kind, rng) for _ in range(n)]
    sources, targets = ([pair[i] for pair in drawn] for i in (0, 1))
    dropped = kind.startswith("drop ")
    return Pairs(sources, targets, None if dropped else kind.removeprefix("add "))
