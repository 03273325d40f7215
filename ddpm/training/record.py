"""What the training loop says of itself, every few steps."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Record:
    """What the loop yields.

    Steps and images so far, the mean loss and gradient norm since the last record, the
    learning rate, seconds of training, images/s since the last record, and the share of the budget that is used.
    """

    step: int
    images: int
    loss: float
    gradient: float
    learning_rate: float
    seconds: float
    rate: float
    progress: float


def means(results: list[tuple[Tensor, Tensor]], last: int, is_scaled: bool) -> tuple[float, float]:
    """The mean loss and gradient norm of the steps up to `last`. FloatingPointError for the first that is not finite.

    A finite loss may have an infinite gradient, which spoils the weights at once, so both are looked at. With a scaled
    loss (float16) it does not, for that step is skipped; it does not count in the mean norm.
    """
    rows = torch.stack([torch.stack(pair) for pair in results]).tolist()
    for step, (loss, norm) in enumerate(rows, last - len(rows) + 1):
        if not math.isfinite(loss) or not (math.isfinite(norm) or is_scaled):
            raise FloatingPointError(
                f"step {step} has a loss of {loss} and a gradient of {norm}; earlier checkpoints are good: "
                "try a lower --learning-rate, a longer --warmup or --precision float32"
            )
    norms = [norm for _, norm in rows if math.isfinite(norm)]
    return sum(loss for loss, _ in rows) / len(rows), sum(norms) / max(1, len(norms))
