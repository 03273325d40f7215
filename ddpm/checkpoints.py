"""Saving, loading and shipping. A file has all that is needed to rebuild its model; a new one replaces an old whole."""

import hashlib
import json
import os
import pickle
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from unet import Tokenizer, UNet, UNetConfig

from .model import Trained
from .schedule import Schedule

CHECKPOINT = "checkpoint.pt"
SHIPPED = Path(__file__).parent / "weights"
MANIFEST = SHIPPED / "manifest.json"
MOST_BYTES = 40 * 2**20
MODEL = ("unet_config", "words", "schedule", "ema", "info")  # what every checkpoint says
RUN = (*MODEL, "settings", "unet", "optimizer", "step", "seconds")  # and one that training can go on from


class CheckpointError(ValueError):
    """A model that is missing, damaged or of another format; the message says what was found and what to do."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to that becomes `path` only when all went well; on any error, even Ctrl-C, the old file stays as
    it was.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        with open(name, "rb") as written:
            os.fsync(written.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def save(path: Path, content: dict) -> None:
    """Write a checkpoint as a whole or not at all. Raises CheckpointError when it cannot be written (a full disk)."""
    try:
        with whole_file(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"cannot write {path}: {error}; what was there before is unchanged") from error


def read(path: Path, keys: tuple[str, ...] = MODEL) -> dict:
    """Read a checkpoint with weights_only, so that no code in it can run; keys: what it must hold, `MODEL` or `RUN`.

    Raises CheckpointError, naming the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums that torch.save wrote
            if broken := archive.testzip():
                raise CheckpointError(f"{path} is damaged: the checksum of its part {broken} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}") from None
    except CheckpointError:
        raise
    except pickle.UnpicklingError:
        raise CheckpointError(f"{path} holds more than tensors and plain values: such a file is never opened") from None
    except Exception as error:  # inside a damaged file anything can go wrong
        raise CheckpointError(f"{path} is damaged or no checkpoint: {first_line(error)}") from None
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        hint = "; its weights can still be a start: --init" if keys == RUN and missing[0] not in MODEL else ""
        raise CheckpointError(
            f"{path} is no {'run to go on with' if hint else 'checkpoint'}: it has no {missing[0]}{hint}"
        )
    return content


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """What a whole file says may still not fit the code that reads it: CheckpointError, naming the file."""
    try:
        yield
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit this version of the code: {first_line(error)}") from error


def description(config: UNetConfig, tokenizer: Tokenizer, schedule: Schedule) -> dict:
    """What a checkpoint says beside its weights, so that the model is rebuilt without a flag."""
    return {
        "unet_config": asdict(config),
        "words": tokenizer.words,
        "schedule": {"T": schedule.T, "kind": schedule.kind},
    }


def build(content: dict) -> tuple[UNet, Tokenizer, Schedule]:
    """The untrained network, tokenizer and schedule that a checkpoint describes."""
    tokenizer, schedule = Tokenizer(content["words"]), Schedule(**content["schedule"])
    return UNet(UNetConfig(**content["unet_config"]), len(tokenizer), schedule.alpha_bar), tokenizer, schedule


def load(name: str | Path, ema: float | None = None, device: str | torch.device = "cpu") -> Trained:
    """A trained model from a shipped model's name, a run folder or a file.

    ema: which of a run's averages to take, by the share of its half-life; None takes the run's own choice. Shipped
    files hold one. Raises CheckpointError for what is missing, damaged or changed since it was shipped, and for an
    average that is not there.
    """
    path = find(str(name))
    content = read(path)
    averages = content["ema"]
    share = content["info"]["ema"] if ema is None else ema
    if share not in averages:
        raise CheckpointError(f"{path} has no average {share}: it has {', '.join(map(str, averages))}")
    with fitting(path):
        unet, tokenizer, schedule = build(content)
        unet.load_state_dict({key: value.float() for key, value in averages[share].items()})
    unet.eval().requires_grad_(False)
    return Trained(unet.to(device), tokenizer, schedule, content["info"] | {"ema": share, "path": str(path)})


def find(name: str) -> Path:
    """The file that a shipped model's name, a run folder or a path stands for; a shipped file's sha256 is checked."""
    manifest = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    if name in manifest:
        path = SHIPPED / manifest[name]["file"]
        if not path.exists() or sha256(path) != manifest[name]["sha256"]:
            raise CheckpointError(f"{path} is missing or not the file that was shipped: fetch it again (git checkout)")
        return path
    path = Path(name)
    if (path / CHECKPOINT).exists():
        return path / CHECKPOINT
    if path.is_file():
        return path
    raise CheckpointError(
        f"no model {name!r}: expected a shipped model ({', '.join(manifest) or 'none yet'}), "
        f"a run folder with {CHECKPOINT}, or a file"
    )


def sha256(path: Path) -> str:
    """The hash of a file's content, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def ship(run: str | Path, name: str, numbers: dict[str, Any], ema: float | None = None) -> Path:
    """Put one average of a run, in half precision, among the shipped models and into the manifest; returns the file.

    numbers: what was measured with it, for `info`. Raises CheckpointError when the file would pass 40 MB.
    """
    content = read(find(str(run)))
    share = content["info"]["ema"] if ema is None else ema
    if share not in content["ema"]:
        raise CheckpointError(f"{run} has no average {share}: it has {', '.join(map(str, content['ema']))}")
    weights = {key: value.half() for key, value in content["ema"][share].items()}
    kept = {key: content[key] for key in ("unet_config", "words", "schedule")}
    info = content["info"] | {"ema": share, "numbers": numbers}
    SHIPPED.mkdir(exist_ok=True)
    path = SHIPPED / f"{name}.pt"
    with whole_file(path) as temporary:
        torch.save(kept | {"ema": {share: weights}, "info": info}, temporary)
        size = temporary.stat().st_size
        if size > MOST_BYTES:
            raise CheckpointError(
                f"{name} would take {size / 2**20:.1f} MB: at most {MOST_BYTES / 2**20:.0f} are shipped"
            )
    manifest = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    manifest[name] = {"file": path.name, "sha256": sha256(path), "bytes": size}
    with whole_file(MANIFEST) as temporary:
        temporary.write_text(json.dumps(dict(sorted(manifest.items())), indent=2) + "\n")
    return path
