"""What the sampler can do, measured and drawn.

    python -m ddim table --model shapes --n 500           Frechet distance over S and eta, beside the paper's
    python -m ddim ruler --data shapes                    what such distances mean
    python -m ddim reconstruct --model shapes             invert and sample again
    python -m ddim edit --image 1 --target "a photo of a small red circle on a green background" --strength 0.9
    python -m ddim sweep --model shapes                   too little noise, too much, and the ways out
    python -m ddim figures --model shapes                 samples, consistency, interpolation
    python -m ddim classifier --data cifar10              train the feature network of a data set, and ship it
"""

import argparse
import sys

from ddpm.cli import Parser, exit_code, finite, folder, positive, share
from ddpm.experiments.classifier import classifier_command

from .experiments import features, reconstruct, table
from .experiments.edit import WAYS, edit_command, sweep_command
from .experiments.figures import figures_command
from .experiments.reconstruct_command import reconstruct_command
from .experiments.table_command import ruler_command, table_command
from .sampler import SPACINGS

FLAGS = {
    "model": dict(help="a shipped model's name, a run folder or a file"),
    "data": dict(help="shapes, cifar10 or celeba"),
    "data_dir": dict(help="where the data sets are"),
    "device": dict(help="cpu, cuda or mps"),
    "out": dict(type=folder, help="folder for the results"),
    "n": dict(type=int, help="images"),
    "seed": dict(type=int, help="of the first image; the next ones count up"),
    "columns": dict(type=int, nargs="+", help="numbers of steps S"),
    "rows": dict(nargs="+", help=f"etas, hat, {table.SECOND_ORDER}"),
    "spacing": dict(choices=SPACINGS, help="time grid; by default the paper's where it starts from noise"),
    "scale": dict(type=finite, help="guidance, 1 for none"),
    "features": dict(choices=features.KINDS, help="network that the distance is measured on"),
    "inception": dict(metavar="FILE", help="inception-2015-12-05.pt; fetched when left out"),
    "reference": dict(help="split of the data set, or a folder of images"),
    "size": dict(type=positive, help="of the images, for celeba"),
    "epochs": dict(type=positive, help="times through the training set; by default the recipe's"),
    "steps": dict(type=positive, help="DDIM steps"),
    "batch": dict(type=positive, help="images at once"),
    "variants": dict(nargs="+", choices=reconstruct.CHOICES, help="ways there and back; the first is drawn over S"),
    "image": dict(required=True, help="a file, or an index into the test split"),
    "prompt": dict(help="what the image shows; its own caption when left out"),
    "target": dict(required=True, help="what it should show"),
    "strength": dict(type=share, help="how far to go, in [0, 1]"),
    "strengths": dict(type=share, nargs="+", help="how far to go, in [0, 1]"),
    "ways": dict(nargs="+", choices=WAYS, help="how to go"),
    "iterations": dict(type=int, help="fixed-point iterations of each inverted step"),
    "eta": dict(type=share, help="noise of the naive way's steps, in [0, 1]"),
    "edits": dict(nargs="+", help="kinds of edit; by default all of the data set"),
    "prompts": dict(nargs="+", help="by default captions of the test split"),
}
MODEL = dict(model="shapes", data_dir="data", device="cpu", out="results", seed=0)
MEASURE = dict(features="classifier", inception=None)
EDIT = dict(ways=WAYS, steps=50, scale=1.0, eta=1.0, iterations=0)
STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
COMMANDS = {  # command -> its flags with their defaults
    table_command: MODEL | MEASURE | dict(
        n=500, columns=table.COLUMNS, rows=table.ROWS, spacing=None, prompts="null", scale=1.0, reference="train"
    ),
    ruler_command: MEASURE | dict(data="shapes", data_dir="data", device="cpu", n=None, size=None, out="results"),
    reconstruct_command: {name: default for name, default in MODEL.items() if name != "seed"} | dict(
        n=128, steps=(10, 20, 50, 100), variants=reconstruct.CHOICES, spacing="linear"
    ),
    edit_command: MODEL | EDIT | dict(image=None, prompt=None, target=None, strength=0.6),
    sweep_command: MODEL | EDIT | dict(n=64, strengths=STRENGTHS, edits=None),
    figures_command: MODEL | dict(prompts=None, scale=1.0),
    classifier_command: dict(data="cifar10", data_dir="data", epochs=None, seed=0),
}  # fmt: skip
OWN = {  # where a command means something else by a flag
    (table_command, "prompts"): dict(choices=("null", "captions"), help="the null prompt, or captions of the data"),
    (reconstruct_command, "spacing"): dict(choices=SPACINGS, help="time grid; the paper's for CIFAR-10 is quadratic"),
    (reconstruct_command, "steps"): dict(type=int, nargs="+", help="numbers of steps S, each way"),
    (classifier_command, "seed"): dict(type=int, help="of the network's first weights and of the order of training"),
}


def parser() -> argparse.ArgumentParser:
    """The flags of all commands."""
    as_written = argparse.RawDescriptionHelpFormatter
    flags = Parser(prog="python -m ddim", description=__doc__, formatter_class=as_written)
    commands = flags.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for work, defaults in COMMANDS.items():
        name = work.__name__.removesuffix("_command")
        shown = dict(description=work.__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        command = commands.add_parser(name, help=work.__doc__, **shown)
        command.set_defaults(work=work)
        for name, default in defaults.items():
            command.add_argument(f"--{name.replace('_', '-')}", default=default, **OWN.get((work, name), FLAGS[name]))
    return flags


def main(argv: list[str] | None = None) -> None:
    """Parse and call."""
    args = parser().parse_args(argv)
    args.work(args)


if __name__ == "__main__":
    sys.exit(exit_code("python -m ddim", main))
