"""The grammars of the two real datasets: attributes -> sentence, and the sentence back -> attributes.

Every sentence uses only words of `unet.vocabulary` and can be read back without loss, so that an edited caption can be
checked against what it names. (The shapes have their own grammar in `shapes`.)
"""

import random
import re
from dataclasses import dataclass, fields, replace
from functools import cache

from unet.vocabulary import BEARDS, CLASSES, COLOURS, LIGHTS, PEOPLE

LONGEST = 20  # words a caption may have
EXAMPLES = {  # captions that show what a model of the dataset can draw
    "shapes": ("a photo of a large red circle on a blue background", "a photo of a small green cross"),
    "scenes": ("a photo of a gray cat on a red couch", "a photo of a house with a flag on a mountain"),
    "cifar10": ("a photo of a brown horse on a green background", "a photo of a red car on a white background"),
    "celeba": ("a photo of a smiling young woman with blond hair", "a photo of an old man with gray hair"),
}  # fmt: skip


def examples(data: str) -> list[str]:
    """Captions to sample from a model of this dataset. ValueError: a dataset without."""
    if data not in EXAMPLES:
        raise ValueError(f"no example captions of the dataset {data!r}: give --prompts, each in quotes")
    return list(EXAMPLES[data])


# ---- CIFAR-10 --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thing:
    """What a caption says of a CIFAR-10 image; None for what it leaves out."""

    kind: str
    colour: str | None = None
    background: str | None = None
    light: str | None = None


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _join(*words: str | None) -> str:
    return " ".join(word for word in words if word)


def thing_sentence(thing: Thing, background_first: bool = False) -> str:
    """A [dark] photo of a [white] horse [on a green background], or: a photo of a green background with a white horse.

    Without a background both orders are the same sentence.
    """
    photo = _article(_join(thing.light, "photo of"))
    thing_words = _article(_join(thing.colour, thing.kind))
    if thing.background is None:
        return _join(photo, thing_words)
    place = _article(f"{thing.background} background")
    return _join(photo, place, "with", thing_words) if background_first else _join(photo, thing_words, "on", place)


_COLOUR = "|".join(COLOURS)
_THING = re.compile(
    rf"a (?:(?P<light>{'|'.join(LIGHTS)}) )?photo of (?:an? (?P<first>{_COLOUR}) background with )?"
    rf"an? (?:(?P<colour>{_COLOUR}) )?(?P<kind>{'|'.join(CLASSES)})(?: on an? (?P<last>{_COLOUR}) background)?"
)


def parse_thing(sentence: str) -> Thing:
    """The attributes that a sentence of the CIFAR-10 grammar states. Raises ValueError for any other sentence."""
    if match := _THING.fullmatch(sentence):
        thing = Thing(match["kind"], match["colour"], match["first"] or match["last"], match["light"])
        if sentence in (thing_sentence(thing), thing_sentence(thing, background_first=True)):
            return thing
    example = thing_sentence(Thing("horse", "white", "green"))
    raise ValueError(f"{sentence!r} is no sentence of the CIFAR-10 grammar, such as {example!r}")


@cache
def thing_captions(thing: Thing) -> tuple[str, ...]:
    """The captions that training draws from, the fullest first: half of the time the full one."""
    full = thing_sentence(thing)
    other = (
        thing_sentence(thing, background_first=True),
        thing_sentence(replace(thing, light=None)),
        thing_sentence(replace(thing, colour=None)),
        thing_sentence(replace(thing, background=None)),
        thing_sentence(Thing(thing.kind)),
    )
    other = tuple(sentence for sentence in dict.fromkeys(other) if sentence != full)
    return (full,) * max(1, len(other)) + other


# ---- CelebA ----------------------------------------------------------------------------------------------------------

AGES, STYLES, HAIR_COLOURS = ("young", "old"), ("wavy", "straight"), ("black", "blond", "brown", "gray")
FEATURES, WORN = ("bangs", "eyeglasses", "earrings"), ("hat", "necktie", "lipstick")
WITH_ARTICLE = ("hat", "necktie", *BEARDS)  # words that take an article
DROPPED_FIRST = ("lipstick", "earrings", "bangs", "style", "necktie")  # left out where LONGEST words don't suffice


