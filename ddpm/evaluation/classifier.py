"""A small classifier of a dataset's own images: the feature network that needs no download, and the judge of samples.

A convolutional network in the manner of ResNet-9: a stem, three blocks that halve the map, the mean over the last map
as features, and one linear layer for each label (a head).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unet.vocabulary import CLASSES, SHAPES, SIZES

from ..data import DataError, celeba, cifar10, scenes, shapes
from ..utils import files
from ..utils.images import from_bytes

SHIPPED = Path(__file__).parent.parent / "weights" / "classifiers"
MOST_BYTES = 8 * 2**20
RATE = 0.1  # the highest learning rate
LARGE_SCENES = "scenes64"  # the classifier of scenes that are drawn at 64 x 64: those of 32 x 32 show fewer details
PARTS = "parts"  # the name of the output that says what each pixel belongs to
Heads = dict[str, tuple[str, ...]]  # label -> its classes
Labels = dict[str, np.ndarray]  # label -> indices of classes (N,), PARTS -> those of each pixel's part (N, H, W)


@dataclass(frozen=True)
class Recipe:
    """How the shipped classifier of a dataset is made: size of its images, widths of the network, epochs."""

    size: int
    widths: tuple[int, ...]
    epochs: int


NO_YES, PALETTE, COLOURS = ("no", "yes"), tuple(shapes.PALETTE), ("no", *scenes.RGB)
HEADS: dict[str, Heads] = {  # dataset -> what its captions can name, and the words for it; "no" where they name nothing
    "shapes": {"shape": SHAPES, "colour": PALETTE, "background": PALETTE, "size": SIZES},
    "scenes": {
        "thing": (*scenes.BUILDINGS, *scenes.ANIMALS, "butterfly"), "colour": COLOURS,
        "setting": (*scenes.PLACES, *scenes.SEATS), "setting_colour": COLOURS, "flag": NO_YES, "spikey": NO_YES,
    },
    "cifar10": {"class": CLASSES},
}  # fmt: skip
RECIPES = {
    "shapes": Recipe(16, (16, 32, 48, 64), 3),
    "scenes": Recipe(32, (16, 32, 48, 64), 3),
    LARGE_SCENES: Recipe(64, (12, 24, 48, 64, 64), 3),
    "cifar10": Recipe(32, (16, 48, 96, 192), 8),
    "celeba": Recipe(64, (16, 32, 64, 128, 128), 6),
}


def convolution(c_in: int, c_out: int, pool: bool = False) -> nn.Sequential:
    """3 x 3 convolution, halving of the map if pool, normalisation over the batch, ReLU."""
    halve = [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), *halve, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)
    )


class Block(nn.Module):
    """(B, c_in, H, W) -> (B, c_out, H/2, W/2), with a residual pair of convolutions after the halving."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.first = convolution(c_in, c_out, pool=True)
        self.rest = nn.Sequential(convolution(c_out, c_out), convolution(c_out, c_out))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return x + self.rest(x)


