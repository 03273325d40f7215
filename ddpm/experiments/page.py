"""A page for the lecture hall: one HTML file that shows every step of an edit, without a server or a network.

All images of a page are in one PNG, and all attention maps in another. `page.html`, beside this file, has the layout
and the JavaScript; `write` puts title, images and data into it.
"""

import argparse
import base64
import html
import json
from collections.abc import Collection
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
MOST_CHOICES = 9  # a key for each


def is_page(args: argparse.Namespace) -> bool:
    """Does --out name a page? Its ending is .html."""
    return Path(args.out).suffix.lower() == ".html"


class Atlas:
    """Images of one size as one PNG, COLUMNS in a row; equal ones are stored once."""

    COLUMNS = 16

    def __init__(self):
        self.images: dict[bytes, np.ndarray] = {}
        self.places: dict[bytes, int] = {}

    def add(self, images: np.ndarray) -> list[int]:
        """The places of images uint8 (N, C, H, W); C is 3, or 1 for grey."""
        keys = [image.tobytes() for image in images]
        for key, image in zip(keys, images, strict=True):
            self.places.setdefault(key, len(self.places))
            self.images.setdefault(key, image)
        return [self.places[key] for key in keys]

    def png(self) -> bytes:
        """All images as a PNG; where the last row is not full, it ends in black."""
        images = np.stack([*self.images.values()])
        images = np.concatenate([images, np.zeros_like(images[:1]).repeat(-len(images) % self.COLUMNS, axis=0)])
        whole = rearrange(images, "(r c) rgb h w -> (r h) (c w) rgb", c=self.COLUMNS)
        file = BytesIO()
        Image.fromarray(whole.squeeze(-1) if whole.shape[-1] == 1 else whole).save(file, "png", optimize=True)
        return file.getvalue()

    def facts(self) -> dict[str, int]:
        """What the page must know to cut an image out."""
        return {"size": next(iter(self.images.values())).shape[-1], "columns": self.COLUMNS}


def check_size(frames: int, size: int, advice: str) -> None:
    """ValueError, before any work, for a page of so many frames (size, size) that would be too large.

    In the file a frame takes about its uncompressed bytes: three quarters in the PNG, a third more as text.
    """
    check_bytes(3 * frames * size**2, f"about {frames} frames", advice)


def check_bytes(count: int, what: str, advice: str) -> None:
    """ValueError where a page would be too large."""
    if count > MOST_BYTES:
        most = f"{MOST_BYTES / 1e6:g} MB"
        raise ValueError(f"a page of {what} would take {count / 1e6:.1f} MB, expected at most {most}: {advice}")


def check_choices(count: int) -> None:
    """ValueError for more edits than there are keys."""
    if count > MOST_CHOICES:
        raise ValueError(f"a page of {count} edits: expected at most {MOST_CHOICES}, one for each of the keys 1 .. 9")


def captions(source: str, target: str, also: Collection[str] = ()) -> list[dict[str, Any]]:
    """The captions of source and edit, word by word; what is changed, or among `also`, is marked in the edit."""
    before, after = split_words(source), split_words(target)
    same = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    old = {i for block in same for i in range(block.a, block.a + block.size)}
    kept = {j for block in same for j in range(block.b, block.b + block.size)}
    new = [j not in kept or word in also for j, word in enumerate(after)]
    return [
        {"name": "source", "words": before, "changed": [i not in old for i in range(len(before))]},
        {"name": "edit", "words": after, "changed": new},
    ]


def write(path: Path, title: str, data: dict[str, Any], frames: Atlas, maps: Atlas | None = None) -> Path:
    """Write a page, whole or not at all; returns the path.

    data: note, level {name, values}, start {level, step}, reserve (height beside the images, in lines of text),
        choices [{name, captions, pairs}], rows of panels [{label, side} or None, where the controls stand], and
        scenes[choice][level]: labels of the steps, turn (the step at which encoding ends), frames [panel][step],
        tracks [{label, parts [{from, to, text}], words}], and with maps: maps [side][word][step] and scales
        [side][word], the weight of a map's largest byte. Frames and maps are places in their atlas.
    ValueError: larger than MOST_BYTES.
    """
    images = {"frames": frames} if maps is None else {"frames": frames, "maps": maps}
    alts = {"frames": "all images of this page", "maps": "all attention maps of this page"}
    sources = {name: base64.b64encode(atlas.png()).decode() for name, atlas in images.items()}
    tags = [f'<img id="{name}" alt="{alts[name]}" src="data:image/png;base64,{sources[name]}">' for name in images]
    data = {"maps": None} | data | {name: atlas.facts() for name, atlas in images.items()}
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, part in {
        "title": html.escape(title),
        "images": "\n".join(tags),
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),  # so that no word ends the script
    }.items():
        text = text.replace(f"<!--{name}-->", part)
    check_bytes(len(text.encode()), f"{len(frames.images)} images", "take fewer --steps, or fewer edits")
    return write_text(path, text)
