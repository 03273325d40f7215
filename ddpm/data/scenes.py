"""Scenes: the lecture's own images, drawn. A cat on a couch, a dog riding on a bicycle, a butterfly on a flower, a
house with a flag on a mountain.

A `Scene` is a frozen record: what a caption names, and free numbers that no caption names (place, size, mirrored or
not, ground line, light). `draw` makes the image, `caption` the sentence, `parse` reads a sentence back. `replace`
changes what is named and keeps every free number: drawing the result is the true edit. One in eight combinations of
thing, colour and setting belongs to the test split; training never shows it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from .base import DataError, Dataset, cached
from .captions import article

SIZE = 32  # pixels, and any multiple of it
FINE = 8  # the drawing is made this many times as large, then averaged down
BUILDINGS = ("house", "hotel", "tent", "car", "tree")
ANIMALS = ("cat", "dog", "tiger")
PLACES = ("mountain", "beach", "field")
PARTS = ("background", "setting", "thing", "flag")  # what a pixel can belong to
SEATS = ("couch", "bicycle", "flower")
FURS = ("white", "gray", "black", "brown")
PAINTS = ("red", "yellow", "green", "blue", "purple", "white")
WINGS = ("orange", "yellow", "purple", "blue", "white")
PETALS = ("red", "pink", "yellow", "purple", "white")
KNOWN: dict[str, tuple[tuple[str, ...], ...]] = {  # setting -> its things, their colours, its own ("red": has none)
    **dict.fromkeys(PLACES, (BUILDINGS, PAINTS, ("red",))),
    "flower": (("butterfly",), WINGS, PETALS),
    **dict.fromkeys(("couch", "bicycle"), (ANIMALS, FURS, PAINTS)),
}
RGB: dict[str, tuple[int, int, int]] = {
    "red": (214, 45, 45), "orange": (245, 140, 30), "yellow": (250, 215, 60), "green": (60, 160, 70),
    "blue": (50, 105, 225), "purple": (145, 70, 190), "pink": (250, 140, 185), "white": (245, 245, 245),
    "gray": (142, 146, 155), "black": (38, 38, 44), "brown": (136, 84, 44),
}  # fmt: skip
INK, CREAM, WHITE, BLACK = (30, 30, 34), (255, 236, 205), (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class Scene:
    """What one image shows.

    thing: one of BUILDINGS (with a place), ANIMALS (on a couch or a bicycle), or "butterfly" (on a flower).
    colour: of the thing; a tiger and a tree have none that a caption names, but keep it for `replace`.
    setting: one of PLACES or SEATS. setting_colour: of couch, bicycle and flower. flag, spikey: of places and flowers.
    x: shift of the thing's middle from the image's, in pixels. scale: of the thing, 1 is usual. mirror: looks left.
    ground: height of the ground line in pixels from the top. light, detail: in 0..1, of sky, wall and small things.
    """

    thing: str
    colour: str
    setting: str
    setting_colour: str = "red"
    flag: bool = False
    spikey: bool = False
    x: float = 0.0
    scale: float = 1.0
    mirror: bool = False
    ground: float = 24.0
    light: float = 0.3
    detail: float = 0.5

    def __post_init__(self):
        if self.setting not in KNOWN:
            raise ValueError(f"setting is {self.setting!r}: expected one of {', '.join(KNOWN)}")
        for name, known in zip(("thing", "colour", "setting_colour"), KNOWN[self.setting], strict=True):
            if (word := getattr(self, name)) not in known:
                raise ValueError(f"{name} is {word!r}: expected one of {', '.join(known)} (setting {self.setting})")


# ---- captions ------------------------------------------------------------------------------------------------------


def sentence(
    thing: str, colour: str | None, setting: str | None, setting_colour: str | None, flag: bool, spikey: bool
) -> str:
    """A sentence of the grammar; what is None or False is not said."""
    words = ["a photo of", article(colour, thing)]
    if flag:
        words.append("with a flag")
    if setting in PLACES:
        words += ["in" if setting == "field" else "on", article(setting)]
    elif setting:
        words += ["riding on" if setting == "bicycle" else "on"]
        words.append(article("spikey" if spikey else None, setting_colour, setting))
    return " ".join(words)


def colour_word(thing: str, colour: str) -> str | None:
    """The colour as a caption says it: None for what has its own."""
    return None if thing in ("tiger", "tree") else colour


def caption(scene: Scene) -> str:
    """The full caption."""
    return variants(scene)[0]


def variants(scene: Scene) -> tuple[str, ...]:
    """The captions that training draws from: half of the time all is said, else something is left out."""
    colour, place = colour_word(scene.thing, scene.colour), scene.setting in PLACES
    thing, setting, second = scene.thing, scene.setting, None if place else scene.setting_colour
    full = sentence(thing, colour, setting, second, scene.flag, scene.spikey)
    shorter = (
        sentence(thing, None, setting, second, scene.flag, scene.spikey),
        sentence(thing, None, setting, None, scene.flag, scene.spikey),
        sentence(thing, colour, setting, second, False, False),
        sentence(thing, colour, None if place else setting, None, scene.flag, scene.spikey),
    )
    return (full,) * len(shorter) + shorter


def parse(text: str) -> dict[str, str | bool | None]:
    """A sentence of the grammar -> thing, colour, setting, setting_colour, flag, spikey; None or False: not said.

    ValueError: no sentence of the grammar.
    """
    words = text.split()
    things, settings = (*BUILDINGS, *ANIMALS, "butterfly"), (*PLACES, *SEATS)
    first = next((i for i, word in enumerate(words) if word in things), None)
    if first is not None:
        before, after = words[:first], words[first + 1 :]
        found = {
            "thing": words[first],
            "colour": next((word for word in before if word in RGB), None),
            "setting": next((word for word in after if word in settings), None),
            "setting_colour": next((word for word in after if word in RGB), None),
            "flag": "flag" in after,
            "spikey": "spikey" in after,
        }
        if sentence(**found) == " ".join(words):
            return found
    raise ValueError(f"{text!r} is no sentence of the scenes, such as 'a photo of a gray cat on a red couch'")


# ---- drawing -------------------------------------------------------------------------------------------------------

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Pen:
    """Draws in the units of one thing: its middle at (0, 0), y upwards; a unit is a pixel of the image of 32 x 32.

    paint: a shape's noun and colour -> the value that is drawn. unit: fine pixels in a unit. sharp: the image is larger
    than 32 x 32 and shows details. x, y: the thing's middle in the image, from the top left. sign: -1 mirrors.
    """

    brush: ImageDraw.ImageDraw
    paint: Callable[[str, Colour], object]
    unit: int
    sharp: bool
    noun: str = "background"
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    sign: int = 1

    def place(self, points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        """Points of the thing -> points of the fine drawing."""
        k = self.unit * self.scale
        return [(self.unit * self.x + self.sign * k * x, self.unit * self.y - k * y) for x, y in points]

    def sides(self, x: float = 0.0, y: float = 0.0) -> tuple["Pen", "Pen"]:
        """Two pens that draw what is symmetric about a point: the left half and the right one."""
        middle = dict(x=self.x + self.sign * self.scale * x, y=self.y - self.scale * y)
        return tuple(replace(self, sign=side * self.sign, **middle) for side in (-1, 1))

    def polygon(self, points: Iterable[tuple[float, float]], colour: Colour) -> None:
        """A filled polygon."""
        self.brush.polygon(self.place(points), fill=self.paint(self.noun, colour))

    def box(self, x_0: float, y_0: float, x_1: float, y_1: float, colour: Colour) -> None:
        """An upright rectangle."""
        self.polygon([(x_0, y_0), (x_1, y_0), (x_1, y_1), (x_0, y_1)], colour)

    def ellipse(self, x: float, y: float, r_x: float, r_y: float, colour: Colour, turn: float = 0.0) -> None:
        """An ellipse, turned by an angle in degrees."""
        c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        ring = [(r_x * math.cos(a), r_y * math.sin(a)) for a in (2 * math.pi * i / 28 for i in range(28))]
        self.polygon([(x + c * u - s * v, y + s * u + c * v) for u, v in ring], colour)

    def line(self, points: Iterable[tuple[float, float]], width: float, colour: Colour) -> None:
        """A line of a width in units."""
        pixels = max(1, round(width * self.unit * self.scale))
        self.brush.line(self.place(points), fill=self.paint(self.noun, colour), width=pixels, joint="curve")

    def ring(self, x: float, y: float, r: float, width: float, colour: Colour) -> None:
        """A circle's outline."""
        ((u, v),), k = self.place([(x, y)]), self.unit * self.scale
        box = (u - k * r, v - k * r, u + k * r, v + k * r)
        self.brush.ellipse(box, outline=self.paint(self.noun, colour), width=round(k * width))


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """A colour between two."""
    return tuple(round(a + share * (b - a)) for a, b in zip(one, other, strict=True))


