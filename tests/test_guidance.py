"""Guidance: the formula on numbers, and which of the two functions is asked how often."""

import pytest
import torch

from ddpm import guide, guided


@pytest.mark.parametrize("w", [-1.0, -0.5, 0.0, 1.5, 6.5])
def test_guidance_eq_6_with_the_papers_w(w):
    """Ho & Salimans write (1 + w) eps_c - w eps_null; our scale is 1 + w."""
    conditional, null = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(guide(conditional, null, 1 + w), (1 + w) * conditional - w * null, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("scale", "calls", "answer"), [(1.0, "c", 3), (0, "n", 2), (7.5, "cn", 9.5)])
def test_no_call_is_wasted(scale, calls, answer):
    called, x, t = [], torch.zeros(2, 3, 4, 4), torch.tensor([1, 7])
    conditional = lambda x, t: called.append("c") or torch.full_like(x, 3.0)  # noqa: E731
    null = lambda x, t: called.append("n") or torch.full_like(x, 2.0)  # noqa: E731
    assert torch.equal(guided(conditional, null, scale)(x, t), torch.full_like(x, answer))
    assert "".join(called) == calls
