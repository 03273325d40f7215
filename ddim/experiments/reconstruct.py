"""There and back: an image inverted and sampled again, and how much of it is lost (DDIM Table 2).

The error is the mean squared error per dimension with images on the [0, 1] scale, nothing clipped.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ddpm.diffusion import EpsFn
from ddpm.experiments import records
from ddpm.schedule import Schedule

from ..bdia import invert_exact, sample_exact
from ..inversion import invert
from ..sampler import Steps, sample

PAPER = {10: 0.014, 20: 0.0065, 50: 0.0023, 100: 0.0009, 200: 0.0004, 500: 0.0001, 1000: 0.0001}  # CIFAR-10 test set
DIVERGED = 1.0  # mean squared error above which an image counts as lost: no two images in [0, 1] differ by more
CELL = {  # of the record: network calls for each image, and `summary`
    "calls": int, "n": int, "mean": records.NUMBER | None, "median": records.NUMBER | None,
    "largest": records.NUMBER | None, "diverged": records.NUMBER,
}  # fmt: skip
EXACT = "exact"
GAUSSIAN = "Gaussian, exact eps"  # no network: data of the same mean and covariance, what the steps alone lose


@dataclass(frozen=True)
class Variant:
    """How an image goes there and back: its caption or the null prompt, guidance, and the way to invert.

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
    """(B,): mean squared error per dimension on the [0, 1] scale, of images (B, ...) in [-1, 1]."""
    return ((again - x_0) / 2).square().flatten(1).mean(1)


def summary(x_0: torch.Tensor, again: torch.Tensor) -> dict[str, float | None]:
    """What is said of n images (n, ...) in [-1, 1] that went there and back.

    mean of their squared errors and largest difference of a value are over the images that came back, the median is
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


def shown(record: dict) -> list[tuple[str, int]]:
    """What a strip of images shows: the first variant at every S it has, the others at the middle one of theirs."""
    first, *others = records.rows_of(record, CHOICES)
    steps = {name: sorted(map(int, record["cells"][name])) for name in (first, *others)}
    middle = {name: max((S for S in steps[name] if S <= 50), default=steps[name][0]) for name in others}
    return [(first, S) for S in steps[first]] + list(middle.items())


def text(head: list[str], record: dict) -> str:
    """The record as a table: a line for each variant and S, the unguided ones beside the paper's."""
    lines = [*head, ""]
    titles = ("mean", "median", "paper", "largest", "diverged", "calls", "n")
    lines.append(f"{'':22s}{'S':>5s}" + "".join(f"{title:>12s}" for title in titles))
    for name in records.rows_of(record, CHOICES):
        for S, cell in sorted(record["cells"][name].items(), key=lambda item: int(item[0])):
            paper = PAPER.get(int(S)) if name in ("caption", "null prompt") else None
            errors = [scientific(value) for value in (cell["mean"], cell["median"], paper, cell["largest"])]
            words = [*errors, f"{100 * cell['diverged']:.1f} %", str(cell["calls"]), str(cell["n"])]
            lines.append(f"{name:22s}{S:>5s}" + "".join(f"{word:>12s}" for word in words))
    return "\n".join(lines) + "\n"


def scientific(value: float | None) -> str:
    """Two digits, a dash for what is not there."""
    return "-" if value is None else f"{value:.1e}"
