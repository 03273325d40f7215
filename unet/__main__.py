"""The size and the arithmetic of the networks: python -m unet [--presets shapes cifar10]."""

import argparse
import sys

import torch

from . import PRESETS, Tokenizer, UNet, cost


def main(argv: list[str] | None = None) -> int:
    """Print one line for each preset; returns the exit code."""
    flags = argparse.ArgumentParser(prog="python -m unet", usage=argparse.SUPPRESS, description=__doc__)
    flags.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS), help="networks by name")
    presets = flags.parse_args(argv).presets
    if len(set(presets)) < len(presets):
        flags.error("--presets has a name twice: give it once")
    print("preset         parameters   GFLOP forward   GFLOP in training")
    for name in presets:
        parameters, gflop = cost(UNet(PRESETS[name], len(Tokenizer()), torch.linspace(1, 0.01, 1001)))
        print(f"{name:14s} {parameters / 1e6:8.2f} M {gflop:15.3f} {3 * gflop:19.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
