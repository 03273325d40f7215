"""The device that a command computes on."""

import platform

import torch

DEVICES = ("cpu", "cuda")  # mps has no float64, in which the schedule is kept


def best_device() -> str:
    """A GPU if PyTorch finds one here, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


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


def device_name(device: torch.device) -> str:
    """What a number was measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"
