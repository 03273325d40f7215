"""Classifier-free guidance (Ho & Salimans 2022, 2207.12598): away from the prediction without a caption."""

import torch

from .diffusion import EpsFn


def guide(eps_conditional: torch.Tensor, eps_null: torch.Tensor, scale: float) -> torch.Tensor:
    """eps_null + scale (eps_conditional - eps_null): Ho & Salimans Eq. (6), whose w is scale - 1. All (B, ...)."""
    return eps_null + scale * (eps_conditional - eps_null)


def guided(eps_conditional: EpsFn, eps_null: EpsFn, scale: float) -> EpsFn:
    """An EpsFn guided by `scale`: 1 is no guidance, above 1 amplifies the caption, 0 ignores it.

    At scale 1 only the conditional function is called and at 0 only the null one, once each.
    """
    if scale == 1:
        return eps_conditional
    if scale == 0:
        return eps_null

    def eps(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return guide(eps_conditional(x_t, t), eps_null(x_t, t), scale)

    return eps
