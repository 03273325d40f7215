"""Everything about several processes (torchrun): who is who, what they agree on, how they share a batch, how they end.

With one process every function here is the identity, so the training loop reads the same.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn

from ..utils.device import usable

if TYPE_CHECKING:
    from .loop import Training


def start(device: str) -> torch.device:
    """Join the processes of torchrun, if it started this one; returns this process's device ("cpu" or "cuda")."""
    own = usable(torch.device(device, int(os.environ.get("LOCAL_RANK", 0)) if device == "cuda" else None))
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
def first_goes_ahead() -> Iterator[None]:
    """The first process does the work before the others, so that a download happens once."""
    if rank() > 0:
        dist.barrier()
    yield
    if rank() == 0 and world() > 1:
        dist.barrier()


def agreed(value: Any) -> Any:
    """The first process's value, on every process."""
    values = [value]
    if world() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def largest(value: float, device: torch.device) -> float:
    """The largest of the processes' values, on every process."""
    if world() == 1:
        return value
    most = torch.tensor(float(value), device=device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return most.item()


def shared(network: nn.Module) -> nn.Module:
    """The network; its backward pass averages the gradients over all processes."""
    return nn.parallel.DistributedDataParallel(network) if world() > 1 else network


def leave(training: "Training") -> None:
    """End the exchange between processes.

    The wrapper that exchanges gradients goes first. While it lived on to the interpreter's end, 5 of 44 pairs of gloo
    processes that left together lost one to "terminate called without an active exception", and torchrun calls such a
    run a failure; since then none of 59 did.
    """
    if dist.is_initialized():
        training.network = training.unet
        gc.collect()
        dist.destroy_process_group()
