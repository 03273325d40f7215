"""What takes long to decode, draw or describe is computed once and kept as a file beside the data."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.files import whole_file

FOLDER = ".cache"


def cached(data_dir: str | Path, name: str, source: Any, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array that `compute` gives, read from data_dir/.cache where it was computed before.

    source: all that the array depends on, of which the file's name holds a hash. A new one replaces the file of an old
    one. Where nothing can be written, nothing is kept.
    """
    digest = hashlib.sha256(repr(source).encode()).hexdigest()[:16]
    path = Path(data_dir) / FOLDER / f"{name}-{digest}.npy"
    if path.exists():
        return np.load(path)
    array = compute()
    there = next(place for place in path.absolute().parents if place.exists())
    if os.access(there, os.W_OK):
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob(f"{name}-{'?' * len(digest)}.npy"):
            old.unlink(missing_ok=True)  # another command may do the same
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            np.save(file, array)
    return array


def code_of(*modules: str) -> list[str]:
    """Hashes of modules of this package: what they compute depends on their code."""
    return [hashlib.sha256((Path(__file__).parent / f"{name}.py").read_bytes()).hexdigest() for name in modules]
