"""What can be said of a CIFAR-10 image: its pixels get names in CIELAB, then the middle is compared with the border.

Everything is numpy on whole batches; 50,000 images of 32 x 32 take a few seconds. Only clear cases get a word.
"""

from functools import cache

import numpy as np

from unet.vocabulary import CLASSES, COLOURS

from .captions import Words

# ---- names of colours ------------------------------------------------------------------------------------------------

# Four more names that no caption uses: what they count for depends on where they are seen (see `_votes`).
NAMES = (*COLOURS, "charcoal", "silver", "pale", "unclear")
ANY = (0, 999)
RULES = (  # name, hue in degrees (from > to wraps around 0), chroma, lightness. Later rules overrule earlier ones.
    ("red", (350, 46), ANY, ANY), ("orange", (46, 76), ANY, ANY), ("yellow", (76, 100), ANY, ANY),
    ("green", (100, 185), ANY, ANY), ("unclear", (185, 200), ANY, ANY),  # teal: people disagree
    ("blue", (200, 312), ANY, ANY), ("purple", (312, 335), ANY, ANY), ("pink", (335, 350), ANY, ANY),
    ("pink", (330, 45), (18, 60), (58, 100)),
    ("unclear", (76, 100), (0, 45), ANY), ("unclear", (76, 100), ANY, (0, 58)),  # khaki, olive
    ("unclear", (335, 46), (0, 32), (48, 58)),  # between red and pink
    ("brown", (44, 76), ANY, (0, 50)), ("brown", (44, 76), (0, 42), (0, 75)),
    ("brown", (15, 44), (0, 30), (0, 50)), ("brown", (76, 93), (0, 40), (0, 68)),
    ("unclear", (100, 113), (0, 25), ANY), ("unclear", (100, 113), ANY, (75, 100)),
    ("unclear", (44, 105), (0, 35), (75, 100)), ("unclear", (44, 97), (0, 14), (50, 75)),  # cream
    ("unclear", (97, 35), (0, 13), ANY), ("unclear", (300, 35), (0, 15), ANY),
    ("unclear", (200, 300), (0, 18), (0, 40)),  # the sky's reflection on a black car
    ("gray", (0, 360), (0, 9), (0, 60)), ("silver", (0, 360), (0, 9), (60, 72)),
    ("pale", (0, 360), (0, 10), (72, 101)), ("white", (0, 360), (0, 12), (82, 101)),
    ("white", (0, 360), (0, 18), (90, 101)), ("brown", (40, 92), (8, 10), (0, 50)),
    ("charcoal", (0, 360), (0, 8), (17, 27)), ("unclear", (0, 360), (0, 9), (27, 31)),
    ("black", (0, 360), (0, 9), (0, 20)), ("black", (0, 360), (0, 16), (0, 14)), ("black", (0, 360), ANY, (0, 9)),
)  # fmt: skip
# IEC 61966-2-1
LINEAR_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (..., 3) of sRGB values 0..255 (..., 3), white point D65: L in 0..100, a and b around 0 [CIE 15]."""
    value = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = linear @ LINEAR_TO_XYZ.T / LINEAR_TO_XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def name_colours(rgb: np.ndarray) -> np.ndarray:
    """uint8 (...): the position in NAMES of each sRGB colour (..., 3)."""
    light, a, b = np.moveaxis(to_lab(rgb), -1, 0)
    chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360
    names = np.zeros(light.shape, dtype=np.uint8)
    for name, (h_0, h_1), (c_0, c_1), (l_0, l_1) in RULES:
        in_hue = (hue >= h_0) & (hue < h_1) if h_0 < h_1 else (hue >= h_0) | (hue < h_1)
        inside = in_hue & (chroma >= c_0) & (chroma < c_1) & (light >= l_0) & (light < l_1)
        names[inside] = NAMES.index(name)
    return names


# ---- where they are seen ---------------------------------------------------------------------------------------------

LEVELS = 8  # lightness has eight steps, so that a dark car is not hidden by a light road of the same name


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """Bin (name and level of lightness as one number) and lightness of all 262,144 colours of 6 bits a channel."""
    value = np.arange(64) * 4 + 2
    rgb = np.stack(np.meshgrid(value, value, value, indexing="ij"), axis=-1).reshape(-1, 3)
    light = to_lab(rgb)[:, 0].astype(np.float32)
    return name_colours(rgb) * LEVELS + np.minimum(light * LEVELS / 100, LEVELS - 1).astype(np.int32), light


def _areas(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (size, size), sum 1, of the middle, the border and the upper corners.

    A Gaussian around the middle, a fifth of the image wide; a frame an eighth wide, of which the lower edge counts
    half, as there objects stand; the triangles in the two upper corners, where objects seldom reach.
    """
    offset = (np.arange(size) + 0.5) / size - 0.5
    middle = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 0.2**2))
    border, width = np.ones((size, size)), size // 8
    border[-width:] = 0.5
    border[width:-width, width:-width] = 0
    row, side = np.arange(size), np.minimum(np.arange(size), np.arange(size)[::-1])
    corners = (row[:, None] + side < 0.31 * size).astype(float)
    return middle / middle.sum(), border / border.sum(), corners / corners.sum()


