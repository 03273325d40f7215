"""Line drawings, the condition of a ControlNet: of a scene, from its record; or what a person drew, from a file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from tqdm import tqdm

from . import scenes
from .base import DataError, Dataset, cached, open_image, square, to_array
from .scenes import FINE, PARTS, SIZE, Scene

COUNT = 30_000  # scenes of a split
THING_ONLY = 3  # every third drawing shows the thing alone, so that a person need not draw the rest


def outlines(scene: Scene, thing_only: bool = False, size: int = SIZE) -> np.ndarray:
    """The lines between the parts of a scene (thing, setting, flag, background), uint8 (1, size, size), 255 on a line.

    Lines are drawn in fine pixels, about one pixel wide, and averaged down. thing_only: the outline of the thing alone.
    """
    named = {scene.thing: "thing"} if thing_only else {scene.thing: "thing", scene.setting: "setting", "flag": "flag"}
    fine = np.asarray(scenes.render(scene, "L", lambda noun, _: PARTS.index(named.get(noun, "background")), size))
    edge = np.zeros(fine.shape, dtype=bool)
    edge[:, 1:] |= fine[:, 1:] != fine[:, :-1]
    edge[1:] |= fine[1:] != fine[:-1]
    lines = Image.fromarray(255 * edge.astype(np.uint8)).filter(ImageFilter.MaxFilter(FINE - 1))
    return np.asarray(lines.reduce(FINE))[None]


def with_drawings(data: Dataset, data_dir: str | Path, split: str) -> Dataset:
    """The dataset and a line drawing of each of its images. DataError: it is not the scenes."""
    if data.name != "scenes":
        raise DataError(f"{data.name} has no line drawings, which a ControlNet is trained on: take the scenes")
    bar = tqdm(scenes.scatter(len(data), split, 0), f"lines {split}", unit=" images", leave=False, disable=None)
    drawings = cached(
        data_dir, f"lines-{split}", len(data), ("scenes", "lines"),
        lambda: np.stack([outlines(scene, i % THING_ONLY == 0) for i, scene in enumerate(bar)]),
    )  # fmt: skip
    return replace(data, drawings=drawings)


def sketch(path: Path, size: int = SIZE) -> np.ndarray:
    """What a person drew in black on white: uint8 (1, size, size), 255 on the darkest line, 0 where it is white.

    The square in the middle of the image is shrunk by averaging. DataError: no image, or no black lines on white.
    """
    grey = to_array(square(open_image(path)), size).mean(axis=0)
    ink = grey.max() - grey
    if (dark := grey.mean() < 128) or ink.max() < 8:
        raise DataError(f"the sketch {path} is {'dark' if dark else 'empty'}: expected black lines on white")
    return np.round(255 * ink / ink.max()).astype(np.uint8)[None]


def drawing(name: str, size: int = SIZE) -> np.ndarray:
    """What --control names, the sketch in a file or the lines of a scene of the test split: uint8 (1, size, size).

    DataError: see `sketch`; no such scene.
    """
    if not name.isdecimal():
        if not Path(name).exists():
            raise DataError(f"--control {name}: no such file; give one, or the number of a scene of the test split")
        return sketch(Path(name), size)
    if int(name) >= COUNT:
        raise DataError(f"--control is {name}, but the test split has the scenes 0 .. {COUNT - 1}")
    return outlines(scenes.scatter(int(name) + 1, "test", 0)[-1], size=size)
