"""What several experiments share: the model's data, files of results, and images in batches."""

import argparse
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

import ddim
from ddim.sampler import Steps, Trajectory

from ..data import Dataset, load_data, scenes
from ..data.folder import middle_of
from ..data.lines import COUNT
from ..diffusion import EpsFn
from ..evaluation import classifier, judge
from ..model import Sampler, Trained, generate
from ..noise import Noise
from ..schedule import Schedule
from ..utils import cli
from ..utils.files import alone, read_json, sha256, write_json, write_text
from . import records
from .records import arithmetic

SAMPLERS = {"ddim": ddim.sample, "hat": ddim.sample_hat, "2m": ddim.sample_2m, "exact": ddim.sample_exact}
"""Every sampler by its name: (eps, schedule, x_T, steps, ...) -> trajectory."""
Text = Callable[[dict], str]  # of a record
Together = Callable[[Path, dict], dict]  # a record, and what its file has -> both


def named(name: str, eps: EpsFn, schedule: Schedule, x_T: Tensor, noise: Noise, steps: Steps, **how) -> Trajectory:
    """A sampler by its name, as `ddpm.generate` calls one; how: further keywords, such as eta of "ddim"."""
    drawn = {"generator": noise} if name in ("ddim", "hat") else {}  # the others add no noise
    return SAMPLERS[name](eps, schedule, x_T, steps, **drawn, **how)


def model_data(trained: Trained, data_dir: str, split: str) -> Dataset:
    """A split of the model's own dataset, whose captions use words that the model has tokens for."""
    return load_data(trained.info["data"], data_dir, split, trained.image_shape[-1], trained.tokenizer.words)


def images_in(trained: Trained, data_dir: str, split: str = "test") -> tuple[int, Callable[[Sequence[int]], tuple]]:
    """How many images a split has, and a function: numbers of n of them -> uint8 (n, 3, H, W), and fullest captions.

    Of the scenes it draws these alone: all of a split take half a minute.
    """
    if trained.info["data"] == "scenes":
        shown, size = scenes.scatter(COUNT, split, 0), trained.image_shape[-1]
        return COUNT, lambda rows: (
            np.stack([scenes.draw(shown[i], size) for i in rows]), [scenes.caption(shown[i]) for i in rows]
        )  # fmt: skip
    data = model_data(trained, data_dir, split)
    return len(data), lambda rows: (data.images[rows], [data.captions[i][0] for i in rows])


def check_n(n: int, there: int = COUNT, least: int = 1) -> None:
    """ValueError unless a test split has so many images; there: those that it has, 30,000 of what is drawn."""
    if not least <= n <= there:
        raise ValueError(f"--n is {n}, expected {least} .. {there}, as many as a test split has")


def of_test(
    trained: Trained, args: argparse.Namespace, least: int = 1, seed: int | None = None
) -> tuple[np.ndarray, list[str], int]:
    """--n images uint8 (n, 3, H, W) of the model's test split and their captions, the first ones or with a seed random
    ones, and how many there are. ValueError: n below `least` or above that, a word that the model does not know.
    """
    there, take = images_in(trained, args.data_dir)
    check_n(args.n, there, least)
    rows = np.arange(args.n) if seed is None else np.random.default_rng(seed).choice(there, args.n, replace=False)
    images, captions = take(rows)
    trained.tokens(captions)
    return images, captions, there


def image_and_source(trained: Trained, args: argparse.Namespace) -> tuple[np.ndarray | None, str]:
    """--image, a file or a number in the test split, as uint8 (3, H, W), None without one; and what it shows.

    That is --source, else the image's own caption. ValueError: there is neither, or no such image.
    """
    if args.data_dir is not None and not (args.image or "").isdecimal():
        print(f"--data-dir {args.data_dir} has no effect: no image of a dataset is read")
    data_dir = args.data_dir or "data"
    image, caption = (None, None) if args.image is None else image_and_caption(trained, args.image, data_dir)
    if (source := caption if args.source is None else args.source) is None:
        raise ValueError(f"{args.image or 'a generated image'} has no caption: say what it shows with --source")
    return image, source


def image_and_caption(trained: Trained, image: str, data_dir: str) -> tuple[np.ndarray, str | None]:
    """--image, a file or the number of an image in the test split: uint8 (3, H, W), and its caption, None of a file."""
    if image.isdecimal():
        there, take = images_in(trained, data_dir)
        if int(image) >= there:
            raise ValueError(f"--image is {image}, but the test split has the images 0 .. {there - 1}")
        images, captions = take([int(image)])
        return images[0], captions[0]
    if not Path(image).exists():
        raise ValueError(f"--image {image}: no such file; give one, or the number of an image in the test split")
    return middle_of(Path(image), trained.image_shape[-1]), None


def caption_label(prompt: str) -> str:
    """A caption as the name of a row or column of a sheet: short lines, without "a photo of"."""
    return textwrap.fill(prompt.removeprefix("a photo of "), 16)


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


def write(args: argparse.Namespace, path: Path, record: dict, text: Text, together: Together | None = None) -> dict:
    """Write a result as JSON and, beside it, as text; print the text and where it is. Returns the result.

    together: adds to it what other commands have written to its file meanwhile.
    """
    with alone(path):
        write_json(path, record := together(path, record) if together else record)
        file = write_text(cli.output(args, path.stem, ".txt"), text(record))
    print(text(record), file, sep="\n")
    return record


def images_of(
    trained: Trained, prompts: list[str], seeds: Sequence[int], scale: float, sampler: Sampler, bar: tqdm
) -> np.ndarray:
    """One image for each prompt and seed, uint8 (N, 3, H, W); the bar moves for each image and step.

    ValueError at the first step whose x_t is not finite.
    """

    def watched(*arguments) -> Iterator:
        for state in finite(sampler(*arguments), scale):
            yield state
            bar.update(min(len(state[1]), bar.total - bar.n))  # the last batch may be padded

    return np.concatenate(list(generate(trained, prompts, seeds, watched, scale)))


def finite(trajectory: Iterator, scale: float) -> Iterator:
    """The states (t, x_t, predicted x_0) of a trajectory. ValueError at the first x_t that is not finite."""
    for t, x, x_0 in trajectory:
        if not x.isfinite().all():
            raise ValueError(f"at guidance {scale:g} the image at t = {t} is not finite: take another --scale")
        yield t, x, x_0


def calls_bar(total: int) -> tqdm:
    """A progress bar over network calls."""
    return tqdm(total=total, unit=" calls", unit_scale=True)


def shown_words(data: str, images: np.ndarray, captions: list[str]) -> dict[str, np.ndarray]:
    """`judge.judged`, with the answers of the dataset's classifier where it needs them."""
    answers = None if data == "shapes" else classifier.load(data, images.shape[-1]).probabilities(images)
    return judge.judged(data, images, captions, answers)
