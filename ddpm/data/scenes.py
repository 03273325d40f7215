"""Scenes: the lecture's own images, drawn. A cat on a couch, a dog riding on a bicycle, a butterfly on a flower, a
house with a flag on a mountain.

A `Scene` is a frozen record: what a caption names, and free numbers that no caption names (place, size, mirrored or
not, ground line, light). `draw` makes the image, `caption` the sentence, `parse` reads a sentence back. `replace`
changes what is named and keeps every free number: drawing the result is the true edit. One in eight combinations of
thing, colour and setting belongs to the test split; training never shows it.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw
from tqdm import tqdm

from .base import DataError, Dataset, cached, check_split
from .captions import article, first_of, joined

SIZE = 32  # pixels, and any multiple of it
FINE = 8  # the drawing is made this many times as large, then averaged down
SPLITS = ("train", "test")
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
    words = ["a photo of", article(colour, thing), flag and "with a flag"]
    if setting:
        words.append({"field": "in", "bicycle": "riding on"}.get(setting, "on"))
        words.append(article(setting) if setting in PLACES else article(spikey and "spikey", setting_colour, setting))
    return joined(*words)


def colour_word(thing: str, colour: str) -> str | None:
    """The colour as a caption says it: None for what has its own."""
    return None if thing in ("tiger", "tree") else colour


def caption(scene: Scene) -> str:
    """The full caption."""
    return variants(scene)[0]


def variants(scene: Scene) -> tuple[str, ...]:
    """The captions that training draws from: half of the time all is said, else something is left out."""
    thing, setting, second = scene.thing, scene.setting, scene.setting_colour
    colour = colour_word(thing, scene.colour)
    full = sentence(thing, colour, setting, second, scene.flag, scene.spikey)
    shorter = (
        sentence(thing, None, setting, second, scene.flag, scene.spikey),
        sentence(thing, None, setting, None, scene.flag, scene.spikey),
        sentence(thing, colour, setting, second, False, False),
        sentence(thing, colour, None if setting in PLACES else setting, None, scene.flag, scene.spikey),
    )
    return (full,) * len(shorter) + shorter


def parse(text: str) -> dict[str, str | bool | None]:
    """A sentence of the grammar -> thing, colour, setting, setting_colour, flag, spikey; None or False: not said.

    ValueError: no sentence of the grammar.
    """
    words = text.split()
    thing = first_of((*BUILDINGS, *ANIMALS, "butterfly"), words)
    before, after = (half.split() for half in " ".join(words).split(f" {thing}", 1)) if thing else ([], [])
    found = {
        "thing": thing,
        "colour": first_of(RGB, before),
        "setting": first_of(KNOWN, after),
        "setting_colour": first_of(RGB, after),
        "flag": "flag" in after,
        "spikey": "spikey" in after,
    }
    if thing and sentence(**found) == " ".join(words):
        return found
    raise ValueError(f"{text!r} is no sentence of the scenes, such as 'a photo of a gray cat on a red couch'")


# ---- drawings ------------------------------------------------------------------------------------------------------

# Each drawing is a table, from back to front: a part, its colour, its shapes with commas between. Its name may have
# marks: a part with "+" is drawn only in images larger than 32 x 32, with "-" only in those of 32 x 32; with "=" it is
# mirrored and drawn twice. A colour is "#rrggbb" or a name, and how much black or white is in it. The numbers of a
# shape are those of Pen's methods: "box -5 0 5 17" is pen.box(colour, -5, 0, 5, 17). Each thing stands on (0, 0).
DRAWINGS = """
house
  chimney         | #78463c          | box 2.6 8 4.3 13
  walls           | colour           | box -5.5 0 5.5 7.5
  roof            | #803e2e          | polygon -7 7.3 0 13.5 7 7.3
  door            | #603c24          | box -3.6 0 -0.9 5
  + eaves         | #582a20          | line 0.5 -6.9 7.5 6.9 7.5
  + round window  | cream            | ellipse 0 9.7 1.3 1.3
  + its glass     | window           | ellipse 0 9.7 0.9 0.9
  + door knob     | #f0c85a          | ellipse -1.5 2.4 0.3 0.3
  + window frame  | cream            | box 0.8 2.2 4.6 6
  window          | window           | box 1.2 2.6 4.2 5.6
  - bar           | ink              | box 2.5 2.6 2.9 5.6
  + bars          | cream            | box 2.5 2.6 2.9 5.6, 1.2 3.9 4.2 4.3