def _shares(bins: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(N, names, levels): how much of the weight falls on each name at each lightness; they sum to 1."""
    count, width, counted = len(bins), len(NAMES) * LEVELS, weight > 0
    place = bins[:, counted] + np.arange(count)[:, None] * width
    total = np.bincount(place.ravel(), np.broadcast_to(weight[counted], place.shape).ravel(), count * width)
    return total.reshape(count, len(NAMES), LEVELS)


# ---- what words they give --------------------------------------------------------------------------------------------

PALETTES = {  # the colours that each class may have
    "airplane": "red orange yellow white black",
    "car": "red orange yellow green blue purple pink white gray black",
    "bird": "red orange yellow brown white gray black",
    "cat": "brown white gray black",
    "deer": "brown white",
    "dog": "brown white gray black",
    "frog": "red orange yellow green brown",
    "horse": "brown white gray black",
    "ship": "red orange yellow white black",
    "truck": "red orange yellow green blue white gray black",
}
FURRED, MADE = ("cat", "deer", "dog", "horse"), ("airplane", "car", "ship", "truck")
SHADE = {"charcoal": "black", "pale": "white", "silver": "unclear"}
FUR = {"red": "brown", "orange": "brown", "yellow": "brown"}  # people call foxy and sandy fur brown
SCENERY = ("green", "blue", "purple", "pink", "brown")  # grass, sky, flowers, earth: around what has no such colour
NEUTRAL = ("gray", "black", "charcoal", "silver", "unclear")  # windows and tyres: on made things they weigh half
DARK, BRIGHT = 30.0, 75.0  # mean lightness, of 0..100, below or above which the photo as a whole is called so
GRAY, WHITE = COLOURS.index("gray"), COLOURS.index("white")
# A word for the object needs this share of what the middle has more of than the border; shade is gray or black too.
OBJECT_SHARE = np.array([{"gray": 0.65, "black": 0.60}.get(word, 0.50) for word in COLOURS])


def _votes(kind: str) -> np.ndarray:
    """(names, colours + 1): what a pixel of each name says about an object; the last column is "unclear"."""
    palette, same = PALETTES[kind].split(), SHADE | (FUR if kind in FURRED else {})
    table = np.zeros((len(NAMES), len(COLOURS) + 1))
    for row, name in enumerate(NAMES):
        word = same.get(name, name)
        if word in palette or word not in SCENERY:
            column = COLOURS.index(word) if word in palette else -1
            table[row, column] = 0.5 if kind in MADE and name in NEUTRAL else 1.0
    return table


VOTES = np.stack([_votes(kind) for kind in CLASSES])
BACKGROUND_VOTES = np.eye(len(NAMES), len(COLOURS))
BACKGROUND_VOTES[NAMES.index("silver"), GRAY] = 1


def _background(border: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(N,): the colour of each background, -1 for none: of the border, where the corners agree. Both: `_shares`."""
    border, corners = (shares.sum(axis=2) @ BACKGROUND_VOTES for shares in (border, corners))
    images, best = np.arange(len(border)), border.argmax(axis=1)
    clear = (border[images, best] > 0.50) & (corners[images, best] > 0.40)
    return np.where(clear, best, -1)


def _object(middle: np.ndarray, border: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,): the colour of each object, -1 for none: of what the middle has more of than the border. Both: `_shares`.

    None where it is gray with so much white in the middle that it is rather a white thing in the shade. Animals are
    often photographed from close by: without a visible border the middle alone gives the word, if nearly all agrees.
    """
    excess = np.einsum("nk,nkc->nc", np.maximum(middle - border, 0).sum(axis=2), VOTES[labels])
    middle = np.einsum("nk,nkc->nc", middle.sum(axis=2), VOTES[labels])
    images, best, most = np.arange(len(labels)), excess[:, :-1].argmax(axis=1), middle[:, :-1].argmax(axis=1)
    total = excess[:, :-1].sum(axis=1) + 0.6 * excess[:, -1]  # an unclear pixel speaks against every word, but less
    clear = (total > 0.13) & (excess[images, best] > OBJECT_SHARE[best] * total) & (middle[images, best] > 0.13)
    clear &= ~((best == GRAY) & (middle[:, WHITE] > 0.4 * middle[:, GRAY]))
    may_fill = np.isin(np.array(CLASSES)[labels], (*FURRED, "frog"))
    filled = may_fill & (middle[images, most] > 0.85)
    return np.where(clear, best, np.where(filled, most, -1))


def describe(images: np.ndarray, labels: np.ndarray) -> list[Words]:
    """What can be said of each image: its class, and the colours and the light as far as they are clear.

    images: uint8 (N, 3, 32, 32). labels: (N,), 0..9 in the order of `CLASSES`.
    """
    bins, light = _table()
    red, green, blue = np.moveaxis(images >> 2, 1, 0).astype(np.uint32)
    entry = red << 12 | green << 6 | blue  # each pixel's row in the table
    middle, border, corners = (_shares(bins[entry], weight) for weight in _areas(images.shape[2]))
    columns = labels, _object(middle, border, labels), _background(border, corners), light[entry].mean(axis=(1, 2))
    words, found = (*COLOURS, None), []
    for label, i, j, mean in zip(*columns, strict=True):
        light = "dark" if mean < DARK else "bright" if mean > BRIGHT else None
        found.append({"class": CLASSES[label], "colour": words[i], "background": words[j], "light": light})
    return found
