"""The command line of all packages: one way to build commands, to read their flags, and to end.

A command is a module with a docstring (its help), an EXAMPLE (one line that can be pasted), the ENDINGS that a file
named by --out may have, `add_flags(parser)` and `run(args)`, which first checks all that can be known before the first
image, many in a function `prepare`. Flags with one meaning everywhere stand in `FLAGS`; a command names those it takes.
"""

import argparse
import math
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from unet.vocabulary import split_words

from .device import best_device
from .files import CHECKPOINT

# ---- commands ------------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong with a flag in one line, without the usage; so do its commands'."""

    def __init__(self, **about: Any):
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(**{"formatter_class": form, "allow_abbrev": False} | about)
        for kind, expected in ((int, "a whole number"), (float, "a number")):  # argparse says "invalid int value"
            self.register("type", kind, checked(kind, lambda _: True, expected))

    def error(self, message: str) -> NoReturn:
        """The line, and exit code 2."""
        advice = ": see --help, and put a caption in quotes" * message.startswith("unrecognized")
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}{advice}\n")

    def parse_known_args(self, args=None, namespace=None):
        """As argparse does it. Code 2: a flag typed twice, an empty value, one twice in a list, no quotes."""
        args = sys.argv[1:] if args is None else args
        typed = Counter(word.partition("=")[0] for word in args)
        namespace, rest = super().parse_known_args(args, namespace)
        for action in (each for each in self._actions if not isinstance(each, argparse._AppendAction)):
            value, flag = getattr(namespace, action.dest, None), (action.option_strings or [action.metavar])[0]
            if sum(typed[name] for name in action.option_strings) > 1:
                self.error(f"{flag}: typed twice: give it once")
            if flag in ("--target", "--prompts") and isinstance(value, list) and {"a", "an"} & {*value}:
                self.error(f"{flag} {' '.join(value)}: put each caption in quotes")
            split = split_words if action.dest in ("source", "target", "prompts", "blend") else str.split
            said = Counter()
            for each in map(str, value if isinstance(value, list) else [value]):
                said[words := " ".join(split(each))] += 1
                if not words:
                    self.error(f"{flag} is empty ({each!r}): give a value, or leave the flag out")
                if said[words] > 1 and action.dest != "multipliers":
                    self.error(f"{flag} has {words!r} twice: give it once")
        return namespace, rest


def main(name: str, description: str, commands: dict[str, ModuleType], argv: list[str] | None = None) -> int:
    """Parse, and run one of the commands; without any, list them with an example each. Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    examples = "\n".join(f"  {module.EXAMPLE}" for module in commands.values())
    flags = Parser(prog=name, description=description, epilog=f"examples:\n{examples}")
    subparsers = flags.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for command, module in commands.items():
        about = dict(help=module.__doc__.strip().splitlines()[0], description=module.__doc__)
        parser = subparsers.add_parser(command, **about)
        module.add_flags(parser)
        parser.set_defaults(run=module.run)
    if not argv:
        return exit_code(name, flags.print_help)
    args = flags.parse_args(argv)
    endings, out = getattr(commands[args.command], "ENDINGS", ()), Path(getattr(args, "out", ""))
    if is_file_name(getattr(args, "out", "")):
        if out.suffix.lower() not in endings:
            wanted = f"a folder, or a name that ends in {', '.join(endings)}" if endings else "a folder"
            flags.error(f"{args.command} --out {args.out}: expected {wanted}")
        there = [file for file in (out, *map(out.with_suffix, endings)) if file.exists()]
        has_record = any(file.suffix.lower() == ".json" for file in there)  # it is written before text and pictures
        if ".json" in endings and there and not has_record:
            flags.error(f"--out {out}: {there[0]} is there and no result of {args.command}: choose another name")
    return exit_code(f"{name} {args.command}", lambda: args.run(args))


def exit_code(name: str, work: Callable[[], object]) -> int:
    """Run a command: 0 done; 1 the loss was not finite; 2 bad input, a file that cannot be used, too little memory; 130
    interrupted. What went wrong is said in one line; bugs keep their traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without ± prints a question mark
    try:
        try:
            work()
        finally:
            sys.stdout.flush()  # what a full disk or a closed pipe refuses is said below, not by Python at its end
    except (ValueError, OSError, FloatingPointError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):  # PyTorch has one kind of error for all
            raise
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1 if isinstance(error, FloatingPointError) else 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    return 0


# ---- where results go ----------------------------------------------------------------------------------------------


ENDINGS = (".png", ".json", ".txt", ".html", ".npz")  # of the files that commands write


def output(args: argparse.Namespace, name: str, ending: str, part: str = "") -> Path:
    """The file of a result: --out itself if it names a file, with this ending, else --out/name + part + ending.

    part: what tells several files of one ending apart, such as "-strip". ValueError: the command reads this file, or
    it is a folder, as may be one beside it with another ending, which is written later.
    """
    out, named = Path(args.out), is_file_name(args.out)
    stem = out.with_suffix("") if named else out / name
    same = named and out.suffix.lower() == ending and not part
    path = out if same else stem.with_name(f"{stem.name}{part}{ending}")
    for folder in (each for each in (path, *map(path.with_suffix, ENDINGS)) if each.is_dir()):
        raise ValueError(f"{folder} is a folder, and a file is to be written: choose another --out")
    if path.exists() and is_read(path, args):
        raise ValueError(f"{path} is read by this command: choose another --out")
    return path