def backdrop(scene: Scene, pen: Pen) -> None:
    """Sky and ground, wall and floor, or the garden behind a flower."""
    down = -scene.ground
    if scene.setting in SEATS:
        hues = [(225, 190, 200), (190, 215, 235), (200, 225, 190), (235, 222, 180), (215, 200, 235), (200, 205, 205)]
        wall = hues[int(scene.light * 5.999)]
        if scene.setting == "flower":
            wall = blend(wall, (90, 150, 110), 0.45)
        pen.box(0, 0, SIZE, -SIZE, wall)
        floors = {"couch": ((150, 110, 75), (120, 95, 90)), "bicycle": ((110, 112, 118), (150, 140, 125))}
        if scene.setting in floors:
            pen.box(0, down, SIZE, -SIZE, blend(*floors[scene.setting], scene.detail))
        return
    skies = [((110, 175, 245), (200, 230, 255)), ((250, 150, 100), (255, 215, 150)), ((20, 24, 66), (62, 62, 120))]
    high, low = skies[int(scene.light * 2.999)]
    for i in range(8):
        pen.box(0, down * i / 8, SIZE, down * (i + 1) / 8 - 0.2, blend(high, low, i / 7))
    if high[2] < 70:  # the moon and a few stars
        pen.ellipse(5 + 20 * scene.detail, -4, 2.2, 2.2, (250, 240, 190))
        for i in range(7):
            x, y = (i * 9.7 + 40 * scene.detail) % SIZE, -1 - i * 5.3 % 13
            pen.box(x, y, x + 0.6, y + 0.6, (235, 235, 255))
    shade = 0.3 if high[2] < 70 else 0.0
    land = replace(pen, noun=scene.setting, paint=lambda noun, colour: pen.paint(noun, blend(colour, BLACK, shade)))
    if scene.setting == "mountain":
        side = -1 if scene.x > 0 else 1  # the higher peak stands where the thing does not
        peaks = ((16 + side * (7 + 3 * scene.detail), 15, 11), (16 - side * (9 + 3 * scene.detail), 11, 9))
        for x, top, wide in [(x, down + high, wide) for x, high, wide in peaks]:
            land.polygon([(x - wide, down), (x, top), (x + wide, down)], (120, 116, 128))
            snow = top - 0.3 * (top - down)
            cap = [(x - 0.3 * wide, snow), (x, top), (x + 0.3 * wide, snow), (x, snow - 1)]
            if land.sharp:  # a side in the shade, and a ragged edge of the snow
                land.polygon([(x, top), (x + wide, down), (x + 0.2 * wide, down)], (98, 94, 108))
                cap[3:] = [(x + 0.12 * wide, snow - 1.4), (x, snow - 0.2), (x - 0.14 * wide, snow - 1.6)]
            land.polygon(cap, (250, 250, 255))
        land.box(0, down, SIZE, -SIZE, (98, 128, 88))
    elif scene.setting == "beach":
        land.box(0, down + 3.5, SIZE, down, (35, 115, 200))
        if land.sharp:  # waves
            for i in range(6):
                x, y = (i * 7.7 + 29 * scene.detail) % SIZE, down + 1.5 + i % 3 * 0.6
                land.box(x, y, x + 3, y + 0.25, (120, 185, 235))
        land.box(0, down + 0.8, SIZE, down, (165, 215, 240))
        land.box(0, down, SIZE, -SIZE, (240, 215, 150))
    else:
        land.box(0, down, SIZE, -SIZE, (110, 190, 70))
        for i in range(9):
            x = (i * 7.3 + 31 * scene.detail) % SIZE
            y = down - 1.5 - (i * 2.9 + 5 * scene.detail) % (SIZE - scene.ground - 2)
            if land.sharp:  # grass
                for dx in (-1.4, 0, 1.2):
                    land.line([(x + dx, y - 0.8), (x + 1.3 * dx, y + 0.6)], 0.35, (70, 150, 50))
            land.ellipse(x, y, 0.55, 0.55, ((255, 235, 90), WHITE, (250, 120, 150))[i % 3])