hotel
  tower           | colour           | box -5 0 5 17
  flat roof       | colour 45% black | box -5.6 16.6 5.6 18
  door            | #463228          | box -1.6 0 1.6 3.2
  + = glass doors | #96bed7          | box 0.2 0 1.3 2.8
  + canopy        | #c83232          | polygon -2.6 3 -2 3.9 2 3.9 2.6 3
tent
  front           | colour           | polygon -8 0 0.8 10.5 8.5 0
  shaded side     | colour 35% black | polygon 0.8 10.5 8.5 0 4.4 0
  entrance        | entrance         | polygon -3.6 0 0.2 7.2 2.4 0
  pole            | ink              | line 0.6 0.8 10 0.8 12
  + open flaps    | colour 35% white | polygon -3.6 0 0.2 7.2 -2.2 1.6 -2.6 0, 2.4 0 0.2 7.2 1.2 1.6 1.5 0
  + seam          | colour 55% black | line 0.3 0.8 10.3 4.4 0
car
  cabin           | colour           | polygon -5 5.4 -3.2 9 2.6 9 5 5.4
  windows         | #bee1f5          | polygon -3.9 5.6 -2.6 8.2 -0.5 8.2 -0.5 5.6, 0.3 5.6 0.3 8.2 2.2 8.2 3.9 5.6
  body            | colour           | polygon -8.5 2 -8.5 4.8 -7 5.8 7.4 5.8 8.7 4.4 8.7 2
  headlight       | #fffab4          | box 7.6 3.6 8.8 4.8
  + door          | colour 40% black | line 0.25 -2.4 2.2 -2.4 5.4 2.6 5.4 2.6 2.2
  + handle        | colour 40% black | box -2 4.5 -0.8 4.9
  + tail light    | #aa1e1e          | box -8.6 3.9 -7.9 4.9
  + bumpers       | #5a5c62          | box -8.8 1.8 9 2.5
  tyres           | ink              | ellipse -5 1.9 2.2 2.2, 5 1.9 2.2 2.2
  hubs            | #c8c8cd          | ellipse -5 1.9 0.9 0.9, 5 1.9 0.9 0.9
tree
  trunk           | #684628          | polygon -1.3 0 -0.9 7 0.9 7 1.3 0
  crown           | #2e8636          | ellipse -3 9.5 4 4, 3 9.5 4 4, 0 13 4.6 4.6, 0 9.6 4.2 4.2
  light on it     | #5cac54          | ellipse -1.6 13.4 1.9 1.7
  + lit leaves    | #5cac54          | ellipse -4.3 10.4 1.3 1, 2.4 10.6 1.3 1, 2.2 14.4 1.3 1
  + shaded leaves | #20682c          | ellipse -3.4 7.4 1.4 0.9, 0 9.4 1.4 0.9, 3.8 7.8 1.4 0.9, 0.6 12 1.4 0.9
flag
  - pole          | #968c87          | line 0.7 0 0 0 14
  - cloth         | #e1282d          | polygon 0.2 14 2.6 13.2 5.4 14 5.4 10.2 2.6 9.4 0.2 10.2
  + pole          | #e1e1e4          | line 0.8 0 0 0 19
  + cloth         | #e11e28          | polygon 0.3 18.6 2.4 17.9 4.6 18.7 7.2 18.1 7.2 12.7 4.6 13.3 2.4 12.5 0.3 13.2
  + stripe        | white            | polygon 0.3 16.8 2.4 16.1 4.6 16.9 7.2 16.3 7.2 14.5 4.6 15.1 2.4 14.3 0.3 15
  + knob          | #f0c83c          | ellipse 0 19.2 0.7 0.7
tail of a cat
  tail            | fur              | line 1.3 -2.6 1 -5.2 1.4 -6 4 -5.2 7
tail of a dog
  tail            | fur 25% black    | polygon -3.2 2 -6.2 5.4 -5 6 -2.6 3.6
sitting animal
  body            | fur              | ellipse -0.6 3.2 3.5 3.8
  far leg         | fur 25% black    | box 0.2 0 1.6 4.4
  near leg        | fur              | box 1.9 0 3.2 4.4