def is_read(path: Path, args: argparse.Namespace) -> bool:
    """Does a command read this file? A flag names it, or the captions.txt of --data-dir does."""
    read = [value for key, value in vars(args).items() if isinstance(value, str) and key not in ("out", "command")]
    captions = Path(getattr(args, "data_dir", None) or "data", "captions.txt").expanduser()
    if captions.is_file():
        names = (line.partition("\t")[0].strip() for line in captions.read_text("utf-8", "replace").splitlines())
        read += [str(captions), *(str(captions.parent / name) for name in names)]
    return any(os.path.exists(file) and os.path.samefile(file, path) for file in map(os.path.expanduser, read))


def is_file_name(out: str) -> bool:
    """Does --out name a file? It ends in one of `ENDINGS` and is no folder; the .5 of eta0.5 is no ending."""
    return Path(out).suffix.lower() in ENDINGS and not out.endswith(("/", os.sep)) and not os.path.isdir(out)


def name_of(model: str) -> str:
    """How result files call a model: a shipped name as it is, a run by its folder, any other file by its own name."""
    path = Path(os.path.abspath(model))
    folder_or_file = path.parent if path.name == CHECKPOINT else path
    return folder_or_file.name.removesuffix(".pt")  # no stem: a folder may be called v1.5


def destination(text: str) -> str:
    """Where results can be written: a folder or a file, there already or to be made."""
    text = os.path.expanduser(text)
    path, named, is_folder = Path(text).absolute(), is_file_name(text), os.path.isdir(text) or text.endswith("/")
    if not named and not is_folder and re.fullmatch(r"\.[a-z]+", path.suffix.lower()):
        raise argparse.ArgumentTypeError(f"{text!r}: no command writes {path.suffix}, expected {', '.join(ENDINGS)}")
    there = next(place for place in (path.parent if named else path, *path.parents) if place.exists())
    try:  # what os.access answers root on a mount that only reads is no promise
        with tempfile.NamedTemporaryFile(dir=there, prefix=f".{path.name}.part"):  # named: a name can be too long
            return text
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: cannot write there ({there}): {error.strerror}") from None


def folder(text: str) -> str:
    """A `destination` that is a folder."""
    if is_file_name(destination(text)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a folder")
    return destination(text)


# ---- flags ---------------------------------------------------------------------------------------------------------


def checked(kind: type, holds: Callable[[Any], bool], expected: str) -> Callable[[str], Any]:
    """A reader of text as a number of this kind. ArgumentTypeError, which says what is expected: it does not hold."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not holds(value):
            raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}")
        return value

    return read


finite = checked(float, math.isfinite, "a number")
strength = checked(float, lambda x: abs(x) <= 100, "a number in -100 .. 100, 1 for what was trained")
share = checked(float, lambda x: 0 <= x <= 1, "a number in [0, 1]")
scale = "a number in -100 .. 100, 1 for no guidance; 0 would leave the caption out"
guidance = checked(float, lambda x: 0 < abs(x) <= 100, scale)  # beyond, nothing is left of an image
whole = checked(int, lambda n: n >= 0, "a whole number, 0 or more")
positive = checked(int, lambda n: 1 <= n <= 1_000_000, "a whole number in 1 .. 1,000,000")
seed = checked(int, lambda n: 0 <= n <= 2**62, "a whole number in 0 .. 2^62")  # seeds, which count up, end at 2^63

MOST_SEEDS = 1_000_000


def seeds(text: str) -> list[int]:
    """0-3 or 7 or 0,4,9 -> seeds."""
    try:
        parts = [part.partition("-") for part in text.split(",")]
        ranges = [range(whole(low), whole(high if dash else low) + 1) for low, dash, high in parts]
    except argparse.ArgumentTypeError:
        ranges = [range(0)]
    if not all(each and each.stop <= 2**63 for each in ranges):
        raise argparse.ArgumentTypeError(f"{text!r}: expected seeds such as 0-3 or 0,4,9, each below 2^63")
    if sum(each.stop - each.start for each in ranges) > MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r}: expected at most {MOST_SEEDS:,} seeds")
    return [seed for each in ranges for seed in each]


FLAGS: dict[str, dict[str, Any]] = {
    "model": dict(help="a shipped model's name, a run folder or a file"),
    "data": dict(help="a dataset: shapes, scenes, scenes64, cifar10 or celeba"),
    "data_dir": dict(help="where the datasets are"),
    "device": dict(help="cpu or cuda; by default the best one here"),
    "out": dict(type=destination, help="a folder for the results, or a file's name; made where missing"),
    "n": dict(type=positive, help="images"),
    "seed": dict(type=seed, help="of all that is random; of several images the first one's, the next ones count up"),
    "seeds": dict(type=seeds, help="one image for each, such as 0-3 or 0,4,9"),
    "steps": dict(type=positive, help="steps of the sampler"),
    "eta": dict(type=share, help="noise of each step in [0, 1]: 0 is DDIM, 1 DDPM's posterior"),
    "scale": dict(type=guidance, help="guidance, 1 for none"),
    "source": dict(help="caption of the image to edit; of a test image by default its own"),
    "target": dict(nargs="+", help="caption of the edit, or of several"),
    "control": dict(help="for a ControlNet, a sketch: a file, black lines on white, or the number of a test scene"),
    "control_scale": dict(type=strength, help="strength of --control, 0 for nothing"),
    "image": dict(help="a real image: a file, or its number in the test split"),
}


def add_flags(parser: argparse.ArgumentParser, *usual: str, **defaults: Any) -> None:
    """Add flags of `FLAGS` by name, each with its default (`...`: required), or with its usual one."""
    known = {"device": best_device(), "data_dir": "data", "out": "results"}
    for name, default in (defaults | {name: known[name] for name in usual}).items():
        value = dict(required=True) if default is ... else dict(default=default)
        parser.add_argument(f"--{name.replace('_', '-')}", **FLAGS[name], **value)