class Segmentation(nn.Module):
    """The maps of all stages, finest first -> logits (B, parts, H, W): the way up of a small U-Net."""

    def __init__(self, widths: tuple[int, ...], parts: int):
        super().__init__()
        self.up = nn.ModuleList(convolution(a + b, b) for a, b in pairwise(reversed(widths)))
        self.last = nn.Conv2d(widths[0], parts, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        y = maps[-1]
        for layer, skip in zip(self.up, maps[-2::-1], strict=True):
            y = layer(torch.cat([F.interpolate(y, scale_factor=2), skip], dim=1))
        return self.last(y)


class Classifier(nn.Module):
    """Images (B, 3, size, size) in [-1, 1] -> logits (B, classes) for each head, and (B, parts, size, size) for PARTS.

    size: a multiple of 8. widths: channels of the stem and of the three blocks; the last is the number of features.
    heads: the labels and their classes: {"class": ("airplane", "car", ...)}. parts: the names of what a pixel can
    belong to, none by default. info: how it was trained; its "accuracy" is the share of test images right by head.
    """

    def __init__(
        self, size: int, widths: tuple[int, ...], heads: Heads, info: dict | None = None, parts: tuple[str, ...] = ()
    ):
        super().__init__()
        self.size, self.widths, self.heads, self.parts = size, tuple(widths), heads, tuple(parts)
        self.info, self.sha256 = info or {}, ""
        self.body = nn.Sequential(convolution(3, widths[0]), *(Block(a, b) for a, b in pairwise(widths)))
        self.last = nn.ModuleList(nn.Linear(widths[-1], len(classes)) for classes in heads.values())
        self.segmentation = Segmentation(self.widths, len(self.parts)) if self.parts else None
        self.to(memory_format=torch.channels_last)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Images in [-1, 1] (B, 3, size, size) -> the maps of all stages, finest first."""
        maps = [x.contiguous(memory_format=torch.channels_last)]
        for stage in self.body:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def features(self, x: Tensor) -> Tensor:
        """Images in [-1, 1] (B, 3, size, size) -> (B, widths[-1])."""
        return self.maps(x)[-1].mean(dim=(2, 3))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.maps(x)
        features = maps[-1].mean(dim=(2, 3))
        logits = {name: layer(features) for name, layer in zip(self.heads, self.last, strict=True)}
        return logits | ({PARTS: self.segmentation(maps)} if self.segmentation else {})

    @torch.no_grad()
    def probabilities(self, images: np.ndarray, batch: int = 256) -> dict[str, Tensor]:
        """uint8 (N, 3, H, W), square -> {head: (N, classes) probabilities}, PARTS: (N, parts, size, size).

        Images of other sizes are resized.
        """
        logits = [self(x) for x in batches(images, self.size, batch)]
        return {name: torch.cat([each[name] for each in logits]).softmax(dim=1) for name in logits[0]}

    def scores(self, images: np.ndarray, labels: Labels) -> dict[str, float]:
        """Share of images uint8 (N, 3, H, W), of PARTS of pixels, whose label is the likeliest class, for each head."""
        answers = self.probabilities(images)
        return {name: float((answers[name].argmax(dim=1).numpy() == right).mean()) for name, right in labels.items()}


def batches(images: np.ndarray, size: int, batch: int = 256) -> Iterator[Tensor]:
    """uint8 (N, 3, H, W) -> float in [-1, 1], (<= batch, 3, size, size). ValueError for anything else."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images are {images.dtype} {images.shape}, expected uint8 (N, 3, H, H)")
    for first in range(0, len(images), batch):
        x = from_bytes(images[first : first + batch])
        if x.shape[2] != size:
            x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
        yield x


# ---- labels --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Labelled:
    """images uint8 (N, 3, H, W) with labels, of the scenes also PARTS."""

    images: np.ndarray
    heads: Heads
    labels: Labels


def load_labelled(name: str, data_dir: str | Path, split: str = "train", size: int = 32) -> Labelled:
    """A dataset with labels: cifar10's class, celeba's 40 attributes, what captions of shapes or scenes name.

    name: of RECIPES. size: of the images of celeba and the scenes. Raises DataError for an unknown name, and what the
    dataset's loader raises.
    """
    data_dir, n = Path(data_dir).expanduser(), 30_000 if split == "train" else 5_000
    if name == "shapes":
        drawn = shapes.scatter(n, "train", 0 if split == "train" else 1)
        return Labelled(shapes.draw(drawn), HEADS[name], indices(HEADS[name], [vars(shape) for shape in drawn]))
    if name in ("scenes", LARGE_SCENES):
        drawn, heads = scenes.scatter(n, split, 0), HEADS["scenes"]
        labels = indices(heads, [scenes.parse(scenes.caption(scene)) for scene in drawn])
        images, parts = (np.stack([draw(scene, size) for scene in drawn]) for draw in (scenes.draw, scenes.parts))
        return Labelled(images, heads, labels | {PARTS: parts})
    if name == "cifar10":
        images, labels = cifar10.load_images(data_dir, split)
        return Labelled(images, HEADS[name], {"class": labels})
    if name == "celeba":
        rows = celeba.files_of(data_dir, split)
        heads = dict.fromkeys(next(iter(rows.values())), NO_YES)
        images = celeba.load_images(data_dir, list(rows), size, split)
        return Labelled(images, heads, indices(heads, list(rows.values())))
    raise DataError(f"no labels for the dataset {name!r}: expected shapes, scenes, cifar10 or celeba")


