"""Attention whose weights can be read and edited: pixels attend to words (cross), or to one another (self).

Every layer owns a `Site`, the record of where in the network it stands. A caller that passes `hook` gets the weights of
every layer after the softmax and returns those to be used instead. Without a hook a GPU runs PyTorch's fused attention;
a CPU runs the explicit product here too, because its fused kernel is slow in the backward pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True)
class Site:
    """Where an attention layer stands.

    name: unique in its network, e.g. "down.0.1.cross".
    kind: "cross" (pixels attend to words) or "self" (pixels attend to pixels).
    stage: "down", "middle" or "up".
    size: the layer's map is size x size, so its weights have N = size * size rows.
    """

    name: str
    kind: str
    stage: str
    size: int


Hook = Callable[[Tensor, Site, Tensor], Tensor]
"""hook(weights (B, heads, N, L), site, t (B,) long) -> weights of the same shape. It never writes in place."""
SiteHook = Callable[[Tensor, Site], Tensor]
"""A hook whose time is bound: the form that the layers take."""


class Text(NamedTuple):
    """The text encoder's output for a batch of prompts: states (B, L, width); mask (B, L), True where a token is."""

    states: Tensor
    mask: Tensor


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, site: Site | None = None, hook: SiteHook | None = None
) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, Vaswani et al. 2017 Eq. (1), for q (B, heads, N, d) and k, v (B, heads, L, d).

    mask: (B, 1, 1, L) bool, True for keys that exist, or None. The hook sees and returns weights (B, heads, N, L).
    """
    if hook is None and q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    weights = logits.softmax(dim=-1)
    return (weights if hook is None else hook(weights, site).to(v.dtype)) @ v


class Attention(nn.Module):
    """A residual attention layer on a map (B, C, H, W): to itself, or to a `Text` of the given width.

    The output projection starts at zero, so a new layer changes nothing (Ho et al. 2020, code).
    """

    def __init__(self, channels: int, site: Site, heads: int, groups: int, text_width: int | None = None):
        super().__init__()
        assert channels % heads == 0, f"{channels} channels cannot be shared among {heads} heads: choose a divisor"
        self.site, self.heads = site, heads
        self.norm = nn.GroupNorm(groups, channels)
        # 1 x 1 convolutions of maps are what linear layers would compute, faster on a CPU
        self.to_q = nn.Conv2d(channels, channels, 1, bias=False)
        if text_width is None:
            self.to_kv = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        else:
            self.to_kv = nn.Linear(text_width, 2 * channels, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, text: Text | None = None, hook: SiteHook | None = None) -> Tensor:
        h = self.norm(x)
        q = rearrange(self.to_q(h), "b (heads d) h w -> b heads (h w) d", heads=self.heads)
        if text is None:
            k, v = rearrange(self.to_kv(h), "b (two heads d) h w -> two b heads (h w) d", two=2, heads=self.heads)
            mask = None
        else:
            k, v = rearrange(self.to_kv(text.states), "b l (two heads d) -> two b heads l d", two=2, heads=self.heads)
            mask = rearrange(text.mask, "b l -> b 1 1 l")
        y = attend(q, k, v, mask, self.site, hook)
        return x + self.out(rearrange(y, "b heads (h w) d -> b (heads d) h w", h=x.shape[2]))