# each thing stands on (0, 0)


def draw_house(pen: Pen, colour: Colour, lit: bool) -> None:
    """Walls in its colour, a brown roof with a chimney, a door and a window."""
    glass = (255, 225, 120) if lit else (88, 120, 150)
    pen.box(2.6, 8, 4.3, 13, (120, 70, 60))
    pen.box(-5.5, 0, 5.5, 7.5, colour)
    pen.polygon([(-7, 7.3), (0, 13.5), (7, 7.3)], (128, 62, 46))
    pen.box(-3.6, 0, -0.9, 5, (96, 60, 36))
    if pen.sharp:
        pen.line([(-6.9, 7.5), (6.9, 7.5)], 0.5, (88, 42, 32))
        pen.ellipse(0, 9.7, 1.3, 1.3, CREAM)
        pen.ellipse(0, 9.7, 0.9, 0.9, glass)
        pen.ellipse(-1.5, 2.4, 0.3, 0.3, (240, 200, 90))
        pen.box(0.8, 2.2, 4.6, 6, CREAM)
    pen.box(1.2, 2.6, 4.2, 5.6, glass)
    pen.box(2.5, 2.6, 2.9, 5.6, CREAM if pen.sharp else INK)
    if pen.sharp:
        pen.box(1.2, 3.9, 4.2, 4.3, CREAM)


