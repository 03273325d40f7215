"""There and back: a picture inverted and sampled again, and how much of it is lost (DDIM Table 2).

The error is the mean squared error per dimension with pictures on the [0, 1] scale, nothing clipped.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ddpm.diffusion import EpsFn
from ddpm.schedule import Schedule

from .exact import invert_exact, sample_exact
from .sampling import Steps, invert, sample

PAPER = {10: 0.014, 20: 0.0065, 50: 0.0023, 100: 0.0009, 200: 0.0004, 500: 0.0001, 1000: 0.0001}  # CIFAR-10 test set
DIVERGED = 1.0  # mean squared error above which a picture counts as lost: no two pictures in [0, 1] differ by more
EXACT = "exact"
GAUSSIAN = "Gaussian, exact eps"  # no network: data of the same mean and covariance, what the steps alone lose


@dataclass(frozen=True)
class Variant:
    """How a picture goes there and back: its caption or the null prompt, guidance, and the way to invert.

    way: the number of fixed-point iterations of `ddim.invert`, or "exact" for BDIA.
    """

    captions: bool = True
    scale: float = 1.0
    way: int | str = 0


VARIANTS = {
    "caption": Variant(),
    "null prompt": Variant(captions=False),
    "guidance 2": Variant(scale=2.0),
    "guidance 4": Variant(scale=4.0),
    "guidance 7.5": Variant(scale=7.5),
    "2 iterations": Variant(way=2),
    "5 iterations": Variant(way=5),
    "exact": Variant(way=EXACT),
    "exact, guidance 7.5": Variant(scale=7.5, way=EXACT),
}
CHOICES = (*VARIANTS, GAUSSIAN)


def round_trip(
    eps: EpsFn, schedule: Schedule, x_0: torch.Tensor, steps: Steps, spacing: str = "linear", way: int | str = 0
) -> torch.Tensor:
    """x_0 (B, ...) inverted and sampled again on the same grid, S steps each way; way as in `Variant`."""
    if way == EXACT:
        *_, (_, below, _), (_, x_T, _) = invert_exact(eps, schedule, x_0, steps, spacing)
        *_, (_, again, _) = sample_exact(eps, schedule, (x_T, below), steps, spacing, dtype=x_0.dtype)
        return again
    *_, (_, x_T, _) = invert(eps, schedule, x_0, steps, spacing, iterations=way)
    *_, (_, again, _) = sample(eps, schedule, x_T, steps, spacing=spacing)
    return again


def calls(S: int, variant: Variant) -> int:
    """Network calls of a round trip of S steps each way; guidance asks twice."""
    each_way = S - 1 if variant.way == EXACT else S
    upwards = S if variant.way == EXACT else S * (1 + variant.way)
    return (upwards + each_way) * (2 if variant.captions and variant.scale != 1 else 1)


def squared_errors(x_0: torch.Tensor, again: torch.Tensor) -> torch.Tensor:
    """(B,): mean squared error per dimension on the [0, 1] scale, of pictures (B, ...) in [-1, 1]."""
    return ((again - x_0) / 2).square().flatten(1).mean(1)


def summary(x_0: torch.Tensor, again: torch.Tensor) -> dict[str, float | None]:
    """What is said of n pictures (n, ...) in [-1, 1] that went there and back.

    mean of their squared errors and largest difference of a value are over the pictures that came back, the median is
    over all (None where most are lost), diverged is the share whose error is not finite or above `DIVERGED`.
    """
    errors = squared_errors(x_0, again).double().cpu().numpy()
    largest = (again - x_0).abs().flatten(1).amax(1).double().cpu().numpy()
    lost = ~(errors <= DIVERGED)  # true for NaN too
    kept = errors[~lost]
    median = float(np.median(np.where(lost, np.inf, errors)))
    return {
        "n": len(errors),
        "mean": float(kept.mean()) if len(kept) else None,
        "median": median if np.isfinite(median) else None,
        "largest": float(largest[~lost].max()) if len(kept) else None,
        "diverged": float(lost.mean()),
    }


def text(head: list[str], rows: list[dict]) -> str:
    """The table: a line for each record (variant, S, calls and `summary`), the unguided ones beside the paper's."""
    lines = [*head, ""]
    titles = ("mean", "median", "paper", "largest", "diverged", "calls", "n")
    lines.append(f"{'':22s}{'S':>5s}" + "".join(f"{title:>12s}" for title in titles))
    for row in rows:
        paper = PAPER.get(row["S"]) if row["variant"] in ("caption", "null prompt") else None
        errors = [scientific(value) for value in (row["mean"], row["median"], paper, row["largest"])]
        cells = [*errors, f"{100 * row['diverged']:.1f} %", str(row["calls"]), str(row["n"])]
        lines.append(f"{row['variant']:22s}{row['S']:5d}" + "".join(f"{cell:>12s}" for cell in cells))
    return "\n".join(lines) + "\n"


def scientific(value: float | None) -> str:
    """Two digits, a dash for what is not there."""
    return "-" if value is None else f"{value:.1e}"
