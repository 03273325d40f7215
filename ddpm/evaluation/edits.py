"""Edits to measure an editor with: caption pairs that differ by one edit, and the truth where it is known.

`edits` edits real images: each with its caption, the caption with one thing changed, and the pixels that an edit should
leave alone. Of the shapes these are known: the edited attributes are drawn at the same place. `pairs` makes caption
pairs for images that a model samples itself, as Prompt-to-Prompt needs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from unet.vocabulary import SHAPES

from ..data import scenes, shapes
from ..data.base import DataError, Dataset
from ..data.captions import AGES, Face, Thing, face_sentence, parse_face, parse_thing, thing_sentence
from ..data.cifar10 import PALETTES

HELD_OUT_SEED = 1  # the datasets draw their shapes with seed 0
RELATIVES = {
    "airplane": "bird", "bird": "airplane", "car": "truck", "truck": "car", "cat": "dog", "dog": "cat",
    "deer": "horse", "horse": "deer", "frog": "bird", "ship": "airplane",
}  # fmt: skip
ATTRIBUTES = {"smiling": "Smiling", "eyeglasses": "Eyeglasses"}  # word of a caption -> CelebA's attribute
EDIT_KINDS = {"shapes": ("colour", "background", "shape"), "cifar10": ("class",), "celeba": tuple(ATTRIBUTES)}

SWAPS = {"cat": "dog", "horse": "deer", "car": "truck", "ship": "airplane"}
BACKGROUNDS = ("white", "blue", "green", "gray", "brown", "black")  # those that many images of CIFAR-10 have
HAIR = ("black", "blond", "brown")


# ---- edits of real images ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edits:
    """n edits of one kind.

    images: uint8 (n, 3, H, W). sources, targets: the captions. keep: bool (n, H, W), the pixels to leave alone.
    head, wanted: the head of a classifier that shows whether an edit was made, and the class it should give.
    """

    images: np.ndarray
    sources: list[str]
    targets: list[str]
    keep: np.ndarray
    head: str
    wanted: list[str]


def other(word: str, words: list[str], *taken: str) -> str:
    """The next of the words that is neither this one nor one of `taken`."""
    later = words[words.index(word) + 1 :] + words[: words.index(word)]
    return next(w for w in later if w not in taken)


def changed(s: shapes.Shape, kind: str) -> shapes.Shape:
    """The same image with another colour, background or shape; object and background stay different."""
    words = list(shapes.SHAPES if kind == "shape" else shapes.PALETTE)
    return replace(s, **{kind: other(getattr(s, kind), words, s.colour, s.background)})


def of_shapes(kind: str, n: int, split: str) -> Edits:
    """Edits of n images that no dataset has."""
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
    """n edits of a kind of images of the dataset, which is of that split. DataError: an unknown kind."""
    kinds = EDIT_KINDS.get(dataset.name, ())
    if kind not in kinds:
        raise DataError(f"{dataset.name} has no edits {kind!r}: expected one of {', '.join(kinds) or 'none'}")
    if dataset.name == "shapes":
        return of_shapes(kind, n, split)
    return of_class(dataset, n) if dataset.name == "cifar10" else of_attribute(dataset, kind, n)


# ---- pairs for images that a model samples ------------------------------------------------------------------------


@dataclass(frozen=True)
class CaptionPairs:
    """n pairs of one kind of edit.

    sources, targets: the captions. changed: the kind of word that an edit must show, or, if removed, no longer show, as
    `judge.judged` calls it; None where the image need not change.
    """

    sources: list[str]
    targets: list[str]
    changed: str | None
    removed: bool = False


def another(rng: np.random.Generator, words, *taken: str) -> str:
    """A random word that is none of `taken`."""
    return str(rng.choice([word for word in words if word not in taken]))


def _shape(kind: str, rng: np.random.Generator, s: shapes.Shape) -> tuple[str, str]:
    """Object and background stay different."""
    before = {name: getattr(s, name) for name in ("size", "colour", "shape", "background")}
    words = SHAPES if kind == "shape" else shapes.PALETTE
    taken = (s.shape,) if kind == "shape" else (s.colour, s.background)
    return shapes.caption(**before), shapes.caption(**before | {kind: another(rng, words, *taken)})


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


# Kind of edit -> whether a scene can be edited so.
SCENE_PAIRS = {
    "thing": lambda s: s.setting != "flower",
    "colour": lambda s: scenes.colour_word(s.thing, s.colour),
    "setting": lambda s: s.setting in scenes.PLACES,
    "setting_colour": lambda s: s.setting in scenes.SEATS,
    "add flag": lambda s: s.setting in scenes.PLACES and not s.flag,
    "add spikey": lambda s: s.setting == "flower" and not s.spikey,
    "add colour": lambda s: scenes.colour_word(s.thing, s.colour),
    "drop colour": lambda s: scenes.colour_word(s.thing, s.colour),
    "drop flag": lambda s: s.flag,
}


@dataclass(frozen=True)
class SceneEdit:
    """A scene, the true edit of it, and their captions, which differ by the edit alone."""

    before: scenes.Scene
    after: scenes.Scene
    source: str
    target: str


def _scene(kind: str, rng: np.random.Generator, before: scenes.Scene) -> SceneEdit:
    """Of a swapped thing the colour is named if both things have one."""
    verb, _, name = kind.rpartition(" ")
    words = {
        "thing": scenes.BUILDINGS if before.setting in scenes.PLACES else scenes.ANIMALS,
        "colour": scenes.colours_of(before.setting),
        "setting": scenes.PLACES,
        "setting_colour": scenes.setting_colours(before.setting),
    }
    new = verb != "drop" if name in ("flag", "spikey") else another(rng, words[name], getattr(before, name))
    after = before if kind == "drop colour" else scenes.replace(before, **{name: new})
    captions = [scenes.parse(scenes.caption(scene)) for scene in (before, after)]
    if kind == "thing" and None in (colours := [caption["colour"] for caption in captions]) and any(colours):
        captions = [caption | {"colour": None} for caption in captions]
    if name == "colour" and verb:  # where the colour is not named, nothing says that it is another one
        captions[verb == "drop"] |= {"colour": None}
    return SceneEdit(before, after, *(scenes.sentence(**caption) for caption in captions))


def scene_edits(kind: str, n: int, seed: int = 0) -> list[SceneEdit]:
    """n edits of a kind of scenes in combinations that training never shows."""
    rng, found = np.random.default_rng([seed, list(SCENE_PAIRS).index(kind)]), []
    for scene in scenes.scatter(40 * n, "test", seed + HELD_OUT_SEED):
        if len(found) < n and SCENE_PAIRS[kind](scene):
            found.append(_scene(kind, rng, scene))
    return found


PAIR_KINDS: dict[str, tuple[str, ...]] = {
    "shapes": ("colour", "background", "shape"),
    "scenes": tuple(SCENE_PAIRS),
    "cifar10": ("class", "colour", "background"),
    "celeba": ("smiling", "eyeglasses", "hair", "age"),
}


PARSERS: dict[str, Callable[[str], dict]] = {
    "shapes": shapes.parse,
    "scenes": lambda caption: {
        name: (name if word is True else word or None) for name, word in scenes.parse(caption).items()
    },
    "cifar10": lambda caption: vars(parse_thing(caption)),
    "celeba": lambda caption: vars(parse_face(caption)),
}


def kind_between(data: str, source: str, target: str) -> str | None:
    """The kind of edit of a dataset's captions that leads from one to another; None where it is none of
    PAIR_KINDS: several things differ, or nothing, or it is no caption of the dataset.
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
    return kind if kind in PAIR_KINDS[data] else None


