"""Edits to measure an editor with: caption pairs that differ by one edit, and the truth where it is known.

`edits` edits real images: each with its caption, the caption with one thing changed, and the pixels that an edit should
leave alone. Of the shapes these are known: the edited attributes are drawn at the same place. `pairs` makes caption
pairs for images that a model samples itself, as Prompt-to-Prompt needs; `scene_edits` those of scenes with their truth.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np

from unet.vocabulary import SHAPES

from ..data import scenes, shapes
from ..data.base import DataError, Dataset
from ..data.captions import AGES, Words, face_sentence, thing_sentence
from ..data.colours import PALETTES
from .judge import PARSERS

HELD_OUT_SEED = 1  # the datasets draw their shapes with seed 0
RELATIVES = {
    "airplane": "bird", "bird": "airplane", "car": "truck", "truck": "car", "cat": "dog", "dog": "cat",
    "deer": "horse", "horse": "deer", "frog": "bird", "ship": "airplane",
}  # fmt: skip
SWAPPED = ("cat", "horse", "car", "ship")  # the classes that `pairs` replaces by their relatives
BACKGROUNDS = ("white", "blue", "green", "gray", "brown", "black")  # those that many images of CIFAR-10 have
NEXT_HAIR = {"black": "blond", "blond": "brown", "brown": "black"}
SCENE_PAIRS: dict[str, Callable[[scenes.Scene], object]] = {  # kind of edit -> whether a scene can be edited so
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
PAIR_KINDS: dict[str, tuple[str, ...]] = {
    "shapes": ("colour", "background", "shape"),
    "scenes": tuple(SCENE_PAIRS),
    "cifar10": ("class", "colour", "background"),
    "celeba": ("smiling", "eyeglasses", "hair", "age"),
}
EDIT_KINDS = {"shapes": PAIR_KINDS["shapes"], "cifar10": ("class",), "celeba": ("smiling", "eyeglasses", "hair")}
SENTENCES: dict[str, Callable[[Words], str]] = {  # what `PARSERS` give, back to a caption
    "cifar10": lambda words: thing_sentence(*words.values()),
    "celeba": face_sentence,
}


def another(rng: np.random.Generator, words: Iterable[str], *taken: str) -> str:
    """A random word that is none of `taken`."""
    return str(rng.choice([word for word in words if word not in taken]))


def changed(s: shapes.Shape, kind: str, rng: np.random.Generator | None = None) -> shapes.Shape:
    """The same image with the next, or a random, colour, background or shape; object and background stay different."""
    words, taken = (SHAPES, (s.shape,)) if kind == "shape" else (tuple(shapes.PALETTE), (s.colour, s.background))
    if rng is not None:
        return replace(s, **{kind: another(rng, words, *taken)})
    place = words.index(getattr(s, kind))
    return replace(s, **{kind: next(word for word in words[place:] + words[:place] if word not in taken)})


class Edits(NamedTuple):
    """n edits of one kind.

    images: uint8 (n, 3, H, W). sources, targets: the captions. keep: bool (n, H, W), the pixels to leave alone: all of
    them where nobody knows which ones an edit may change.
    """

    images: np.ndarray
    sources: list[str]
    targets: list[str]
    keep: np.ndarray


def edits(dataset: Dataset, kind: str, n: int) -> Edits:
    """n edits of a kind of images of the dataset, a test split; fewer where it has fewer. DataError: an unknown kind.

    Shapes: images that no dataset has. CIFAR-10: each thing becomes a related one, colours and background stay. CelebA:
    the first n faces that lack an attribute get it, or whose hair has a colour get another one.
    """
    kinds = EDIT_KINDS.get(dataset.name, ())
    if kind not in kinds:
        raise DataError(f"{dataset.name} has no edits {kind!r}: expected one of {', '.join(kinds) or 'none'}")
    if dataset.name == "shapes":
        before = shapes.scatter(n, "test", HELD_OUT_SEED)
        after = [changed(s, kind) for s in before]
        images = shapes.draw(before)
        keep = (images == shapes.draw(after)).all(axis=1)
        return Edits(images, *([shapes.variants(s)[0] for s in group] for group in (before, after)), keep)
    sources = [captions[0] for captions in dataset.captions]
    said = [PARSERS[dataset.name](source) for source in sources]
    rows = [i for i, words in enumerate(said) if new_word(kind, words)][:n]
    targets = [SENTENCES[dataset.name](said[i] | {kind: new_word(kind, said[i])}) for i in rows]
    images = dataset.images[rows]
    return Edits(images, [sources[i] for i in rows], targets, np.ones((len(rows), *images.shape[2:]), dtype=bool))


def new_word(kind: str, words: Words) -> str | bool | None:
    """What an edit of a photograph says in the place of its own word; None where there is nothing to change."""
    if kind == "class":
        return RELATIVES[words["class"]]
    return NEXT_HAIR.get(words["hair"]) if kind == "hair" else words[kind] is not True


@dataclass(frozen=True)
class CaptionPairs:
    """n pairs of one kind of edit of a dataset.

    sources, targets: the captions. changed: the kind of word that an edit must show, or, if removed, no longer show, as
    `judge.judged` calls it; None where the image need not change. places: of faces, kind of word -> (H, W) bool, where
    real ones show it.
    """

    data: str
    kind: str
    sources: list[str]
    targets: list[str]
    changed: str | None = None
    removed: bool = False
    places: dict[str, np.ndarray] | None = None


def pairs(data: str, kind: str, n: int, seed: int = 0) -> CaptionPairs:
    """n random pairs of a kind of edit of a dataset's captions; the same seed gives the same pairs.

    DataError: a dataset or kind that has none.
    """
    if kind not in PAIR_KINDS.get(data, ()):
        raise DataError(f"no edits {kind!r} of {data}: expected {PAIR_KINDS.get(data, tuple(PAIR_KINDS))}")
    rng = np.random.default_rng([seed, PAIR_KINDS["shapes"].index(kind) if data == "shapes" else 0])
    if data == "scenes":
        captions = [(edit.source, edit.target) for edit in scene_edits(kind, n, seed)]
    elif data == "shapes":
        drawn = shapes.scatter(n, "train", seed)
        captions = [(shapes.variants(s)[0], shapes.variants(changed(s, kind, rng))[0]) for s in drawn]
    else:
        drawn = [(thing_edit if data == "cifar10" else face_edit)(kind, rng) for _ in range(n)]
        captions = [(SENTENCES[data](words), SENTENCES[data](words | {kind: new})) for words, new in drawn]
    sources, targets = ([pair[i] for pair in captions] for i in (0, 1))
    word = None if kind == "drop colour" else kind.split()[-1]  # the colour may stay as it is
    return CaptionPairs(data, kind, sources, targets, word, removed=kind == "drop flag")


def thing_edit(kind: str, rng: np.random.Generator) -> tuple[Words, str]:
    """What a caption of CIFAR-10 says, and a new word. Both classes of a swap may have the colour."""
    old = another(rng, SWAPPED)
    colours, relative = PALETTES[old].split(), RELATIVES[old]
    colour = another(rng, [word for word in colours if word in PALETTES[relative].split()])
    words = {"class": old, "colour": colour, "background": another(rng, BACKGROUNDS, colour)}
    if kind == "class":
        return words, relative
    return words, another(rng, colours if kind == "colour" else BACKGROUNDS, colour, words["background"])


def face_edit(kind: str, rng: np.random.Generator) -> tuple[Words, str | bool]:
    """What a caption of CelebA says, and a new word, or that something is there."""
    groups = {"age": AGES, "hair": tuple(NEXT_HAIR), "person": ("man", "woman")}
    words = {name: another(rng, group) for name, group in groups.items()}
    return words, another(rng, groups[kind], words[kind]) if kind in words else True


class SceneEdit(NamedTuple):
    """A scene, the true edit of it, and their captions, which differ by the edit alone."""

    before: scenes.Scene
    after: scenes.Scene
    source: str
    target: str


def scene_edits(kind: str, n: int, seed: int = 0) -> list[SceneEdit]:
    """n edits of a kind of scenes in combinations that training never shows.

    Of a swapped thing the colour is named if both things have one.
    """
    rng, found = np.random.default_rng([seed, list(SCENE_PAIRS).index(kind)]), []
    verb, _, name = kind.rpartition(" ")
    fitting = filter(SCENE_PAIRS[kind], scenes.scattered(200 + 40 * n, "test", seed + HELD_OUT_SEED))
    for before in islice(fitting, n):
        words = dict(zip(("thing", "colour", "setting_colour"), scenes.KNOWN[before.setting], strict=True))
        words["setting"] = scenes.PLACES
        new = verb != "drop" if name in ("flag", "spikey") else another(rng, words[name], getattr(before, name))
        after = before if kind == "drop colour" else scenes.replace(before, **{name: new})
        captions = [scenes.parse(scenes.caption(scene)) for scene in (before, after)]
        if kind == "thing" and None in [caption["colour"] for caption in captions]:
            captions = [caption | {"colour": None} for caption in captions]
        if name == "colour" and verb:  # where the colour is not named, nothing says that it is another one
            captions[verb == "drop"] |= {"colour": None}
        found.append(SceneEdit(before, after, *(scenes.sentence(**caption) for caption in captions)))
    return found


def words_of(data: str, caption: str) -> Words:
    """What a dataset's caption says, kind -> word; nothing where it is no caption of it."""
    try:
        return PARSERS[data](caption)
    except (KeyError, ValueError):
        return {}


def kind_between(data: str, source: str, target: str) -> str | None:
    """The kind of edit of a dataset's captions that leads from one to another; None where it is none of
    PAIR_KINDS: several things differ, or nothing, or it is no caption of the dataset.
    """
    before, after = (words_of(data, caption) for caption in (source, target))
    names = [name for name in before if before[name] != after.get(name)] if after else []
    if len(names) != 1:
        return None
    (name,) = names
    kind = ("add " if before[name] is None else "drop " if after[name] is None else "") + name
    return kind if kind in PAIR_KINDS[data] else None


def kind_of_word(data: str, caption: str, word: str) -> str | None:
    """What a word says in a dataset's caption, as "colour"; None where nothing, or where it is no caption of it."""
    return next((kind for kind, each in words_of(data, caption).items() if each == word), None)
