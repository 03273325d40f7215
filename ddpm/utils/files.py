"""Files of weights and records: written whole or not at all, read without running what is inside, known by hash."""

import hashlib
import json
import os
import pickle
import re
import textwrap
import time
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

CHECKPOINT = "checkpoint.pt"  # of a run folder
MANIFEST = "manifest.json"  # of a folder of shipped weights: name -> file, sha256, bytes; some with data and words


class CheckpointError(ValueError):
    """A model that is missing, damaged or of another format; the message says what was found and what to do."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to that becomes `path` only when all went well; on any error, even Ctrl-C, the old file stays as
    it was. Its folder is made. OSError, naming the file, where it cannot be written (a full disk).
    """
    temporary = path.with_name(f".{path.name}.part{os.getpid()}")  # another command may write the same file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "r+b") as written:  # for update: Windows flushes nothing that is open for reading
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) or "PytorchStreamWriter" in str(error):  # of torch.save on a full disk
            raise OSError(f"cannot write {path}: {first_line(error)}; what was there is unchanged") from error
        raise


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One command at a time: others that write `path` wait here. A lock that stays ten seconds, where a write takes far
    less, was left by a command that was killed, and is removed.
    """
    lock = path.with_name(f".{path.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(100):
        with suppress(FileExistsError):
            lock.touch(exist_ok=False)
            break
        time.sleep(0.1)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text, whole or not at all; returns the path."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, record: Any) -> Path:
    """Write a record as JSON, whole or not at all; returns the path."""
    return write_text(path, json.dumps(record, indent=2) + "\n")


def read_json(path: Path, what: str, keys: Collection[str] = ()) -> dict:
    """What the project wrote to a .json file earlier; what: its name, as "a record of ddim table".

    ValueError, with the file, what is wrong and what to do: no JSON, no object, or one without these keys.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no names and values")
        odd = {key for key in ("settings", "cells", "curves") if not isinstance(content.get(key), dict)}
        if lacks := [key for key in keys if key not in content or key in odd]:
            raise ValueError(f"it has no {lacks[0]}")
    except (ValueError, RecursionError, FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(f"{path} is not {what} ({first_line(error)}): move it away, or name another file") from None
    return content


def save(path: Path, content: dict) -> None:
    """Write a checkpoint, whole or not at all. OSError where it cannot be written."""
    with whole_file(path) as temporary:
        torch.save(content, temporary)


def read(path: Path) -> Any:
    """Read a file of torch.save with weights_only, so that no code in it can run.

    Raises CheckpointError, naming the file, for what is missing, damaged or more than tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums that torch.save wrote
            if broken := archive.testzip():
                raise ValueError(f"the checksum of its part {broken} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"no checkpoint at {path}: expected a run folder") from None
    except pickle.UnpicklingError:
        raise CheckpointError(f"{path} holds more than tensors and plain values: such a file is never opened") from None
    except Exception as error:  # inside a damaged file anything can go wrong
        raise CheckpointError(f"{path} is damaged or no checkpoint: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """What an error says, in one line: its first, and the second where the first announces it."""
    lines = str(error).splitlines() or [type(error).__name__]
    return textwrap.shorten(" ".join(lines[: 1 + lines[0].endswith(":")]), 300, placeholder=" ...")


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Errors of a checkpoint that does not match this version of the code, as a CheckpointError with its path."""
    try:
        yield
    except CheckpointError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit this version of the code: {first_line(error)}") from error


def sha256(path: Path) -> str:
    """The hash of a file's content, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest(folder: Path) -> dict[str, dict]:
    """What a folder of shipped weights holds: name -> {"file", "sha256", "bytes"}. CheckpointError: it is damaged."""
    path = folder / MANIFEST
    with suppress(ValueError, AttributeError):  # no JSON, or JSON of another form
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if all({"file", "sha256"} <= entry.keys() for entry in entries.values()):
            return entries
    raise CheckpointError(f"{path} is damaged: a name needs a file and its sha256; fetch it again (git checkout)")


def shipped(folder: Path, name: str) -> Path:
    """The file of a name in the manifest. Raises CheckpointError unless its sha256 is the one written there."""
    entry = manifest(folder)[name]
    path = folder / entry["file"]
    if not path.exists() or sha256(path) != entry["sha256"]:
        raise CheckpointError(f"{path} is missing or not the file that was shipped: fetch it again (git checkout)")
    return path


def check_new(folder: Path, name: str, replace: bool) -> None:
    """CheckpointError unless a model may be shipped under this name: a plain word, not taken or to be replaced."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise CheckpointError(f"{name!r} cannot be a model's name: expected letters, digits, - and _")
    if (name in manifest(folder) or (folder / f"{name}.pt").exists()) and not replace:
        raise CheckpointError(f"there is a shipped {name!r} in {folder}: take another name, or --replace to replace it")


def ship(folder: Path, name: str, content: dict, most_bytes: int, replace: bool = False) -> Path:
    """Write `content` as folder/name.pt and put it into the folder's manifest; returns the file.

    Raises what `check_new` raises, and CheckpointError for a file of more than most_bytes: then nothing has changed.
    """
    check_new(folder, name, replace)
    folder.mkdir(exist_ok=True)
    path, entries = folder / f"{name}.pt", manifest(folder)
    with whole_file(folder / MANIFEST) as listing, whole_file(path) as temporary:
        torch.save(content, temporary)
        size = temporary.stat().st_size
        if size > most_bytes:
            most = f"at most {most_bytes / 2**20:.0f} are shipped"
            raise CheckpointError(f"{name} would take {size / 2**20:.1f} MB: {most}")
        entry = {"file": path.name, "sha256": sha256(temporary), "bytes": size}
        entries[name] = entries.get(name, {}) | entry
        listing.write_text(json.dumps(dict(sorted(entries.items())), indent=2) + "\n", encoding="utf-8")
    return path
