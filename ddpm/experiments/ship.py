"""Copy a run's averaged weights, in half precision, to where `ddpm.load` finds them by name."""

import argparse
import json
from pathlib import Path

from ..model import ship

EXAMPLE = "python -m ddpm ship runs/00000-shapes my-shapes"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddpm ship`."""
    parser.add_argument("run_folder", metavar="RUN", help="run folder")
    parser.add_argument("name", help="the model's name: letters, digits, - and _")
    parser.add_argument("--ema", type=float, help="which average, by its share (default: the run's own choice)")
    parser.add_argument("--numbers", help="JSON file of what was measured with these weights")
    parser.add_argument("--replace", action="store_true", help="replace the shipped model of this name")


def run(args: argparse.Namespace) -> None:
    """Write the weights and the manifest; print the file."""
    numbers = json.loads(Path(args.numbers).read_text()) if args.numbers else {}
    print(ship(args.run_folder, args.name, numbers, args.ema, args.replace))
