"""Local blend: outside a mask the edit keeps the source's image (Hertz et al. 2022, section 4, "Local editing")."""

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
    mask: (H, W) or (n, H, W) bool, drawn by the user, instead of words.
    size: of the maps, by default the largest. threshold: of each map's range, in [0, 1]. grow: pixels of the image by
        which the mask is widened. start: share of the steps from which on the image is blended.
    ValueError: neither or both of words and mask, a share outside [0, 1], a mask of another shape.
    """

    words: Sequence[Sequence[str]] | None = None
    mask: Tensor | None = None
    size: int | None = None
    threshold: float = 0.3
    grow: int = 1
    start: float = 0.2

    def __post_init__(self):
        if (self.words is None) == (self.mask is None):
            raise ValueError("a local blend needs either words or a drawn mask")
        for name in ("threshold", "start"):
            in_range(name, getattr(self, name), 0, 1)
        if self.mask is not None and not (isinstance(self.mask, Tensor) and self.mask.ndim in (2, 3)):
            shape = tuple(getattr(self.mask, "shape", ()))
            raise ValueError(f"the mask has the shape {shape}: expected a tensor (H, W) or (n, H, W)")
        if not isinstance(self.grow, int) or self.grow < 0:
            raise ValueError(f"grow is {self.grow}: expected 0 or more whole pixels")

    def check(self, prompts: list[Words], side: int, sizes: Sequence[int]) -> None:
        """ValueError unless it fits the 2n prompts, sources first, of images (side, side) and the sizes of the maps."""
        n = len(prompts) // 2
        if self.mask is not None and self.mask.shape[-2:] != (side, side):
            has = "x".join(map(str, self.mask.shape[-2:]))
            raise ValueError(f"the mask has {has} pixels, the image {side}x{side}: draw it at that size")
        if self.mask is not None and self.mask.ndim == 3 and len(self.mask) != n:
            raise ValueError(f"{len(self.mask)} masks for {n} pairs: expected one for each, or a single one (H, W)")
        if self.words is not None and len(self.words) != 2 * n:
            raise ValueError(f"the blend has words for {len(self.words)} prompts: expected {2 * n}, sources first")
        if self.words is not None and self.size not in (None, *sizes):
            raise ValueError(f"the blend reads maps of size {self.size}: expected one of {sorted(sizes)}")
        for prompt, words in zip(prompts, self.words or (), strict=False):
            for word in [words] if isinstance(words, str) else words:
                word_positions(prompt, word)

    def region(self, store: AttentionStore, shape: torch.Size) -> Tensor:
        """(n, 1, H, W) bool: where the n edits may differ from their sources, for x_t of shape (2n, C, H, W)."""
        n, (height, width) = shape[0] // 2, shape[2:]
        if self.mask is not None:
            return self.mask.bool().expand(n, height, width)[:, None]
        maps = store.word(self.words, self.size or store.largest)
        return region(maps, height, self.threshold, self.grow)

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