@dataclass(frozen=True)
class Face:
    """What a caption says of a face; None or False for what it leaves out."""

    person: str
    smiling: bool = False
    age: str | None = None
    bald: bool = False
    style: str | None = None
    hair: str | None = None
    beard: str | None = None
    bangs: bool = False
    eyeglasses: bool = False
    earrings: bool = False
    hat: bool = False
    necktie: bool = False
    lipstick: bool = False


def _items(face: Face) -> tuple[list[str], list[str]]:
    """What comes after "with", and what comes after "wearing"."""
    hair = _join(face.style, face.hair, "hair") if face.style or face.hair else None
    features = [hair, face.beard, *(name for name in FEATURES if getattr(face, name))]
    worn = [name for name in WORN if getattr(face, name)]
    with_items, wearing = ([_article(i) if i in WITH_ARTICLE else i for i in items if i] for items in (features, worn))
    return with_items, wearing


def face_sentence(face: Face, order: random.Random | None = None) -> str:
    """A photo of a smiling young woman with wavy hair and eyeglasses wearing a hat; order shuffles its lists."""
    looks = _join(face.smiling and "smiling", face.age, face.bald and "bald", face.person)
    features, worn = _items(face)
    if order:
        order.shuffle(features)
        order.shuffle(worn)
    lists = [f"{verb} {' and '.join(items)}" for verb, items in (("with", features), ("wearing", worn)) if items]
    return _join("a photo of", _article(looks), *lists)


def _parts(sentence: str) -> tuple[str, list[str], list[str]]:
    """Who, what comes after "with", and what comes after "wearing", things in alphabetical order."""
    head, _, worn = sentence.partition(" wearing ")
    who, _, features = head.partition(" with ")
    return who, sorted(features.split(" and ")), sorted(worn.split(" and "))


_HAIR = re.compile(rf"(?:({'|'.join(STYLES)}) )?(?:({'|'.join(HAIR_COLOURS)}) )?hair")


def _read_item(item: str) -> dict[str, str | bool | None]:
    """The attributes that one thing after "with" or "wearing" states."""
    name = item.removeprefix("a ")
    if match := _HAIR.fullmatch(item):
        return {"style": match[1], "hair": match[2]}
    if name in BEARDS:
        return {"beard": name}
    return {name: True} if name in FEATURES + WORN else {}


def parse_face(sentence: str) -> Face:
    """The attributes that a sentence of the CelebA grammar states, things in any order. Else raises ValueError."""
    who, features, worn = _parts(sentence)
    *looks, person = who.split() or [""]
    age = next((word for word in looks if word in AGES), None)
    attributes = {"smiling": "smiling" in looks, "bald": "bald" in looks, "age": age}
    for item in features + worn:
        attributes |= _read_item(item)
    face = Face(person, **attributes)
    if person in PEOPLE and _parts(face_sentence(face)) == (who, features, worn):
        return face
    example = face_sentence(Face("woman", smiling=True, age="young", hair="blond", eyeglasses=True))
    raise ValueError(f"{sentence!r} is no sentence of the CelebA grammar, such as {example!r}")


def _fitted(face: Face) -> Face:
    """The face with as much left out as a caption of LONGEST words needs."""
    for name in DROPPED_FIRST:
        if len(face_sentence(face).split()) <= LONGEST:
            return face
        face = replace(face, **{name: getattr(Face, name)})
    return face


def _thinned(face: Face, rng: random.Random) -> Face:
    """The face with each attribute left out half of the time."""
    return Face(face.person, **{f.name: getattr(face, f.name) for f in fields(face)[1:] if rng.random() < 0.5})


def face_captions(face: Face, seed: int) -> tuple[str, ...]:
    """The captions that training draws from: the fullest, the same in another order, three that leave out things."""
    rng, face = random.Random(seed), _fitted(face)
    shorter = (face_sentence(_thinned(face, rng), rng) for _ in range(3))
    return (face_sentence(face), face_sentence(face, rng), *shorter)
