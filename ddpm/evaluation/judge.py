"""Does an image show what its caption says? One answer for each kind of word, for each dataset's own grammar.

Shapes are read exactly. For the others a classifier gives the words of a scene, the class of a CIFAR-10 image or the
attributes of a face; the colour words of CIFAR-10 are read off the pixels by the rule that wrote the captions
(`colours.describe`).
"""

from collections.abc import Callable

import numpy as np

from unet.vocabulary import CLASSES

from ..data import scenes, shapes
from ..data.base import DataError
from ..data.captions import Words, parse_face, parse_thing
from ..data.celeba import HAIR, YES_OR_NO
from ..data.colours import describe
from .classifier import HEADS, PARTS

Probabilities = dict[str, np.ndarray]
"""The output of a classifier: head -> probabilities (N, classes), and of each pixel's part (N, parts, H, W)."""

ATTRIBUTE = {word: name for name, word in (YES_OR_NO | HAIR).items()} | {"bald": "Bald"}
PARSERS: dict[str, Callable[[str], Words]] = {
    "shapes": shapes.parse,
    "scenes": lambda caption: {
        kind: (kind if word is True else word or None) for kind, word in scenes.parse(caption).items()
    },
    "cifar10": parse_thing,
    "celeba": parse_face,
}


def judged(
    name: str, images: np.ndarray, prompts: list[str], probabilities: Probabilities | None = None
) -> dict[str, np.ndarray]:
    """Kind of word -> (N,) 1.0 where the image shows the prompt's word, 0.0 where not, nan where the prompt has none.

    name: the dataset whose grammar the prompts follow. images: uint8 (N, 3, H, W). probabilities: of a classifier, for
    cifar10 with the head "class", for celeba with the 40 attributes, each (no, yes); shapes need none.
    ValueError: a sentence of another grammar; DataError: a dataset without a judge.
    """
    if name not in PARSERS:
        raise DataError(f"nothing judges images of {name!r}: expected {', '.join(PARSERS)}")
    said = [PARSERS[name](prompt) for prompt in prompts]
    if name == "celeba":
        holds = {attribute: np.asarray(p)[:, 1] > 0.5 for attribute, p in probabilities.items()}
        rows = [face_shown(words, {k: bool(v[i]) for k, v in holds.items()}) for i, words in enumerate(said)]
    else:
        seen = words_seen(name, images, said, probabilities)
        rows = [
            {kind: found[kind] == word for kind, word in words.items() if word}
            for words, found in zip(said, seen, strict=True)
        ]
    kinds = dict.fromkeys(kind for row in rows for kind in row)
    return {kind: np.array([row.get(kind, np.nan) for row in rows], dtype=float) for kind in kinds}


def words_seen(name: str, images: np.ndarray, said: list[Words], probabilities: Probabilities | None) -> list[Words]:
    """What each image shows; the colours of CIFAR-10 are those that a thing of the class said can have."""
    if name == "shapes":
        return [vars(reading) for reading in shapes.read(images)]
    best = {head: np.asarray(values).argmax(axis=1) for head, values in probabilities.items()}
    if name == "cifar10":
        things = describe(images, np.array([CLASSES.index(words["class"]) for words in said]))
        return [thing | {"class": CLASSES[i]} for thing, i in zip(things, best["class"], strict=True)]
    classes = {head: [head if word == "yes" else word for word in words] for head, words in HEADS["scenes"].items()}
    return [{head: words[best[head][i]] for head, words in classes.items()} for i in range(len(images))]


def face_shown(words: Words, holds: dict[str, bool]) -> dict[str, bool]:
    """Kind of word -> does the image show that of the face? holds: attribute -> whether the image has it."""
    row = {"sex": holds["Male"] == (words["person"] == "man")}
    if words["age"]:
        row["age"] = holds["Young"] == (words["age"] == "young")
    if words["hair"]:
        row["hair"] = holds[ATTRIBUTE[words["hair"]]]
    if words["beard"]:
        row["beard"] = not holds["No_Beard"]
    return row | {word: holds[ATTRIBUTE[word]] for word in ("bald", *YES_OR_NO.values()) if words[word]}


def all_shown(judged: dict[str, np.ndarray]) -> np.ndarray:
    """(n,) bool: the image shows every word of its prompt."""
    return np.stack([answers != 0 for answers in judged.values()]).all(axis=0)


def accuracy(judged: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Kind of word, and "all" words -> {"share" of the images that show it, "n" prompts that have it}."""
    answers = judged | {"all": all_shown(judged).astype(float)}
    return {
        kind: {"share": float(np.nanmean(values)), "n": int((~np.isnan(values)).sum())}
        for kind, values in answers.items()
    }


def places(name: str, images: np.ndarray, probabilities: Probabilities | None = None) -> dict[str, np.ndarray] | None:
    """Kind of word -> bool (N, H, W), the pixels that show what it names; None for a dataset without such a judge.

    Of the shapes it is read exactly, of the scenes a classifier says what each pixel belongs to.
    """
    if name == "shapes":
        inside = np.stack([reading.mask for reading in shapes.read(images)]) > 0.5
        return {"background": ~inside, "size": inside, "colour": inside, "shape": inside}
    if name == "scenes":
        parts = np.asarray(probabilities[PARTS]).argmax(axis=1)
        thing, setting, flag = (parts == scenes.PARTS.index(part) for part in ("thing", "setting", "flag"))
        seats = {"setting": setting, "setting_colour": setting, "spikey": setting}
        return {"thing": thing, "colour": thing, "flag": flag} | seats
    return None