def draw_hotel(pen: Pen, colour: Colour, lit: bool) -> None:
    """A tower with a flat roof and rows of windows."""
    pen.box(-5, 0, 5, 17, colour)
    pen.box(-5.6, 16.6, 5.6, 18, blend(colour, BLACK, 0.45))
    columns, rows, wide, high = (4, 5, 1.3, 1.5) if pen.sharp else (3, 4, 1.8, 1.8)
    for row, column in product(range(rows), range(columns)):
        x, y = -3.9 + (7.8 - wide) / (columns - 1) * column, 4.6 + (12 / rows) * row
        if pen.sharp:
            pen.box(x - 0.3, y - 0.3, x + wide + 0.3, y + 1.8, CREAM)
        pen.box(x, y, x + wide, y + high, (255, 225, 120) if lit and (row + column) % 3 else (70, 95, 130))
    pen.box(-1.6, 0, 1.6, 3.2, (70, 50, 40))
    if pen.sharp:  # glass doors under a canopy
        for half in pen.sides():
            half.box(0.2, 0, 1.3, 2.8, (150, 190, 215))
        pen.polygon([(-2.6, 3), (-2, 3.9), (2, 3.9), (2.6, 3)], (200, 50, 50))


def draw_tent(pen: Pen, colour: Colour, lit: bool) -> None:
    """A triangle with a dark entrance."""
    pen.polygon([(-8, 0), (0.8, 10.5), (8.5, 0)], colour)
    pen.polygon([(0.8, 10.5), (8.5, 0), (4.4, 0)], blend(colour, BLACK, 0.35))
    pen.polygon([(-3.6, 0), (0.2, 7.2), (2.4, 0)], (255, 215, 120) if lit else INK)
    pen.line([(0.8, 10), (0.8, 12)], 0.6, INK)
    if pen.sharp:  # an open flap, a seam
        pen.polygon([(-3.6, 0), (0.2, 7.2), (-2.2, 1.6), (-2.6, 0)], blend(colour, WHITE, 0.35))
        pen.polygon([(2.4, 0), (0.2, 7.2), (1.2, 1.6), (1.5, 0)], blend(colour, WHITE, 0.35))
        pen.line([(0.8, 10.3), (4.4, 0)], 0.3, blend(colour, BLACK, 0.55))


def draw_car(pen: Pen, colour: Colour, lit: bool) -> None:
    """A body with a cabin, two wheels and a light."""
    pen.polygon([(-5, 5.4), (-3.2, 9), (2.6, 9), (5, 5.4)], colour)
    pen.polygon([(-3.9, 5.6), (-2.6, 8.2), (-0.5, 8.2), (-0.5, 5.6)], (190, 225, 245))
    pen.polygon([(0.3, 5.6), (0.3, 8.2), (2.2, 8.2), (3.9, 5.6)], (190, 225, 245))
    pen.polygon([(-8.5, 2), (-8.5, 4.8), (-7, 5.8), (7.4, 5.8), (8.7, 4.4), (8.7, 2)], colour)
    pen.box(7.6, 3.6, 8.8, 4.8, (255, 250, 180))
    if pen.sharp:  # a door with its handle, a tail light, bumpers
        edge = blend(colour, BLACK, 0.4)
        pen.line([(-2.4, 2.2), (-2.4, 5.4), (2.6, 5.4), (2.6, 2.2)], 0.25, edge)
        pen.box(-2, 4.5, -0.8, 4.9, edge)
        pen.box(-8.6, 3.9, -7.9, 4.9, (170, 30, 30))
        pen.box(-8.8, 1.8, 9, 2.5, (90, 92, 98))
    for x in (-5, 5):
        pen.ellipse(x, 1.9, 2.2, 2.2, INK)
        pen.ellipse(x, 1.9, 0.9, 0.9, (200, 200, 205))


