"""CIFAR-10 [Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009] and captions made from it."""

import hashlib
import http.client
import os
import pickle
import tarfile
import tempfile
from dataclasses import astuple
from pathlib import Path

import numpy as np

from unet.vocabulary import CLASSES

from .base import DataError, Dataset, cached, fetch
from .captions import Thing, thing_captions
from .colours import colour_words, lightness, votes

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE, MD5 = "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"
ARCHIVE_BYTES = 170_498_071
FOLDER = "cifar-10-batches-py"
SIZE = 32  # pixels
SPLITS = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}

# ---- what colours each kind of thing may have ------------------------------------------------------------------------

PALETTES = {
    "airplane": "red orange yellow white black",
    "car": "red orange yellow green blue purple pink white gray black",
    "bird": "red orange yellow brown white gray black",
    "cat": "brown white gray black",
    "deer": "brown white",
    "dog": "brown white gray black",
    "frog": "red orange yellow green brown",
    "horse": "brown white gray black",
    "ship": "red orange yellow white black",
    "truck": "red orange yellow green blue white gray black",
}
FURRED, MADE = ("cat", "deer", "dog", "horse"), ("airplane", "car", "ship", "truck")
SHADE = {"charcoal": "black", "pale": "white", "silver": "unclear"}
FUR = {"red": "brown", "orange": "brown", "yellow": "brown"}  # people call foxy and sandy fur brown
SCENERY = ("green", "blue", "purple", "pink", "brown")  # grass, sky, flowers, earth: around what has no such colour
# Windows and tyres are dark on a car of any colour, so the neutral pixels of made things weigh half.
NEUTRAL = dict.fromkeys(("gray", "black", "charcoal", "silver", "unclear"), 0.5)
DARK, BRIGHT = 30.0, 75.0  # mean lightness, of 0..100, below or above which the photo as a whole is called so


def _votes(kind: str) -> np.ndarray:
    palette = tuple(PALETTES[kind].split())
    scenery = tuple(word for word in SCENERY if word not in palette)
    return votes(palette, SHADE | (FUR if kind in FURRED else {}), scenery, NEUTRAL if kind in MADE else {})


def describe(images: np.ndarray, labels: np.ndarray) -> list[Thing]:
    """What can be said of each image: its class, and the colours and the light as far as they are clear.

    images: uint8 (N, 3, 32, 32). labels: (N,), 0..9 in the order of `CLASSES`.
    """
    tables = np.stack([_votes(kind) for kind in CLASSES])[labels]
    may_fill = np.isin(np.array(CLASSES)[labels], (*FURRED, "frog"))  # often photographed from close by
    light = [("dark" if value < DARK else "bright" if value > BRIGHT else None) for value in lightness(images)]
    words = colour_words(images, tables, may_fill)
    return [Thing(CLASSES[k], *pair, shade) for k, pair, shade in zip(labels, words, light, strict=True)]


# ---- reading the official files --------------------------------------------------------------------------------------


