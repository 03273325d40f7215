"""The S x eta table of DDIM (Song, Meng & Ermon 2021, Table 1; the lecture's "Sample Efficiency of DDIM").

A cell is the Frechet distance between n samples made with S steps at one eta and a reference set of real images. A row
is named by its eta, "hat" for sigma-hat, "2m" for the second-order sampler. Rows of real images say what a distance
means: n images of a split as they are, or n training images with noise, JPEG or blur. A set is not compared with
itself: the reference "half" is one random half of the training set, and the rows take the other.

The result is a record of `records`: a second call measures the cells that are missing.
"""

import argparse
import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from PIL import Image, ImageFilter
from tqdm import tqdm

import ddpm
from ddpm.evaluation import features
from ddpm.evaluation.frechet import Measure, Reference, plus_minus, thousandfold
from ddpm.experiments import records
from ddpm.experiments.common import calls_bar, images_of, model_data, model_facts, named, own_record, write
from ddpm.experiments.records import columns_of, rows_of
from ddpm.model import Sampler, Trained
from ddpm.schedule import MOST_SIGNAL
from ddpm.utils import cli
from ddpm.utils.images import save_figure
from unet.precision import PRECISIONS

from ..sampler import SPACINGS, timesteps

EXAMPLE = "python -m ddim table --model shapes --n 100 --columns 5 10 20"
ENDINGS = (".json", ".txt", ".png")
HAT, SECOND_ORDER = "hat", "2m"
COLUMNS = (10, 20, 50, 100, 1000)
ROWS = ("0", "0.2", "0.5", "1", HAT, SECOND_ORDER)
REAL_ROWS = {  # name -> how it is printed
    "train": "training images",
    "test": "test images",
    "noise": "noise, sigma 15 of 255",
    "jpeg": "JPEG, quality 50",
    "blur": "blur, radius 0.6 pixels",
}
REAL = 0  # the column of real images, which take no steps
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
THEIRS = {"cifar10": "quadratic grid", "celeba": "of 64 x 64 images"}

# ---- a row, a column, a cell -----------------------------------------------------------------------------------------


def row_name(text: str) -> str:
    """As "0.20" -> "0.2": an eta in [0, 1], "hat", "2m", or a row of real images."""
    names = (HAT, SECOND_ORDER, *REAL_ROWS)
    try:
        return text if text in names else f"{abs(cli.share(text)):g}"  # -0 is 0
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or one of {', '.join(names)}") from None


def label(row: str) -> str:
    """The name of a row in the text and in the plot."""
    return {HAT: "hat", SECOND_ORDER: "2M", **REAL_ROWS}.get(row, f"eta {row}")


def grid_of(row: str, T: int, S: int, spacing: str) -> list[int]:
    """The times of a cell. ValueError: an S outside 1..T.

    The step to 0 adds no noise. Within the family hardly any is left there, but sigma-hat has much. The published
    code's grid ends at its first time, our t = 1, and adds noise down to there: the row "hat" has this time too.
    """
    grid = timesteps(T, S, spacing)
    return [*grid[:-1], 1, 0] if row == HAT and grid[-2] > 1 else grid


def cell_sampler(row: str, S: int, spacing: str = "linear") -> Sampler:
    """The sampler of a cell, for `ddpm.generate`; predicted x_0 are not clipped."""
    name, how = (row, {}) if row in (HAT, SECOND_ORDER) else ("ddim", {"eta": float(row)})
    return lambda *given: named(name, *given, steps=grid_of(row, given[1].T, S, spacing), **how)


def calls(T: int, cells: list[tuple[str, int]], spacing: str) -> int:
    """Steps that the cells take for one image. ValueError: an S outside 1..T."""
    return sum(len(grid_of(row, T, S, spacing)) - 1 for row, S in cells if S != REAL)


def usual_spacing(trained: Trained) -> str:
    """The paper's grid. Its quadratic one, for CIFAR-10, starts at t = 801, where only the linear schedule is noise."""
    as_in_paper = trained.info["data"] == "cifar10" and trained.schedule.kind == "linear"
    return "quadratic" if as_in_paper else "linear"


def paper_cell(data: str, row: str, S: int) -> float | None:
    """The paper's FID, None where the paper has none."""
    numbers = PAPER.get(data, {}).get(row)
    return numbers[COLUMNS.index(S)] if numbers and S in COLUMNS else None


