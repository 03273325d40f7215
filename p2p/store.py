"""Attention maps, averaged over heads and time steps, or recorded at every step."""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from unet.attention import Site

from .words import Words, split, word_positions


class AttentionStore:
    """A hook that records the mean of the attention maps over heads and steps, for each site, and changes nothing.

    prompts: a list, one for each image of the batch. kinds: of the sites to record, "cross", "self" or both. by_time:
    record the maps of every step as well. Recorded maps are detached copies. Use a new store for every trajectory.
    ValueError: a string in place of the list, another kind.

        store = AttentionStore(prompts)
        for t, x, x_0 in ddim.sample(trained.eps(prompts, hook=store), trained.schedule, x_T, 50): ...
        store.word("circle", size=8)                                            # (B, 8, 8)
    """

    def __init__(self, prompts: list[str], by_time: bool = False, kinds: Sequence[str] = ("cross",)):
        if isinstance(prompts, str):
            raise ValueError(f"prompts is the string {prompts!r}: expected a list with a prompt for each image")
        if isinstance(kinds, str) or not {*kinds} <= {"cross", "self"}:
            raise ValueError(f"kinds is {kinds!r}: expected ('cross',), ('self',) or both")
        self.prompts: list[Words] = [split(prompt) for prompt in prompts]
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

    def check(self, prompts: list[Words], cross: bool) -> None:
        """ValueError for a store that was used before, is for other prompts, or records no cross maps though needed."""
        if self.sites:
            raise ValueError("the store has maps of another trajectory: make a new one for each edit")
        if len(self.prompts) != len(prompts):
            raise ValueError(f"the store has {len(self.prompts)} prompts: expected {len(prompts)}, sources first")
        for i, (own, edited) in enumerate(zip(self.prompts, prompts, strict=True)):
            if own != edited:
                has, expected = " ".join(own), " ".join(edited)
                raise ValueError(f"the store's prompt {i} is {has!r}: expected {expected!r}, as the edit has it")
        if cross and "cross" not in self.kinds:
            raise ValueError(f"the store records {', '.join(self.kinds)} maps: a local blend reads cross maps")

    @property
    def sites(self) -> list[Site]:
        """The recorded sites."""
        return list(self._sums)

    @property
    def largest(self) -> int:
        """The largest size of a recorded cross-attention map. ValueError where there is none, as with guidance 0."""
        if sizes := {site.size for site in self._sums if site.kind == "cross"}:
            return max(sizes)
        raise ValueError("no cross-attention was recorded: with guidance 0 the network does not read the prompt")

    def mean(self, site: Site) -> Tensor:
        """(B, N, L): the mean over heads and steps at one site."""
        return self._sums[site] / self._counts[site]

    def maps(self, size: int, t: int | None = None) -> Tensor:
        """(B, size, size, L): the attention of each pixel to each token.

        The mean over the cross-attention sites of a map size; over all steps, or at time t of a store made with
        by_time. At each pixel it sums to one over the tokens, but not in the target of an edit: a new word's map is
        added to those of the source, and a word with its own share of the steps (word_until) mixes maps of both.
        ValueError where nothing was recorded.
        """
        recorded = self._sums if t is None else (self.by_time or {}).get(t, {})
        sites = [site for site in recorded if site.kind == "cross" and site.size == size]
        if not sites:
            sizes = sorted({site.size for site in recorded if site.kind == "cross"})
            where = f"size {size}" + (f", t = {t}" if t is not None else "")
            raise ValueError(f"no cross-attention recorded at {where}: expected one of the sizes {sizes}")
        mean = torch.stack([self.mean(site) if t is None else recorded[site] for site in sites]).mean(dim=0)
        return rearrange(mean, "b (h w) l -> b h w l", h=size)

    def word(self, words: str | Sequence[str | Sequence[str]], size: int, t: int | None = None) -> Tensor:
        """(B, size, size): the map of one word for all images, or of each image's own word or words, summed.

        Arguments as for `maps`. ValueError: a word that is not in its prompt, words for too few or too many images.
        """
        words = [words] * len(self.prompts) if isinstance(words, str) else words
        if len(words) != len(self.prompts):
            raise ValueError(f"words for {len(words)} images, but the store has {len(self.prompts)} prompts")
        tokens = [
            [i for word in ([own] if isinstance(own, str) else own) for i in word_positions(prompt, word)]
            for prompt, own in zip(self.prompts, words, strict=True)
        ]
        maps = self.maps(size, t)
        return torch.stack([each[..., own].sum(dim=-1) for each, own in zip(maps, tokens, strict=True)])
