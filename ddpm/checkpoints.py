"""Trained models as files: the description of a model in its checkpoint, loading one, and shipping one."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from unet import Tokenizer, UNet, UNetConfig

from . import files
from .files import CheckpointError, fitting
from .model import Trained
from .schedule import Schedule

CHECKPOINT = "checkpoint.pt"
SHIPPED = Path(__file__).parent / "weights"
MOST_BYTES = 40 * 2**20
DEVICES = ("cpu", "cuda")  # mps has no float64, in which the schedule is kept
MODEL = ("unet_config", "words", "schedule", "ema", "info")  # what every checkpoint has
RUN = (*MODEL, "settings", "unet", "optimizer", "step", "seconds")  # and one that training can resume


def read(path: Path, keys: tuple[str, ...] = MODEL) -> dict:
    """Read a checkpoint as `files.read` does; keys: what it must hold, `MODEL` or `RUN`.

    Raises CheckpointError, naming the file.
    """
    content = files.read(path)
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        hint = "; its weights can still be a start: --init" if keys == RUN and missing[0] not in MODEL else ""
        raise CheckpointError(
            f"{path} is no {'run to resume' if hint else 'checkpoint'}: it has no {missing[0]}{hint}"
        )
    return content


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
    average that is not there; ValueError for a device that PyTorch cannot use here.
    """
    device = usable(device)
    path = find(str(name))
    content = read(path)
    share, average = choose_average(path, content, ema)
    with fitting(path):
        unet, tokenizer, schedule = build(content)
        unet.load_state_dict({key: value.float() for key, value in average.items()})
    unet.eval().requires_grad_(False)
    return Trained(unet.to(device), tokenizer, schedule, content["info"] | {"ema": share, "path": str(path)})


def choose_average(path: Path, content: dict, ema: float | None) -> tuple[float, dict]:
    """The share of the average to take, and its weights; None takes the run's own. CheckpointError: not there."""
    share, averages = content["info"].get("ema") if ema is None else ema, content["ema"]
    if share not in averages:
        wanted = "its info does not say which average to take" if share is None else f"it has no average {share}"
        raise CheckpointError(f"{path}: {wanted}; there are {', '.join(map(str, averages))}")
    return share, averages[share]


def usable(device: str | torch.device) -> torch.device:
    """A device on which PyTorch can compute here; ValueError for any other, "meta" too, which holds no numbers.

    On a GPU float32 products may then be computed in TF32, and convolutions are chosen by timing.
    """
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError):  # an unknown name; a build of PyTorch without it
        found = None
    if found is None or found.type not in DEVICES:
        raise ValueError(f"PyTorch has no device {str(device)!r} here: expected cpu, or cuda with a GPU")
    if found.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    return found


def find(name: str) -> Path:
    """The file that a shipped model's name, a run folder or a path stands for; a shipped file's sha256 is checked."""
    manifest = files.manifest(SHIPPED)
    if name in manifest:
        return files.shipped(SHIPPED, name)
    path = Path(name)
    if (path / CHECKPOINT).exists():
        return path / CHECKPOINT
    if path.is_file():
        return path
    raise CheckpointError(
        f"no model {name!r}: expected a shipped model ({', '.join(manifest) or 'none yet'}), "
        f"a run folder with {CHECKPOINT}, or a file"
    )


def ship(run: str | Path, name: str, numbers: dict[str, Any], ema: float | None = None, replace: bool = False) -> Path:
    """Put one average of a run, in half precision, among the shipped models and into the manifest; returns the file.

    numbers: what was measured with it, for `info`. replace: a shipped model of this name may be replaced. Raises
    CheckpointError for a name that is no plain word or is taken, and for a file of more than 40 MB.
    """
    files.check_new(SHIPPED, name, replace)
    path = find(str(run))
    content = read(path)
    share, average = choose_average(path, content, ema)
    weights = {key: value.half() for key, value in average.items()}
    kept = {key: content[key] for key in ("unet_config", "words", "schedule")}
    info = content["info"] | {"ema": share, "numbers": numbers}
    return files.ship(SHIPPED, name, kept | {"ema": {share: weights}, "info": info}, MOST_BYTES, replace)
