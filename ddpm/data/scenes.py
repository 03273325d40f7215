"""Scenes: the lecture's own images, drawn. A cat on a couch, a dog riding on a bicycle, a butterfly on a flower, a
house with a flag on a mountain.

A `Scene` is a frozen record: what a caption names, and free numbers that no caption names (place, size, mirrored or
not, ground line, light). `draw` makes the image, `caption` the sentence, `parse` reads a sentence back. `replace`
changes what is named and keeps every free number: drawing the result is the true edit. One in eight combinations of
thing, colour and setting belongs to the test split; training never shows it.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from .base import DataError, Dataset, cached
from .captions import article

SIZE = 32  # pixels
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
RGB: dict[str, tuple[int, int, int]] = {
    "red": (214, 45, 45), "orange": (245, 140, 30), "yellow": (250, 215, 60), "green": (60, 160, 70),
    "blue": (50, 105, 225), "purple": (145, 70, 190), "pink": (250, 140, 185), "white": (245, 245, 245),
    "gray": (142, 146, 155), "black": (38, 38, 44), "brown": (136, 84, 44),
}  # fmt: skip
INK, CREAM = (30, 30, 34), (255, 236, 205)


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
        things = {**dict.fromkeys(PLACES, BUILDINGS), "couch": ANIMALS, "bicycle": ANIMALS, "flower": ("butterfly",)}
        if self.setting not in things:
            raise ValueError(f"setting is {self.setting!r}: expected one of {', '.join(things)}")
        for name, known in (
            ("thing", things[self.setting]), ("colour", colours_of(self.setting)),
            ("setting_colour", setting_colours(self.setting)),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}: expected one of {', '.join(known)} (setting {self.setting})"
                )


def colours_of(setting: str) -> tuple[str, ...]:
    """The colours that a thing can have in a setting."""
    return PAINTS if setting in PLACES else WINGS if setting == "flower" else FURS


def setting_colours(setting: str) -> tuple[str, ...]:
    """The colours that a setting can have; a place has none of its own, and keeps "red"."""
    return ("red",) if setting in PLACES else PETALS if setting == "flower" else PAINTS


def replace(scene: Scene, **named: object) -> Scene:
    """The scene with something named changed and every free number kept: the true edit. ValueError: see `Scene`."""
    return dataclasses.replace(scene, **named)


# ---- captions ------------------------------------------------------------------------------------------------------


def sentence(
    thing: str, colour: str | None, setting: str | None, setting_colour: str | None, flag: bool, spikey: bool
) -> str:
    """A sentence of the grammar; what is None is not said."""
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
    place, colour = scene.setting in PLACES, colour_word(scene.thing, scene.colour)
    thing, setting, flag, spikey = scene.thing, scene.setting, scene.flag, scene.spikey
    setting_colour = None if place else scene.setting_colour
    full = sentence(thing, colour, setting, setting_colour, flag, spikey)
    shorter = (
        sentence(thing, None, setting, setting_colour, flag, spikey),
        sentence(thing, None, setting, None, flag, spikey),
        sentence(thing, colour, setting, setting_colour, False, False),
        sentence(thing, colour, None if place else setting, None, flag, spikey),
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
Shape = tuple[str, Callable[[ImageDraw.ImageDraw, object], None], Colour]


class Pen:
    """Collects shapes in the units of one thing: its middle at (0, 0), y upwards, mirrored and scaled at the end."""

    def __init__(self, shapes: list[Shape], noun: str, x: float, y: float, scale: float = 1.0, mirror: bool = False):
        self.shapes, self.noun, self.x, self.y = shapes, noun, x, y
        self.scale, self.sign = scale, -1 if mirror else 1

    def place(self, points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        """Points of the thing -> points of the fine drawing."""
        k = FINE * self.scale
        return [(FINE * self.x + self.sign * k * x, FINE * self.y - k * y) for x, y in points]

    def polygon(self, points: Iterable[tuple[float, float]], colour: Colour) -> None:
        """A filled polygon."""
        corners = self.place(points)
        self.shapes.append((self.noun, lambda d, c: d.polygon(corners, fill=c), colour))

    def box(self, x_0: float, y_0: float, x_1: float, y_1: float, colour: Colour) -> None:
        """An upright rectangle."""
        self.polygon([(x_0, y_0), (x_1, y_0), (x_1, y_1), (x_0, y_1)], colour)

    def ellipse(self, x: float, y: float, r_x: float, r_y: float, colour: Colour, turn: float = 0.0) -> None:
        """An ellipse, turned by an angle in degrees."""
        c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        angles = [2 * math.pi * i / 28 for i in range(28)]
        ring = [(r_x * math.cos(a), r_y * math.sin(a)) for a in angles]
        self.polygon([(x + c * u - s * v, y + s * u + c * v) for u, v in ring], colour)

    def line(self, points: Iterable[tuple[float, float]], width: float, colour: Colour) -> None:
        """A line of a width in pixels."""
        corners, pixels = self.place(points), max(1, round(width * FINE * self.scale))
        self.shapes.append((self.noun, lambda d, c: d.line(corners, fill=c, width=pixels, joint="curve"), colour))

    def ring(self, x: float, y: float, r: float, width: float, colour: Colour) -> None:
        """A circle's outline."""
        ((u, v),) = self.place([(x, y)])
        k, pixels = FINE * self.scale * r, max(1, round(width * FINE * self.scale))
        box = (u - k, v - k, u + k, v + k)
        self.shapes.append((self.noun, lambda d, c: d.ellipse(box, outline=c, width=pixels), colour))


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """A colour between two."""
    return tuple(round(a + share * (b - a)) for a, b in zip(one, other, strict=True))


