"""Local blend: outside a mask the edit keeps the source's image (Hertz et al. 2022, "Local editing").

Here a mask grows by pixels of the image. In the paper's code the maps grow by one of their own cells before they are
enlarged, and the threshold is a share of the largest value, not of the range.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm.utils.images import enlarge

from .store import AttentionStore
from .words import Words, in_range, word_positions


@dataclass(frozen=True)
class LocalBlend:
    """Where an edit may change the image.

    words: for each of the batch's 2n prompts, sources first, the words whose maps make the mask. A pair's mask is the
        union of its source's and its target's: where the old object was and where the new one is.
    size: of the maps, by default the largest. threshold: of each map's range, in [0, 1]. grow: pixels of the image by
        which the mask is widened. start: share of the steps from which on the image is blended.
    ValueError: a share outside [0, 1], no whole number of pixels.
    """

    words: Sequence[Sequence[str]]
    size: int | None = None
    threshold: float = 0.3
    grow: int = 1
    start: float = 0.2

    def __post_init__(self):
        for name in ("threshold", "start"):
            in_range(name, getattr(self, name), 0, 1)
        if not isinstance(self.grow, int) or self.grow < 0:
            raise ValueError(f"grow is {self.grow}: expected 0 or more whole pixels")

    def check(self, prompts: list[Words], sizes: Sequence[int]) -> None:
        """ValueError unless it fits the 2n prompts, sources first, and the sizes of the maps."""
        if len(self.words) != len(prompts):
            has = f"the blend has words for {len(self.words)} prompts"
            raise ValueError(f"{has}: expected {len(prompts)}, sources first")
        if self.size not in (None, *sizes):
            raise ValueError(f"the blend reads maps of size {self.size}: expected one of {sorted(sizes)}")
        for prompt, words in zip(prompts, self.words, strict=True):
            for word in [words] if isinstance(words, str) else words:
                word_positions(prompt, word)

    def region(self, store: AttentionStore, shape: torch.Size) -> Tensor:
        """(n, 1, H, W) bool: where the n edits may differ from their sources, for x_t of shape (2n, C, H, W)."""
        maps = store.word(self.words, self.size or store.largest)
        return region(maps, shape[-1], self.threshold, self.grow)

    def __call__(self, x: Tensor, store: AttentionStore) -> Tensor:
        """x_t (2n, C, H, W) with the source's x_t in place of the edit's outside the region."""
        return outside_from_source(x, self.region(store, x.shape).to(x.device))


def region(maps: Tensor, size: int, threshold: float, grow: int) -> Tensor:
    """Maps (2n, h, w), sources first -> (n, 1, size, size) bool: the union of a pair's two masks, widened by `grow`."""
    inside = above(enlarge(maps, size), threshold)
    wide = F.max_pool2d(inside.float()[:, None], 2 * grow + 1, stride=1, padding=grow) > 0
    source, target = wide.chunk(2)
    return source | target


def outside_from_source(x: Tensor, inside: Tensor) -> Tensor:
    """Images (2n, C, H, W), sources first: outside of the region the n edits are replaced by their sources."""
    source, target = x.chunk(2)
    return torch.cat([source, torch.where(inside, target, source)])


def above(maps: Tensor, threshold: float) -> Tensor:
    """Maps (B, H, W) -> bool: above `threshold` of the way from each map's least value to its largest."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return maps - low > threshold * (high - low)
