"""What the sampler's loop costs beside the network."""

import argparse
import time
from collections.abc import Callable, Iterator

import torch

import ddpm

from ..grids import timesteps
from ..sampling import last, sample, sample_2m
from .common import check_free, check_same, head, model_facts, tell


def overhead_command(args: argparse.Namespace) -> None:
    """The share of the sampler's time that is not the network's."""
    check_free(args, ".json", ".txt")
    trained = ddpm.load(args.model)
    timesteps(trained.schedule.T, args.steps)  # a bad S is told before any work
    settings = model_facts(trained, args) | {"batch": args.batch, "steps": args.steps}
    settings |= {"threads": torch.get_num_threads()}
    check_same(args, settings)
    network = trained.eps(None)
    x_T = ddpm.Noise(range(args.batch)).start(trained.shape)
    samplers = {
        "DDIM, eta 0": lambda eps: sample(eps, trained.schedule, x_T, args.steps),
        "DDIM, eta 1": lambda eps: sample(
            eps, trained.schedule, x_T, args.steps, 1.0, generator=ddpm.Noise(range(args.batch))
        ),
        "2M": lambda eps: sample_2m(eps, trained.schedule, x_T, args.steps),
    }
    lines, record = [], {}
    for name, sampler in samplers.items():
        network_s, loop_s = spent(sampler, network)
        record[name] = {"network_s": network_s, "loop_s": loop_s}
        lines.append(f"{name:12s} network {network_s:7.2f} s, loop {loop_s:7.3f} s: {100 * loop_s / network_s:.2f} %")
    asked = f"batch {args.batch}, {args.steps} steps, {torch.get_num_threads()} threads"
    words = "\n".join([*head(trained, args, asked), *lines]) + "\n"
    tell(args, {"settings": settings, "rows": record}, words)


def spent(sampler: Callable[[ddpm.EpsFn], Iterator], network: ddpm.EpsFn) -> tuple[float, float]:
    """Seconds that one walk of a sampler takes: in the network, and in its own loop."""
    inside = []

    def timed(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        began = time.perf_counter()
        answer = network(x, t)
        inside.append(time.perf_counter() - began)
        return answer

    began = time.perf_counter()
    last(sampler(timed))
    both = time.perf_counter() - began
    return sum(inside), both - sum(inside)
