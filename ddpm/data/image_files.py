"""Image files -> arrays."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .base import DataError


def open_image(path: Path, ground: str = "white") -> Image.Image:
    """The image in a file: RGB, upright, transparent parts on a ground colour. Raises DataError that names the file."""
    try:
        with Image.open(path) as image:
            upright = eight_bit(ImageOps.exif_transpose(image))
            if not upright.has_transparency_data:
                return upright.convert("RGB")
            below = Image.new("RGBA", upright.size, ground)
            return Image.alpha_composite(below, upright.convert("RGBA")).convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except Exception as error:  # decoders raise whatever they stumble over: OSError, SyntaxError, zlib.error, ...
        raise DataError(f"{path} cannot be read as an image ({error}): replace or remove it") from error


def eight_bit(image: Image.Image) -> Image.Image:
    """A grey image of 16 bits a pixel scaled to 8; others as they are. ValueError: numbers without a known range."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range: save it with 8 bits")
    if not image.mode.startswith("I"):
        return image
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError("32-bit pixels have no known range: save it with 8 bits")
    return Image.fromarray(np.round(grey / 257).astype(np.uint8))


def to_array(image: Image.Image, size: int) -> np.ndarray:
    """A square image -> uint8 (3, size, size); shrunk by averaging areas, and left as it is when it has that size."""
    if image.size != (size, size):
        smaller = size <= image.width
        image = image.resize((size, size), Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)


def square(image: Image.Image) -> Image.Image:
    """The largest square in the middle of an image."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
