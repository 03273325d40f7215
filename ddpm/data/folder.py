"""A folder of one's own images: any format Pillow reads, with a file `captions.txt` beside them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unet.vocabulary import VOCABULARY, split_words

from .base import DataError, Dataset, decode, open_image, read_lines, square, to_array

CAPTIONS = "captions.txt"
EXPLAINED = f"each line of {CAPTIONS} has a file name, a tab and a caption"


def read_captions(path: Path, words: Sequence[str] = VOCABULARY, longest: int | None = None) -> dict[str, list[str]]:
    """File name -> its captions, both in the order of the file.

    words: those that a caption may use. longest: how many of them. Raises DataError that names the file and the line.
    """
    captions: dict[str, list[str]] = {}
    known, unknown = set(words), {}  # unknown word -> its lines
    for number, line in enumerate(read_lines(path, EXPLAINED), start=1):
        if not line.strip():
            continue
        name, caption = (part.strip() for part in line.partition("\t")[::2])
        said = split_words(caption)
        if not (name and said):
            raise DataError(f"{path}:{number}: expected a file name, a tab and a caption with words, got {line!r}")
        if longest and len(said) > longest:
            raise DataError(f"{path}:{number}: the caption has {len(said)} words, but the network reads {longest}")
        if not (path.parent / name).is_file():
            raise DataError(f"{path}:{number}: there is no file {path.parent / name}")
        for word in said:
            if word not in known:
                unknown.setdefault(word, []).append(number)
        captions.setdefault(name, []).append(caption)
    if unknown:
        found = [f"{word} ({len(lines)} x, first in line {lines[0]})" for word, lines in unknown.items()]
        more = f" and {len(found) - 50} more" if len(found) > 50 else ""
        advice = "take other words, or add them to unet/vocabulary.py before a training"
        raise DataError(f"{path} has words outside the vocabulary: {', '.join(found[:50])}{more}; {advice}")
    if not captions:
        raise DataError(f"{path} lists no images: {EXPLAINED}")
    return captions


def middle_of(path: Path, size: int) -> np.ndarray:
    """The square in the middle of the image in a file, uint8 (3, size, size)."""
    return to_array(square(open_image(path)), size)


def folder(
    data_dir: str | Path, size: int = 32, words: Sequence[str] = VOCABULARY, longest: int | None = None
) -> Dataset:
    """The images that data_dir/captions.txt lists, cut to the square in the middle and resized to size x size.

    An image with several lines has several captions. Images that are not listed are left out. words, longest: see
    `read_captions`. Raises DataError for a missing folder or file, a line that cannot be used, an image that cannot
    be read; all captions are read before the first image.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise DataError(f"{data_dir} is not a folder: expected images and {CAPTIONS} in it")
    captions = read_captions(data_dir / CAPTIONS, words, longest)
    images = decode([data_dir / name for name in captions], size, middle_of, data_dir.resolve().name)
    return Dataset(data_dir.resolve().name, images, [tuple(each) for each in captions.values()])