def darker(colour: Colour, share: float = 0.3) -> Colour:
    """The colour in the shade."""
    return blend(colour, (0, 0, 0), share)


def lighter(colour: Colour, share: float = 0.35) -> Colour:
    """The colour in the light."""
    return blend(colour, (255, 255, 255), share)


def backdrop(scene: Scene, shapes: list[Shape]) -> None:
    """Sky and ground, wall and floor, or the garden behind a flower."""
    pen, down = Pen(shapes, "background", 0, 0), -scene.ground
    if scene.setting in SEATS:
        hues = [(225, 190, 200), (190, 215, 235), (200, 225, 190), (235, 222, 180), (215, 200, 235), (200, 205, 205)]
        wall = hues[int(scene.light * 5.999)]
        if scene.setting == "flower":
            wall = blend(wall, (90, 150, 110), 0.45)
        pen.box(0, 0, SIZE, -SIZE, wall)
        if scene.setting == "couch":
            pen.box(0, down, SIZE, -SIZE, blend((150, 110, 75), (120, 95, 90), scene.detail))
        elif scene.setting == "bicycle":
            pen.box(0, down, SIZE, -SIZE, blend((110, 112, 118), (150, 140, 125), scene.detail))
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
    night = darker if high[2] < 70 else (lambda colour, share=0: colour)
    if scene.setting == "mountain":
        land = Pen(shapes, "mountain", 0, 0)
        side = -1 if scene.x > 0 else 1  # the higher peak stands where the thing does not
        peaks = ((16 + side * (7 + 3 * scene.detail), 15, 11), (16 - side * (9 + 3 * scene.detail), 11, 9))
        for x, top, wide in [(x, down + high, wide) for x, high, wide in peaks]:
            land.polygon([(x - wide, down), (x, top), (x + wide, down)], night((120, 116, 128)))
            snow = top - 0.3 * (top - down)
            cap = [(x - 0.3 * wide, snow), (x, top), (x + 0.3 * wide, snow), (x, snow - 1)]
            land.polygon(cap, night((250, 250, 255)))
        land.box(0, down, SIZE, -SIZE, night((98, 128, 88)))
    elif scene.setting == "beach":
        land = Pen(shapes, "beach", 0, 0)
        land.box(0, down + 3.5, SIZE, down, night((35, 115, 200)))
        land.box(0, down + 0.8, SIZE, down, night((165, 215, 240)))
        land.box(0, down, SIZE, -SIZE, night((240, 215, 150)))
    else:
        land = Pen(shapes, "field", 0, 0)
        land.box(0, down, SIZE, -SIZE, night((110, 190, 70)))
        for i in range(9):
            x = (i * 7.3 + 31 * scene.detail) % SIZE
            y = down - 1.5 - (i * 2.9 + 5 * scene.detail) % (SIZE - scene.ground - 2)
            land.ellipse(x, y, 0.55, 0.55, night([(255, 235, 90), (255, 255, 255), (250, 120, 150)][i % 3]))


