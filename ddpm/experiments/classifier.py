"""Train the classifier of a dataset: the feature network of our Frechet distance, and the judge of samples."""

import argparse

import torch
from tqdm import tqdm

from ..data import scenes
from ..evaluation import classifier
from ..evaluation.classifier import load_labelled
from ..utils import cli, files

EXAMPLE = "python -m ddpm classifier --data cifar10 --replace"


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "data_dir", data=..., seed=0)
    parser.add_argument("--epochs", type=cli.positive, help="times through the training set; by default the recipe's")
    parser.add_argument("--replace", action="store_true", help="replace the shipped classifier of this dataset")


def run(args: argparse.Namespace) -> None:
    recipe = classifier.RECIPES.get(args.data)
    if recipe is None:
        raise ValueError(f"no recipe for the dataset {args.data!r}: expected {', '.join(classifier.RECIPES)}")
    files.check_new(classifier.SHIPPED, args.data, args.replace)
    training, test = (load_labelled(args.data, args.data_dir, split, recipe.size) for split in ("train", "test"))
    torch.manual_seed(args.seed)
    parts, epochs = scenes.PARTS if classifier.PARTS in training.labels else (), args.epochs or recipe.epochs
    network = classifier.Classifier(recipe.size, recipe.widths, training.heads, parts=parts)
    with tqdm(total=100, bar_format="{l_bar}{bar}| [{elapsed}<{remaining}]{postfix}") as bar:
        for progress, loss in classifier.train(network, training.images, training.labels, epochs, seed=args.seed):
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update(100 * progress - bar.n)
    accuracy = {name: round(share, 4) for name, share in network.scores(test.images, test.labels).items()}
    network.info.update(data=args.data, epochs=epochs, seed=args.seed, accuracy=accuracy)
    path = classifier.ship(network, args.data, args.replace)
    print(f"right in {len(test.images)} test images: " + ", ".join(f"{h} {100 * s:.1f} %" for h, s in accuracy.items()))
    print(path)
