"""The S x eta table of DDIM (Song, Meng & Ermon 2021, Table 1; the lecture's "Sample Efficiency of DDIM").

A cell is the Frechet distance between n samples made with S steps at one eta and a reference set of real images. A row
is named by its eta, "hat" for sigma-hat, "2m" for the second-order sampler. The result is a record of `records`: a
second call measures the cells that are missing.
"""

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from tqdm import tqdm

import ddpm
from ddpm.data.base import DataError, open_image, square, to_array
from ddpm.evaluation import features
from ddpm.evaluation.frechet import Measure, Reference, plus_minus, thousandfold
from ddpm.experiments import records
from ddpm.experiments.common import calls_bar, images_of, model_data, model_facts, result, write
from ddpm.experiments.records import NUMBER, columns_of, rows_of
from ddpm.model import Sampler, Trained
from ddpm.utils import cli
from ddpm.utils.device import best_device
from ddpm.utils.images import save_figure
from unet.precision import PRECISIONS

from ..dpm_solver import sample_2m
from ..sampler import SPACINGS, Trajectory, sample, sample_hat, timesteps

EXAMPLE = "python -m ddim table --model shapes --n 100 --columns 5 10 20"
HAT, SECOND_ORDER = "hat", "2m"
COLUMNS = (10, 20, 50, 100, 1000)
ROWS = ("0", "0.2", "0.5", "1", HAT, SECOND_ORDER)
PAPER = {  # FID of the official network at 50,000 samples, columns as in COLUMNS
    "cifar10": {
        "0": (13.36, 6.84, 4.67, 4.16, 4.04),
        "0.2": (14.04, 7.11, 4.77, 4.25, 4.09),
        "0.5": (16.66, 8.35, 5.25, 4.46, 4.29),
        "1": (41.07, 18.36, 8.01, 5.78, 4.73),
        HAT: (367.43, 133.37, 32.72, 9.99, 3.17),
    },
    "celeba": {
        "0": (17.33, 13.73, 9.17, 6.53, 3.51),
        "0.2": (17.66, 14.11, 9.51, 6.79, 3.64),
        "0.5": (19.86, 16.06, 11.01, 8.09, 4.28),
        "1": (33.12, 26.03, 18.48, 13.93, 5.98),
        HAT: (299.71, 183.83, 71.71, 45.20, 3.26),
    },
}
CELL = {"distance": NUMBER, "error": NUMBER | None, "kid": NUMBER, "kid_error": NUMBER | None}
THEIRS = {
    "cifar10": "FID of the official network, 50,000 samples, quadratic grid",
    "celeba": "FID of the official network, 50,000 samples, of 64 x 64 images",
}


# ---- cells -----------------------------------------------------------------------------------------------------------


def row_name(text: str) -> str:
    """"0.20" -> "0.2": an eta in [0, 1], "hat" or "2m"."""
    return text if text in (HAT, SECOND_ORDER) else f"{abs(cli.share(text)):g}"  # -0 is 0


def grid_of(row: str, T: int, S: int, spacing: str) -> list[int]:
    """The times of a cell. ValueError: an S outside 1..T.

    The step to 0 adds no noise. Within the family hardly any is left there, but sigma-hat has much. The published
    code's grid ends at its first time, our t = 1, and adds noise down to there: the row "hat" has this time too.
    """
    grid = timesteps(T, S, spacing)
    return [*grid[:-1], 1, 0] if row == HAT and grid[-2] > 1 else grid


def cell_sampler(row: str, S: int, spacing: str = "linear") -> Sampler:
    """The sampler of a cell, for `ddpm.generate`; predicted x_0 are not clipped."""

    def sampler(eps, schedule, x_T, noise) -> Trajectory:
        grid = grid_of(row, schedule.T, S, spacing)
        if row == SECOND_ORDER:
            return sample_2m(eps, schedule, x_T, grid)
        if row == HAT:
            return sample_hat(eps, schedule, x_T, grid, generator=noise)
        return sample(eps, schedule, x_T, grid, float(row), generator=noise)

    return sampler


def calls(T: int, cells: list[tuple[str, int]], spacing: str) -> int:
    """Steps that the cells take for one image. ValueError: an S outside 1..T."""
    return sum(len(grid_of(row, T, S, spacing)) - 1 for row, S in cells)


def usual_spacing(trained: Trained) -> str:
    """The paper's grid. Its quadratic one, for CIFAR-10, starts at t = 801, where only the linear schedule is noise."""
    as_in_paper = trained.info["data"] == "cifar10" and trained.schedule.kind == "linear"
    return "quadratic" if as_in_paper else "linear"


# ---- measure ---------------------------------------------------------------------------------------------------------