# each thing stands on (0, 0)


def draw_house(pen: Pen, colour: Colour, lit: bool) -> None:
    """Walls in its colour, a brown roof with a chimney, a door and a window."""
    pen.box(2.6, 8, 4.3, 13, (120, 70, 60))
    pen.box(-5.5, 0, 5.5, 7.5, colour)
    pen.polygon([(-7, 7.3), (0, 13.5), (7, 7.3)], (128, 62, 46))
    pen.box(-3.6, 0, -0.9, 5, (96, 60, 36))
    pen.box(1.2, 2.6, 4.2, 5.6, (255, 225, 120) if lit else (88, 120, 150))
    pen.box(2.5, 2.6, 2.9, 5.6, INK)


def draw_hotel(pen: Pen, colour: Colour, lit: bool) -> None:
    """A tower with a flat roof and rows of windows."""
    pen.box(-5, 0, 5, 17, colour)
    pen.box(-5.6, 16.6, 5.6, 18, darker(colour, 0.45))
    for row in range(4):
        for column in range(3):
            x, y = -3.9 + 3 * column, 4.6 + 3 * row
            pen.box(x, y, x + 1.8, y + 1.8, (255, 225, 120) if lit and (row + column) % 3 else (70, 95, 130))
    pen.box(-1.6, 0, 1.6, 3.2, (70, 50, 40))


def draw_tent(pen: Pen, colour: Colour, lit: bool) -> None:
    """A triangle with a dark entrance."""
    pen.polygon([(-8, 0), (0.8, 10.5), (8.5, 0)], colour)
    pen.polygon([(0.8, 10.5), (8.5, 0), (4.4, 0)], darker(colour, 0.35))
    pen.polygon([(-3.6, 0), (0.2, 7.2), (2.4, 0)], (255, 215, 120) if lit else INK)
    pen.line([(0.8, 10), (0.8, 12)], 0.6, INK)


def draw_car(pen: Pen, colour: Colour, lit: bool) -> None:
    """A body with a cabin, two wheels and a light."""
    pen.polygon([(-5, 5.4), (-3.2, 9), (2.6, 9), (5, 5.4)], colour)
    pen.polygon([(-3.9, 5.6), (-2.6, 8.2), (-0.5, 8.2), (-0.5, 5.6)], (190, 225, 245))
    pen.polygon([(0.3, 5.6), (0.3, 8.2), (2.2, 8.2), (3.9, 5.6)], (190, 225, 245))
    pen.polygon([(-8.5, 2), (-8.5, 4.8), (-7, 5.8), (7.4, 5.8), (8.7, 4.4), (8.7, 2)], colour)
    pen.box(7.6, 3.6, 8.8, 4.8, (255, 250, 180))
    for x in (-5, 5):
        pen.ellipse(x, 1.9, 2.2, 2.2, INK)
        pen.ellipse(x, 1.9, 0.9, 0.9, (200, 200, 205))


def draw_tree(pen: Pen, colour: Colour, lit: bool) -> None:
    """A trunk and a round crown, always green."""
    del colour, lit
    pen.polygon([(-1.3, 0), (-0.9, 7), (0.9, 7), (1.3, 0)], (104, 70, 40))
    for x, y, r in ((-3, 9.5, 4), (3, 9.5, 4), (0, 13, 4.6), (0, 9.6, 4.2)):
        pen.ellipse(x, y, r, r, (46, 134, 54))
    pen.ellipse(-1.6, 13.4, 1.9, 1.7, (92, 172, 84))


