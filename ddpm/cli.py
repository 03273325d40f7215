"""How every command of the project reads its numbers, and how it ends."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """A parser that tells what is wrong with a flag in one line, without the usage; so do its commands'."""

    def error(self, message: str) -> NoReturn:
        """The line, and exit code 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def exit_code(name: str, work: Callable[[], object]) -> int:
    """Run a command: 0 done; 1 the loss was not finite; 2 bad input or a file that cannot be used; 130 interrupted.

    What went wrong is told in one line; bugs keep their traceback.
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


def picture_file(text: str) -> str:
    """Where a picture can be written."""
    return named(text, ".png")


def json_file(text: str) -> str:
    """Where a record can be written."""
    return named(text, ".json")


def named(text: str, ending: str) -> str:
    """A file's name with this ending, in an existing folder; no folder has the name itself."""
    path = Path(text)
    if path.suffix != ending or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a name that ends in {ending}, in a folder that exists")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder: expected the name of a file to write")
    return text


def folder(text: str) -> str:
    """Where results can be written: a folder, or where one can be made."""
    path = Path(text).absolute()
    there = next(place for place in (path, *path.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a folder to write to, but {there} is none")
    return text


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 1 or more")
    return int(text)