# ---- real images -----------------------------------------------------------------------------------------------------


def as_jpeg(image: Image.Image) -> Image.Image:
    """An image as a JPEG of quality 50 has it."""
    image.save(file := io.BytesIO(), "JPEG", quality=50)
    return Image.open(file)


def disturbed(images: np.ndarray, row: str) -> np.ndarray:
    """Images uint8 (N, 3, H, W) as a row of REAL_ROWS has them."""
    if row == "noise":
        noise = np.random.default_rng(0).normal(scale=15, size=images.shape)
        return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)
    if row not in ("jpeg", "blur"):
        return images
    change = as_jpeg if row == "jpeg" else lambda image: image.filter(ImageFilter.GaussianBlur(0.6))
    after = [change(Image.fromarray(image.transpose(1, 2, 0))) for image in images]
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in after])


def halves(images: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n images of one random half (all of it, where it has fewer), and all of the other half."""
    order, half = np.random.default_rng(seed).permutation(len(images)), len(images) // 2
    return images[np.sort(order[:half][:n])], images[np.sort(order[half:])]


def real_images(
    trained: Trained, args: argparse.Namespace, rows: list[str]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The reference set, and for each row its n images before they are disturbed, all uint8 (N, 3, H, W).

    ValueError: a row of the reference set itself, fewer images than n.
    """
    split = {row: "test" if row == "test" else "train" for row in rows}
    if itself := [row for row in rows if split[row] == args.reference]:
        raise ValueError(f"--rows {itself[0]} takes images of the reference set itself: give --reference half")
    needed = {*split.values(), "train" if args.reference == "half" else args.reference}
    sets = {name: model_data(trained, args.data_dir, name).images for name in needed}
    if args.reference == "half":
        sets["train"], sets["half"] = halves(sets["train"], args.n, args.seed)
    for row in rows:
        if (there := len(sets[split[row]])) < args.n:
            raise ValueError(f"--n is {args.n}, but for --rows {row} there are {there} images")
    return sets[args.reference], {row: sets[split[row]][: args.n] for row in rows}


# ---- as text and as a plot -------------------------------------------------------------------------------------------


def text(record: dict) -> str:
    """The table with the paper's cells in brackets, the kernel distance, and the foot."""
    settings, cells, rows = record["settings"], record["cells"], rows_of(record, (*ROWS, *REAL_ROWS))
    columns, width = columns_of(record), max(8, *(len(label(row)) + 1 for row in rows))
    paper = {(row, S): paper_cell(settings["data"], row, S) for row in rows for S in columns}

    def line(name: str, words: list[str]) -> str:
        return f"{name:{width}s}" + "".join(f"{word:>24s}" for word in words)

    def block(title: str, written: Callable[[str, int, Measure], str]) -> list[str]:
        lines = [title, line("", [f"S = {S}" if S != REAL else "real images" for S in columns])]
        for row in rows:
            found = [written(row, S, cells[row][str(S)]) if str(S) in cells[row] else "" for S in columns]
            lines.append(line(label(row), found))
        return lines

    def distance(row: str, S: int, cell: Measure) -> str:
        theirs = f" ({paper[row, S]})" if paper[row, S] is not None else ""
        return plus_minus(cell["distance"], cell["error"]) + theirs

    title = f"{settings['distance']}, {settings['model']}, {settings['n']} "
    title += "images a cell" if columns == [REAL] else "samples a cell"
    if any(number is not None for number in paper.values()):
        title += "; in brackets DDIM Table 1: FID of the official network, 50,000 samples, " + THEIRS[settings["data"]]
    lines = block(title, distance) + [""] + block("KID x 1000", lambda row, S, cell: thousandfold(cell)) + [""]
    lines += [f"{name.replace('_', ' ')}: {value}" for name, value in settings.items()]
    lines += [grid_line(settings["T"], S, settings["spacing"]) for S in columns if S != REAL]
    hat = "hat: t = 1 before 0, one call more, so that noise is added down to there, where the published code ends"
    lines += [hat] * (HAT in rows)
    return "\n".join(lines) + "\n"


def agreement(record: dict, other: dict, rows: list[str]) -> tuple[int, float, float]:
    """Do two networks order the same cells alike? Their number, Spearman's rank correlation, its standard error.

    The error is the deviation over 1000 pairs of tables, every distance drawn anew with its own standard error.
    """
    tables = [each["cells"] for each in (record, other)]
    of = [{(row, S): cell for row in rows for S, cell in cells.get(row, {}).items()} for cells in tables]
    both = sorted(of[0].keys() & of[1].keys())
    value, error = (np.array([[each[key][name] or 0 for key in both] for each in of]) for name in ("distance", "error"))
    drawn = np.random.default_rng(0).normal(value, error, (1000, *value.shape))
    whole, *others = (np.corrcoef(table.argsort().argsort())[0, 1] for table in (value, *drawn))
    return len(both), float(whole), float(np.std(others))


def agreement_lines(record: dict, path: str) -> str:
    """`agreement` with the record at `path`, of the samples and with the rows of real images. ValueError: no record."""
    other, lines = records.read(Path(path), "cells"), ""
    names = rows_of(record, (*ROWS, *REAL_ROWS))
    for what, rows in (("samples", [row for row in names if row not in REAL_ROWS]), ("all", names)):
        n, correlation, error = agreement(record, other, rows)
        lines += f"rank correlation with {path}, {what}, {n} cells: {correlation:.2f} ± {error:.2f}\n"
    return lines


def grid_line(T: int, S: int, spacing: str) -> str:
    """What the grid of S steps really is: the quadratic one can have fewer steps, and starts below T."""
    grid = timesteps(T, S, spacing)
    n = len(grid) - 1
    once = f" ({S - n} coincide with others and are listed once)" if n < S else ""
    return f"grid of S = {S}: {n} calls{once}, from t = {grid[0]} to {grid[-2]}, then 0"


def figure_of(record: dict) -> Figure:
    """Distance against S, log-log, a line for each row; the paper's curves dotted, in a panel of their own if needed.

    The paper's numbers share our axis only where ours are FID too.
    """
    settings, cells = record["settings"], record["cells"]
    paper = PAPER.get(settings["data"], {})
    apart = bool(paper) and settings["distance"] != "FID"
    figure = Figure(figsize=(9.5, 4) if apart else (6.5, 4.5), layout="constrained")
    axes = figure.subplots(1, 2 if apart else 1, squeeze=False)[0]
    for i, row in enumerate(rows_of(record, (*ROWS, *REAL_ROWS))):
        if row in REAL_ROWS:
            axes[0].axhline(cells[row][str(REAL)]["distance"], ls="--", lw=1, color=f"C{i}", label=label(row))
            continue
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
    columns = sorted({*columns_of(record), *(COLUMNS if paper else ())} - {REAL})
    for axis in axes:
        axis.set(xscale="log", yscale="log", xlabel="S, steps")
        axis.set_xticks(columns, [str(S) for S in columns])
        axis.set_xticks([], minor=True)
        for set_format in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            set_format(PlainLogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
        axis.grid(alpha=0.3, which="both")
    return figure


class PlainLogFormatter(LogFormatter):
    """The ticks of matplotlib's formatter, written 0.6 instead of 6e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "data_dir", "out", model="shapes", n=500, seed=0, scale=1.0)
    parser.add_argument("--columns", type=cli.positive, nargs="+", help="numbers of steps S, by default the paper's")
    names = f"etas, {HAT}, {SECOND_ORDER}; of real images: {', '.join(REAL_ROWS)}"
    parser.add_argument("--rows", type=row_name, nargs="+", default=ROWS, help=names)
    parser.add_argument("--spacing", choices=SPACINGS, help="time grid; by default the paper's where it fits")
    parser.add_argument("--captions", action="store_true", help="captions of the training set, not the null prompt")
    parser.add_argument("--features", choices=features.KINDS, default="classifier", help="network of the distance")
    reference = "real images: of a split, or half of the training set"
    parser.add_argument("--reference", choices=("train", "test", "half"), default="train", help=reference)
    parser.add_argument("--reference-n", type=cli.positive, help="at most so many of these, evenly spaced")
    parser.add_argument("--beside", metavar="FILE", help="these cells on another network: are their ranks the same?")
    arithmetic = "of the network; auto: float16 on a GPU, float32 on a CPU"
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help=arithmetic)


def prepare(args: argparse.Namespace) -> tuple:
    """The model, the network of the distance, the reference set, the images of the rows of real images, the prompts,
    the record, its file and its cells. ValueError, OSError: a bad flag, or earlier cells of another kind.
    """
    real_rows, sampled = ([row for row in args.rows if (row in REAL_ROWS) == real] for real in (True, False))
    if args.beside:
        records.read(Path(args.beside), "cells")
    if 1 in (args.n, args.reference_n):
        raise ValueError("--n and --reference-n: 1 is too few, a distance between sets needs 2 images or more")
    if args.scale != 1 and not args.captions:
        raise ValueError("--scale is guidance towards captions: give --captions, or leave it out")
    if typed := [flag for flag in ("columns", "spacing", "captions") if getattr(args, flag) and not sampled]:
        raise ValueError(f"--{typed[0]} is for samples, and --rows has real images only: leave it out")
    trained = ddpm.load(args.model, device=args.device).for_many_images(args.precision)
    schedule, columns, spacing = trained.schedule, args.columns or COLUMNS, args.spacing or usual_spacing(trained)
    cells = [(row, REAL) for row in real_rows] + [(row, S) for S in columns for row in sampled]
    calls(schedule.T, cells, spacing)  # looks at every S
    first = timesteps(schedule.T, 1, spacing)[0]
    if sampled and (signal := schedule.alpha_bar[first].item()) > MOST_SIGNAL:
        where = f"starts at t = {first}, where alpha_bar of the {schedule.kind} schedule is {signal:.2g}"
        other = "take --spacing linear" if spacing == "quadratic" else "train with --schedule cosine"
        raise ValueError(f"--spacing {spacing} {where}: samples would not start from noise, {other}")
    path = own_record(args, f"table-{cli.name_of(args.model)}", "a record of results", "settings", "cells")
    network = features.load(args.features, trained.info["data"], trained.device)
    reference, images = real_images(trained, args, real_rows)
    reference = reference[:: -(-len(reference) // (args.reference_n or len(reference)))]
    prompts = prompts_of(trained, args)
    trained.tokens(sorted(set(prompts)))
    settings = {"distance": network.name} | model_facts(trained, args) | {
        "n": args.n, "spacing": spacing, "clipping": "none",
        "prompts": "captions" if args.captions else "null", "guidance": args.scale, "seed": args.seed,
        "features": network.network, "features_sha256": network.sha256,
        "reference": args.reference, "reference_n": len(reference),
        "reference_sha256": hashlib.sha256(reference.tobytes()).hexdigest(),
    }  # fmt: skip
    return trained, network, reference, images, prompts, records.resume(path, settings), path, cells


def prompts_of(trained: Trained, args: argparse.Namespace) -> list[str]:
    """n null prompts, or with --captions n captions of the training set, drawn as training draws them."""
    if not args.captions:
        return [""] * args.n
    captions, rng = model_data(trained, args.data_dir, "train").captions, np.random.default_rng(args.seed)
    chosen = [captions[i] for i in rng.integers(len(captions), size=args.n)]
    return [several[rng.integers(len(several))] for several in chosen]


def run(args: argparse.Namespace) -> None:
    """Measure the cells that are missing, with the same x_T and prompts in each; write and print the table."""
    trained, network, reference, images, prompts, record, path, cells = prepare(args)
    if todo := records.missing(record, cells):
        against, spacing = Reference(network(reference)), record["settings"]["spacing"]
        seeds = range(args.seed, args.seed + args.n)
        with calls_bar(calls(trained.schedule.T, todo, spacing) * args.n) as bar:

            def measure(row: str, S: int) -> Measure:
                if S == REAL:
                    return against.measure(network(disturbed(images[row], row)))
                sampler = cell_sampler(row, S, spacing)
                return against.measure(network(images_of(trained, prompts, seeds, args.scale, sampler, bar)))

            for row, S, cell in records.fill(path, record, todo, measure):
                where = label(row) + (f", S = {S}" if S != REAL else "")
                tqdm.write(f"{where}: {plus_minus(cell['distance'], cell['error'])}")
    record = write(args, path, record, text, records.together)
    if args.beside:
        print(agreement_lines(record, args.beside))
    if columns_of(record) != [REAL]:
        print(save_figure(figure_of(record), cli.output(args, path.stem, ".png")))
