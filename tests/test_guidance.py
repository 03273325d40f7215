"""Guidance: the formula on numbers, and which of the two functions is asked how often."""

import pytest
import torch

from ddpm import GaussianEps, MixtureEps, Schedule, guide, guided


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


def test_guided_score_is_that_of_the_sharpened_posterior():
    """Two classes N(1, v) and N(-1, v), equally likely: eps_c - eps_null must be the gradient of log p(c | x_t)."""
    schedule, t, scale = Schedule(100), 60, 3.0
    means, variances = torch.tensor([[1.0], [-1.0]], dtype=torch.float64), torch.full((2,), 0.3, dtype=torch.float64)
    null = MixtureEps(schedule, torch.tensor([0.5, 0.5]), means, variances)
    conditional = GaussianEps(schedule, means[0], variances[0])
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1).requires_grad_()
    alpha_bar = schedule.alpha_bar[t]
    log_p = torch.distributions.Normal(alpha_bar.sqrt() * means.T, (alpha_bar * 0.3 + 1 - alpha_bar).sqrt()).log_prob(x)
    log_posterior = log_p[:, 0] - log_p.logsumexp(1)
    (gradient,) = torch.autograd.grad((log_p[:, 0] + (scale - 1) * log_posterior).sum(), x)
    eps = guided(conditional, null, scale)(x.detach(), torch.full((9,), t))
    assert torch.allclose(eps, -(1 - alpha_bar).sqrt() * gradient, rtol=0, atol=1e-12)