def draw_flag(pen: Pen) -> None:
    """A pole with a red flag that waves."""
    pen.line([(0, 0), (0, 14)], 0.7, (150, 140, 135))
    pen.polygon([(0.2, 14), (2.6, 13.2), (5.4, 14), (5.4, 10.2), (2.6, 9.4), (0.2, 10.2)], (225, 40, 45))


def draw_animal(pen: Pen, thing: str, fur: Colour) -> None:
    """A sitting animal that looks at us: the head decides between cat, dog and tiger, and so do tail and stripes."""
    if thing == "tiger":
        fur = (240, 140, 35)
    shade, dark = darker(fur, 0.25), sum(fur) < 200
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
    x, y = 1.2, 8.6
    if thing == "cat":
        for side in (-1, 1):
            pen.polygon([(x + 0.7 * side, y + 2.2), (x + 3.4 * side, y + 1.2), (x + 3.1 * side, y + 5.2)], fur)
            inner = [(x + 1.5 * side, y + 2.2), (x + 2.8 * side, y + 1.6), (x + 2.7 * side, y + 4)]
            pen.polygon(inner, (240, 160, 165))
    if thing == "tiger":
        for side in (-1, 1):
            pen.ellipse(x + 2.8 * side, y + 2.8, 1.5, 1.5, fur)
            pen.ellipse(x + 2.8 * side, y + 2.8, 0.7, 0.7, CREAM)
    pen.ellipse(x, y, 3.7, 3.4, fur)
    if thing == "dog":
        ear = darker(fur, 0.35) if not dark else (78, 78, 88)
        for side in (-1, 1):
            pen.ellipse(x + 3.5 * side, y - 0.6, 1.3, 3.1, ear, -8 * side)
        pen.ellipse(x, y - 1.4, 2.1, 1.7, lighter(fur, 0.6) if not dark else (120, 120, 128))
        pen.ellipse(x, y - 0.7, 1.0, 0.75, INK)
        pen.box(x - 0.5, y - 3.6, x + 0.5, y - 2.4, (235, 90, 105))
    if thing == "cat":
        pen.ellipse(x, y - 1.1, 0.6, 0.45, (235, 120, 130))
    if thing == "tiger":
        pen.ellipse(x, y - 1.5, 2.2, 1.6, CREAM)
        pen.ellipse(x, y - 0.9, 0.7, 0.5, INK)
        for dx in (-1.5, 0, 1.5):
            pen.polygon([(x + dx - 0.55, y + 3.4), (x + dx + 0.55, y + 3.4), (x + 0.7 * dx, y + 1.5)], INK)
        for side in (-1, 1):
            pen.polygon([(x + 3.8 * side, y + 0.7), (x + 3.8 * side, y - 0.5), (x + 2.3 * side, y - 0.1)], INK)
            pen.polygon([(x + 3.5 * side, y - 1.2), (x + 3.0 * side, y - 2.3), (x + 2.1 * side, y - 1.3)], INK)
    eye = (150, 220, 90) if thing == "cat" else (255, 255, 255) if dark else INK
    for side in (-1, 1):
        pen.ellipse(x + 1.5 * side, y + 0.5, 0.75, 0.85, eye)
        if eye != INK:
            pen.ellipse(x + 1.5 * side, y + 0.5, 0.35, 0.7, INK)


def draw_couch(pen: Pen, colour: Colour) -> None:
    """Its back and seat; the animal comes before the arms."""
    pen.box(-10, 2, 10, 9.5, darker(colour, 0.28))
    pen.box(-9, 1.2, 9, 5, darker(colour, 0.1))
    pen.box(-0.2, 1.2, 0.2, 5, darker(colour, 0.35))


def draw_arms(pen: Pen, colour: Colour) -> None:
    """The arms and the feet of a couch."""
    for side in (-1, 1):
        pen.box(7.6 * side, 1, 10.8 * side, 6.6, lighter(colour, 0.18))
        pen.box(8.2 * side, 0, 9.4 * side, 1, (70, 48, 36))