def draw_tree(pen: Pen, *_) -> None:
    """A trunk and a round crown, always green."""
    pen.polygon([(-1.3, 0), (-0.9, 7), (0.9, 7), (1.3, 0)], (104, 70, 40))
    for x, y, r in ((-3, 9.5, 4), (3, 9.5, 4), (0, 13, 4.6), (0, 9.6, 4.2)):
        pen.ellipse(x, y, r, r, (46, 134, 54))
    pen.ellipse(-1.6, 13.4, 1.9, 1.7, (92, 172, 84))
    if pen.sharp:  # clumps of leaves, in the light and in the shade
        for x, y in ((-4.3, 10.4), (2.4, 10.6), (2.2, 14.4)):
            pen.ellipse(x, y, 1.3, 1, (92, 172, 84))
        for x, y in ((-3.4, 7.4), (0, 9.4), (3.8, 7.8), (0.6, 12)):
            pen.ellipse(x, y, 1.4, 0.9, (32, 104, 44))


def draw_flag(pen: Pen) -> None:
    """A pole with a red flag that waves."""
    if pen.sharp:  # larger, with a white stripe
        wave = [(0.3, 0), (2.4, -0.7), (4.6, 0.1), (7.2, -0.5)]
        pen.line([(0, 0), (0, 19)], 0.8, (225, 225, 228))
        for top, low, hue in ((18.6, 13.2, (225, 30, 40)), (16.8, 15, (255, 255, 255))):
            pen.polygon([(x, top + y) for x, y in wave] + [(x, low + y) for x, y in wave[::-1]], hue)
        pen.ellipse(0, 19.2, 0.7, 0.7, (240, 200, 60))
        return
    pen.line([(0, 0), (0, 14)], 0.7, (150, 140, 135))
    pen.polygon([(0.2, 14), (2.6, 13.2), (5.4, 14), (5.4, 10.2), (2.6, 9.4), (0.2, 10.2)], (225, 40, 45))


def draw_animal(pen: Pen, thing: str, fur: Colour) -> None:
    """A sitting animal that looks at us: the head decides between cat, dog and tiger, and so do tail and stripes."""
    if thing == "tiger":
        fur = (240, 140, 35)
    shade, dark = blend(fur, BLACK, 0.25), sum(fur) < 200
    if thing == "dog":
        pen.polygon([(-3.2, 2), (-6.2, 5.4), (-5, 6), (-2.6, 3.6)], shade)
    else:
        tail = [(-2.6, 1), (-5.2, 1.4), (-6, 4), (-5.2, 7)]
        pen.line(tail, 1.3, fur)
        if thing == "tiger":
            pen.line(tail[2:], 1.3, INK)
    pen.ellipse(-0.6, 3.2, 3.5, 3.8, fur)
    pen.box(0.2, 0, 1.6, 4.4, shade)
    pen.box(1.9, 0, 3.2, 4.4, fur)
    if thing == "tiger":
        for y in (0.7, 2.7, 4.7):
            pen.polygon([(-4.4, y), (-4.3, y + 1.3), (-0.8, y + 0.9)], INK)
        for y in (1.2, 3.2):
            pen.box(1.9, y, 3.3, y + 0.8, INK)
    _, head = halves = pen.sides(1.2, 8.6)
    for half in halves:  # ears, behind the face
        if thing == "cat":
            half.polygon([(0.7, 2.2), (3.4, 1.2), (3.1, 5.2)], fur)
            half.polygon([(1.5, 2.2), (2.8, 1.6), (2.7, 4)], (240, 160, 165))
        if thing == "tiger":
            half.ellipse(2.8, 2.8, 1.5, 1.5, fur)
            half.ellipse(2.8, 2.8, 0.7, 0.7, CREAM)
    head.ellipse(0, 0, 3.7, 3.4, fur)
    if thing == "dog":
        ear = blend(fur, BLACK, 0.35) if not dark else (78, 78, 88)
        for half in halves:
            half.ellipse(3.5, -0.6, 1.3, 3.1, ear, -8)
        head.ellipse(0, -1.4, 2.1, 1.7, blend(fur, WHITE, 0.6) if not dark else (120, 120, 128))
        head.ellipse(0, -0.7, 1.0, 0.75, INK)
        head.box(-0.5, -3.6, 0.5, -2.4, (235, 90, 105))
    if thing == "cat":
        head.ellipse(0, -1.1, 0.6, 0.45, (235, 120, 130))
    if thing == "tiger":
        head.ellipse(0, -1.5, 2.2, 1.6, CREAM)
        head.ellipse(0, -0.9, 0.7, 0.5, INK)
        for x in (-1.5, 0, 1.5):
            head.polygon([(x - 0.55, 3.4), (x + 0.55, 3.4), (0.7 * x, 1.5)], INK)
    eye = (150, 220, 90) if thing == "cat" else WHITE if dark else INK
    for half in halves:
        if thing == "tiger":
            half.polygon([(3.8, 0.7), (3.8, -0.5), (2.3, -0.1)], INK)
            half.polygon([(3.5, -1.2), (3.0, -2.3), (2.1, -1.3)], INK)
        if half.sharp:  # whiskers and the mouth
            thin = (215, 215, 220) if dark and thing != "tiger" else INK
            for y in (-0.9, -1.7) if thing != "dog" else ():
                half.line([(1.1, -1.2), (4.3, y)], 0.2, thin)
            half.line([(0, -1.3), (0, -1.7), (0.5, -2.1), (1, -1.8)], 0.25, thin)
        half.ellipse(1.5, 0.5, 0.75, 0.85, eye)
        if eye != INK:
            half.ellipse(1.5, 0.5, 0.35, 0.7, INK)
        if half.sharp:
            half.ellipse(1.7, 0.8, 0.22, 0.22, WHITE)


