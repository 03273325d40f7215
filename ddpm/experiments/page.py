"""A page for the lecture hall: one HTML file that shows every step of an edit, without a server or the internet.

All images of a page are in one PNG. `page.html`, beside this file, has the layout and the JavaScript; `write` puts
title, images and data into it.
"""

import argparse
import base64
import html
import json
from difflib import SequenceMatcher
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from PIL import Image

from unet.text import split_words

from ..utils.files import write_text

TEMPLATE = Path(__file__).with_name("page.html")
MOST_BYTES = 4_000_000  # of a file


def is_page(args: argparse.Namespace) -> bool:
    """Does --out name a page? Its ending is .html."""
    return Path(args.out).suffix.lower() == ".html"


def check_size(frames: int, size: int, advice: str) -> None:
    """ValueError, before any work, for a page of so many frames (size, size) that would be too large.

    In the file a frame takes about its uncompressed bytes: three quarters in the PNG, a third more as text.
    """
    if (count := 3 * frames * size**2) > MOST_BYTES:
        raise ValueError(
            f"a page of about {frames} frames would take {count / 1e6:.1f} MB, expected at most "
            f"{MOST_BYTES / 1e6:g} MB: {advice}"
        )


class Atlas:
    """Images of one size as one PNG, COLUMNS in a row; equal ones are stored once."""

    COLUMNS = 16

    def __init__(self):
        self.images: list[np.ndarray] = []
        self.places: dict[bytes, int] = {}  # the bytes of an image -> its place

    def add(self, images: np.ndarray) -> list[int]:
        """The places of images uint8 (N, 3, H, W)."""
        for image in images:
            if self.places.setdefault(image.tobytes(), len(self.images)) == len(self.images):
                self.images.append(image)
        return [self.places[image.tobytes()] for image in images]

    def png(self) -> bytes:
        """All images as a PNG; where the last row is not full, it ends in black."""
        black = [np.zeros_like(self.images[0])] * (-len(self.images) % self.COLUMNS)
        whole = rearrange([*self.images, *black], "(r c) rgb h w -> (r h) (c w) rgb", c=self.COLUMNS)
        file = BytesIO()
        Image.fromarray(whole).save(file, "png", optimize=True)
        return file.getvalue()


def captions(source: str, target: str) -> list[dict[str, Any]]:
    """The captions of source and edit, word by word; what differs is marked."""
    before, after = split_words(source), split_words(target)
    same = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    old = {block.a + i for block in same for i in range(block.size)}
    kept = {block.b + i for block in same for i in range(block.size)}
    return [
        {"name": "source", "words": before, "changed": [i not in old for i in range(len(before))]},
        {"name": "edit", "words": after, "changed": [j not in kept for j in range(len(after))]},
    ]


def write(path: Path, title: str, data: dict[str, Any], frames: Atlas) -> Path:
    """Write a page, whole or not at all; returns the path.

    data: note, level {name, values}, choices [{name, captions}], rows of panels' labels, None where the controls stand,
        and scenes[choice][level]: labels of the steps, turn (the step at which encoding ends), frames [panel][step]:
        places in the atlas, and parts of the way [{from, to, text}], numbers of steps.
    A page opens at the end of the middle level, of two the lower one.
    """
    middle = (len(data["level"]["values"]) - 1) // 2
    start = {"level": middle, "step": len(data["scenes"][0][middle]["labels"]) - 1}
    data |= {"start": start, "frames": {"size": frames.images[0].shape[-1], "columns": frames.COLUMNS}}
    source = f"data:image/png;base64,{base64.b64encode(frames.png()).decode()}"
    return fill(path, TEMPLATE, title, data, [f'<img id="frames" alt="all images of this page" src="{source}">'])


def fill(path: Path, template: Path, title: str, data: dict[str, Any], tags: list[str]) -> Path:
    """Write a template with its title, its data as JSON and the tags of its files, whole or not at all."""
    text = template.read_text(encoding="utf-8")
    for name, part in {
        "title": html.escape(title),
        "files": "\n".join(tags),
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),  # so that no word ends the script
    }.items():
        text = text.replace(f"<!--{name}-->", part)
    return write_text(path, text)
