"""The S x eta table of DDIM (Song, Meng & Ermon 2021, Table 1; the lecture's "Sample Efficiency of DDIM").

A cell is the distance between n samples made with S steps at one eta and a reference set of real images. A row is
named by its eta, "hat" for the larger variance, "2m" for the second-order sampler. A table is kept as a record of
`records`.
"""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from ddpm.experiments.records import NUMBER, columns_of, rows_of
from ddpm.images import save_figure

from ..dpm_solver import sample_2m
from ..sampler import Trajectory, sample, sample_hat, timesteps
from .fid import Measure, plus_minus, thousandfold

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


def row_name(text: str) -> str:
    """"0.20" -> "0.2". ValueError unless it is an eta in [0, 1], "hat" or "2m"."""
    if text in (HAT, SECOND_ORDER):
        return text
    try:
        eta = float(text)
    except ValueError:
        raise ValueError(f"row {text!r}: expected an eta in [0, 1], {HAT} or {SECOND_ORDER}") from None
    if not 0 <= eta <= 1:
        raise ValueError(f"row {text!r}: expected an eta in [0, 1], {HAT} or {SECOND_ORDER}")
    return f"{abs(eta):g}"  # -0 is 0


def grid_of(row: str, T: int, S: int, spacing: str) -> list[int]:
    """The times of a cell. ValueError: an S outside 1..T.

    A step to 0 adds no noise, and within the family hardly any would be left to add; sigma-hat has much. The published
    code's grid ends at its first time, our t = 1, so its sigma-hat is noisy down to there: this row stops there too.
    """
    grid = timesteps(T, S, spacing)
    return [*grid[:-1], 1, 0] if row == HAT and grid[-2] > 1 else grid


def cell_sampler(row: str, S: int, spacing: str) -> Callable[..., Trajectory]:
    """sampler(eps, schedule, x_T, noise) of a cell, as `ddpm.generate` wants it; predicted x_0 are not clipped."""

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


def paper_cell(data: str, row: str, S: int) -> float | None:
    """The paper's FID, None where the paper has none."""
    numbers = PAPER.get(data, {}).get(row)
    return numbers[COLUMNS.index(S)] if numbers and S in COLUMNS else None


# ---- as text ---------------------------------------------------------------------------------------------------------


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
    calls_ = len(grid) - 1
    once = f" ({S - calls_} coincide with others and are listed once)" if calls_ < S else ""
    return f"grid of S = {S}: {calls_} calls{once}, from t = {grid[0]} to {grid[-2]}, then 0"


def label(row: str) -> str:
    """How a row is called."""
    return {HAT: "hat", SECOND_ORDER: "2M"}.get(row, f"eta {row}")


# ---- as a plot -------------------------------------------------------------------------------------------------------


def plot(path: Path, record: dict) -> Path:
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
    drawn = sorted({*columns_of(record), *(COLUMNS if paper else ())})
    for axis in axes:
        axis.set(xscale="log", yscale="log", xlabel="S, steps")
        axis.set_xticks(drawn, [str(S) for S in drawn])
        axis.set_xticks([], minor=True)
        for format_ in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            format_(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
        axis.grid(alpha=0.3, which="both")
    return save_figure(figure, path)
