"""The grammars of the two real datasets: words -> sentence, and the sentence back -> words.

Every sentence uses only words of `unet.vocabulary` and can be read back without loss, so that an edited caption can be
checked against what it names. (The shapes have their own grammar in `shapes`.)
"""

import random
from collections.abc import Collection, Iterable
from functools import cache

from unet.vocabulary import BEARDS, CLASSES, COLOURS, LIGHTS, PEOPLE

Words = dict[str, str | bool | None]
"""What a caption says: kind of word -> the word, or whether it is said; None or False for what it leaves out."""

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


# ---- CIFAR-10 --------------------------------------------------------------------------------------------------------


def thing_sentence(
    name: str,
    colour: str | None = None,
    background: str | None = None,
    light: str | None = None,
    background_first: bool = False,
) -> str:
    """A [dark] photo of a [white] horse [on a green background], or: a photo of a green background with a white horse.

    name: the class. Without a background both orders are the same sentence.
    """
    photo, words = article(light, "photo of"), article(colour, name)
    if background is None:
        return joined(photo, words)
    place = article(background, "background")
    return joined(photo, place, "with", words) if background_first else joined(photo, words, "on", place)


def parse_thing(sentence: str) -> Words:
    """The class, colour, background and light that a sentence of the CIFAR-10 grammar states. Else ValueError."""
    words = sentence.split()
    name, light = (first_of(group, words) for group in (CLASSES, LIGHTS))
    before = dict(zip(words[1:], words, strict=False))  # word -> the word before it
    colour, background = (first_of(COLOURS, [before.get(noun)]) for noun in (name, "background"))
    said = (name, colour, background, light)
    if name and sentence in (thing_sentence(*said), thing_sentence(*said, background_first=True)):
        return dict(zip(("class", "colour", "background", "light"), said, strict=True))
    example = thing_sentence("horse", "white", "green")
    raise ValueError(f"{sentence!r} is no sentence of the CIFAR-10 grammar, such as {example!r}")


@cache
def thing_captions(name: str, colour: str | None, background: str | None, light: str | None) -> tuple[str, ...]:
    """The captions that training draws from, the fullest first: half of the time the full one."""
    full = thing_sentence(name, colour, background, light)
    other = dict.fromkeys([
        thing_sentence(name, colour, background, light, background_first=True),
        thing_sentence(name, colour, background, None),
        thing_sentence(name, None, background, light),
        thing_sentence(name, colour, None, light),
        thing_sentence(name),
    ])  # fmt: skip
    other.pop(full, None)
    return (full,) * max(1, len(other)) + tuple(other)


# ---- CelebA ----------------------------------------------------------------------------------------------------------

AGES, STYLES, HAIR_COLOURS = ("young", "old"), ("wavy", "straight"), ("black", "blond", "brown", "gray")
FEATURES, WORN = ("bangs", "eyeglasses", "earrings"), ("hat", "necktie", "lipstick")
WITH_ARTICLE = ("hat", "necktie", *BEARDS)  # words that take an article
LOOKS = ("smiling", "age", "bald", "style", "hair", "beard", *FEATURES, *WORN)  # what is said of a person, or not
DROPPED_FIRST = ("lipstick", "earrings", "bangs", "style", "necktie")  # left out where LONGEST words don't suffice


def face_sentence(face: Words, order: random.Random | None = None) -> str:
    """A photo of a smiling young woman with wavy hair and eyeglasses wearing a hat; order shuffles its lists.

    face: its "person", and of LOOKS what is said.
    """
    said = {name: face.get(name) for name in LOOKS}
    looks = article(said["smiling"] and "smiling", said["age"], said["bald"] and "bald", face["person"])
    hair = joined(said["style"], said["hair"], "hair") if said["style"] or said["hair"] else None
    features, worn = ([name for name in names if said[name]] for names in (FEATURES, WORN))
    sentence = ["a photo of", looks]
    for verb, names in (("with", [hair, said["beard"], *features]), ("wearing", worn)):
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


def parse_face(sentence: str) -> Words:
    """The person and LOOKS that a sentence of the CelebA grammar states, in any order. Else raises ValueError."""
    words = sentence.split()
    groups = {"person": PEOPLE, "age": AGES, "style": STYLES, "hair": HAIR_COLOURS, "beard": BEARDS}
    face = {name: first_of(groups[name], words) if name in groups else name in words for name in ("person", *LOOKS)}
    if face["person"] and _parts(face_sentence(face)) == _parts(sentence):
        return face
    example = face_sentence({"person": "woman", "smiling": True, "age": "young", "hair": "blond", "eyeglasses": True})
    raise ValueError(f"{sentence!r} is no sentence of the CelebA grammar, such as {example!r}")


def face_captions(face: Words, seed: int) -> tuple[str, ...]:
    """The captions that training draws from: the fullest, the same in another order, three that leave out things.

    As much is left out of all as a caption of LONGEST words needs; of the three each attribute half of the time.
    """
    rng = random.Random(seed)
    for name in DROPPED_FIRST:
        if len(face_sentence(face).split()) <= LONGEST:
            break
        face = face | {name: None}

    def shorter() -> str:
        said = {name: face.get(name) for name in LOOKS if rng.random() < 0.5}
        return face_sentence({"person": face["person"]} | said, rng)

    return (face_sentence(face), face_sentence(face, rng), *(shorter() for _ in range(3)))
