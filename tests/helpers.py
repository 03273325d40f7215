"""Small helpers that several tests share."""

from collections.abc import Callable

import torch
from torch import Tensor


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def code_of(main: Callable[[list[str]], int], *flags: object) -> int:
    """The code with which a command line ends; argparse leaves by itself."""
    try:
        return main([str(flag) for flag in flags])
    except SystemExit as end:
        return end.code


class Recorder:
    """Passes an EpsFn through and keeps the times at which it was called."""

    def __init__(self, eps: Callable[[Tensor, Tensor], Tensor]):
        self.eps, self.times = eps, []

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (len(x_t),) and t.dtype == torch.long and (t == t[0]).all()
        self.times.append(t[0].item())
        return self.eps(x_t, t)