def draw_couch(pen: Pen, colour: Colour) -> None:
    """Its back and seat; the animal comes before the arms."""
    pen.box(-10, 2, 10, 9.5, blend(colour, BLACK, 0.28))
    pen.box(-9, 1.2, 9, 5, blend(colour, BLACK, 0.1))
    pen.box(-0.2, 1.2, 0.2, 5, blend(colour, BLACK, 0.35))
    if pen.sharp:  # buttons of the back, the edge of the seat
        pen.box(-9, 3.4, 9, 3.7, blend(colour, BLACK, 0.3))
        for x in (-7.5, -4.5, -1.5, 1.5, 4.5, 7.5):
            pen.ellipse(x, 7.2, 0.4, 0.4, blend(colour, BLACK, 0.55))


def draw_arms(pen: Pen, colour: Colour) -> None:
    """The arms and the feet of a couch."""
    for half in pen.sides():
        half.box(7.6, 1, 10.8, 6.6, blend(colour, WHITE, 0.18))
        half.box(8.2, 0, 9.4, 1, (70, 48, 36))
        if half.sharp:
            half.ellipse(9.2, 5.2, 1, 1, blend(colour, BLACK, 0.15))


def draw_bicycle(pen: Pen, colour: Colour) -> None:
    """Two wheels with a frame in its colour, a saddle and a handlebar."""
    for x in (-6, 6):
        if pen.sharp:  # spokes
            for i in range(6):
                dx, dy = 3.5 * math.cos(math.pi * i / 6), 3.5 * math.sin(math.pi * i / 6)
                pen.line([(x - dx, 3.8 - dy), (x + dx, 3.8 + dy)], 0.2, (190, 190, 195))
        pen.ring(x, 3.8, 3.9, 0.9, INK)
        pen.ellipse(x, 3.8, 0.7, 0.7, (160, 160, 165))
    rear = [(-6, 3.8), (-2.8, 8.4), (4.4, 8.4), (0, 3.4), (-6, 3.8)]
    for line in (rear, [(-2.8, 8.4), (0, 3.4)], [(6, 3.8), (4, 10.6)]):
        pen.line(line, 1.2, colour)
    if pen.sharp:  # cranks and pedals
        pen.ring(0, 3.4, 1.3, 0.5, (70, 70, 76))
        pen.line([(-1.4, 1.6), (1.4, 5.2)], 0.5, (70, 70, 76))
        pen.box(-2.3, 1.2, -0.7, 1.8, INK)
        pen.box(0.7, 5, 2.3, 5.6, INK)
    pen.box(-4.8, 8.5, -1.2, 9.5, INK)
    pen.line([(4, 10.6), (6, 11)], 0.9, INK)


