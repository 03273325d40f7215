"""Does an image show what its caption says? One answer for each kind of word, for each dataset's own grammar.

Shapes are read exactly. For the others a classifier gives the words of a scene, the class of a CIFAR-10 image or the
attributes of a face; the colour words of CIFAR-10 are read off the pixels by the rule that wrote the captions
(`colours.describe`).
"""

import numpy as np

from unet.vocabulary import CLASSES

from ..data import scenes, shapes
from ..data.base import DataError
from ..data.captions import Face, parse_face, parse_thing
from ..data.celeba import HAIR, YES_OR_NO
from ..data.colours import describe
from .classifier import PARTS, scene_class, scene_heads

Probabilities = dict[str, np.ndarray]
"""The output of a classifier: head -> probabilities (N, classes), and of each pixel's part (N, parts, H, W)."""

ATTRIBUTE = {word: name for name, word in (YES_OR_NO | HAIR).items()} | {"bald": "Bald"}


def judged(
    name: str, images: np.ndarray, prompts: list[str], probabilities: Probabilities | None = None
) -> dict[str, np.ndarray]:
    """Kind of word -> (N,) 1.0 where the image shows the prompt's word, 0.0 where not, nan where the prompt has none.

    name: the dataset whose grammar the prompts follow. images: uint8 (N, 3, H, W). probabilities: of a classifier, for
    cifar10 with the head "class", for celeba with the 40 attributes, each (no, yes); shapes need none.
    ValueError: a sentence of another grammar; DataError: a dataset without a judge.
    """
    if name == "shapes":
        rows = shapes.shown_words(images, prompts)
    elif name == "scenes":
        rows = scenes_shown(prompts, probabilities)
    elif name == "cifar10":
        rows = things_shown(images, prompts, probabilities)
    elif name == "celeba":
        holds = {attribute: np.asarray(p)[:, 1] > 0.5 for attribute, p in probabilities.items()}
        rows = [face_shown(parse_face(p), {k: bool(v[i]) for k, v in holds.items()}) for i, p in enumerate(prompts)]
    else:
        raise DataError(f"nothing judges images of {name!r}: expected shapes, scenes, cifar10 or celeba")
    kinds = dict.fromkeys(kind for row in rows for kind in row)
    return {kind: np.array([row.get(kind, np.nan) for row in rows], dtype=float) for kind in kinds}


def scenes_shown(prompts: list[str], probabilities: Probabilities) -> list[dict[str, bool]]:
    """For each image: kind of word -> does it show the scene's?"""
    heads = scene_heads()
    seen = {head: np.asarray(probabilities[head]).argmax(axis=1) for head in heads}
    rows = []
    for i, prompt in enumerate(prompts):
        words = {head: word for head, word in scenes.parse(prompt).items() if word}
        rows.append({head: heads[head][seen[head][i]] == scene_class(word) for head, word in words.items()})
    return rows


def things_shown(images: np.ndarray, prompts: list[str], probabilities: Probabilities) -> list[dict[str, bool]]:
    """For each image: kind of word -> does it show the one of the thing?"""
    things = [parse_thing(prompt) for prompt in prompts]
    labels = np.array([CLASSES.index(thing.kind) for thing in things])
    right = np.asarray(probabilities["class"]).argmax(axis=1) == labels
    rows = []
    for thing, seen, is_right in zip(things, describe(images, labels), right, strict=True):
        words = {kind: getattr(thing, kind) for kind in ("colour", "background", "light") if getattr(thing, kind)}
        rows.append({"class": is_right} | {kind: getattr(seen, kind) == word for kind, word in words.items()})
    return rows


def face_shown(face: Face, holds: dict[str, bool]) -> dict[str, bool]:
    """Kind of word -> does the image show the one of the face? holds: attribute -> whether the image has it."""
    row = {"sex": holds["Male"] == (face.person == "man")}
    if face.age:
        row["age"] = holds["Young"] == (face.age == "young")
    if face.hair:
        row["hair"] = holds[ATTRIBUTE[face.hair]]
    if face.beard:
        row["beard"] = not holds["No_Beard"]
    return row | {w: holds[ATTRIBUTE[w]] for w in ("bald", *YES_OR_NO.values()) if getattr(face, w)}


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
