"""A folder of one's own images: any format Pillow reads, with a file `captions.txt` beside them."""

from pathlib import Path

import numpy as np

from .base import DataError, Dataset
from .image_files import open_image, square, to_array

CAPTIONS = "captions.txt"
EXPLAINED = f"each line of {CAPTIONS} has a file name, a tab and a caption"


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """File name -> its captions, both in the order of the file. Raises DataError that names the file and the line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} is missing: {EXPLAINED}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    captions: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, caption = (part.strip() for part in line.partition("\t")[::2])
        if not (name and caption):
            raise DataError(f"{path}:{number}: expected a file name, a tab and a caption, got {line!r}")
        captions[name] = (*captions.get(name, ()), caption)
    if not captions:
        raise DataError(f"{path} lists no images: {EXPLAINED}")
    return captions


def folder(data_dir: str | Path, size: int = 32) -> Dataset:
    """The images that data_dir/captions.txt lists, cut to the square in the middle and resized to size x size.

    An image with several lines has several captions. Images that are not listed are left out. Raises DataError for a
    missing folder or file, a line without a tab, a listed image that is missing or cannot be read.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise DataError(f"{data_dir} is not a folder: expected images and {CAPTIONS} in it")
    captions = read_captions(data_dir / CAPTIONS)
    for name in captions:
        if not (data_dir / name).is_file():
            raise DataError(f"{data_dir / name} is missing, but {CAPTIONS} lists it")
    images = [to_array(square(open_image(data_dir / name)), size) for name in captions]
    return Dataset(data_dir.resolve().name, np.stack(images), list(captions.values()))
