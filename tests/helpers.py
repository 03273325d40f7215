"""Small helpers that several tests share."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm.utils.images import to_bytes

BOTH = pytest.mark.parametrize("kind", ["linear", "cosine"])  # schedules


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def code_of(main: Callable[[list[str]], int], *flags: object) -> int:
    """The code with which a command line ends; argparse leaves by itself."""
    try:
        return main([str(flag) for flag in flags])
    except SystemExit as end:
        return end.code


def far(one: np.ndarray, other: np.ndarray | Tensor) -> int:
    """The largest difference of images in bytes, or of bytes and an image x."""
    return abs(one.astype(int) - (to_bytes(other) if isinstance(other, Tensor) else other)).max()


class Recorder:
    """Passes an EpsFn through and keeps the times at which it was called."""

    def __init__(self, eps: Callable[[Tensor, Tensor], Tensor]):
        self.eps, self.times = eps, []

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (len(x_t),) and t.dtype == torch.long and (t == t[0]).all()
        self.times.append(t[0].item())
        return self.eps(x_t, t)
