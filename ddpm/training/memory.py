"""In how many parts a batch goes through the network: as many as memory asks for."""

import math
from typing import Any

import torch

ROWS_ON_CPU = 256  # that a CPU takes at once: more are not faster, and might not fit into its memory


def fitting_parts(training: Any) -> int:
    """The fewest equal parts of a batch that memory holds, by trying; this compiles the network, too.

    training: a `loop.Training` before its first step, so no clock runs yet. ValueError: not even one image fits.
    """
    rows, on_cpu = training.settings.batch, training.device.type == "cpu"
    least = math.ceil(rows / ROWS_ON_CPU) if on_cpu else 1
    held = [torch.empty_like(p) for p in training.unet.trainable.parameters() for _ in range(2)]  # Adam's
    for parts in (n for n in range(1, rows + 1) if rows % n == 0):
        if parts < least:
            continue
        try:
            if not on_cpu or training.settings.compile:
                batch = training.batches[0].part(0, parts)
                training.scaler.scale(training.loss(batch)).backward()
        except torch.OutOfMemoryError:
            least = 2 * parts
        else:
            held.clear()
            training.optimizer.zero_grad(set_to_none=True)
            return parts
    raise ValueError("the GPU's memory does not hold the training of one image: expected a smaller network")
