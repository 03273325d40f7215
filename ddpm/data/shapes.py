"""The embedded dataset: one coloured shape on a plain background. Whatever a caption says can be drawn and read off.

`draw` turns attributes into an image, `read` turns an image (a generated one, say) back into attributes, and so every
edit of a caption can be checked against the truth. Combinations of colour, shape and background are divided between the
splits: the test split consists of those that training never shows.
"""

import math
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from einops import rearrange

from unet.vocabulary import SHAPES, SIZES

from .base import Dataset, check_split
from .captions import first_of

SIZE = 16  # pixels
SPLITS = ("train", "test")
PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (214, 39, 40), "green": (44, 160, 60), "blue": (40, 80, 220), "yellow": (245, 215, 50),
    "purple": (150, 60, 180), "white": (240, 240, 240),
}  # fmt: skip
RADII = {"small": 3.0, "large": 5.0}  # pixels
REACH = {"circle": 1.0, "square": 0.8, "triangle": 1.35, "cross": 1.2}  # farthest extent along an axis, in radii


@dataclass(frozen=True)
class Shape:
    """What one image shows. x, y: the centre in pixels from the top left; radius in pixels."""

    shape: str
    colour: str
    background: str
    size: str
    x: float = SIZE / 2
    y: float = SIZE / 2
    radius: float = 0.0

    def __post_init__(self):
        for name, known in (("shape", SHAPES), ("colour", PALETTE), ("background", PALETTE), ("size", SIZES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}: expected one of {', '.join(known)}")
        if self.radius == 0.0:
            object.__setattr__(self, "radius", RADII[self.size])


# ---- captions ------------------------------------------------------------------------------------------------------


@cache  # 30,000 images have 424 different captions
def caption(size: str | None, colour: str | None, shape: str, background: str | None) -> str:
    """The sentence of the grammar: a photo of a [size] [colour] shape [on a colour background]."""
    place = f" on a {background} background" if background else ""
    return " ".join(["a photo of a", *(word for word in (size, colour) if word), shape]) + place


def variants(s: Shape) -> tuple[str, ...]:
    """The captions that training draws from: half of the time the full caption, else something is left out."""
    shorter = (
        caption(None, s.colour, s.shape, s.background),
        caption(s.size, None, s.shape, s.background),
        caption(s.size, s.colour, s.shape, None),
        caption(None, None, s.shape, None),
    )
    return (caption(s.size, s.colour, s.shape, s.background),) * len(shorter) + shorter


def parse(sentence: str) -> dict[str, str | None]:
    """A sentence of the grammar -> {"size", "colour", "shape", "background"}, None for what it leaves out."""
    head, _, place = sentence.removeprefix("a photo of a ").partition(" on a ")
    said = {"size": (head, SIZES), "colour": (head, PALETTE), "shape": (head, SHAPES), "background": (place, PALETTE)}
    parts = {kind: first_of(known, text.split()) for kind, (text, known) in said.items()}
    if parts["shape"] is None or caption(**parts) != sentence:
        example = caption("small", "red", "circle", "blue")
        raise ValueError(f"{sentence!r} is no sentence of the shapes grammar, such as {example!r}")
    return parts


# ---- images ------------------------------------------------------------------------------------------------------


def _box(dx: np.ndarray, dy: np.ndarray, half_width: np.ndarray, half_height: np.ndarray) -> np.ndarray:
    """How much of each pixel an upright box covers, exactly; dx, dy from its centre to the pixels' centres."""
    across, down = half_width - abs(dx) + 0.5, half_height - abs(dy) + 0.5
    return np.clip(across, 0.0, 1.0) * np.clip(down, 0.0, 1.0)


def _covered(shape: str, dx: np.ndarray, dy: np.ndarray, r: np.ndarray) -> np.ndarray:
    """How much of each pixel the shape of radius r covers; y points down. Slanted edges go by their distance."""
    if shape == "square":
        return _box(dx, dy, 0.8 * r, 0.8 * r)
    if shape == "cross":  # two bars, their overlap counted once
        return _box(dx, dy, 0.4 * r, 1.2 * r) + _box(dx, dy, 1.2 * r, 0.4 * r) - _box(dx, dy, 0.4 * r, 0.4 * r)
    if shape == "circle":
        outside = np.hypot(dx, dy) - r
    else:  # an equilateral triangle, pointing up; its inscribed circle has half the radius of its corners
        outside = np.maximum(abs(dx) * np.sqrt(0.75) - dy * 0.5, dy) - 1.35 * r / 2
    return np.clip(0.5 - outside, 0.0, 1.0)


def coverage(shape: str, x, y, radius, size: int = SIZE) -> np.ndarray:
    """How much of each pixel the shape covers, in 0..1: (N, size, size) for x, y, radius of length N (pixels)."""
    x, y, r = (np.asarray(v, dtype=np.float64).reshape(-1, 1, 1) for v in (x, y, radius))
    centres = np.arange(size) + 0.5
    return _covered(shape, centres - x, centres[:, None] - y, r)


def draw(shapes: list[Shape]) -> np.ndarray:
    """Attributes -> images, uint8 (N, 3, 16, 16)."""
    images = np.empty((len(shapes), 3, SIZE, SIZE), dtype=np.uint8)
    for kind in SHAPES:
        rows = [i for i, s in enumerate(shapes) if s.shape == kind]
        group = [shapes[i] for i in rows]
        masks = coverage(kind, [s.x for s in group], [s.y for s in group], [s.radius for s in group])[:, None]
        front = np.array([PALETTE[s.colour] for s in group]).reshape(-1, 3, 1, 1)
        back = np.array([PALETTE[s.background] for s in group]).reshape(-1, 3, 1, 1)
        images[rows] = np.round(masks * front + (1 - masks) * back)
    return images


# ---- the dataset ---------------------------------------------------------------------------------------------------


def combinations(split: str) -> list[tuple[str, str, str]]:
    """All (colour, shape, background) of a split; one in eight belongs to "test", and training never shows it."""
    check_split("shapes", split, SPLITS)
    return [
        (colour, shape, background)
        for (c, colour), (s, shape), (b, background) in product(*map(enumerate, (PALETTE, SHAPES, PALETTE)))
        if c != b and ((c + 2 * s + 3 * b) % 8 == 0) == (split == "test")
    ]


def scatter(n: int, split: str, seed: int) -> list[Shape]:
    """n random attributes of a split: combinations and sizes equally often on average, centres on the pixel grid."""
    pool, drawn = combinations(split), []
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    for choice, big in zip(rng.integers(len(pool), size=n), rng.integers(2, size=n), strict=True):
        colour, shape, background = pool[choice]
        margin = math.ceil(REACH[shape] * RADII[SIZES[big]])
        x, y = rng.integers(margin, SIZE - margin, size=2, endpoint=True)
        drawn.append(Shape(shape, colour, background, SIZES[big], float(x), float(y)))
    return drawn


def shapes(split: str = "train", n: int = 30_000, seed: int = 0) -> Dataset:
    """The embedded dataset, made in seconds from its seed. Raises DataError for an unknown split."""
    drawn = scatter(n, split, seed)
    return Dataset("shapes", draw(drawn), [variants(s) for s in drawn])


# ---- reading an image ---------------------------------------------------------------------------------------------


def _colour_words(colours: np.ndarray, most_distance: float) -> list[str | None]:
    """Colours (N, 3) -> the nearest one's word in the palette, None where it is farther than most_distance."""
    distances = np.linalg.norm(colours[:, None] - list(PALETTE.values()), axis=2)
    return [list(PALETTE)[row.argmin()] if row.min() <= most_distance else None for row in distances]


def _separate(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (N, 3, H, W) -> colours of background and object (N, 3), and the object's mask (N, H, W) in 0..1."""
    border = np.ones(images.shape[2:], dtype=bool)
    border[1:-1, 1:-1] = False
    back = np.median(images[:, :, border], axis=2)
    difference = rearrange(images, "n c h w -> n h w c") - back[:, None, None]
    distance = np.linalg.norm(difference, axis=3)
    inside = distance > 0.85 * np.quantile(distance, 0.98, axis=(1, 2), keepdims=True)
    pairs = zip(difference, inside, strict=True)
    front = np.stack([np.median(d[m], axis=0) if m.any() else np.zeros(3) for d, m in pairs])
    share = np.einsum("nhwc,nc->nhw", difference, front) / np.maximum((front**2).sum(axis=1), 1.0)[:, None, None]
    return back, back + front, np.where(share < 0.15, 0.0, np.minimum(share, 1.0))


def _unit(shape: str) -> tuple[float, float]:
    """Area of the shape of radius 1, and how far its centre of mass lies below its centre, from a fine drawing."""
    fine = coverage(shape, [64], [64], [40], size=128)[0]
    return fine.sum() / 1600, ((np.arange(128) + 0.5) @ fine.sum(axis=1) / fine.sum() - 64) / 40


_AREAS, _DROPS = np.array([_unit(shape) for shape in SHAPES]).T[:, :, None]  # (shapes, 1) each


@dataclass(frozen=True)
class Reading:
    """What `read` sees: words, None where none fits; place and radius; mask (H, W) in 0..1; fit: overlap with it."""

    shape: str | None
    colour: str | None
    background: str | None
    size: str | None
    x: float
    y: float
    radius: float
    fit: float
    mask: np.ndarray


def read(images: np.ndarray, least_fit: float = 0.75, most_distance: float = 60.0) -> list[Reading]:
    """Images, uint8 or float (N, 3, 16, 16) in 0..255 -> what each shows, by drawing every shape over it.

    The mask's area and centre of mass give each candidate's radius and place in closed form; the candidate whose
    drawing overlaps most (intersection over union) is the shape. A word is None where the best overlap is below
    least_fit, or the colour is farther than most_distance (RGB, Euclidean) from every colour of the palette.
    """
    back, front, masks = _separate(images.astype(np.float64))
    pixels = np.arange(images.shape[3]) + 0.5
    area = np.maximum(masks.sum(axis=(1, 2)), 1e-9)
    x, y = (masks.sum(axis=1) @ pixels) / area, (masks.sum(axis=2) @ pixels) / area
    radius = np.sqrt(area / _AREAS)  # (shapes, N), as are the next ones
    centre = y - _DROPS * radius
    drawn = [coverage(shape, x, centre[i], radius[i], images.shape[3]) for i, shape in enumerate(SHAPES)]
    either, both = np.maximum(drawn, masks).sum(axis=(2, 3)), np.minimum(drawn, masks).sum(axis=(2, 3))
    fit = both / np.maximum(either, 1e-9)  # a blank image has neither
    readings, middle = [], sum(RADII.values()) / 2
    words = zip(fit.argmax(axis=0), *(_colour_words(colours, most_distance) for colours in (front, back)), strict=True)
    for i, (best, colour, background) in enumerate(words):
        good = fit[best, i] >= least_fit
        readings.append(Reading(
            shape=SHAPES[best] if good else None,
            colour=None if colour == background else colour,  # a blank image: the colour of no object
            background=background,
            size=SIZES[int(radius[best, i] > middle)] if good else None,
            x=x[i], y=centre[best, i], radius=radius[best, i], fit=fit[best, i], mask=masks[i],
        ))  # fmt: skip
    return readings


def score(images: np.ndarray, prompts: list[str]) -> dict[str, float]:
    """Share of images, uint8 (N, 3, 16, 16), that show their prompt's background, colour, size, shape, and "all"."""
    kinds = ("background", "colour", "size", "shape")
    pairs = list(zip(map(parse, prompts), read(images), strict=True))
    right = np.array([[words[kind] in (None, getattr(reading, kind)) for kind in kinds] for words, reading in pairs])
    return dict(zip(kinds, right.mean(axis=0).tolist(), strict=True)) | {"all": float(right.all(axis=1).mean())}
