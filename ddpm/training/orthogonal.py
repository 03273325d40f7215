"""Orthogonalised gradients: every direction of a weight matrix learns at the same rate (Jordan et al. 2024, Muon).

The few largest singular values of a gradient G = U S V^T hide all others. U V^T has the same directions, all at one
size. Muon takes it of the momentum, instead of Adam; here it is taken of the gradient, and AdamW follows.
"""

from collections import defaultdict

import torch
from torch import Tensor

STEPS, A, B, C = 5, 3.4445, -4.7750, 2.0315  # A s + B s^3 + C s^5 lifts small s, and keeps 0.7 .. 1.2 there


def orthogonal(G: Tensor, dtype: torch.dtype) -> Tensor:
    """G (n, rows, columns), rows <= columns -> U V^T of each G = U S V^T, nearly: singular values of 0.7 .. 1.2.

    Newton-Schulz: an odd polynomial of X, applied to its singular values by products alone, five times.
    dtype: of the products; bfloat16 is exact enough, but far slower than float32 on a CPU that has none of it.
    """
    X = (G / (G.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(dtype)
    for _ in range(STEPS):
        XX = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(XX, XX, XX, beta=B, alpha=C), X, beta=A)  # (A + B XX^T + C (XX^T)^2) X
    return X.to(G.dtype)


@torch.no_grad()
def orthogonalise(gradients: list[Tensor], dtype: torch.dtype) -> None:
    """Replace each gradient, (out, in) or (out, in, height, width), by the orthogonal one, in place."""
    groups = defaultdict(list)  # gradients of one shape go through the products together
    for g in gradients:
        groups[g.shape].append(g)
    for shape, group in groups.items():
        rows, tall = torch.stack(group).flatten(2), shape[0] > shape[1:].numel()
        new = orthogonal(rows.mT, dtype).mT if tall else orthogonal(rows, dtype)
        torch._foreach_copy_(group, list(new.unflatten(2, shape[1:])))
