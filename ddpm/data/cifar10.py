"""CIFAR-10 [Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009] and captions made from it."""

import hashlib
import http.client
import os
import pickle
import shutil
import tarfile
import tempfile
import urllib.request
from dataclasses import astuple
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unet.vocabulary import CLASSES

from .base import DataError, Dataset
from .cache import cached, code_of
from .captions import Thing, thing_captions
from .colours import colour_words, lightness, votes

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
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


def _describe_all(images: np.ndarray, labels: np.ndarray) -> list[Thing]:
    """`describe` in portions, which bounds the memory."""
    parts = [slice(i, i + 2000) for i in range(0, len(images), 2000)]
    return [thing for part in parts for thing in describe(images[part], labels[part])]


# ---- reading the official files --------------------------------------------------------------------------------------


class _Array:
    """Stands in for numpy's array while a pickle is read; it keeps what it is given, and can run nothing."""

    def __setstate__(self, state):
        _, self.shape, self.dtype, self.fortran, self.raw = state


class _Type:
    """Stands in for numpy's dtype."""

    def __init__(self, code, *_):
        self.code = code

    def __setstate__(self, state):
        self.state = state


def _encode(text: str, encoding: str) -> bytes:
    """Python 3 writes the bytes of an old-style pickle as latin-1 text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"unexpected encoding {encoding!r}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Reads only what the official batches are made of: a pickle from elsewhere could run any code."""

    ALLOWED = {("_codecs", "encode"): _encode, ("numpy", "dtype"): _Type, ("numpy", "ndarray"): _Array} | {
        (module, "_reconstruct"): lambda *_: _Array() for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    }

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR-10 batch needs")
        return self.ALLOWED[module, name]


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One official batch -> images uint8 (n, 3, 32, 32), labels (n,) in 0..9. Raises DataError that names the file."""
    try:
        with open(path, "rb") as file:
            batch = _Unpickler(file, encoding="bytes").load()
        array, labels = batch[b"data"], np.array(batch[b"labels"])
        if array.dtype.code not in ("u1", b"u1") or array.fortran:
            raise ValueError("its pixels are not bytes in C order")
        pixels = np.frombuffer(array.raw, dtype=np.uint8).reshape(array.shape)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: put the official file there, or delete {path.parent}") from None
    except Exception as error:  # a damaged pickle may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is damaged or no CIFAR-10 batch ({reason}): put the official file there") from error
    if pixels.ndim != 2 or pixels.shape[1] != 3072 or labels.shape != (len(pixels),):
        raise DataError(f"{path} has pixels {pixels.shape} and labels {labels.shape}: expected (n, 3072) and (n,)")
    if labels.dtype.kind != "i" or not np.isin(labels, range(10)).all():
        raise DataError(f"{path} has labels outside 0..9: replace it by the official file")
    return pixels.reshape(-1, 3, SIZE, SIZE), labels


# ---- fetching them ---------------------------------------------------------------------------------------------------


def _fetch(path: Path) -> None:
    """Downloads the archive to path. Raises DataError when what arrived is not the official archive."""
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(URL, timeout=30) as response, open(path, "wb") as file:
        with tqdm(total=ARCHIVE_BYTES, unit="B", unit_scale=True, desc="CIFAR-10", leave=False, disable=None) as bar:
            while piece := response.read(1 << 20):
                file.write(piece)
                digest.update(piece)
                bar.update(len(piece))
    if digest.hexdigest() != MD5:
        raise DataError(f"{URL} gave a file with md5 {digest.hexdigest()} instead of {MD5}: try again")


def _extract(archive: Path, into: Path) -> None:
    """Copies the batches out of the archive under names of our own, so that no path in it can lead elsewhere."""
    into.mkdir()
    with tarfile.open(archive) as tar:
        for name in ("batches.meta", *SPLITS["train"], *SPLITS["test"]):
            with tar.extractfile(f"{FOLDER}/{name}") as source, open(into / name, "wb") as file:
                shutil.copyfileobj(source, file)


def _download(data_dir: Path) -> None:
    """Puts the official batches into data_dir; whatever goes wrong, nothing half-written stays under their name."""
    advice = f"put the folder {FOLDER} from {URL} into {data_dir}"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".cifar10-", dir=data_dir) as scratch:
            _fetch(Path(scratch, "archive"))
            _extract(Path(scratch, "archive"), Path(scratch, FOLDER))
            os.rename(Path(scratch, FOLDER), data_dir / FOLDER)
    except (OSError, http.client.HTTPException, tarfile.TarError, EOFError) as error:
        raise DataError(f"CIFAR-10 is not in {data_dir} and could not be fetched ({error}): {advice}") from error


def load_images(data_dir: str | Path, split: str = "train", download: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The images uint8 (N, 3, 32, 32) and labels (N,) of a split; see `cifar10`."""
    if split not in SPLITS:
        raise DataError(f"cifar10 has no split {split!r}: expected {', '.join(SPLITS)}")
    root = Path(data_dir) / FOLDER
    if not root.is_dir():
        if not download:
            raise DataError(f"{root} is missing: put the folder {FOLDER} from {URL} into {data_dir}")
        _download(Path(data_dir))
    batches = [read_batch(root / name) for name in SPLITS[split]]
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return images, labels


def cifar10(data_dir: str | Path, split: str = "train", download: bool = True) -> Dataset:
    """CIFAR-10 from data_dir/cifar-10-batches-py: 50,000 ("train") or 10,000 ("test") images of 32 x 32.

    A missing folder is downloaded (170 MB) unless download is False. The captions name the class, the colours of object
    and background and the light of the photo, as far as the pixels make them clear: see `describe`. Raises DataError
    for an unknown split, a failed download, and files that are missing or damaged.
    """
    images, labels = load_images(data_dir, split, download)
    source = [hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest(), *code_of("cifar10", "colours")]

    def words() -> np.ndarray:  # (N, 4), "" for what is left out
        return np.array([[word or "" for word in astuple(thing)] for thing in _describe_all(images, labels)])

    rows = cached(data_dir, f"cifar10-{split}", source, words).tolist()
    return Dataset("cifar10", images, [thing_captions(Thing(*(word or None for word in row))) for row in rows])
