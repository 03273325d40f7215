"""CIFAR-10 [Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009] and captions made from it."""

import hashlib
import http.client
import os
import pickle
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from .base import DataError, Dataset, cached, check_split, fetch
from .captions import thing_captions
from .colours import describe

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE, MD5 = "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"
ARCHIVE_BYTES = 170_498_071
FOLDER = "cifar-10-batches-py"
SIZE = 32  # pixels
SPLITS = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}


class _Unpickler(pickle.Unpickler):
    """Reads only what the official batches are made of: a pickle from elsewhere could run any code."""

    MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")

    def find_class(self, module, name):
        if (module, name) == ("_codecs", "encode"):  # Python 3 writes the bytes of an old-style pickle as latin-1 text
            return str.encode
        if module in self.MODULES and name in ("_reconstruct", "dtype", "ndarray"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR-10 batch needs")


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One official batch -> images uint8 (n, 3, 32, 32), labels (n,) in 0..9. Raises DataError that names the file."""
    try:
        with open(path, "rb") as file:
            batch = _Unpickler(file, encoding="bytes").load()
        images, labels = batch[b"data"], np.array(batch[b"labels"])
        of_bytes = images.dtype == np.uint8 and images.shape == (len(labels), 3072)
        if not (of_bytes and labels.dtype.kind == "i" and np.isin(labels, range(10)).all()):
            raise ValueError("expected images of 3072 bytes, and for each a label 0..9")
        return images.reshape(-1, 3, SIZE, SIZE), labels
    except FileNotFoundError:
        raise DataError(f"{path} is missing: put the official file there, or delete {path.parent}") from None
    except Exception as error:  # a damaged pickle may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is damaged or no CIFAR-10 batch ({reason}): put the official file there") from error


def batches_in(data_dir: Path) -> Path:
    """The folder of the official batches: in data_dir, or data_dir itself; else unpacked from the archive, which is
    fetched where it does not lie in data_dir. Whatever goes wrong, nothing half-written stays under its name.
    """
    folder, archive, batches = data_dir / FOLDER, data_dir / ARCHIVE, SPLITS["train"] + SPLITS["test"]
    if folder.exists():
        return folder
    if any((data_dir / name).is_file() for name in batches):
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
                for name in ("batches.meta", *batches):  # no path in it can lead elsewhere
                    (unpacked / name).write_bytes(tar.extractfile(f"{FOLDER}/{name}").read())
            data_dir.mkdir(parents=True, exist_ok=True)
            os.rename(unpacked, folder)
    except (OSError, http.client.HTTPException, tarfile.TarError, EOFError) as error:
        if not folder.exists():  # or else another command was faster
            advice = f"put the archive {URL} into {data_dir}"
            raise DataError(f"CIFAR-10 is not in {data_dir} and could not be fetched ({error}): {advice}") from error
    return folder


def load_images(data_dir: str | Path, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """The images uint8 (N, 3, 32, 32) and labels (N,) of a split; see `cifar10`."""
    check_split("cifar10", split, SPLITS)
    root = batches_in(Path(data_dir))
    images, labels = zip(*(read_batch(root / name) for name in SPLITS[split]), strict=True)
    return np.concatenate(images), np.concatenate(labels)


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
        return np.array([[word or "" for word in thing.values()] for thing in things])

    source = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    rows = cached(data_dir, f"cifar10-{split}", source, ("cifar10", "colours"), words).tolist()
    return Dataset("cifar10", images, [thing_captions(*(word or None for word in row)) for row in rows])
