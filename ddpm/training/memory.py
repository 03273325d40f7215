"""How much of a batch fits into a GPU's memory at once: what the backward pass keeps of each image, by measurement."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .batches import Batch

if TYPE_CHECKING:
    from .loop import Training

RESERVE = 1.25  # for the workspace of convolutions, fragments and the gradients of maps, which are not counted


def kept_bytes(training: "Training", batch: Batch) -> int:
    """Bytes that the forward pass over a batch keeps for the backward pass, the weights aside."""
    weights = {p.untyped_storage().data_ptr() for p in training.unet.parameters()}
    kept: dict[int, tuple[int, Tensor]] = {}  # the tensors stay alive, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        training.loss(*batch)
    return sum(size for size, _ in kept.values())


def image_bytes(training: "Training") -> int:
    """Bytes kept for one image more in the batch."""
    batch = training.batches[training.step]
    few, more = (kept_bytes(training, Batch(*(tensor[:n] for tensor in batch))) for n in (1, 3))
    return (more - few) // 2


def parts_of_batch(training: "Training") -> int:
    """The number of equal parts in which this process's share of a batch fits into the GPU's free memory."""
    share = training.settings.batch // training.world
    weights = sum(p.numel() * p.element_size() for p in training.unet.parameters())
    free, _ = torch.cuda.mem_get_info(training.device)
    return smallest_division(share, image_bytes(training), free - 3 * weights)  # gradients, and Adam's two moments


def smallest_division(share: int, each: int, free: int) -> int:
    """The smallest divisor of `share` so that a part of share / divisor images of `each` bytes fits into `free`.

    ValueError: not even one image fits.
    """
    for n in range(1, share + 1):
        if share % n == 0 and RESERVE * each * share / n <= free:
            return n
    raise ValueError(f"an image takes {each / 2**20:.0f} MB in training, the GPU has {free / 2**20:.0f} MB left")