stripes of a tiger
  tip of the tail | ink              | line 1.3 -6 4 -5.2 7
  back            | ink              | polygon -4.4 0.7 -4.3 2 -0.8 1.6, -4.4 2.7 -4.3 4 -0.8 3.6
  upper back      | ink              | polygon -4.4 4.7 -4.3 6 -0.8 5.6
  leg             | ink              | box 1.9 1.2 3.3 2, 1.9 3.2 3.3 4
head of a cat
  = ears          | fur              | polygon 0.7 2.2 3.4 1.2 3.1 5.2
  = inner ears    | #f0a0a5          | polygon 1.5 2.2 2.8 1.6 2.7 4
  face            | fur              | ellipse 0 0 3.7 3.4
  nose            | #eb7882          | ellipse 0 -1.1 0.6 0.45
  + = whiskers    | whisker          | line 0.2 1.1 -1.2 4.3 -0.9, 0.2 1.1 -1.2 4.3 -1.7
head of a dog
  face            | fur              | ellipse 0 0 3.7 3.4
  = ears          | ear              | ellipse 3.5 -0.6 1.3 3.1 -8
  muzzle          | muzzle           | ellipse 0 -1.4 2.1 1.7
  nose            | ink              | ellipse 0 -0.7 1 0.75
  tongue          | #eb5a69          | box -0.5 -3.6 0.5 -2.4
head of a tiger
  = ears          | fur              | ellipse 2.8 2.8 1.5 1.5
  = inner ears    | cream            | ellipse 2.8 2.8 0.7 0.7
  face            | fur              | ellipse 0 0 3.7 3.4
  muzzle          | cream            | ellipse 0 -1.5 2.2 1.6
  nose            | ink              | ellipse 0 -0.9 0.7 0.5
  = forehead      | ink              | polygon -0.55 3.4 0.55 3.4 0 1.5, 0.95 3.4 2.05 3.4 1.05 1.5
  = cheeks        | ink              | polygon 3.8 0.7 3.8 -0.5 2.3 -0.1, 3.5 -1.2 3 -2.3 2.1 -1.3
  + = whiskers    | whisker          | line 0.2 1.1 -1.2 4.3 -0.9, 0.2 1.1 -1.2 4.3 -1.7
mouth and eyes
  + = mouth       | whisker          | line 0.25 0 -1.3 0 -1.7 0.5 -2.1 1 -1.8
  = eyes          | eye              | ellipse 1.5 0.5 0.75 0.85
  = pupils        | ink              | ellipse 1.5 0.5 0.35 0.7
  + = glints      | white            | ellipse 1.7 0.8 0.22 0.22
couch
  back            | colour 28% black | box -10 2 10 9.5
  seat            | colour 10% black | box -9 1.2 9 5
  gap             | colour 35% black | box -0.2 1.2 0.2 5
  + edge of seat  | colour 30% black | box -9 3.4 9 3.7
  + = buttons     | colour 55% black | ellipse 7.5 7.2 0.4 0.4, 4.5 7.2 0.4 0.4, 1.5 7.2 0.4 0.4
arms of a couch
  = arms          | colour 18% white | box 7.6 1 10.8 6.6
  = feet          | #463024          | box 8.2 0 9.4 1
  + = ends        | colour 15% black | ellipse 9.2 5.2 1 1
bicycle
  + spokes        | #bebec3          | star -6 3.8 3.5 0.2, 6 3.8 3.5 0.2
  wheels          | ink              | ring -6 3.8 3.9 0.9, 6 3.8 3.9 0.9
  hubs            | #a0a0a5          | ellipse -6 3.8 0.7 0.7, 6 3.8 0.7 0.7
  frame           | colour           | line 1.2 -6 3.8 -2.8 8.4 4.4 8.4 0 3.4 -6 3.8, 1.2 -2.8 8.4 0 3.4
  fork            | colour           | line 1.2 6 3.8 4 10.6
  + chain wheel   | #46464c          | ring 0 3.4 1.3 0.5
  + cranks        | #46464c          | line 0.5 -1.4 1.6 1.4 5.2
  + pedals        | ink              | box -2.3 1.2 -0.7 1.8, 0.7 5 2.3 5.6
  saddle          | ink              | box -4.8 8.5 -1.2 9.5
  handlebar       | ink              | line 0.9 4 10.6 6 11