def draw_bicycle(pen: Pen, colour: Colour) -> None:
    """Two wheels with a frame in its colour, a saddle and a handlebar."""
    for x in (-6, 6):
        pen.ring(x, 3.8, 3.9, 0.9, INK)
        pen.ellipse(x, 3.8, 0.7, 0.7, (160, 160, 165))
    rear = [(-6, 3.8), (-2.8, 8.4), (4.4, 8.4), (0, 3.4), (-6, 3.8)]
    for line in (rear, [(-2.8, 8.4), (0, 3.4)], [(6, 3.8), (4, 10.6)]):
        pen.line(line, 1.2, colour)
    pen.box(-4.8, 8.5, -1.2, 9.5, INK)
    pen.line([(4, 10.6), (6, 11)], 0.9, INK)


def draw_flower(pen: Pen, colour: Colour, spikey: bool, height: float) -> None:
    """A stem with a leaf, and a blossom that stands at `height`: round petals, or thin pointed ones."""
    pen.line([(0.6, -2), (0, height)], 1.1, (48, 130, 56))
    pen.polygon([(0.4, height * 0.35), (4.6, height * 0.35 + 2.6), (2.2, height * 0.35 - 0.6)], (70, 165, 76))
    if spikey:
        for i in range(12):
            a = 2 * math.pi * (i + 0.5) / 12
            tip, side = (7.4 * math.cos(a), height + 7.4 * math.sin(a)), 0.16
            foot = [(2.2 * math.cos(a + s), height + 2.2 * math.sin(a + s)) for s in (-side * 2, side * 2)]
            pen.polygon([foot[0], tip, foot[1]], colour)
        pen.ellipse(0, height, 2.3, 2.3, colour)
    else:
        for i in range(6):
            a = 2 * math.pi * i / 6 + 0.3
            pen.ellipse(3.1 * math.cos(a), height + 3.1 * math.sin(a), 2.4, 1.9, colour, math.degrees(a))
    pen.ellipse(0, height, 1.7, 1.7, (250, 205, 60) if colour[2] > 90 or colour[1] < 120 else (150, 90, 40))


def draw_butterfly(pen: Pen, colour: Colour) -> None:
    """Four wings with a dark edge, a body and two antennae."""
    for side in (-1, 1):
        for shrink, paint in ((0.0, darker(colour, 0.65)), (0.75, colour)):
            pen.ellipse(3.7 * side - 0.4 * shrink * side, 2.7, 4.0 - shrink, 2.9 - shrink, paint, 38 * side)
            pen.ellipse(2.7 * side - 0.3 * shrink * side, -1.9, 2.7 - shrink, 2.3 - shrink, paint, -35 * side)
        pen.line([(0.2 * side, 3), (1.7 * side, 6.6)], 0.5, INK)
    pen.ellipse(0, 0.4, 0.8, 3.6, INK)


def shapes_of(scene: Scene) -> list[Shape]:
    """Everything that is drawn, from back to front, each with the noun that it belongs to."""
    shapes: list[Shape] = []
    backdrop(scene, shapes)
    colour, second = RGB[scene.colour], RGB[scene.setting_colour]
    x, k = SIZE / 2 + scene.x, scene.scale

    def pen(noun: str, y: float, dx: float = 0.0, scale: float = k) -> Pen:
        return Pen(shapes, noun, x + dx * k * (-1 if scene.mirror else 1), y, scale, scene.mirror)

    if scene.setting in PLACES:
        if scene.flag:
            draw_flag(pen("flag", scene.ground + 2.2, dx=-12 if scene.detail < 0.5 else 8.5))
        drawers = dict(house=draw_house, hotel=draw_hotel, tent=draw_tent, car=draw_car, tree=draw_tree)
        drawers[scene.thing](pen(scene.thing, scene.ground + 3), colour, scene.light > 2 / 3)
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
    return shapes


