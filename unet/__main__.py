"""The cost and the speed of the networks here, in float32 and bfloat16: python -m unet [--presets shapes cifar10]."""

import argparse
import sys
import time
from collections.abc import Callable

import torch
from tqdm import tqdm

from ddpm.utils import cli
from ddpm.utils.device import best_device, usable

from . import PRESETS, Tokenizer, UNet, cost
from .precision import DTYPES, autocast, resolve


def seconds(work: Callable[[], object], device: torch.device, least: float = 2.0) -> float:
    """Seconds one call takes, the mean over at least `least` seconds after two calls to warm up."""
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    work(), work()
    synchronize()
    calls, began = 0, time.perf_counter()
    while calls < 2 or time.perf_counter() - began < least:
        work()
        synchronize()
        calls += 1
    return (time.perf_counter() - began) / calls


def matrix_rate(device: torch.device, precision: str) -> float:
    """GFLOP/s of a 2048 x 2048 matrix product: what the device can do."""
    a = torch.randn(2048, 2048, device=device, dtype=DTYPES[precision])
    return 2 * 2048**3 / seconds(lambda: a @ a, device) / 1e9


def rates(unet: UNet, batch: int, precision: str, compiled: bool) -> tuple[float, float]:
    """Images/s in a forward pass and in a training step."""
    config, tokenizer, device = unet.config, Tokenizer(), unet.alpha_bar.device
    optimizer = torch.optim.AdamW(unet.parameters(), fused=True)
    network = torch.compile(unet) if compiled else unet
    x = torch.randn(batch, 3, config.size, config.size, device=device)
    t = torch.randint(1, 1001, (batch,), device=device)
    tokens = tokenizer.encode(["a photo of a red circle on a blue background"] * batch, config.words).to(device)

    def forward() -> torch.Tensor:
        with autocast(device, precision):
            return network(x, t, tokens)

    def training_step() -> None:
        optimizer.zero_grad(set_to_none=True)
        (forward() - x).square().mean().backward()
        optimizer.step()

    training = batch / seconds(training_step, device)
    with torch.no_grad():
        return batch / seconds(forward, device), training


def measure(args: argparse.Namespace) -> None:
    """Print one line for each preset and precision."""
    device = usable(args.device)
    # on a CPU a backward pass in float16 is a hundred times slower
    precisions = DTYPES if device.type == "cuda" else ("float32", "bfloat16")
    products = ", ".join(f"{matrix_rate(device, precision):.0f} GFLOP/s in {precision}" for precision in precisions)
    print(f"{device}, {torch.get_num_threads()} threads; a matrix product: {products}; batch {args.batch}")
    print(f"training with --precision auto takes {resolve('auto', device)} here")
    print("preset         parameters   GFLOP forward   precision   forward images/s   training images/s   GFLOP/s")
    for name in tqdm(args.presets, "presets", leave=False):
        unet = UNet(PRESETS[name], len(Tokenizer()), torch.linspace(1, 0.01, 1001)).to(device)
        parameters, gflop = cost(unet)
        for precision in precisions:
            forward, training = rates(unet, args.batch, precision, args.compile)
            tqdm.write(
                f"{name:14s} {parameters / 1e6:8.2f} M {gflop:15.3f}   {precision:9s} {forward:18.1f} {training:19.1f} "
                f"{3 * gflop * training:9.0f}"
            )


def main(argv: list[str] | None = None) -> int:
    """Read the flags and measure; returns the exit code."""
    flags = cli.Parser(prog="python -m unet", description=__doc__)
    flags.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    flags.add_argument("--batch", type=cli.positive, default=32)
    cli.add_flags(flags, device=best_device())
    flags.add_argument("--compile", action="store_true")
    args = flags.parse_args(argv)
    return cli.exit_code("python -m unet", lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
