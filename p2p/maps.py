"""Prompt-to-Prompt's three edits as plain functions of attention maps (Hertz et al. 2022, section 3.2).

Maps are weights after the softmax, (n, heads, pixels, L), of n pairs, L tokens of a prompt's row: at a pixel they sum
to one over the L tokens. Nothing is written in place.
"""

import torch
from torch import Tensor


def replace(source: Tensor, mapping: Tensor) -> Tensor:
    """The source's maps in the order of the target's words. mapping (n, L, L) from `p2p.words`."""
    return source @ mapping[:, None].to(source.dtype)


def refine(source: Tensor, target: Tensor, mapping: Tensor) -> Tensor:
    """`replace` for prompts with words added or removed: a zero column of the mapping is a new word, a zero row is a
    removed one.

    Shared words take the source's map. A new word has the target's own map, so the sum may exceed one. The attention to
    removed words is shared out by the target's own maps (ours; the paper does not).
    """
    shared, remains = ((mapping.sum(dim=dim) > 0)[:, None, None] for dim in (1, 2))
    removed = (source * ~remains).sum(dim=-1, keepdim=True)
    return torch.where(shared, replace(source, mapping) + removed * target, target)


def reweight(maps: Tensor, factors: Tensor) -> Tensor:
    """Each word's map times its factor, (n, L): 1 leaves it, more strengthens, 0 removes, below 0 pushes away.

    The sums over the words are left as they come out: dividing by them would weaken every other word instead.
    """
    return maps * factors[:, None, None].to(maps.dtype)
