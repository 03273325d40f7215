"""Copy a run's averaged weights, in half precision, to where `ddpm.load` finds them by name."""

import argparse
from pathlib import Path

from .. import model
from ..utils import cli, files

EXAMPLE = "python -m ddpm ship runs/00000-shapes my-shapes"
MOST_BYTES = 40 * 2**20  # of a shipped file


def ship(run: str | Path, name: str, ema: float | None = None, replace: bool = False) -> Path:
    """Put one average of a run, in half precision, among the shipped models and into the manifest; returns the file.

    replace: a shipped model of this name may be replaced. CheckpointError: a name that is no plain word or is taken,
    weights that half precision cannot hold, a file of more than 40 MB.
    """
    files.check_new(model.SHIPPED, name, replace)
    path = model.find(str(run))
    content = model.read(path)
    share, average = model.choose_average(path, content, ema)
    weights = {key: value.half().contiguous() for key, value in average.items()}  # as safetensors wants them
    if infinite := [key for key, value in weights.items() if not value.isfinite().all()]:
        raise files.CheckpointError(f"{path}: {infinite[0]} has values that half precision cannot hold")
    kept = {key: content[key] for key in ("unet_config", "words", "schedule")} | {"known": model.known_words(content)}
    kept |= {"base": content["base"]} if "base" in content else {}
    if autoencoder := content.get("autoencoder"):  # of a model of latents
        halves = {key: value.half().contiguous() for key, value in autoencoder["weights"].items()}
        kept["autoencoder"] = autoencoder | {"weights": halves}
    content = kept | {"ema": {share: weights}, "info": content["info"] | {"ema": share}}
    return files.ship(model.SHIPPED, name, content, MOST_BYTES, replace)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="run folder")
    parser.add_argument("name", metavar="NAME", help="the model's name: letters, digits, - and _")
    parser.add_argument("--ema", type=cli.finite, help="which average, by its share (default: the run's own choice)")
    parser.add_argument("--replace", action="store_true", help="replace the shipped model of this name")


def run(args: argparse.Namespace) -> None:
    print(ship(args.run_folder, args.name, args.ema, args.replace))
