"""The arithmetic inside the network: float32, or the half precision in which the device is faster.

Weights, their sums and averages, the statistics of normalisations, the last layer and the loss stay float32 either way.
"""

import time
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PRECISIONS = ("auto", *DTYPES)


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context in which the network computes; precision: a key of `DTYPES`."""
    return nullcontext() if precision == "float32" else torch.autocast(device.type, DTYPES[precision])


def resolve(precision: str, device: torch.device) -> str:
    """`auto` becomes the faster precision for training: on a CPU by a measurement of a second or two.

    A GPU takes bfloat16 from compute capability 8.0 on, because older ones have no convolutions in it; float16 from 7.0
    on, whose small range needs a scaled loss.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
    seconds: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for _ in range(10):  # in turn, so that other load on the machine affects both
        for name, values in seconds.items():
            values.append(convolution_seconds(name))
        fast, slow = sorted(map(min, seconds.values()))
        if len(values) > 1 and slow > 2 * fast:
            break  # a CPU without bfloat16 needs ten times as long
    return min(seconds, key=lambda name: min(seconds[name]))


def convolution_seconds(precision: str) -> float:
    """What a 3 x 3 convolution of our networks' size takes on the CPU, forwards and backwards."""
    conv = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(64, 64, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    began = time.perf_counter()
    with autocast(x.device, precision):
        conv(x).float().square().mean().backward()
    return time.perf_counter() - began