class _Kept:
    """Stands in for numpy's array and its dtype while a pickle is read: keeps what it is given, and can run nothing."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __setstate__(self, state):
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Reads only what the official batches are made of: a pickle from elsewhere could run any code."""

    ARRAYS = ("_reconstruct", "dtype", "ndarray")

    def find_class(self, module, name):
        if (module, name) == ("_codecs", "encode"):  # Python 3 writes the bytes of an old-style pickle as latin-1 text
            return str.encode
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray") and name in self.ARRAYS:
            return _Kept
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR-10 batch needs")


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One official batch -> images uint8 (n, 3, 32, 32), labels (n,) in 0..9. Raises DataError that names the file."""
    try:
        with open(path, "rb") as file:
            batch = _Unpickler(file, encoding="bytes").load()
        (_, shape, dtype, fortran, raw), labels = batch[b"data"].state, np.array(batch[b"labels"])
        if shape != (len(labels), 3072) or dtype.arguments[0] not in ("u1", b"u1") or fortran:
            raise ValueError(f"expected {len(labels)} images of 3072 bytes, as many as labels, in C order")
        if labels.dtype.kind != "i" or not np.isin(labels, range(10)).all():
            raise ValueError("expected labels 0..9")
        return np.frombuffer(raw, dtype=np.uint8).reshape(-1, 3, SIZE, SIZE), labels
    except FileNotFoundError:
        raise DataError(f"{path} is missing: put the official file there, or delete {path.parent}") from None
    except Exception as error:  # a damaged pickle may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is damaged or no CIFAR-10 batch ({reason}): put the official file there") from error


def batches_in(data_dir: Path) -> Path:
    """The folder of the official batches: in data_dir, or data_dir itself; else unpacked from the archive, which is
    fetched where it does not lie in data_dir. Whatever goes wrong, nothing half-written stays under its name.
    """
    folder, archive = data_dir / FOLDER, data_dir / ARCHIVE
    if folder.exists():
        return folder
    if any((data_dir / name).is_file() for name in SPLITS["train"] + SPLITS["test"]):
        return data_dir
    there = next(place for place in (data_dir, *data_dir.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".cifar10-", dir=there) as scratch:
            if not archive.is_file():
                archive = Path(scratch, ARCHIVE)
                fetch(URL, archive, ARCHIVE_BYTES)
            if (md5 := hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()) != MD5:
                where = archive if archive.parent == data_dir else URL
                raise DataError(f"{where} is not the official archive (md5 {md5} instead of {MD5}): fetch it again")
            unpacked = Path(scratch, FOLDER)
            unpacked.mkdir()
            with tarfile.open(archive) as tar:
                for name in ("batches.meta", *SPLITS["train"], *SPLITS["test"]):  # no path in it can lead elsewhere
                    (unpacked / name).write_bytes(tar.extractfile(f"{FOLDER}/{name}").read())
            data_dir.mkdir(parents=True, exist_ok=True)
            os.rename(unpacked, folder)
    except (OSError, http.client.HTTPException, tarfile.TarError, EOFError) as error:
        if not folder.exists():  # or else another command was faster
            advice = f"put the archive {URL} into {data_dir}"
            raise DataError(f"CIFAR-10 is not in {data_dir} and could not be fetched ({error}): {advice}") from error
    return folder


# ---- the dataset -----------------------------------------------------------------------------------------------------


def load_images(data_dir: str | Path, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """The images uint8 (N, 3, 32, 32) and labels (N,) of a split; see `cifar10`."""
    if split not in SPLITS:
        raise DataError(f"cifar10 has no split {split!r}: expected {', '.join(SPLITS)}")
    root = batches_in(Path(data_dir))
    batches = [read_batch(root / name) for name in SPLITS[split]]
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return images, labels


def cifar10(data_dir: str | Path, split: str = "train") -> Dataset:
    """CIFAR-10 from data_dir/cifar-10-batches-py: 50,000 ("train") or 10,000 ("test") images of 32 x 32.

    data_dir may be that folder itself. Where it is missing it is unpacked from data_dir/cifar-10-python.tar.gz, which
    is fetched (170 MB) where it is not there. The captions name the class, the colours of object and background and
    the light of the photo, as far as the pixels make them clear: see `describe`. Raises DataError for an unknown
    split, a failed download, and files that are missing or damaged.
    """
    images, labels = load_images(data_dir, split)

    def words() -> np.ndarray:
        """(N, 4), "" for what is left out; in portions, which bounds the memory."""
        parts = [slice(i, i + 2000) for i in range(0, len(images), 2000)]
        things = [thing for part in parts for thing in describe(images[part], labels[part])]
        return np.array([[word or "" for word in astuple(thing)] for thing in things])

    source = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    rows = cached(data_dir, f"cifar10-{split}", source, ("cifar10", "colours"), words).tolist()
    return Dataset("cifar10", images, [thing_captions(Thing(*(word or None for word in row))) for row in rows])
