"""Averages of the weights over the last part of training: what sampling uses."""

import torch
from torch import Tensor, nn


def decay(half_life: float, batch: int) -> float:
    """The factor by which old weights count after `batch` more images; after `half_life` images they count half."""
    return 0.5 ** (batch / half_life) if half_life > 0 else 0.0


class Averages:
    """Several exponential moving averages side by side, {share: {parameter name: tensor}} (Karras et al. 2022, F.2).

    A share of 0.05 means a half-life of 5 % of the images seen so far, so short runs are not ruled by their first
    steps. Only parameters are averaged: the network has no other state.
    """

    def __init__(self, network: nn.Module, shares: tuple[float, ...]):
        self.of = {share: {name: p.detach().clone() for name, p in network.named_parameters()} for share in shares}

    @torch.no_grad()
    def update(self, network: nn.Module, images: int, batch: int) -> None:
        """Take in the weights after a step over `batch` images; `images` counts all seen before that step."""
        now: list[Tensor] = [p.detach() for p in network.parameters()]
        for share, average in self.of.items():
            torch._foreach_lerp_(list(average.values()), now, 1 - decay(share * images, batch))
