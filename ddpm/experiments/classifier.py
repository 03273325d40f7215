"""Train the feature network of a data set, and ship it."""

import argparse

import torch
from tqdm import tqdm

from ..data import classifier
from ..data.labels import load_labelled


def classifier_command(args: argparse.Namespace) -> None:
    """Train the classifier of a data set, and put it among the shipped ones."""
    recipe = classifier.RECIPES.get(args.data)
    if recipe is None:
        raise ValueError(f"no recipe for the data set {args.data!r}: expected {', '.join(classifier.RECIPES)}")
    training, test = (load_labelled(args.data, args.data_dir, split, recipe.size) for split in ("train", "test"))
    torch.manual_seed(args.seed)
    network, epochs = classifier.Classifier(recipe.size, recipe.widths, training.heads), args.epochs or recipe.epochs
    with tqdm(total=100, bar_format="{l_bar}{bar}| [{elapsed}<{remaining}]{postfix}") as bar:
        for done, loss in classifier.train(network, training.images, training.labels, epochs, seed=args.seed):
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update(100 * done - bar.n)
    accuracy = {name: round(share, 4) for name, share in network.scores(test.images, test.labels).items()}
    network.info.update(data=args.data, epochs=epochs, seed=args.seed, accuracy=accuracy)
    told = ", ".join(f"{head} {100 * share:.1f} %" for head, share in accuracy.items())
    print(f"told right in {len(test.images)} test images: {told}")
    print(classifier.ship(network, args.data))
