"""Everything about several processes (torchrun): who is who, what they agree on, how they exchange gradients and end.

With one process every function here is the identity, so the training loop reads the same.
"""

import gc
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from ..utils.device import select_device


def start(device: str) -> torch.device:
    """Join the processes of torchrun, if it started this one; returns this process's device ("cpu" or "cuda").

    ValueError: a device that is not there, or only some of torchrun's environment variables.
    """
    own = select_device(torch.device(device, int(os.environ.get("LOCAL_RANK", 0)) if device == "cuda" else None))
    if device == "cuda":
        torch.cuda.set_device(own)  # before the first exchange, which would otherwise put every process on GPU 0
    if "RANK" in os.environ:  # the first process may download or decode images while the others wait
        dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=timedelta(hours=1))
    return own


def rank() -> int:
    """This process's number, 0 for the first."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def rank_zero_first() -> Iterator[None]:
    """The first process does the work before the others, so that a download happens once."""
    if rank() > 0:
        dist.barrier()
    yield
    if rank() == 0 and world() > 1:
        dist.barrier()


def broadcast(value: Any) -> Any:
    """The first process's value, on every process."""
    values = [value]
    if world() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def maximum(values: Sequence[float], device: torch.device) -> Sequence[float]:
    """The largest of the processes' values, one by one, on every process."""
    if world() == 1:
        return values
    most = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return most.tolist()


def data_parallel(network: nn.Module) -> nn.Module:
    """The network; its backward pass averages the gradients over all processes."""
    return nn.parallel.DistributedDataParallel(network) if world() > 1 else network


def destroy() -> None:
    """End the exchange between processes, when nobody holds a network of `data_parallel` any more: else 5 of 44 pairs
    of gloo processes lost one at the interpreter's end, which torchrun calls a failure; since then none of 59 did.
    """
    if dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()


@contextmanager
def interruptible(training: Any) -> Iterator[None]:
    """Ctrl-C and SIGTERM set `training.interrupted` to their number, so that it ends after its step; a second one ends
    it at once, but not with torchrun, which passes on what its processes had already.
    """

    def interrupt(number: int, _) -> None:
        training.interrupted = number
        if world() == 1:
            signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