butterfly
  = edge of wings | colour 65% black | ellipse 3.7 2.7 4 2.9 38, 2.7 -1.9 2.7 2.3 -35
  = wings         | colour           | ellipse 3.4 2.7 3.25 2.15 38, 2.475 -1.9 1.95 1.55 -35
  = antennae      | ink              | line 0.5 0.2 3 1.7 6.6
  + = their knobs | ink              | ellipse 1.7 6.6 0.5 0.5
  + = light spots | colour 70% white | ellipse 5 3.8 0.9 0.9
  + = dark spots  | colour 50% black | ellipse 3.1 -2.3 0.6 0.6
  + = veins       | colour 50% black | line 0.3 0.6 0.8 4.2 3
  body            | ink              | ellipse 0 0.4 0.8 3.6
"""
Colour = tuple[int, int, int]


@cache
def parts_of(drawing: str) -> list[tuple[str, str, str, list[list[float]]]]:
    """A table of DRAWINGS: of each part its name with marks, its colour, the kind of its shapes, and their numbers."""
    found = []
    for row in re.search(rf"^{drawing}\n((?: .+\n)+)", DRAWINGS, re.MULTILINE)[1].splitlines():
        part, colour, shapes = row.split("|")
        kind, numbers = shapes.split(maxsplit=1)
        found.append((part, colour, kind, [[float(n) for n in one.split()] for one in numbers.split(",")]))
    return found


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """A colour between two."""
    return tuple(round(a + share * (b - a)) for a, b in zip(one, other, strict=True))


def mixed(words: str, named: dict[str, Colour]) -> Colour:
    """A colour of a table, such as "fur 25% black"; named: colours that only this drawing has, such as "fur"."""
    name, *mix = words.split()
    colour = named.get(name) or ImageColor.getrgb(name)
    return blend(colour, ImageColor.getrgb(mix[1]), float(mix[0].strip("%")) / 100) if mix else colour


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

    def at(self, x: float, y: float) -> "Pen":
        """The pen whose middle is this point."""
        return replace(self, x=self.x + self.sign * self.scale * x, y=self.y - self.scale * y)

    def place(self, points: tuple[float, ...]) -> list[tuple[float, float]]:
        """Points of the thing, x y x y ... -> points of the fine drawing."""
        k, pairs = self.unit * self.scale, zip(points[::2], points[1::2], strict=True)
        return [(self.unit * self.x + self.sign * k * x, self.unit * self.y - k * y) for x, y in pairs]

    def polygon(self, colour: Colour, *points: float) -> None:
        """A filled polygon; points: x y x y ..."""
        self.brush.polygon(self.place(points), fill=self.paint(self.noun, colour))

    def box(self, colour: Colour, x_0: float, y_0: float, x_1: float, y_1: float) -> None:
        """An upright rectangle."""
        self.polygon(colour, x_0, y_0, x_1, y_0, x_1, y_1, x_0, y_1)

    def ellipse(self, colour: Colour, x: float, y: float, r_x: float, r_y: float, turn: float = 0.0) -> None:
        """An ellipse, turned by an angle in degrees."""
        c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        ring = [(r_x * math.cos(a), r_y * math.sin(a)) for a in (2 * math.pi * i / 28 for i in range(28))]
        self.polygon(colour, *(value for u, v in ring for value in (x + c * u - s * v, y + s * u + c * v)))

    def line(self, colour: Colour, width: float, *points: float) -> None:
        """A line of a width in units; points: x y x y ..."""
        pixels = max(1, round(width * self.unit * self.scale))
        self.brush.line(self.place(points), fill=self.paint(self.noun, colour), width=pixels, joint="curve")

    def star(self, colour: Colour, x: float, y: float, r: float, width: float) -> None:
        """Six lines through a point."""
        for a in (math.pi * i / 6 for i in range(6)):
            dx, dy = r * math.cos(a), r * math.sin(a)
            self.line(colour, width, x - dx, y - dy, x + dx, y + dy)

    def ring(self, colour: Colour, x: float, y: float, r: float, width: float) -> None:
        """A circle's outline."""
        ((u, v),), k = self.place((x, y)), self.unit * self.scale
        box = (u - k * r, v - k * r, u + k * r, v + k * r)
        self.brush.ellipse(box, outline=self.paint(self.noun, colour), width=round(k * width))

    def draw(self, drawing: str, **named: Colour) -> None:
        """One of DRAWINGS; named: its colours that have a name."""
        named |= {"ink": INK, "cream": CREAM}
        for part, colour, kind, shapes in parts_of(drawing):
            if ("-" if self.sharp else "+") not in part:
                hue, pens = mixed(colour, named), (replace(self, sign=-self.sign), self) if "=" in part else (self,)
                for pen, numbers in product(pens, shapes):
                    getattr(pen, kind)(hue, *numbers)