def draw_flower(pen: Pen, colour: Colour, spikey: bool, height: float) -> None:
    """A stem with a leaf, and a blossom that stands at `height`: round petals, or thin pointed ones."""
    pen.line([(0.6, -2), (0, height)], 1.1, (48, 130, 56))
    pen.polygon([(0.4, height * 0.35), (4.6, height * 0.35 + 2.6), (2.2, height * 0.35 - 0.6)], (70, 165, 76))
    petals = 12 if spikey else 6
    for i in range(petals):
        a = 2 * math.pi * (i + 0.5) / 12 if spikey else 2 * math.pi * i / 6 + 0.3
        c, s = math.cos(a), math.sin(a)
        if spikey:
            foot = [(2.2 * math.cos(a + side), height + 2.2 * math.sin(a + side)) for side in (-0.32, 0.32)]
            pen.polygon([foot[0], (7.4 * c, height + 7.4 * s), foot[1]], colour)
        else:
            pen.ellipse(3.1 * c, height + 3.1 * s, 2.4, 1.9, colour, math.degrees(a))
        if pen.sharp:
            pen.line([(2 * c, height + 2 * s), (4.6 * c, height + 4.6 * s)], 0.3, blend(colour, BLACK, 0.25))
    if spikey:
        pen.ellipse(0, height, 2.3, 2.3, colour)
    heart = (250, 205, 60) if colour[2] > 90 or colour[1] < 120 else (150, 90, 40)
    pen.ellipse(0, height, 1.7, 1.7, heart)
    for i in range(6 if pen.sharp else 0):  # seeds
        a = i * math.pi / 3
        pen.ellipse(math.cos(a), height + math.sin(a), 0.25, 0.25, blend(heart, BLACK, 0.4))


def draw_butterfly(pen: Pen, colour: Colour) -> None:
    """Four wings with a dark edge, a body and two antennae."""
    for half in pen.sides():
        for shrink, paint in ((0.0, blend(colour, BLACK, 0.65)), (0.75, colour)):
            half.ellipse(3.7 - 0.4 * shrink, 2.7, 4.0 - shrink, 2.9 - shrink, paint, 38)
            half.ellipse(2.7 - 0.3 * shrink, -1.9, 2.7 - shrink, 2.3 - shrink, paint, -35)
        half.line([(0.2, 3), (1.7, 6.6)], 0.5, INK)
        if half.sharp:  # spots, and knobs of the antennae
            half.ellipse(1.7, 6.6, 0.5, 0.5, INK)
            half.ellipse(5, 3.8, 0.9, 0.9, blend(colour, WHITE, 0.7))
            half.ellipse(3.1, -2.3, 0.6, 0.6, blend(colour, BLACK, 0.5))
            half.line([(0.6, 0.8), (4.2, 3)], 0.3, blend(colour, BLACK, 0.5))
    pen.ellipse(0, 0.4, 0.8, 3.6, INK)


