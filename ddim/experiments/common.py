"""What the commands of `python -m ddim` share: the model's data, names of results, and portions of work."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

import ddpm
from ddpm.checkpoints import CHECKPOINT
from ddpm.data import Dataset, load_data
from ddpm.experiments import records
from ddpm.files import sha256, write_json
from ddpm.model import Trained

BATCH = 64


def of_split(trained: Trained, data_dir: str, split: str) -> Dataset:
    """The model's own data set."""
    return load_data(trained.info["data"], data_dir, split, trained.unet.config.size)


def name_of(model: str) -> str:
    """How result files call a model: a shipped name as it is, a run by its folder, any other file by its own name."""
    path = Path(model)
    folder_or_file = path.resolve().parent if path.name == CHECKPOINT else path
    return folder_or_file.name.removesuffix(".pt")  # no stem: a folder may be called v1.5


def place(args: argparse.Namespace, ending: str) -> Path:
    """Where a command writes: table-shapes.json in its folder, say."""
    return Path(args.out) / f"{args.command}-{name_of(getattr(args, 'model', None) or args.data)}{ending}"


def check_free(args: argparse.Namespace, *endings: str) -> None:
    """ValueError, before any work, where a folder has the name of a result."""
    for path in (place(args, ending) for ending in endings):
        if path.is_dir():
            raise ValueError(f"{path} is a folder, but a result is to be written there: choose another --out")


def result(args: argparse.Namespace, ending: str) -> Path:
    """`place`, in its folder, which is made. OSError where it cannot be."""
    path = place(args, ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def tell(args: argparse.Namespace, record: dict, words: str, more: str = "") -> None:
    """Write a result as JSON and as text, print the text and where it went; more: an addition to the files' name."""
    path = result(args, f"{more}.txt")
    print(words)
    write_json(result(args, f"{more}.json"), record)
    path.write_text(words)
    print(path)


def once(values: Iterable) -> list:
    """The values in their order, none twice."""
    return list(dict.fromkeys(values))


def model_facts(trained: Trained, args: argparse.Namespace) -> dict:
    """What a record says of the very model that it was measured with."""
    facts = {"model": name_of(args.model), "data": trained.info["data"]}
    facts |= {"model_sha256": sha256(Path(trained.info["path"]))}
    return facts | {"T": trained.schedule.T, "schedule": trained.schedule.kind}


def check_same(args: argparse.Namespace, settings: dict) -> None:
    """ValueError, before any work, where the result is there already and was made with other settings."""
    path = place(args, ".json")
    if path.exists():
        before = records.read(path)
        if not isinstance(before, dict) or not isinstance(before.get("settings"), dict):
            raise ValueError(f"{path} is no record of results: choose another --out")
        records.check_same(path, before["settings"], settings)


def check_seed(seed: int) -> None:
    """ValueError for what is no seed."""
    ddpm.Noise([seed])


def at_least_two(n: int) -> None:
    """ValueError unless n images can have a mean and a spread."""
    if n < 2:
        raise ValueError(f"n is {n}, expected 2 or more images")


def in_batches(n: int) -> Iterator[slice]:
    """0..n-1 in portions of BATCH."""
    return (slice(first, min(first + BATCH, n)) for first in range(0, n, BATCH))


def drawn(trained: Trained, prompts: list[str], seeds: list[int], scale: float, sampler: Callable) -> np.ndarray:
    """One image for each prompt and seed, (N, 3, H, W)."""
    return np.concatenate(list(ddpm.generate(trained, prompts, seeds, sampler, scale)))


def counted(walk: Callable[..., Iterator], bar: tqdm) -> Callable[..., Iterator]:
    """A sampler that moves the bar by one call for each image and step."""

    def walked(*arguments) -> Iterator:
        for state in walk(*arguments):
            yield state
            bar.update(len(state[1]))

    return walked


def head(trained: Trained, args: argparse.Namespace, *more: str) -> list[str]:
    """The first lines of a text result: the model and how it was asked."""
    return [f"{args.command}: model {args.model}, data {trained.info['data']}", *more]