def draw_room(scene: Scene, pen: Pen) -> None:
    """Wall and floor, or the garden behind a flower."""
    hues = [(225, 190, 200), (190, 215, 235), (200, 225, 190), (235, 222, 180), (215, 200, 235), (200, 205, 205)]
    wall = hues[int(scene.light * 5.999)]
    if scene.setting == "flower":
        wall = blend(wall, (90, 150, 110), 0.45)
    pen.box(wall, 0, 0, SIZE, -SIZE)
    floors = {"couch": ((150, 110, 75), (120, 95, 90)), "bicycle": ((110, 112, 118), (150, 140, 125))}
    if scene.setting in floors:
        pen.box(blend(*floors[scene.setting], scene.detail), 0, -scene.ground, SIZE, -SIZE)


def draw_place(scene: Scene, pen: Pen) -> None:
    """The sky by day, in the evening or at night, with moon and stars; below it mountains, the sea, or a field."""
    skies = [((110, 175, 245), (200, 230, 255)), ((250, 150, 100), (255, 215, 150)), ((20, 24, 66), (62, 62, 120))]
    sky = int(scene.light * 2.999)
    for i in range(8):
        hue = blend(*skies[sky], i / 7)
        pen.box(hue, 0, -scene.ground * i / 8, SIZE, -scene.ground * (i + 1) / 8 - 0.2)
    if sky == 2:
        pen.ellipse((250, 240, 190), 5 + 20 * scene.detail, -4, 2.2, 2.2)
        for i in range(7):
            x, y = (i * 9.7 + 40 * scene.detail) % SIZE, -1 - i * 5.3 % 13
            pen.box((235, 235, 255), x, y, x + 0.6, y + 0.6)
    night = 0.3 if sky == 2 else 0.0
    land = replace(
        pen, noun=scene.setting, y=scene.ground, paint=lambda noun, hue: pen.paint(noun, blend(hue, BLACK, night))
    )
    {"mountain": draw_mountain, "beach": draw_beach, "field": draw_field}[scene.setting](scene, land)


def draw_mountain(scene: Scene, land: Pen) -> None:
    """Two peaks with snow; the higher one stands where the thing does not."""
    side = -1 if scene.x > 0 else 1
    for x, top, wide in ((16 + side * (7 + 3 * scene.detail), 15, 11), (16 - side * (9 + 3 * scene.detail), 11, 9)):
        land.polygon((120, 116, 128), x - wide, 0, x, top, x + wide, 0)
        snow = top - 0.3 * top
        edge = [x, snow - 1]
        if land.sharp:  # a side in the shade, and a ragged edge of the snow
            land.polygon((98, 94, 108), x, top, x + wide, 0, x + 0.2 * wide, 0)
            edge = [x + 0.12 * wide, snow - 1.4, x, snow - 0.2, x - 0.14 * wide, snow - 1.6]
        land.polygon((250, 250, 255), x - 0.3 * wide, snow, x, top, x + 0.3 * wide, snow, *edge)
    land.box((98, 128, 88), 0, 0, SIZE, -SIZE)


def draw_beach(scene: Scene, land: Pen) -> None:
    """The sea, with waves in a large image, and sand."""
    land.box((35, 115, 200), 0, 3.5, SIZE, 0)
    for i in range(6 if land.sharp else 0):
        x, y = (i * 7.7 + 29 * scene.detail) % SIZE, 1.5 + i % 3 * 0.6
        land.box((120, 185, 235), x, y, x + 3, y + 0.25)
    land.box((165, 215, 240), 0, 0.8, SIZE, 0)
    land.box((240, 215, 150), 0, 0, SIZE, -SIZE)