def render(scene: Scene, mode: str, paint: Callable[[str, Colour], object], size: int = SIZE) -> Image.Image:
    """The scene from back to front in fine pixels; paint: a shape's noun and colour -> its value.

    DataError: a size that is no multiple of 32.
    """
    if size < SIZE or size % SIZE:
        raise DataError(f"scenes are drawn at 32 x 32 pixels or a multiple such as 64 x 64, not at {size} x {size}")
    image = Image.new(mode, (size * FINE, size * FINE))
    whole = Pen(ImageDraw.Draw(image), paint, FINE * size // SIZE, sharp=size > SIZE)
    backdrop(scene, whole)
    colour, second = RGB[scene.colour], RGB[scene.setting_colour]
    sign, k = -1 if scene.mirror else 1, scene.scale

    def pen(noun: str, y: float, dx: float = 0.0, scale: float = k) -> Pen:
        return replace(whole, noun=noun, x=SIZE / 2 + scene.x + dx * k * sign, y=y, scale=scale, sign=sign)

    if scene.setting in PLACES:
        if scene.flag and not whole.sharp:
            draw_flag(pen("flag", scene.ground + 2.2, dx=-12 if scene.detail < 0.5 else 8.5))
        drawers = dict(house=draw_house, hotel=draw_hotel, tent=draw_tent, car=draw_car, tree=draw_tree)
        drawers[scene.thing](pen(scene.thing, scene.ground + 3), colour, scene.light > 2 / 3)
        if scene.flag and whole.sharp:  # before the thing, on the side where there is more room, flying inwards
            side = -1 if scene.x > 0 else 1
            x = SIZE / 2 + side * (14 - 2 * scene.detail)
            draw_flag(replace(whole, noun="flag", x=x, y=scene.ground + 3.5, sign=-side))
    elif scene.setting == "couch":
        draw_couch(pen("couch", scene.ground + 4), second)
        draw_animal(pen(scene.thing, scene.ground - 0.6 * k, dx=6 * scene.detail - 3.6), scene.thing, colour)
        draw_arms(pen("couch", scene.ground + 4), second)
    elif scene.setting == "bicycle":
        draw_bicycle(pen("bicycle", scene.ground + 3), second)
        draw_animal(pen(scene.thing, scene.ground + 3 - 9.2 * k, dx=-1.6, scale=0.92 * k), scene.thing, colour)
    else:
        height = 6 + 5 * scene.detail
        draw_flower(pen("flower", SIZE - 2), second, scene.spikey, height)
        draw_butterfly(pen("butterfly", SIZE - 2 - (height + 6.2) * k, dx=2.2, scale=0.9 * k), colour)
    return image


def draw(scene: Scene, size: int = SIZE) -> np.ndarray:
    """The image, uint8 (3, size, size), antialiased: the fine pixels averaged. Larger ones show more details."""
    return np.asarray(render(scene, "RGB", lambda _, colour: colour, size).reduce(FINE)).transpose(2, 0, 1)


def parts(scene: Scene, size: int = SIZE) -> np.ndarray:
    """What is at the middle of each pixel, uint8 (size, size): an index of PARTS."""
    names = {scene.thing: "thing", scene.setting: "setting", "flag": "flag"}
    image = render(scene, "L", lambda noun, _: PARTS.index(names.get(noun, "background")), size)
    return np.asarray(image)[FINE // 2 :: FINE, FINE // 2 :: FINE]


# ---- the dataset ---------------------------------------------------------------------------------------------------


@cache
def combinations(split: str) -> list[list[list[tuple[str, str | None, str, str]]]]:
    """All (thing, colour, setting, setting_colour) of a split that a caption can name, by family and by thing.

    The families are the places, the flower, the couch and the bicycle. One in eight combinations belongs to "test".
    DataError: an unknown split.
    """
    if split not in ("train", "test"):
        raise DataError(f"scenes has no split {split!r}: expected 'train' or 'test'")
    found = []
    for settings in (PLACES, ("flower",), ("couch",), ("bicycle",)):
        things, colours, seconds = KNOWN[settings[0]]
        found.append([[] for _ in things])
        for a, thing in enumerate(things):
            named = colours if colour_word(thing, "red") else (None,)
            for (b, colour), (c, setting), (d, second) in product(*map(enumerate, (named, settings, seconds))):
                if ((a + 3 * b + 2 * c + 5 * d) % 8 == 6) == (split == "test"):
                    found[-1][a].append((thing, colour, setting, second))
    return [[rows for rows in family if rows] for family in found]


def scatter(n: int, split: str, seed: int) -> list[Scene]:
    """n random scenes of a split: two fifths show a place, a fifth each a couch, a bicycle and a flower.

    Things of a family come equally often, and so do the combinations of a thing.
    """
    places, *others = combinations(split)
    rng = np.random.default_rng([seed, ("train", "test").index(split)])

    def scene() -> Scene:
        choices = [places, places, *others]
        for _ in ("family", "thing", "combination"):
            choices = choices[rng.integers(len(choices))]
        thing, colour, setting, second = choices
        return Scene(
            thing, colour or str(rng.choice(KNOWN[setting][1])), setting, second,
            flag=setting in PLACES and bool(rng.integers(2)), spikey=setting == "flower" and bool(rng.integers(2)),
            x=rng.uniform(-5.4, 5.4), scale=rng.uniform(0.82, 1.12), mirror=bool(rng.integers(2)),
            ground=rng.uniform(21, 26), light=rng.uniform(), detail=rng.uniform(),
        )  # fmt: skip

    return [scene() for _ in range(n)]


def scenes(data_dir: str | Path, split: str = "train", n: int = 30_000, seed: int = 0, size: int = SIZE) -> Dataset:
    """The dataset, the same from the same seed; its images are kept in data_dir.

    DataError: an unknown split, a size that is no multiple of 32.
    """
    drawn = scatter(n, split, seed)
    name = f"scenes{size if size != SIZE else ''}-{split}"
    bar = tqdm(drawn, name, unit=" images", leave=False, disable=None)
    images = cached(data_dir, name, [n, seed], ("scenes",), lambda: np.stack([draw(scene, size) for scene in bar]))
    return Dataset("scenes", images, [variants(scene) for scene in drawn])
