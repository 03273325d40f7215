"""Every word a caption may use, grouped by meaning; one word is one token.

The grammars in `ddpm.data` build their captions from these groups; a tokenizer has a token for each word of their
union. A checkpoint keeps its own word list, so a word added here never changes the meaning of weights that exist: they
get a new token for it when they are trained on captions that have it (`train.py --init`).
"""

import string
import unicodedata

GRAMMAR = ("a", "an", "and", "background", "in", "no", "of", "on", "photo", "the", "wearing", "with")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "gray", "black")
SIZES = ("small", "large")
SHAPES = ("circle", "square", "triangle", "cross")
LIGHTS = ("dark", "bright")
SCENES = (
    "house", "hotel", "tent", "tree", "tiger", "couch", "bicycle", "butterfly", "flower", "flag", "mountain", "beach",
    "field",
)  # fmt: skip
MANNERS = ("riding", "spikey")
CLASSES = ("airplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PEOPLE = ("man", "woman")
LOOKS = ("smiling", "young", "old", "bald")
HAIR = ("hair", "blond", "wavy", "straight", "bangs")
BEARDS = ("beard", "goatee", "mustache")
THINGS = ("eyeglasses", "earrings", "hat", "lipstick", "necktie")

GROUPS = (GRAMMAR, COLOURS, SIZES, SHAPES, SCENES, MANNERS, LIGHTS, CLASSES, PEOPLE, LOOKS, HAIR, BEARDS, THINGS)
PUNCTUATION = string.punctuation + "“”‘’„«»…–—"


def split_words(prompt: str) -> list[str]:
    """The words of a prompt in lower case, without full stops, commas, quotation marks and the like around them.

    An accent may be typed as a character of its own or as part of its letter (Unicode's NFC).
    """
    words = unicodedata.normalize("NFC", prompt).lower().split()
    return [word for word in (word.strip(PUNCTUATION) for word in words) if word]


# read as a prompt is, so that "Corgi" and "polar bear" in a group are the words corgi, polar and bear of prompts
VOCABULARY: tuple[str, ...] = tuple(dict.fromkeys(split_words(" ".join(word for group in GROUPS for word in group))))