def reference_images(reference: str, trained: Trained, data_dir: str) -> np.ndarray:
    """The real images that samples are compared with: a split of the model's dataset, or all images of a folder."""
    if reference in ("train", "test"):
        return model_data(trained, data_dir, reference).images
    endings = (".png", ".jpg", ".jpeg", ".webp")
    files = sorted(path for path in Path(reference).glob("*") if path.suffix.lower() in endings)
    if len(files) < 2:
        raise DataError(f"--reference {reference!r}: expected train, test, or a folder of 2 or more images {endings}")
    size = trained.unet.config.size
    return np.stack([to_array(square(open_image(file)), size) for file in files])


def prompts_of(trained: Trained, args: argparse.Namespace) -> list[str]:
    """n null prompts, or with --captions n captions of the training set, drawn as training draws them."""
    if not args.captions:
        return [""] * args.n
    captions, rng = model_data(trained, args.data_dir, "train").captions, np.random.default_rng(args.seed)
    chosen = [captions[i] for i in rng.integers(len(captions), size=args.n)]
    return [several[rng.integers(len(several))] for several in chosen]


def settings_of(trained: Trained, args: argparse.Namespace, network: features.Features, real: np.ndarray) -> dict:
    """All that a cell depends on; real: the reference images."""
    return {"distance": network.name} | model_facts(trained, args) | {
        "n": args.n, "spacing": args.spacing, "clipping": "none",
        "prompts": "captions" if args.captions else "null", "guidance": args.scale, "seed": args.seed,
        "features": network.network, "features_sha256": network.sha256,
        "reference": args.reference, "reference_n": len(real),
        "reference_sha256": hashlib.sha256(real.tobytes()).hexdigest(),
    }  # fmt: skip


def measurer(
    trained: Trained,
    args: argparse.Namespace,
    network: features.Features,
    real: np.ndarray,
    prompts: list[str],
    bar: tqdm,
) -> Callable[[str, int], Measure]:
    """measure(row, S) -> cell: n samples with the same x_T and prompts in every cell, against the real images."""
    reference, seeds = Reference(network(real)), list(range(args.seed, args.seed + args.n))

    def measure(row: str, S: int) -> Measure:
        sampler = cell_sampler(row, S, args.spacing)
        return reference.measure(network(images_of(trained, prompts, seeds, args.scale, sampler, bar)))

    return measure


# ---- as text ---------------------------------------------------------------------------------------------------------


def paper_cell(data: str, row: str, S: int) -> float | None:
    """The paper's FID, None where the paper has none."""
    numbers = PAPER.get(data, {}).get(row)
    return numbers[COLUMNS.index(S)] if numbers and S in COLUMNS else None


def text(record: dict) -> str:
    """The table with the paper's cells in brackets, the kernel distance, and the foot."""
    settings, cells, rows = record["settings"], record["cells"], rows_of(record, ROWS)
    columns = columns_of(record)
    paper = any(paper_cell(settings["data"], row, S) is not None for row in rows for S in columns)

    def distance(row: str, S: int, cell: Measure) -> str:
        known = paper_cell(settings["data"], row, S)
        return plus_minus(cell["distance"], cell["error"]) + (f" ({known})" if known is not None else "")

    def kernel(row: str, S: int, cell: Measure) -> str:
        return thousandfold(cell)

    def block(title: str, written: Callable[[str, int, Measure], str]) -> list[str]:
        lines = [title, f"{'':8s}" + "".join(f"{f'S = {S}':>24s}" for S in columns)]
        for row in rows:
            found = [written(row, S, cells[row][str(S)]) if str(S) in cells[row] else "" for S in columns]
            lines.append(f"{label(row):8s}" + "".join(f"{cell:>24s}" for cell in found))
        return lines

    head = f"{settings['distance']}, {settings['model']}, {settings['n']} samples a cell"
    beside = f"; in brackets DDIM Table 1: {THEIRS[settings['data']]}" if paper else ""
    foot = [f"{name.replace('_', ' ')}: {value}" for name, value in settings.items()]
    foot += [grid_line(settings["T"], S, settings["spacing"]) for S in columns]
    hat = "hat: t = 1 before 0, one call more, so that noise is added down to there, where the published code ends"
    foot += [hat] * (HAT in rows)
    return "\n".join([*block(head + beside, distance), "", *block("KID x 1000", kernel), "", *foot]) + "\n"


def grid_line(T: int, S: int, spacing: str) -> str:
    """What the grid of S steps really is: the quadratic one can have fewer steps, and starts below T."""
    grid = timesteps(T, S, spacing)
    n = len(grid) - 1
    once = f" ({S - n} coincide with others and are listed once)" if n < S else ""
    return f"grid of S = {S}: {n} calls{once}, from t = {grid[0]} to {grid[-2]}, then 0"


