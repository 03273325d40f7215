"""Prompt-to-Prompt's three edits as plain functions of attention maps (Hertz et al. 2022, section 3.2).

Maps are weights after the softmax, (n, heads, pixels, L), of n pairs. Nothing is written in place.
"""

import torch
from torch import Tensor


def replace(source: Tensor, mapping: Tensor) -> Tensor:
    """The source's maps in the order of the target's words. mapping (n, L, L) from `p2p.words`."""
    return source @ mapping[:, None].to(source.dtype)


def refine(source: Tensor, target: Tensor, mapping: Tensor) -> Tensor:
    """`replace`, but a new word, whose column of the mapping is empty, keeps the target's own map.

    A word that is taken away, whose row is empty, leaves its share to the target's own maps: where the source looked at
    it, the target looks as it would by itself, and the sum over the words stays one. A new word's map comes on top.
    """
    known, kept = ((mapping.sum(dim=dim) > 0)[:, None, None] for dim in (1, 2))
    left = (source * ~kept).sum(dim=-1, keepdim=True)
    return torch.where(known, replace(source, mapping) + left * target, target)


def within(edited: Tensor, target: Tensor, until: Tensor, progress: float) -> Tensor:
    """The edited map of each word whose window is open, the target's own else.

    until: (n, L), the share of the steps for which a word's window is open; progress: steps done, as a share.
    """
    return torch.where((progress < until)[:, None, None], edited, target)


def reweight(maps: Tensor, factors: Tensor) -> Tensor:
    """Each word's map times its factor, (n, L): 1 leaves it, more strengthens, 0 removes, below 0 pushes away.

    The sums over the words are left as they come out: dividing by them would weaken every other word instead.
    """
    return maps * factors[:, None, None].to(maps.dtype)
