"""Prompt-to-Prompt at the terminal: edit an image through its caption.

    python -m p2p --source "a photo of a large red circle on a blue background" \\
                  --target "a photo of a large green circle on a blue background" --out edit.png
    python -m p2p --source S --target T1 T2 T3 T4          one source, several targets
    python -m p2p --source S --weight large=-2,0,1,2,5     re-weighting, as a strip
    python -m p2p --source S --target T --image FILE       a real image (or its number in the test split)
    python -m p2p --source S --target T --sweep            the grid of windows, with numbers
    python -m p2p score --model shapes --n 500             how good it is, beside the other ways of editing

The kind of edit follows from the prompts: as many words, and each takes the map of the word in its place (replace);
more or fewer, and the shared words keep their maps (refine); --weight scales a word's maps (reweight).
"""

import argparse
import sys

from ddpm.cli import Parser, exit_code, finite, image_file, positive

from .experiments.baselines import SAMPLERS, WAYS
from .experiments.edit import edit_command
from .experiments.score_command import TUNED, score_command
from .real import ROUNDS
from .words import split

MOST_SEEDS = 1000

# ---- what a flag says -----------------------------------------------------------------------------------------------


def seeds_of(text: str) -> list[int]:
    """0-3 or 7 or 0,4,9 -> seeds."""
    try:
        parts = [part.partition("-") for part in text.split(",")]
        ranges = [range(int(low), int(high if dash else low) + 1) for low, dash, high in parts]
    except ValueError:
        ranges = []
    if not ranges or not all(ranges):
        raise argparse.ArgumentTypeError(f"{text!r}: expected seeds such as 0-3 or 0,4,9")
    if any(each.stop - each.start > MOST_SEEDS for each in ranges):
        raise argparse.ArgumentTypeError(f"{text!r}: expected at most {MOST_SEEDS} seeds in a range")
    return [seed for each in ranges for seed in each]


def numbered(text: str) -> tuple[str, list[float]]:
    """word=2 or word=-2,0,1 -> the word and its numbers."""
    words, _, values = text.partition("=")
    try:
        (word,) = split(words)
        return word, [float(value) for value in values.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a word and numbers, as green=2 or green=0,1,2") from None


def window(text: str) -> tuple[str, float]:
    """word=0.4 -> the word and its share."""
    word, values = numbered(text)
    if len(values) > 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected one share for a word, as green=0.4")
    return word, values[0]


# ---- the flags -----------------------------------------------------------------------------------------------------


def common_flags(flags: argparse.ArgumentParser) -> None:
    """What both commands take."""
    flags.add_argument("--model", default="shapes", help="a shipped model's name, a run folder or a file")
    flags.add_argument("--device", default="cpu")
    flags.add_argument(
        "--sweep", action="store_true", help="the grid of both windows, with numbers (of the first target)"
    )


def edit_flags() -> argparse.ArgumentParser:
    """The flags of an edit."""
    as_written = argparse.RawDescriptionHelpFormatter
    flags = Parser(prog="python -m p2p", description=__doc__, formatter_class=as_written)
    common_flags(flags)
    flags.add_argument("--data-dir", default="data", help="where the real data sets are, for --image with a number")
    flags.add_argument("--source", required=True, help="the prompt of the image to edit")
    flags.add_argument("--target", nargs="+", help="the prompt of the edit, or of several")
    flags.add_argument(
        "--weight",
        type=numbered,
        action="append",
        default=[],
        metavar="WORD=X",
        help="word=factor, -2 .. 5; several: a strip",
    )
    flags.add_argument("--window", type=window, action="append", default=[], help="word=share: its own --cross-until")
    kept = "share of the steps that keep the source's {}-attention (default: what suits the kind of edit)"
    flags.add_argument("--cross-until", type=finite, help=kept.format("cross"))
    flags.add_argument("--self-until", type=finite, help=kept.format("self"))
    flags.add_argument("--blend", nargs="*", metavar="WORD", help="change only where these words (or all new) look")
    flags.add_argument("--mask", help="an image file of the model's size: change only where it is light")
    flags.add_argument("--seeds", type=seeds_of, help="one for each pair, such as 0-3 (default)")
    flags.add_argument("--steps", type=positive, default=50)
    flags.add_argument("--scale", type=finite, default=1.0, help="guidance, 1 for none")
    flags.add_argument("--sampler", choices=list(SAMPLERS), help="default: ddim; ddpm is eta = 1, with shared noise")
    flags.add_argument("--image", help="a real image: a file, or a number in the model's test split")
    flags.add_argument("--inversion", choices=("exact", "ddim", "null-text"), help="of the real image")
    flags.add_argument("--rounds", type=positive, help=f"of the null text, for each step (default: {ROUNDS})")
    flags.add_argument("--film", type=positive, metavar="K", help="show the source's way from noise in K images")
    flags.add_argument("--map-size", type=positive, help="of the maps that are drawn (default: the largest)")
    flags.add_argument("--out", type=image_file, default="edit.png")
    flags.set_defaults(work=edit_command)
    return flags


def score_flags() -> argparse.ArgumentParser:
    """The flags of the score."""
    flags = Parser(prog="python -m p2p score", description=score_command.__doc__)
    common_flags(flags)
    flags.add_argument("--n", type=positive, default=500, help="pairs of each kind")
    flags.add_argument("--kinds", nargs="+", help="kinds of edit (default: all of the model's data)")
    flags.add_argument("--ways", nargs="+", choices=list(WAYS), help="ways of editing (default: all)")
    for name, how in TUNED.items():
        flags.add_argument("--" + name.replace("_", "-"), **how, help="instead of the kind's own")
    flags.add_argument("--out", help="a JSON file (default: notebooks/results/p2p/score-MODEL.json)")
    flags.set_defaults(work=score_command)
    return flags


def main(argv: list[str] | None = None) -> None:
    """Parse and call: `score`, or an edit."""
    argv = sys.argv[1:] if argv is None else argv
    args = score_flags().parse_args(argv[1:]) if argv[:1] == ["score"] else edit_flags().parse_args(argv)
    args.work(args)


if __name__ == "__main__":
    sys.exit(exit_code("python -m p2p", main))