def label(row: str) -> str:
    """The name of a row in the text and in the plot."""
    return {HAT: "hat", SECOND_ORDER: "2M"}.get(row, f"eta {row}")


# ---- as a plot -------------------------------------------------------------------------------------------------------


def figure_of(record: dict) -> Figure:
    """Distance against S, log-log, a line for each row; the paper's curves dotted, in a panel of their own if needed.

    The paper's numbers share our axis only where ours are FID too.
    """
    settings, cells = record["settings"], record["cells"]
    paper = PAPER.get(settings["data"], {})
    apart = bool(paper) and settings["distance"] != "FID"
    figure = Figure(figsize=(9.5, 4) if apart else (6.5, 4.5), layout="constrained")
    axes = figure.subplots(1, 2 if apart else 1, squeeze=False)[0]
    for i, row in enumerate(rows_of(record, ROWS)):
        points = sorted((int(S), cell["distance"], cell["error"] or 0) for S, cell in cells[row].items())
        S, distance, error = zip(*points, strict=True)
        axes[0].errorbar(S, distance, yerr=error, marker="o", ms=3, capsize=2, color=f"C{i}", label=label(row))
        if row in paper:
            axes[-1].plot(COLUMNS, paper[row], ":", marker="o", ms=3, color=f"C{i}")
    axes[0].set_title(f"{settings['model']}, n = {settings['n']}, {settings['spacing']} grid", fontsize=9)
    axes[0].set_ylabel(settings["distance"])
    axes[0].legend(fontsize=8)
    if apart:
        axes[1].set_title("the paper: official network, 50,000 samples", fontsize=9)
        axes[1].set_ylabel("FID")
    for axis in axes:
        as_log_log(axis, sorted({*columns_of(record), *(COLUMNS if paper else ())}))
    return figure


class PlainLogFormatter(LogFormatter):
    """The ticks of matplotlib's formatter, written 0.6 instead of 6e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def as_log_log(axis: Axes, columns: list[int]) -> None:
    """Both axes logarithmic, with the numbers of steps as ticks."""
    axis.set(xscale="log", yscale="log", xlabel="S, steps")
    axis.set_xticks(columns, [str(S) for S in columns])
    axis.set_xticks([], minor=True)
    for set_format in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        set_format(PlainLogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    axis.grid(alpha=0.3, which="both")


# ---- command ---------------------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddim table`."""
    cli.add_flags(parser, model="shapes", data_dir="data", device=best_device(), out="results", n=500, seed=0)
    parser.add_argument("--columns", type=cli.positive, nargs="+", default=COLUMNS, help="numbers of steps S")
    parser.add_argument("--rows", type=row_name, nargs="+", default=ROWS, help=f"etas, {HAT}, {SECOND_ORDER}")
    parser.add_argument("--spacing", choices=SPACINGS, help="time grid; by default the paper's where it fits")
    parser.add_argument("--captions", action="store_true", help="captions of the training set, not the null prompt")
    cli.add_flags(parser, scale=1.0)
    features.add_flags(parser)
    parser.add_argument("--reference", default="train", help="real images: train, test, or a folder")
    text = "of the network; auto: float16 on a GPU, float32 on a CPU"
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help=text)


def run(args: argparse.Namespace) -> None:
    """Measure the cells that are missing; write and print the table."""
    trained = ddpm.load(args.model, device=args.device).for_many_images(args.precision)
    name, args.spacing = f"table-{cli.name_of(args.model)}", args.spacing or usual_spacing(trained)
    rows, columns = list(dict.fromkeys(args.rows)), list(dict.fromkeys(args.columns))
    calls(trained.schedule.T, [(row, S) for row in rows for S in columns], args.spacing)  # checks every S
    network = features.load(args.features, trained.info["data"], args.inception, trained.device)
    real = reference_images(args.reference, trained, args.data_dir)
    path = result(args, name, ".json")
    record = records.resume(path, settings_of(trained, args, network, real), CELL)
    if todo := records.missing(record, rows, columns):
        prompts = prompts_of(trained, args)
        with calls_bar(calls(trained.schedule.T, todo, args.spacing) * args.n) as bar:
            measure = measurer(trained, args, network, real, prompts, bar)
            for row, S, cell in records.fill(path, record, rows, columns, measure):
                tqdm.write(f"{label(row)}, S = {S}: {plus_minus(cell['distance'], cell['error'])}")
    write(args, name, record, text(record))
    print(save_figure(figure_of(record), result(args, name, ".png")))