def kind_of_word(data: str, caption: str, word: str) -> str | None:
    """What a word says in a dataset's caption, as "colour"; None where nothing, or where it is no caption of it."""
    try:
        words = PARSERS[data](caption)
    except (KeyError, ValueError):
        return None
    return next((kind for kind, each in words.items() if each == word), None)


def pairs(data: str, kind: str, n: int, seed: int = 0) -> CaptionPairs:
    """n random pairs of a kind of edit of a dataset's captions; the same seed gives the same pairs.

    DataError: a dataset or kind that has none.
    """
    if kind not in PAIR_KINDS.get(data, ()):
        known = PAIR_KINDS.get(data) or f"a dataset of {tuple(PAIR_KINDS)}"
        raise DataError(f"no edits {kind!r} of {data}: expected {known}")
    rng = np.random.default_rng([seed, PAIR_KINDS["shapes"].index(kind) if data == "shapes" else 0])
    if data == "scenes":
        captions = [(edit.source, edit.target) for edit in scene_edits(kind, n, seed)]
    elif data == "shapes":
        captions = [_shape(kind, rng, s) for s in shapes.scatter(n, "train", seed)]
    else:
        make: Callable = _thing if data == "cifar10" else _face
        captions = [make(kind, rng) for _ in range(n)]
    sources, targets = ([pair[i] for pair in captions] for i in (0, 1))
    changed = None if kind == "drop colour" else kind.split()[-1]  # the colour may stay as it is
    return CaptionPairs(sources, targets, changed, removed=kind == "drop flag")
