"""Every word a caption may use, grouped by what it tells; one word is one token.

The grammars in `ddpm.data` build their captions from these groups, and the tokenizer knows their union. A checkpoint
keeps its own word list, so a word added here never changes the meaning of weights that exist.
"""

GRAMMAR = ("a", "an", "and", "background", "in", "no", "of", "on", "photo", "the", "wearing", "with")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "gray", "black")
SIZES = ("small", "large")
SHAPES = ("circle", "square", "triangle", "cross")
LIGHTS = ("dark", "bright")
SCENES = (
    "house", "hotel", "tent", "tree", "tiger", "couch", "bicycle", "butterfly", "flower", "flag", "mountain", "beach",
    "field", "riding", "spikey",
)  # fmt: skip
CLASSES = ("airplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PEOPLE = ("man", "woman")
LOOKS = ("smiling", "young", "old", "bald")
HAIR = ("hair", "blond", "wavy", "straight", "bangs")
BEARDS = ("beard", "goatee", "mustache")
THINGS = ("eyeglasses", "earrings", "hat", "lipstick", "necktie")

GROUPS = (GRAMMAR, COLOURS, SIZES, SHAPES, LIGHTS, SCENES, CLASSES, PEOPLE, LOOKS, HAIR, BEARDS, THINGS)
VOCABULARY: tuple[str, ...] = tuple(dict.fromkeys(word for group in GROUPS for word in group))
