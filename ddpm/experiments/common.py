"""What several experiments share: the model's data, files of results, and images in batches."""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..data import Dataset, load_data
from ..data.folder import middle_of
from ..evaluation import classifier, judge
from ..model import Sampler, Trained, generate
from ..utils import cli
from ..utils.device import check_memory
from ..utils.files import read_json, sha256, whole_file, write_json, write_text
from ..utils.images import grid
from . import records
from .records import arithmetic


def model_data(trained: Trained, data_dir: str, split: str) -> Dataset:
    """A split of the model's own dataset, whose captions use words that the model has tokens for."""
    return load_data(trained.info["data"], data_dir, split, trained.unet.config.size, trained.tokenizer.words)


def image_and_source(trained: Trained, args: argparse.Namespace) -> tuple[np.ndarray | None, str]:
    """--image, a file or a number in the test split, as uint8 (3, H, W), None without one; and what it shows.

    That is --source, else the image's own caption. ValueError: there is neither, or no such image.
    """
    image, caption = (None, None) if args.image is None else image_and_caption(trained, args.image, args.data_dir)
    if (source := caption if args.source is None else args.source) is None:
        raise ValueError(f"{args.image or 'a generated image'} has no caption: say what it shows with --source")
    return image, source


def image_and_caption(trained: Trained, image: str, data_dir: str) -> tuple[np.ndarray, str | None]:
    """--image, a file or the number of an image in the test split: uint8 (3, H, W), and its caption, None of a file."""
    if image.isdecimal():
        test = model_data(trained, data_dir, "test")
        if int(image) >= len(test):
            raise ValueError(f"--image is {image}, but the test split has the images 0 .. {len(test) - 1}")
        return test.images[int(image)], test.captions[int(image)][0]
    return middle_of(Path(image), trained.unet.config.size), None


def model_facts(trained: Trained, args: argparse.Namespace) -> dict:
    """What a record says of the model that it was measured with."""
    facts = {"model": cli.name_of(args.model), "data": trained.info["data"]}
    facts |= {"model_sha256": sha256(Path(trained.info["path"]))}
    return facts | {"T": trained.schedule.T, "schedule": trained.schedule.kind} | arithmetic(trained)


def check_settings(path: Path, settings: dict) -> None:
    """ValueError, before any work, where the file has results of other settings."""
    if path.exists():
        records.check_same(path, records.read(path)["settings"], settings)


def own_record(args: argparse.Namespace, name: str, what: str, *keys: str) -> Path:
    """The .json file of a result. ValueError where a file without these keys is there, which is another's."""
    path = cli.output(args, name, ".json")
    if path.exists():
        read_json(path, what, keys)
    return path


def write(args: argparse.Namespace, name: str, record: dict, text: str) -> None:
    """Write a result as JSON and as text, then print the text and where it is."""
    write_json(cli.output(args, name, ".json"), record)
    path = write_text(cli.output(args, name, ".txt"), text)
    print(text)
    print(path)


def batches_of(
    trained: Trained, prompts: list[str], seeds: list[int], scale: float, sampler: Sampler, bar: tqdm
) -> Iterator[np.ndarray]:
    """One image for each prompt and seed, in batches of uint8 (B, 3, H, W); the bar moves for each image and step.

    ValueError at the first step whose x_t is not finite.
    """

    def watched(*arguments) -> Iterator:
        for state in finite(sampler(*arguments), scale):
            yield state
            bar.update(min(len(state[1]), bar.total - bar.n))  # the last batch may be padded

    return generate(trained, prompts, seeds, watched, scale)


def images_of(*arguments) -> np.ndarray:
    """All images of `batches_of` as one array, uint8 (N, 3, H, W)."""
    return np.concatenate(list(batches_of(*arguments)))


def finite(trajectory: Iterator, scale: float) -> Iterator:
    """The states (t, x_t, predicted x_0) of a trajectory. ValueError at the first x_t that is not finite."""
    for t, x, x_0 in trajectory:
        if not x.isfinite().all():
            raise ValueError(f"at guidance {scale:g} the image at t = {t} is not finite: take another --scale")
        yield t, x, x_0


MOST_ON_A_SHEET = 1024


def sample_flags(parser: argparse.ArgumentParser) -> None:
    """What `ddpm sample` and `ddim sample` share: captions, and how the images are kept."""
    parser.add_argument("--prompts", nargs="+", help="captions, each in quotes; by default two of the model's data")
    each = "a PNG for each image, 000000.png and so on, in the folder --out, and no sheet"
    parser.add_argument("--separate", action="store_true", help=each)


def check_samples(args: argparse.Namespace, trained: Trained, count: int) -> Path:
    """Where `count` samples go: a sheet, a .npz file, or a folder. ValueError: too many images, a file for a folder."""
    named = cli.is_file_name(args.out)
    if args.separate:
        if named:
            raise ValueError(f"--separate writes many files, and --out {args.out} names one: give a folder")
        if any(Path(args.out).glob("*.png")):
            raise ValueError(f"--separate: {args.out} has images already: give a new folder")
        return Path(args.out)
    if Path(args.out).suffix.lower() == ".npz" and named:
        check_memory(2 * count * math.prod(trained.shape), torch.device("cpu"), f"{count:,} images in one file")
        return cli.output(args, "", ".npz")
    if count > MOST_ON_A_SHEET:
        there = f"{count:,} images, and a sheet shows at most {MOST_ON_A_SHEET:,}"
        raise ValueError(f"{there}: take --out samples.npz, or --separate for a PNG of each")
    return cli.output(args, f"sample-{cli.name_of(args.model)}", ".png")


def save_samples(
    path: Path, batches: Iterator[np.ndarray], captions: list[str], columns: int, separate: bool
) -> Path:
    """Write samples where `check_samples` said: .npz holds arr_0, uint8 (N, H, W, 3), as programs for FID read it."""
    if separate:
        for i, image in enumerate(image for batch in batches for image in batch):
            with whole_file(path / f"{i:06d}.png") as temporary:
                Image.fromarray(image.transpose(1, 2, 0)).save(temporary, "png")
        return path
    samples = np.concatenate(list(batches))
    if path.suffix.lower() != ".npz":
        return grid(path, samples, captions, columns)
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, samples.transpose(0, 2, 3, 1))
    return path


def calls_bar(total: int) -> tqdm:
    """A progress bar over network calls."""
    return tqdm(total=total, unit=" calls", unit_scale=True)


def shown_words(data: str, images: np.ndarray, captions: list[str]) -> dict[str, np.ndarray]:
    """`judge.judged`, with the answers of the dataset's classifier where it needs them."""
    answers = None if data == "shapes" else classifier.load(data).probabilities(images)
    return judge.judged(data, images, captions, answers)
