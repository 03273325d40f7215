"""What all datasets share: images as bytes with captions that are true of them, image files, and a cache."""

import hashlib
import os
import sys
import urllib.request
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from ..utils.files import whole_file


class DataError(ValueError):
    """A dataset that is missing, damaged or not the one expected; the message says what to do."""


@dataclass(frozen=True)
class Dataset:
    """Images with captions.

    images: uint8 (N, 3, H, W), values 0..255, H == W.
    captions: for each image a non-empty tuple of sentences that are all true of it, the fullest first. Training draws
        one of them afresh each time it shows the image, so a sentence that stands twice is drawn twice as often.
    drawings: for a ControlNet, a line drawing of each image: uint8 (N, 1, H, W), 0 is blank and 255 a line.
    """

    name: str
    images: np.ndarray
    captions: list[tuple[str, ...]]
    drawings: np.ndarray | None = None

    def __post_init__(self):
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise DataError(f"{self.name}: images must be uint8 (N, 3, H, H), got {self.images.dtype} {shape}")
        if len(self.images) != len(self.captions) or not all(self.captions):
            raise DataError(f"{self.name}: expected one or more captions for each of {len(self.images)} images")

    @cached_property
    def sha256(self) -> str:
        """The hash of all images, captions and drawings: a resumed run must find the same."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(repr(self.captions).encode())
        if self.drawings is not None:
            digest.update(self.drawings.tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.images)


def check_split(name: str, split: str, known: Collection[str]) -> None:
    """DataError unless a dataset has this split."""
    if split not in known:
        raise DataError(f"{name} has no split {split!r}: expected {', '.join(known)}")


# ---- files -----------------------------------------------------------------------------------------------------------


def fetch(url: str, path: Path, size: int) -> None:
    """Downloads a file of so many bytes to `path`, behind a bar. OSError, http.client.HTTPException: it failed."""
    with urllib.request.urlopen(url, timeout=30) as response, open(path, "wb") as file:
        with tqdm(total=size, unit="B", unit_scale=True, desc=path.name, leave=False, disable=None) as bar:
            while piece := response.read(1 << 20):
                file.write(piece)
                bar.update(len(piece))


def read_lines(path: Path, advice: str) -> list[str]:
    """The lines of a text in UTF-8, with or without a byte-order mark. DataError, with the advice: it is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} is missing: {advice}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    if "\0" in text:  # UTF-16 without a mark
        raise DataError(f"{path} is not UTF-8 text (it has zero bytes): save it as UTF-8")
    return text.split("\n")  # splitlines would count form feeds


def open_image(path: Path, ground: str = "white") -> Image.Image:
    """The image in a file: RGB, upright, transparent parts on a ground colour. Raises DataError that names the file."""
    try:
        with Image.open(path) as image:
            image.load()
            return flattened(ImageOps.exif_transpose(image), ground)
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except UnidentifiedImageError:
        reason = f"damaged, or no format of Pillow {Image.__version__} here" if os.path.getsize(path) else "it is empty"
        raise DataError(f"{path} cannot be read as an image ({reason}): save it as PNG or JPEG, or remove it") from None
    except (AttributeError, ImportError, NotImplementedError) as error:  # of Pillow, not of the file
        raise DataError(f"{path}: Pillow {Image.__version__} cannot do it ({error}): install a newer one") from error
    except Exception as error:  # decoders raise whatever they stumble over: OSError, SyntaxError, zlib.error, ...
        raise DataError(f"{path} cannot be read as an image ({error}): replace or remove it") from error


def flattened(image: Image.Image, ground: str) -> Image.Image:
    """RGB, 8 bits: grey of 16 bits is scaled, transparent parts get a ground colour. ValueError: no known range."""
    if not all(image.size):
        raise ValueError(f"it has {image.width} x {image.height} pixels")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range: save it with 8 bits")
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError("32-bit pixels have no known range: save it with 8 bits")
        image = Image.fromarray(np.round(grey / 257).astype(np.uint8))
    if "transparency" not in image.info and image.mode not in ("P", "PA", "LA", "La", "RGBA", "RGBa"):
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image.convert("RGBA")).convert("RGB")


def square(image: Image.Image) -> Image.Image:
    """The largest square in the middle of an image."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def to_array(image: Image.Image, size: int) -> np.ndarray:
    """A square image -> uint8 (3, size, size); shrunk by averaging areas, and left as it is when it has that size."""
    if image.size != (size, size):
        smaller = size <= image.width
        image = image.resize((size, size), Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)


def decode(files: Sequence[Path], size: int, read: Callable[[Path, int], np.ndarray], name: str) -> np.ndarray:
    """All files, uint8 (N, 3, size, size), each by `read`, behind a bar with this name."""
    images = np.empty((len(files), 3, size, size), dtype=np.uint8)
    for image, file in zip(images, tqdm(files, name, unit=" images", leave=False, disable=None), strict=True):
        image[:] = read(file, size)
    return images


# ---- cache -----------------------------------------------------------------------------------------------------------


def cached(
    data_dir: str | Path, name: str, source: Any, modules: tuple[str, ...], compute: Callable[[], np.ndarray]
) -> np.ndarray:
    """What takes long to decode, draw or describe: the array of `compute`, kept in data_dir/.cache for the next time.

    source, modules: what the array depends on, values and files of this package; the file's name holds their hash. A
    new file replaces that of an old source. A damaged one is made again. Where none can be written, one line says so.
    """
    digest = hashlib.sha256(repr(source).encode())
    for module in modules:
        digest.update((Path(__file__).parent / f"{module}.py").read_bytes())
    path = Path(data_dir) / ".cache" / f"{name}-{digest.hexdigest()[:16]}.npz"
    with suppress(Exception):  # not there, or damaged in whatever way: a zip has a checksum
        with open(path, "rb") as file, np.load(file) as arrays:
            return arrays["array"]
    array = compute()
    try:
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, array=array)
        for old in path.parent.glob(f"{name}-{'?' * 16}.np?"):
            if old != path:
                old.unlink(missing_ok=True)  # another command may do the same
    except OSError as error:
        print(f"{name} is computed at every start, its cache cannot be kept: {error}", file=sys.stderr)
    return array
