"""What the pixels looked at: attention maps, averaged over heads and time steps, or kept for every step."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from unet.attention import Site

from .words import split, word_positions


class AttentionStore:
    """A hook that keeps running means of attention maps over heads and steps, for each site, and changes nothing.

    prompts: one for each image of the batch. kinds: of the sites to record, "cross", "self" or both. by_time: keep the
    maps of every step as well. Recorded maps are detached copies. Use a new store for every trajectory.

        store = AttentionStore(prompts)
        for t, x, x_0 in ddim.sample(trained.eps(prompts, hook=store), trained.schedule, x_T, 50): ...
        store.word("circle", size=8)                                            # (B, 8, 8)
    """

    def __init__(self, prompts: list[str], by_time: bool = False, kinds: Sequence[str] = ("cross",)):
        self.prompts = prompts
        self.kinds = tuple(kinds)
        self.by_time: dict[int, dict[Site, Tensor]] | None = {} if by_time else None
        self._sums: dict[Site, Tensor] = {}
        self._counts: dict[Site, int] = {}

    def __call__(self, weights: Tensor, site: Site, t: Tensor) -> Tensor:
        """Record weights (B, heads, N, L) of a site at times t (B,), if its kind is recorded; returns them."""
        if site.kind in self.kinds:
            maps = weights.detach().float().mean(dim=1)
            self._sums[site] = self._sums[site] + maps if site in self._sums else maps
            self._counts[site] = self._counts.get(site, 0) + 1
            if self.by_time is not None:
                self.by_time.setdefault(int(t[0]), {})[site] = maps
        return weights

    def check(self, prompts: list[str], cross: bool) -> None:
        """ValueError for a store that was used before, is for other prompts, or records no cross maps though needed."""
        if self.sites:
            raise ValueError("the store has maps of another trajectory: make a new one for each edit")
        if len(self.prompts) != len(prompts):
            raise ValueError(f"the store has {len(self.prompts)} prompts: expected {len(prompts)}, sources first")
        for i, (own, edited) in enumerate(zip(self.prompts, prompts, strict=True)):
            if split(own) != split(edited):
                raise ValueError(f"the store's prompt {i} is {own!r}: expected {edited!r}, as the edit has it")
        if cross and "cross" not in self.kinds:
            raise ValueError(f"the store records {', '.join(self.kinds)} maps: a local blend by words reads cross maps")

    @property
    def sites(self) -> list[Site]:
        """The sites seen so far."""
        return list(self._sums)

    @property
    def largest(self) -> int:
        """The largest size of a cross-attention map seen. ValueError where none was, as with guidance 0."""
        if sizes := {site.size for site in self._sums if site.kind == "cross"}:
            return max(sizes)
        raise ValueError("no cross-attention was seen: with guidance 0 the network is not asked about the prompt")

    def mean(self, site: Site) -> Tensor:
        """(B, N, L): the mean over heads and steps at one site."""
        return self._sums[site] / self._counts[site]

    def maps(self, size: int, stage: str | None = None, t: int | None = None) -> Tensor:
        """(B, size, size, L): how much each pixel looks at each token.

        Rows sum to one over the tokens that exist, but for an edit's: there a new word comes on top of the words it
        joins, and a word with a window of its own may have its map from elsewhere than the rest.
        The mean over the cross-attention sites of a map size, and of a stage ("down", "middle", "up") if given; over
        all steps, or at time t of a store made with by_time. ValueError where nothing was seen.
        """
        seen = self._sums if t is None else (self.by_time or {}).get(t, {})
        chosen = [site for site in seen if site.kind == "cross" and site.size == size and stage in (None, site.stage)]
        if not chosen:
            sizes = sorted({site.size for site in seen if site.kind == "cross"})
            where = f"size {size}" + (f", stage {stage}" if stage else "") + (f", t = {t}" if t is not None else "")
            raise ValueError(f"no cross-attention seen at {where}: expected one of the sizes {sizes}")
        mean = torch.stack([self.mean(site) if t is None else seen[site] for site in chosen]).mean(dim=0)
        return rearrange(mean, "b (h w) l -> b h w l", h=size)

    def word(
        self, words: str | Sequence[str | Sequence[str]], size: int, stage: str | None = None, t: int | None = None
    ) -> Tensor:
        """(B, size, size): the map of one word for all images, or of each image's own word or words, summed.

        Arguments as for `maps`. ValueError: a word that is not in its prompt, words for too few or too many images.
        """
        words = [words] * len(self.prompts) if isinstance(words, str) else words
        if len(words) != len(self.prompts):
            raise ValueError(f"words for {len(words)} images, but the store has {len(self.prompts)} prompts")
        places = [
            [i for word in ([own] if isinstance(own, str) else own) for i in word_positions(prompt, word)]
            for prompt, own in zip(self.prompts, words, strict=True)
        ]
        maps = self.maps(size, stage, t)
        return torch.stack([each[..., place].sum(dim=-1) for each, place in zip(maps, places, strict=True)])


def enlarge(maps: Tensor, size: int) -> Tensor:
    """Maps (B, h, w) -> (B, size, size), bilinear."""
    return F.interpolate(maps[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]