def render(scene: Scene, mode: str, paint: Callable[[str, Colour], object]) -> Image.Image:
    """The shapes of a scene one over the other in fine pixels; paint: a shape's noun and colour -> its value."""
    image = Image.new(mode, (SIZE * FINE, SIZE * FINE))
    brush = ImageDraw.Draw(image)
    for noun, put, colour in shapes_of(scene):
        put(brush, paint(noun, colour))
    return image


def draw(scene: Scene) -> np.ndarray:
    """The image, uint8 (3, 32, 32), antialiased: the fine pixels averaged."""
    return np.asarray(render(scene, "RGB", lambda _, colour: colour).reduce(FINE)).transpose(2, 0, 1)


def parts(scene: Scene) -> np.ndarray:
    """What is at the middle of each pixel, uint8 (32, 32): an index of PARTS."""
    names = {scene.thing: "thing", scene.setting: "setting", "flag": "flag"}
    image = render(scene, "L", lambda noun, _: PARTS.index(names.get(noun, "background")))
    return np.asarray(image)[FINE // 2 :: FINE, FINE // 2 :: FINE]


# ---- the dataset ---------------------------------------------------------------------------------------------------


Combination = tuple[str, str | None, str, str]


@cache
def combinations(split: str) -> dict[tuple[str, str], list[Combination]]:
    """(family, thing) -> all (thing, colour, setting, setting_colour) of a split that a caption can name.

    One in eight belongs to "test". DataError: an unknown split.
    """
    if split not in ("train", "test"):
        raise DataError(f"scenes has no split {split!r}: expected 'train' or 'test'")
    families = {"place": (BUILDINGS, PLACES), "flower": (("butterfly",), ("flower",))}
    families |= {seat: (ANIMALS, (seat,)) for seat in ("couch", "bicycle")}
    found: dict[tuple[str, str], list[Combination]] = {}
    for family, (things, settings) in families.items():
        for a, thing in enumerate(things):
            colours = colours_of(settings[0]) if colour_word(thing, "red") else (None,)
            for (b, colour), (c, setting) in product(enumerate(colours), enumerate(settings)):
                for d, second in enumerate(setting_colours(setting)):
                    if ((a + 3 * b + 2 * c + 5 * d) % 8 == 6) == (split == "test"):
                        found.setdefault((family, thing), []).append((thing, colour, setting, second))
    return found


def scatter(n: int, split: str, seed: int) -> list[Scene]:
    """n random scenes of a split: two fifths show a place, a fifth each a couch, a bicycle and a flower.

    Things of a family come equally often, and so do the combinations of a thing.
    """
    pools: dict[str, list[list[Combination]]] = {}
    for (family, _), rows in combinations(split).items():
        pools.setdefault(family, []).append(rows)
    rng = np.random.default_rng([seed, ("train", "test").index(split)])
    families = [pools["place"], *pools.values()]

    def pick(choices: list) -> Any:
        return choices[rng.integers(len(choices))]

    def scene() -> Scene:
        thing, colour, setting, second = pick(pick(pick(families)))
        return Scene(
            thing,
            colour or str(rng.choice(colours_of(setting))),
            setting,
            second,
            flag=setting in PLACES and bool(rng.integers(2)),
            spikey=setting == "flower" and bool(rng.integers(2)),
            x=rng.uniform(-5.4, 5.4),
            scale=rng.uniform(0.82, 1.12),
            mirror=bool(rng.integers(2)),
            ground=rng.uniform(21, 26),
            light=rng.uniform(),
            detail=rng.uniform(),
        )

    return [scene() for _ in range(n)]


def scenes(data_dir: str | Path, split: str = "train", n: int = 30_000, seed: int = 0) -> Dataset:
    """The dataset, the same from the same seed; its images are kept in data_dir. DataError: an unknown split."""
    drawn = scatter(n, split, seed)

    bar = tqdm(drawn, f"scenes {split}", unit=" images", leave=False, disable=None)
    images = cached(
        data_dir, f"scenes-{split}", [n, seed], ("scenes",), lambda: np.stack([draw(scene) for scene in bar])
    )
    return Dataset("scenes", images, [variants(scene) for scene in drawn])
