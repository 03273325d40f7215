"""What the networks cost and how fast they run here: python -m unet [--presets shapes cifar10] [--device cuda]."""

import argparse
import sys
import time
from collections.abc import Callable

import torch
from tqdm import tqdm

from ddpm.cli import Parser

from . import PRESETS, Tokenizer, UNet, cost


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


def matrix_rate(device: torch.device, bf16: bool) -> float:
    """GFLOP/s of a 2048 x 2048 matrix product: the yardstick."""
    a = torch.randn(2048, 2048, device=device, dtype=torch.bfloat16 if bf16 else torch.float32)
    return 2 * 2048**3 / seconds(lambda: a @ a, device) / 1e9


def measure(
    name: str, batch: int, device: torch.device, bf16: bool, compiled: bool
) -> tuple[float, float, float, float]:
    """Parameters, GFLOP of one image forward, and images/s forward and in a training step."""
    config, tokenizer = PRESETS[name], Tokenizer()
    unet = UNet(config, len(tokenizer), torch.linspace(1, 0.01, 1001)).to(device)
    parameters, gflop = cost(unet)
    optimizer = torch.optim.AdamW(unet.parameters(), fused=True)
    network = torch.compile(unet) if compiled else unet
    x = torch.randn(batch, 3, config.size, config.size, device=device)
    t = torch.randint(1, 1001, (batch,), device=device)
    tokens = tokenizer.encode(["a photo of a red circle on a blue background"] * batch, config.words).to(device)

    def forward() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return network(x, t, tokens)

    def training_step() -> None:
        optimizer.zero_grad(set_to_none=True)
        (forward() - x).square().mean().backward()
        optimizer.step()

    trains = batch / seconds(training_step, device)
    with torch.no_grad():
        return parameters, gflop, batch / seconds(forward, device), trains


def main() -> int:
    """Print one line for each preset."""
    flags = Parser(prog="python -m unet", description=__doc__)
    flags.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    flags.add_argument("--batch", type=int, default=32)
    flags.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    flags.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=False)
    flags.add_argument("--compile", action="store_true")
    args = flags.parse_args()
    if args.batch < 1:
        flags.error(f"--batch is {args.batch}: expected 1 or more")
    device = torch.device(args.device)
    rate = matrix_rate(device, args.bf16)
    print(
        f"{device}, {torch.get_num_threads()} threads, a matrix product runs at {rate:.0f} GFLOP/s, batch {args.batch}"
    )
    print("preset         parameters   GFLOP forward   forward images/s   training images/s   GFLOP/s   of the product")
    for name in tqdm(args.presets, "presets", leave=False):
        parameters, gflop, forward, trains = measure(name, args.batch, device, args.bf16, args.compile)
        used = 3 * gflop * trains
        tqdm.write(
            f"{name:14s} {parameters / 1e6:8.2f} M {gflop:15.3f} {forward:18.1f} {trains:19.1f} "
            f"{used:9.0f} {100 * used / rate:13.0f} %"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
