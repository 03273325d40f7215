"""The grammars of the two real datasets: attributes -> sentence, and the sentence back -> attributes.

Every sentence uses only words of `unet.vocabulary` and can be read back without loss, so that an edited caption can be
checked against what it names. (The shapes have their own grammar in `shapes`.)
"""

import random
from collections.abc import Collection, Iterable
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


def first_of(group: Collection[str], words: Iterable[str]) -> str | None:
    """The first of the words that is one of a group; None where none is."""
    return next((word for word in words if word in group), None)


def joined(*words: str | None) -> str:
    """The words that there are, with spaces between."""
    return " ".join(word for word in words if word)


def article(*words: str | None) -> str:
    """The words with "a" or "an" before them."""
    said = joined(*words)
    return f"{'an' if said[0] in 'aeiou' else 'a'} {said}"


def thing_sentence(thing: Thing, background_first: bool = False) -> str:
    """A [dark] photo of a [white] horse [on a green background], or: a photo of a green background with a white horse.

    Without a background both orders are the same sentence.
    """
    photo, words = article(thing.light, "photo of"), article(thing.colour, thing.kind)
    if thing.background is None:
        return joined(photo, words)
    place = article(thing.background, "background")
    return joined(photo, place, "with", words) if background_first else joined(photo, words, "on", place)


def parse_thing(sentence: str) -> Thing:
    """The attributes that a sentence of the CIFAR-10 grammar states. Raises ValueError for any other sentence."""
    words = sentence.split()
    kind, light = (first_of(group, words) for group in (CLASSES, LIGHTS))
    before = dict(zip(words[1:], words, strict=False))  # word -> the word before it
    colours = [before.get(noun) for noun in (kind, "background")]
    thing = Thing(kind, *(colour if colour in COLOURS else None for colour in colours), light)
    if kind and sentence in (thing_sentence(thing), thing_sentence(thing, background_first=True)):
        return thing
    example = thing_sentence(Thing("horse", "white", "green"))
    raise ValueError(f"{sentence!r} is no sentence of the CIFAR-10 grammar, such as {example!r}")


@cache
def thing_captions(thing: Thing) -> tuple[str, ...]:
    """The captions that training draws from, the fullest first: half of the time the full one."""
    shorter = [replace(thing, **{name: None}) for name in ("light", "colour", "background")]
    full, turned = thing_sentence(thing), thing_sentence(thing, background_first=True)
    other = dict.fromkeys([turned, *map(thing_sentence, [*shorter, Thing(thing.kind)])])  # each once
    other = tuple(sentence for sentence in other if sentence != full)
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


def face_sentence(face: Face, order: random.Random | None = None) -> str:
    """A photo of a smiling young woman with wavy hair and eyeglasses wearing a hat; order shuffles its lists."""
    looks = article(face.smiling and "smiling", face.age, face.bald and "bald", face.person)
    hair = joined(face.style, face.hair, "hair") if face.style or face.hair else None
    features, worn = ([name for name in names if getattr(face, name)] for names in (FEATURES, WORN))
    sentence = ["a photo of", looks]
    for verb, names in (("with", [hair, face.beard, *features]), ("wearing", worn)):
        items = [article(name) if name in WITH_ARTICLE else name for name in names if name]
        if order:
            order.shuffle(items)
        sentence += [verb, " and ".join(items)] if items else []
    return joined(*sentence)


def _parts(sentence: str) -> tuple[str, list[str], list[str]]:
    """Who, what comes after "with", and what comes after "wearing", things in alphabetical order."""
    head, _, worn = sentence.partition(" wearing ")
    who, _, features = head.partition(" with ")
    return who, sorted(features.split(" and ")), sorted(worn.split(" and "))


def parse_face(sentence: str) -> Face:
    """The attributes that a sentence of the CelebA grammar states, things in any order. Else raises ValueError."""
    words = sentence.split()
    groups = {"person": PEOPLE, "age": AGES, "style": STYLES, "hair": HAIR_COLOURS, "beard": BEARDS}
    said = {name: first_of(group, words) for name, group in groups.items()}
    face = Face(**said, **{name: name in words for name in ("smiling", "bald", *FEATURES, *WORN)})
    if face.person and _parts(face_sentence(face)) == _parts(sentence):
        return face
    example = face_sentence(Face("woman", smiling=True, age="young", hair="blond", eyeglasses=True))
    raise ValueError(f"{sentence!r} is no sentence of the CelebA grammar, such as {example!r}")


def face_captions(face: Face, seed: int) -> tuple[str, ...]:
    """The captions that training draws from: the fullest, the same in another order, three that leave out things.

    As much is left out of all as a caption of LONGEST words needs; of the three each attribute half of the time.
    """
    rng = random.Random(seed)
    for name in DROPPED_FIRST:
        if len(face_sentence(face).split()) <= LONGEST:
            break
        face = replace(face, **{name: getattr(Face, name)})

    def shorter() -> str:
        said = {f.name: getattr(face, f.name) for f in fields(face)[1:] if rng.random() < 0.5}
        return face_sentence(Face(face.person, **said), rng)

    return (face_sentence(face), face_sentence(face, rng), *(shorter() for _ in range(3)))
