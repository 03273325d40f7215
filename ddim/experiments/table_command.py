"""The S x eta table, and the ruler that says what its distances mean."""

import argparse
import hashlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

import ddpm
from ddpm.checkpoints import usable
from ddpm.data import Dataset, load_data, shapes
from ddpm.data import image_files as reading
from ddpm.data.base import DataError
from ddpm.model import Trained

from ..sampler import timesteps
from . import features, records, table
from . import fid as ruler
from .common import (
    at_least_two,
    check_free,
    check_same,
    check_seed,
    counted,
    drawn,
    model_facts,
    of_split,
    once,
    result,
    tell,
)


def images_in(folder: Path, size: int) -> np.ndarray:
    """All images of a folder, uint8 (N, 3, size, size), the square in the middle. DataError for fewer than 2."""
    names = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    if len(names) < 2:
        raise DataError(f"the reference folder {folder} has {len(names)} .png, .jpg or .webp files: expected 2 or more")
    return np.stack([reading.to_array(reading.square(reading.open_image(name)), size) for name in names])


def reference_set(reference: str, size: int, split: Callable[[str], Dataset]) -> np.ndarray:
    """The real images that samples are compared with: a split of the model's data set, or a folder."""
    if reference in ("train", "test"):
        return split(reference).images
    if Path(reference).is_dir():
        return images_in(Path(reference), size)
    raise DataError(f"no reference {reference!r}: expected train, test, or a folder of images")


def prompts_for(args: argparse.Namespace, split: Callable[[str], Dataset]) -> list[str]:
    """n prompts: the null prompt, or captions drawn from the training set as training draws them."""
    if args.prompts == "null":
        return [""] * args.n
    captions, rng = split("train").captions, np.random.default_rng(args.seed)
    chosen = [captions[i] for i in rng.integers(len(captions), size=args.n)]
    return [several[rng.integers(len(several))] for several in chosen]


def table_settings(trained: Trained, args: argparse.Namespace, network: features.Features, real: np.ndarray) -> dict:
    """All that a cell depends on; real: the reference images."""
    return {"distance": network.name} | model_facts(trained, args) | {
        "n": args.n, "spacing": args.spacing, "clipping": "none",
        "prompts": args.prompts, "guidance": args.scale, "seed": args.seed,
        "features": network.network, "features_sha256": network.sha256,
        "reference": args.reference, "reference_n": len(real),
        "reference_sha256": hashlib.sha256(real.tobytes()).hexdigest(),
    }  # fmt: skip


def cell_measurer(
    trained: Trained,
    args: argparse.Namespace,
    network: features.Features,
    real: np.ndarray,
    prompts: list[str],
    bar: tqdm,
) -> Callable[[str, int], ruler.Measure]:
    """measure(row, S) -> cell: n samples with the same x_T and prompts in every cell, against the real images."""
    reference, seeds = ruler.Ruler(network(real)), list(range(args.seed, args.seed + args.n))

    def measure(row: str, S: int) -> ruler.Measure:
        walk = counted(table.cell_sampler(row, S, args.spacing), bar)
        return reference.measure(network(drawn(trained, prompts, seeds, args.scale, walk)))

    return measure


def usual_spacing(trained: Trained) -> str:
    """The paper's grid. Its quadratic one, for CIFAR-10, starts at t = 801, where only the linear schedule is noise."""
    as_in_paper = trained.info["data"] == "cifar10" and trained.schedule.kind == "linear"
    return "quadratic" if as_in_paper else "linear"


def table_command(args: argparse.Namespace) -> None:
    """Fill the S x eta table."""
    check_free(args, ".json", ".txt", ".png")
    check_seed(args.seed)
    trained = ddpm.load(args.model, device=args.device)
    rows, columns = once(map(table.row_name, args.rows)), once(args.columns)
    T, args.spacing = trained.schedule.T, args.spacing or usual_spacing(trained)
    for S in columns:  # a bad one is told before any work
        timesteps(T, S, args.spacing)
    at_least_two(args.n)
    if args.prompts == "null" and args.scale != 1:
        raise ValueError(f"guidance {args.scale} needs --prompts captions: without a caption there is nothing to guide")
    network = features.load(args.features, trained.info["data"], args.inception, args.device)
    split = cache(partial(of_split, trained, args.data_dir))  # images and captions may be of the same one
    real = reference_set(args.reference, trained.unet.config.size, split)
    path = result(args, ".json")
    record = records.resume(path, table_settings(trained, args, network, real), table.CELL)
    if todo := records.missing(record, rows, columns):
        with tqdm(total=table.calls(T, todo, args.spacing) * args.n, unit=" calls", unit_scale=True) as bar:
            measure = cell_measurer(trained, args, network, real, prompts_for(args, split), bar)
            for row, S, cell in records.fill(path, record, rows, columns, measure):
                tqdm.write(f"{table.label(row)}, S = {S}: {ruler.plus_minus(cell['distance'], cell['error'])}")
    tell(args, record, table.text(record))
    print(table.plot(result(args, ".png"), record))


def ruler_command(args: argparse.Namespace) -> None:
    """Distances whose cause is known: halves of the training set, the test set, noise, JPEG and blur."""
    if args.n is not None:
        at_least_two(args.n)
    check_free(args, ".json", ".txt")
    network = features.load(args.features, args.data, args.inception, usable(args.device))
    size = args.size or {"shapes": shapes.SIZE}.get(args.data, 32)
    train, test = (load_data(args.data, args.data_dir, split, size).images for split in ("train", "test"))
    n = min(len(train) // 2, len(test)) if args.n is None else args.n
    settings = {"data": args.data, "n": n, "reference_n": len(train) - len(train) // 2, "size": size}
    settings |= {"distance": network.name, "features": network.network, "features_sha256": network.sha256}
    check_same(args, settings)
    lines = tqdm(ruler.readings(network, train, test, n), "lines", 2 + len(ruler.DISTURBANCES))
    measures = dict(lines)
    about = f"{network.name} of {n} images of {args.data} against {settings['reference_n']} of the training set"
    tell(args, {"settings": settings, "lines": measures}, ruler.text([about, f"features: {network.network}"], measures))
