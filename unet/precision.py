"""The arithmetic inside the network: float32, or bfloat16 where the device is faster in it.

Weights, their sums and averages, the statistics of normalisations and the loss stay float32 either way.
"""

import time

import torch
from torch import nn

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PRECISIONS = ("auto", *DTYPES)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which the network computes; precision: a key of `DTYPES`."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "float32")


def resolve(precision: str, device: torch.device) -> str:
    """`auto` becomes the faster precision of the device, by a measurement of a fraction of a second on a CPU.

    A GPU takes bfloat16 from compute capability 8.0 on; older ones have no convolutions in it.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    if device.type != "cpu":
        return "float32"
    seconds = {name: [] for name in DTYPES}
    for _ in range(10):  # in turn, so that other load on the machine affects both
        for name, values in seconds.items():
            values.append(convolution_seconds(name))
    return min(seconds, key=lambda name: min(seconds[name]))


def convolution_seconds(precision: str) -> float:
    """What a 3 x 3 convolution of our networks' size takes on the CPU, forwards and backwards."""
    conv = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(64, 64, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    began = time.perf_counter()
    with autocast(x.device, precision):
        conv(x).float().square().mean().backward()
    return time.perf_counter() - began