def draw_field(scene: Scene, land: Pen) -> None:
    """Flowers, with grass in a large image."""
    land.box((110, 190, 70), 0, 0, SIZE, -SIZE)
    for i in range(9):
        x = (i * 7.3 + 31 * scene.detail) % SIZE
        y = -1.5 - (i * 2.9 + 5 * scene.detail) % (SIZE - scene.ground - 2)
        for dx in (-1.4, 0, 1.2) if land.sharp else ():
            land.line((70, 150, 50), 0.35, x + dx, y - 0.8, x + 1.3 * dx, y + 0.6)
        land.ellipse(((255, 235, 90), WHITE, (250, 120, 150))[i % 3], x, y, 0.55, 0.55)


def draw_building(thing: str, pen: Pen, colour: Colour, lit: bool) -> None:
    """One of BUILDINGS; lit: at night there is light inside."""
    window, entrance = ((255, 225, 120), (255, 215, 120)) if lit else ((88, 120, 150), INK)
    pen.draw(thing, colour=colour, window=window, entrance=entrance)
    columns, rows, wide, high = (4, 5, 1.3, 1.5) if pen.sharp else (3, 4, 1.8, 1.8)
    for row, column in product(range(rows), range(columns)) if thing == "hotel" else ():
        x, y = -3.9 + (7.8 - wide) / (columns - 1) * column, 4.6 + (12 / rows) * row
        if pen.sharp:
            pen.box(CREAM, x - 0.3, y - 0.3, x + wide + 0.3, y + 1.8)
        pen.box(window if lit and (row + column) % 3 else (70, 95, 130), x, y, x + wide, y + high)


def draw_animal(thing: str, pen: Pen, fur: Colour) -> None:
    """A sitting animal that looks at us: the head decides between cat, dog and tiger, and so do tail and stripes."""
    if thing == "tiger":
        fur = (240, 140, 35)
    dark = sum(fur) < 200
    pen.draw("tail of a dog" if thing == "dog" else "tail of a cat", fur=fur)
    pen.draw("sitting animal", fur=fur)
    if thing == "tiger":
        pen.draw("stripes of a tiger")
    ear, muzzle = ((78, 78, 88), (120, 120, 128)) if dark else (blend(fur, BLACK, 0.35), blend(fur, WHITE, 0.6))
    eye, whisker = (WHITE, (215, 215, 220)) if dark else (INK, INK)
    head = pen.at(1.2, 8.6)
    head.draw(f"head of a {thing}", fur=fur, ear=ear, muzzle=muzzle, whisker=whisker)
    head.draw("mouth and eyes", whisker=whisker, eye=(150, 220, 90) if thing == "cat" else eye)


def draw_flower(pen: Pen, colour: Colour, spikey: bool, height: float) -> None:
    """A stem with a leaf, and a blossom that stands at `height`: round petals, or thin pointed ones."""
    pen.line((48, 130, 56), 1.1, 0.6, -2, 0, height)
    pen.polygon((70, 165, 76), 0.4, height * 0.35, 4.6, height * 0.35 + 2.6, 2.2, height * 0.35 - 0.6)
    blossom = pen.at(0, height)
    for i in range(12 if spikey else 6):
        a = math.pi * (i + 0.5) / 6 if spikey else math.pi * i / 3 + 0.3
        c, s = math.cos(a), math.sin(a)
        if spikey:
            (x_0, y_0), (x_1, y_1) = ((2.2 * math.cos(b), 2.2 * math.sin(b)) for b in (a - 0.32, a + 0.32))
            blossom.polygon(colour, x_0, y_0, 7.4 * c, 7.4 * s, x_1, y_1)
        else:
            blossom.ellipse(colour, 3.1 * c, 3.1 * s, 2.4, 1.9, math.degrees(a))
        if pen.sharp:
            blossom.line(blend(colour, BLACK, 0.25), 0.3, 2 * c, 2 * s, 4.6 * c, 4.6 * s)
    if spikey:
        blossom.ellipse(colour, 0, 0, 2.3, 2.3)
    heart = (250, 205, 60) if colour[2] > 90 or colour[1] < 120 else (150, 90, 40)
    blossom.ellipse(heart, 0, 0, 1.7, 1.7)
    for a in (math.pi * i / 3 for i in range(6 if pen.sharp else 0)):  # seeds
        blossom.ellipse(blend(heart, BLACK, 0.4), math.cos(a), math.sin(a), 0.25, 0.25)


