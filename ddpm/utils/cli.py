"""The command line of all packages: one way to build commands, to read their flags, and to end.

A command is a module with a docstring (its help), an EXAMPLE (one line that can be pasted), `add_flags(parser)` and
`run(args)`. Flags with one meaning everywhere stand in `FLAGS`; a command names those it takes, with their defaults.
"""

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from .files import CHECKPOINT

# ---- commands ------------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong with a flag in one line, without the usage; so do its commands'."""

    def error(self, message: str) -> NoReturn:
        """The line, and exit code 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(name: str, description: str, commands: dict[str, ModuleType], argv: list[str] | None = None) -> int:
    """Parse, and run one of the commands; without any, list them with an example each. Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    as_written = argparse.RawDescriptionHelpFormatter
    examples = "\n".join(f"  {module.EXAMPLE}" for module in commands.values())
    flags = Parser(prog=name, description=description, epilog=f"examples:\n{examples}", formatter_class=as_written)
    subparsers = flags.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for command, module in commands.items():
        about = dict(help=module.__doc__.strip().splitlines()[0], description=module.__doc__)
        parser = subparsers.add_parser(command, formatter_class=as_written, **about)
        module.add_flags(parser)
        parser.set_defaults(run=module.run)
    if not argv:
        flags.print_help()
        return 0
    args = flags.parse_args(argv)
    if Path(getattr(args, "out", "")).suffix.lower() == ".html" and not hasattr(commands[args.command], "page"):
        flags.error(f"{args.command} writes no page (.html), only edit does: expected another ending than {args.out}")
    return exit_code(f"{name} {args.command}", lambda: args.run(args))


def exit_code(name: str, work: Callable[[], object]) -> int:
    """Run a command: 0 done; 1 the loss was not finite; 2 bad input or a file that cannot be used; 130 interrupted.

    What went wrong is said in one line; bugs keep their traceback.
    """
    try:
        work()
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1 if isinstance(error, FloatingPointError) else 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    return 0


# ---- where results go ----------------------------------------------------------------------------------------------


def output(args: argparse.Namespace, name: str, ending: str) -> Path:
    """The file of a result: --out itself if it has an ending (which `ending` replaces), else --out/name + ending.

    Its folder is made. OSError where it cannot be.
    """
    out = Path(args.out)
    path = out.with_suffix(ending) if is_file_name(out) else out / f"{name}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def is_file_name(path: Path) -> bool:
    """Has it an ending, such as .png? The .5 of eta0.5 is none: such a name is a folder's."""
    return path.suffix[1:].isalpha()


def name_of(model: str) -> str:
    """How result files call a model: a shipped name as it is, a run by its folder, any other file by its own name."""
    path = Path(model)
    folder_or_file = path.resolve().parent if path.name == CHECKPOINT else path
    return folder_or_file.name.removesuffix(".pt")  # no stem: a folder may be called v1.5


def destination(text: str) -> str:
    """Where results can be written: a folder or a file, there already or to be made."""
    path = Path(text).absolute()
    there = next(place for place in (path, *path.parents) if place.exists())
    if not os.access(there, os.W_OK) or (there != path and not there.is_dir()):
        raise argparse.ArgumentTypeError(f"{text!r}: cannot write there ({there})")
    if path.is_dir() == is_file_name(path) and path.exists():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a folder, or the name of a file with an ending")
    return text


# ---- flags ---------------------------------------------------------------------------------------------------------


def finite(text: str) -> float:
    """A number that is neither infinite nor NaN."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number")
    return value


def share(text: str) -> float:
    """A number in [0, 1]."""
    value = finite(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number in [0, 1]")
    return value


def guidance(text: str) -> float:
    """A guidance scale: 0 would leave the caption out, and beyond 100 nothing is left of an image."""
    value = finite(text)
    if not 0 < abs(value) <= 100:
        what = "expected a number in -100 .. 100, 1 for no guidance; 0 would leave the caption out"
        raise argparse.ArgumentTypeError(f"{text!r}: {what}")
    return value


def whole(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 0 or more")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 1 or more")
    return int(text)


def seed(text: str) -> int:
    """The seed of a first image: far enough below 2^63, where seeds end, for any number of images after it."""
    if not text.isdecimal() or int(text) > 2**62:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number in 0 .. 2^62")
    return int(text)


def seeds(text: str) -> list[int]:
    """0-3 or 7 or 0,4,9 -> seeds, at most 1,000 in a range."""
    try:
        parts = [part.partition("-") for part in text.split(",")]
        ranges = [range(int(low), int(high if dash else low) + 1) for low, dash, high in parts]
    except ValueError:
        ranges = []
    if not ranges or not all(0 < len(each) <= 1000 for each in ranges):
        raise argparse.ArgumentTypeError(f"{text!r}: expected seeds such as 0-3 or 0,4,9")
    return [seed for each in ranges for seed in each]


FLAGS: dict[str, dict[str, Any]] = {
    "model": dict(help="a shipped model's name, a run folder or a file"),
    "data": dict(help="a dataset: shapes, scenes, cifar10, celeba or folder"),
    "data_dir": dict(help="where the datasets are"),
    "split": dict(choices=("train", "test"), help="of the dataset"),
    "device": dict(help="cpu or cuda; by default the best one here"),
    "out": dict(type=destination, help="a folder for the results, or a file's name; made where missing"),
    "n": dict(type=positive, help="images"),
    "seed": dict(type=seed, help="of the first image; the next ones count up"),
    "seeds": dict(type=seeds, help="one image for each, such as 0-3 or 0,4,9"),
    "steps": dict(type=positive, help="steps of the sampler"),
    "eta": dict(type=share, help="noise of each step in [0, 1]: 0 is DDIM, 1 DDPM's posterior"),
    "scale": dict(type=guidance, help="guidance, 1 for none"),
    "source": dict(help="caption of the image to edit, by default its own in the dataset"),
    "target": dict(nargs="+", help="caption of the edit, or of several"),
    "image": dict(help="a real image: a file, or its number in the test split"),
}


def add_flags(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Add flags of `FLAGS` by name, each with its default (`...`: required)."""
    for name, default in defaults.items():
        value = dict(required=True) if default is ... else dict(default=default)
        parser.add_argument(f"--{name.replace('_', '-')}", **FLAGS[name], **value)
