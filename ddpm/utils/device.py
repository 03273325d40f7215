"""The device that a command computes on."""

import platform
from functools import cache

import torch

DEVICES = ("cpu", "cuda")  # mps has no float64, in which the schedule is kept


def best_device() -> str:
    """A GPU if PyTorch finds one here, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def select_device(device: str | torch.device) -> torch.device:
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


@cache
def cannot_compile(device: str) -> str:
    """Why torch.compile does not work on a device here, in one line (no compiler, say); empty where it does."""
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except Exception as error:  # it calls programs of this machine, and any of them can be missing or broken
        return str(error).strip().splitlines()[0]
    return ""


def device_name(device: torch.device) -> str:
    """What a number was measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"
