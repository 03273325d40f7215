"""Picture files -> arrays."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .base import DataError


def open_picture(path: Path, ground: str = "white") -> Image.Image:
    """The picture in a file: RGB, upright, transparent parts on a ground. Raises DataError that names the file."""
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            if not upright.has_transparency_data:
                return upright.convert("RGB")
            below = Image.new("RGBA", upright.size, ground)
            return Image.alpha_composite(below, upright.convert("RGBA")).convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except Exception as error:  # decoders raise whatever they stumble over: OSError, SyntaxError, zlib.error, ...
        raise DataError(f"{path} cannot be read as a picture ({error}): replace or remove it") from error


def to_array(picture: Image.Image, size: int) -> np.ndarray:
    """A square picture -> uint8 (3, size, size); shrunk by averaging areas, and left as it is when it has that size."""
    if picture.size != (size, size):
        smaller = size <= picture.width
        picture = picture.resize((size, size), Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)
    return np.asarray(picture).transpose(2, 0, 1)


def square(picture: Image.Image) -> Image.Image:
    """The largest square in the middle of a picture."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))
