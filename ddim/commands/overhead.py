"""What the sampler's loop costs beside the network."""

import argparse
import time

import torch

import ddpm

from ..grids import timesteps
from ..sampling import last, sample, sample_2m


def overhead_command(args: argparse.Namespace) -> None:
    """The share of the sampler's time that is not the network's."""
    trained = ddpm.load(args.model)
    timesteps(trained.schedule.T, args.steps)  # a bad S is told before any work
    network = trained.eps(None)
    x_T = ddpm.Noise(range(args.batch)).start(trained.shape)
    samplers = {
        "DDIM, eta 0": lambda eps: sample(eps, trained.schedule, x_T, args.steps),
        "DDIM, eta 1": lambda eps: sample(
            eps, trained.schedule, x_T, args.steps, 1.0, generator=ddpm.Noise(range(args.batch))
        ),
        "2M": lambda eps: sample_2m(eps, trained.schedule, x_T, args.steps),
    }
    print(f"{args.model}, batch {args.batch}, {args.steps} steps, {torch.get_num_threads()} threads")
    for name, sampler in samplers.items():
        inside = []

        def timed(x: torch.Tensor, t: torch.Tensor, inside: list[float] = inside) -> torch.Tensor:
            began = time.perf_counter()
            answer = network(x, t)
            inside.append(time.perf_counter() - began)
            return answer

        began = time.perf_counter()
        last(sampler(timed))
        spent = time.perf_counter() - began
        share = (spent - sum(inside)) / sum(inside)
        print(f"{name:12s} network {sum(inside):7.2f} s, loop {spent - sum(inside):7.3f} s: {100 * share:.2f} %")