def indices(heads: Heads, rows: list[dict]) -> Labels:
    """The labels of images of which this is true: head -> a word, or whether something is there."""
    names = {None: "no", False: "no", True: "yes"}
    return {
        head: np.array([classes.index(names.get(row[head], row[head])) for row in rows])
        for head, classes in heads.items()
    }


# ---- training ------------------------------------------------------------------------------------------------------


def varied(x: Tensor, reach: int, source: torch.Generator) -> Tensor:
    """Every image mirrored half of the time and moved by up to `reach` pixels; what comes in is a reflection."""
    n, _, height, width = x.shape
    flips = torch.rand(n, generator=source) < 0.5
    padded = F.pad(torch.where(flips[:, None, None, None], x.flip(3), x), (reach,) * 4, mode="reflect")
    moves = torch.randint(0, 2 * reach + 1, (2, n), generator=source).T.tolist()
    return torch.stack([image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, moves, strict=True)])


def train(
    network: Classifier, images: np.ndarray, labels: Labels, epochs: int, batch: int = 128, seed: int = 0
) -> Iterator[tuple[float, float]]:
    """Train in place on images uint8 (N, 3, size, size) with labels; yields (progress in 0..1, loss).

    SGD with momentum; the learning rate rises to RATE over a fifth of the steps and falls to zero. Cross-entropy
    with smoothed labels, averaged over the heads; plus that of each pixel's part, if labels have PARTS.
    """
    source, batch = torch.Generator().manual_seed(seed), min(batch, len(images))
    optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=0.9, weight_decay=5e-4, nesterov=True)
    each_epoch = len(images) // batch
    network.train()
    for step in range(epochs * each_epoch):
        if step % each_epoch == 0:
            order = torch.randperm(len(images), generator=source).split(batch)
        rows, done = order[step % each_epoch].numpy(), (step + 1) / (epochs * each_epoch)
        optimizer.param_groups[0]["lr"] = RATE * min(done / 0.2, (1 - done) / 0.8)
        (x,) = batches(images[rows], network.size, batch)
        if PARTS in labels:  # they move with their image
            x = torch.cat([x, torch.from_numpy(labels[PARTS][rows])[:, None].to(x)], dim=1)
        x = varied(x, network.size // 16, source)
        logits = network(x[:, :3])
        right = {name: torch.from_numpy(labels[name][rows]) for name in network.heads}
        losses = [F.cross_entropy(logits[name], y, label_smoothing=0.1) for name, y in right.items()]
        loss = torch.stack(losses).mean()
        if PARTS in labels:
            loss = loss + F.cross_entropy(logits[PARTS], x[:, 3].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield done, loss.item()
    network.eval()


# ---- files ---------------------------------------------------------------------------------------------------------


def ship(network: Classifier, name: str, replace: bool = False) -> Path:
    """Put the network, in half precision, among the shipped ones; returns the file. Raises what `files.ship` raises."""
    weights = {key: v.half() if v.is_floating_point() else v for key, v in network.state_dict().items()}
    content = {"size": network.size, "widths": network.widths, "heads": network.heads, "parts": network.parts}
    return files.ship(SHIPPED, name, content | {"weights": weights, "info": network.info}, MOST_BYTES, replace)


def load(name: str, size: int = scenes.SIZE) -> Classifier:
    """The shipped classifier of a dataset, for inference; size: of the images, which decides for the scenes.

    Raises files.CheckpointError when there is none.
    """
    if name == "scenes" and size > scenes.SIZE:
        name = LARGE_SCENES
    if name not in files.manifest(SHIPPED):
        known = ", ".join(files.manifest(SHIPPED)) or "no dataset yet"
        raise files.CheckpointError(
            f"no classifier of {name!r}, only of {known}: its images cannot be judged, "
            "and their distance needs the Inception network (--features inception)"
        )
    path = files.shipped(SHIPPED, name)
    content = files.read(path)
    with files.fitting(path):
        weights = content.pop("weights")
        network = Classifier(**content)
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    network.sha256 = files.sha256(path)
    return network.eval().requires_grad_(False)