def render(scene: Scene, mode: str, paint: Callable[[str, Colour], object], size: int = SIZE) -> Image.Image:
    """The scene from back to front in fine pixels; paint: a shape's noun and colour -> its value.

    DataError: a size that is no multiple of 32.
    """
    if size < SIZE or size % SIZE:
        raise DataError(f"scenes are drawn at 32 x 32 pixels or a multiple such as 64 x 64, not at {size} x {size}")
    image = Image.new(mode, (size * FINE, size * FINE))
    whole = Pen(ImageDraw.Draw(image), paint, FINE * size // SIZE, sharp=size > SIZE)
    colour, second = RGB[scene.colour], RGB[scene.setting_colour]
    sign, k = -1 if scene.mirror else 1, scene.scale

    def pen(noun: str, y: float, dx: float = 0.0, scale: float = k) -> Pen:
        return replace(whole, noun=noun, x=SIZE / 2 + scene.x + dx * k * sign, y=y, scale=scale, sign=sign)

    if scene.setting in PLACES:
        draw_place(scene, whole)
        if scene.flag and not whole.sharp:
            pen("flag", scene.ground + 2.2, dx=-12 if scene.detail < 0.5 else 8.5).draw("flag")
        draw_building(scene.thing, pen(scene.thing, scene.ground + 3), colour, scene.light > 2 / 3)
        if scene.flag and whole.sharp:  # before the thing, on the side where there is more room, flying inwards
            side = -1 if scene.x > 0 else 1
            x = SIZE / 2 + side * (14 - 2 * scene.detail)
            replace(whole, noun="flag", x=x, y=scene.ground + 3.5, sign=-side).draw("flag")
        return image
    draw_room(scene, whole)
    if scene.setting == "couch":
        couch = pen("couch", scene.ground + 4)
        couch.draw("couch", colour=second)
        draw_animal(scene.thing, pen(scene.thing, scene.ground - 0.6 * k, dx=6 * scene.detail - 3.6), colour)
        couch.draw("arms of a couch", colour=second)
    elif scene.setting == "bicycle":
        pen("bicycle", scene.ground + 3).draw("bicycle", colour=second)
        draw_animal(scene.thing, pen(scene.thing, scene.ground + 3 - 9.2 * k, dx=-1.6, scale=0.92 * k), colour)
    else:
        height = 6 + 5 * scene.detail
        draw_flower(pen("flower", SIZE - 2), second, scene.spikey, height)
        butterfly = pen("butterfly", SIZE - 2 - (height + 6.2) * k, dx=2.2, scale=0.9 * k)
        butterfly.draw("butterfly", colour=colour)
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
    check_split("scenes", split, SPLITS)
    found = []
    for settings in (PLACES, ("flower",), ("couch",), ("bicycle",)):
        things, colours, seconds = KNOWN[settings[0]]
        found.append([[] for _ in things])
        for a, thing in enumerate(things):
            named = colours if colour_word(thing, "red") else (None,)
            for (b, colour), (c, setting), (d, second) in product(*map(enumerate, (named, settings, seconds))):
                if ((a + 3 * b + 2 * c + 5 * d) % 8 == 6) == (split == "test"):
                    found[-1][a].append((thing, colour, setting, second))
    return found


def scattered(n: int, split: str, seed: int) -> Iterator[Scene]:
    """n random scenes of a split: two fifths show a place, a fifth each a couch, a bicycle and a flower.

    Things of a family come equally often, and so do the combinations of a thing.
    """
    places, *others = combinations(split)
    rng = np.random.default_rng([seed, SPLITS.index(split)])

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

    return (scene() for _ in range(n))


def scatter(n: int, split: str, seed: int) -> list[Scene]:
    """`scattered`, all of them."""
    return list(scattered(n, split, seed))


def scenes(data_dir: str | Path, split: str = "train", n: int = 30_000, seed: int = 0, size: int = SIZE) -> Dataset:
    """The dataset, the same from the same seed; its images are kept in data_dir.

    DataError: an unknown split, a size that is no multiple of 32.
    """
    drawn = scatter(n, split, seed)
    name = f"scenes{size if size != SIZE else ''}-{split}"
    bar = tqdm(drawn, name, unit=" images", leave=False, disable=None)
    images = cached(data_dir, name, [n, seed], ("scenes",), lambda: np.stack([draw(scene, size) for scene in bar]))
    return Dataset("scenes", images, [variants(scene) for scene in drawn])
