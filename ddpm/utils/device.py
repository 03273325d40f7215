"""The device that a command computes on."""

import math
import os
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


def check_memory(needed: int, device: torch.device, typed: str) -> None:
    """ValueError, before anything is allocated, where what was typed takes more bytes than the device has."""
    if device.type == "cuda":
        there = torch.cuda.mem_get_info(device)[0]
    else:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
    if needed > there:
        have, want = (f"{size / 2**30:,.0f} GB" for size in (there, needed))
        raise ValueError(f"{typed} takes {want} of memory or more, there are {have} here: take a smaller number")
