"""The Markov hierarchical VAE: its ELBO against exact likelihoods, and diffusion as its special case, term by term."""

import math
from itertools import pairwise

import pytest
import torch
from helpers import normal

from ddpm import GaussianEps, Schedule, mhvae, posterior, q_sample
from ddpm.bound import denoising_term, prior_term, reconstruction_term
from ddpm.data.moons import Moons
from ddpm.mhvae import GaussianNetwork, diffusion_decoder, diffusion_encoder, diffusion_marginals, elbo, encode, train


def awake(T, d=2, seed=0):
    """A conditional whose mean and variance depend on x and t."""
    torch.manual_seed(seed)
    network = GaussianNetwork(d, T, width=8).double()
    torch.nn.init.normal_(network.out.weight, std=0.5)
    return network.requires_grad_(False)


@pytest.mark.parametrize("T", [1, 2, 7])
def test_the_elbo_is_the_likelihood_on_every_path_when_the_decoder_is_the_true_posterior(T):
    """For N(0, I) data the reverse of N(sqrt(alpha) x, beta I) is itself."""
    encoder, x_0 = diffusion_encoder(Schedule(T, "cosine")), normal(6, 3)
    exact = torch.distributions.Normal(0.0, 1.0).log_prob(x_0).sum(-1)
    path = encode(encoder, x_0, T, torch.Generator().manual_seed(1))
    assert torch.allclose(elbo(encoder, encoder, path), exact, rtol=1e-10, atol=1e-10)


def test_the_elbo_of_a_linear_gaussian_vae_by_hand():
    """T = 1, q(z | x) = N(a x, b), p(x | z) = N(c z, v): every expectation is a formula."""
    a, b, c, v, x = 0.7, 0.3, 0.9, 0.5, torch.tensor([[1.3]], dtype=torch.float64)

    def encoder(x, t):
        return a * x, torch.full_like(x, b)

    def decoder(z, t):
        return c * z, torch.full_like(z, v)

    z = a * x + math.sqrt(b) * torch.tensor([[1.0], [-1.0]], dtype=torch.float64)  # exact for quadratics
    found = elbo(encoder, decoder, [x.expand(2, 1), z]).mean().item()
    reconstruction = -((1.3 - c * a * 1.3) ** 2 + c * c * b) / (2 * v) - math.log(2 * math.pi * v) / 2
    prior = ((a * 1.3) ** 2 + b - 1 - math.log(b)) / 2
    assert found == pytest.approx(reconstruction - prior, rel=1e-12)


@pytest.mark.parametrize("learned", [True, False])
def test_the_three_terms_add_up_to_the_elbo_on_every_path(learned):
    T, source = 5, torch.Generator().manual_seed(0)
    schedule, decoder = Schedule(T, "cosine"), awake(T, seed=1)
    encoder = awake(T) if learned else diffusion_encoder(schedule)
    path = encode(encoder, normal(1, 4, 2).expand(9, 4, 2), T, source)
    marginals = mhvae.estimated_marginals(encoder, path) if learned else diffusion_marginals(schedule, path)
    parts = mhvae.terms(encoder, decoder, path, marginals)
    assert len(parts.matching) == T - 1 and parts.total.shape == (9, 4)
    assert torch.allclose(parts.total, elbo(encoder, decoder, path), rtol=1e-10)
    wrong = mhvae.terms(encoder, decoder, path, [marginals[0], *(m + 3.0 for m in marginals[1:])])
    assert torch.allclose(wrong.total, parts.total, rtol=1e-10)
    assert torch.allclose(wrong.prior, parts.prior + 3) and torch.allclose(wrong.matching[0], parts.matching[0] - 3)


def test_estimated_marginals_approach_those_of_diffusion():
    """The mean over 500 paths errs by a few of 1 / sqrt(500)."""
    schedule, source = Schedule(3, "cosine"), torch.Generator().manual_seed(0)
    encoder = diffusion_encoder(schedule)
    path = encode(encoder, normal(1, 2, 1).expand(500, 2, 1), 3, source)
    pairs = zip(mhvae.estimated_marginals(encoder, path), diffusion_marginals(schedule, path), strict=True)
    assert all((found - exact).abs().mean() < 0.1 for found, exact in pairs)


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_with_the_diffusion_encoder_the_terms_are_those_of_the_bound(variance):
    """Averaged over two points that are exact for quadratics, each term of a path is the bound's KL divergence."""
    T, (x_0, *noises) = 6, normal(8, 3, 2)
    schedule, signs = Schedule(T, "cosine"), torch.tensor([1.0, -1.0], dtype=torch.float64).view(2, 1, 1)
    eps = GaussianEps(schedule, 0.2, 0.5)
    encoder, decoder = diffusion_encoder(schedule), diffusion_decoder(eps, schedule, variance)

    def averaged(path):
        found = mhvae.terms(encoder, decoder, path, diffusion_marginals(schedule, path))
        return found.reconstruction.mean(0), found.prior.mean(0), [term.mean(0) for term in found.matching]

    for t in range(2, T + 1):
        time = torch.full((3,), t)
        x_t = q_sample(schedule, x_0, t, noises[t])
        mean, spread = posterior(schedule, x_0, x_t, t)
        path = [x_0.expand(2, 3, 2) for _ in range(T + 1)]
        path[t], path[t - 1] = x_t.expand(2, 3, 2), mean + signs * spread.sqrt()
        expected = denoising_term(eps, schedule, x_0, time, noises[t], variance, clip=False).sum(1)
        assert torch.allclose(averaged(path)[2][t - 2], expected, rtol=1e-9, atol=1e-10)
    alpha_bar, x_1 = schedule.alpha_bar[T], q_sample(schedule, x_0, 1, noises[0])
    path[1], path[T] = x_1.expand(2, 3, 2), alpha_bar.sqrt() * x_0 + signs * (1 - alpha_bar).sqrt()
    reconstruction, prior, _ = averaged(path)
    assert torch.allclose(prior, prior_term(schedule, x_0).sum(1), rtol=1e-9, atol=1e-10)
    expected = reconstruction_term(x_0, *decoder(x_1, 1), levels=None).sum(1)
    assert torch.allclose(reconstruction, -expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("learned", [True, False])
def test_training_reaches_the_entropy_where_it_can(learned):
    """x_0 ~ N(0, 0.5^2) in one dimension: a linear Gaussian model is exact, so the ELBO can be minus the entropy.

    Two networks learn together, gradients reaching the encoder through its draws, or the decoder of diffusion alone.
    """
    source = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    fixed, decoder = diffusion_encoder(Schedule(2, "cosine")), GaussianNetwork(1, 2, width=16)
    encoder = GaussianNetwork(1, 2, width=16) if learned else fixed
    seen = list(train(encoder, decoder, lambda n: 0.5 * torch.randn(n, 1, generator=source), 2, 150, generator=source))
    assert [step for step, _ in seen] == list(range(1, 151))
    x_0 = 0.5 * torch.randn(20_000, 1, generator=source)
    with torch.no_grad():
        exact = torch.distributions.Normal(0, 0.5).log_prob(x_0).sum(-1)
        gap = elbo(encoder, decoder, encode(encoder, x_0, 2, source)) - exact
    assert -0.05 < gap.mean() < 4 * gap.std() / math.sqrt(len(x_0))


def test_the_paths_have_the_encoders_law():
    T, source = 3, torch.Generator().manual_seed(0)
    schedule = Schedule(T, "cosine")
    path = encode(diffusion_encoder(schedule), torch.full((40_000, 1), 2.0), T, source)
    assert len(path) == T + 1
    for t, (before, x) in enumerate(pairwise(path), 1):
        rest = (x - schedule.alpha[t].sqrt() * before) / schedule.beta[t].sqrt()
        assert abs(rest.mean()) < 4 / 200 and abs(rest.var() - 1) < 4 * math.sqrt(2) / 200


def test_the_density_of_the_moons_is_one_and_is_that_of_its_points():
    moons, source, axis = Moons(), torch.Generator().manual_seed(0), torch.linspace(-3, 3, 121)
    density, cell = moons.log_prob(torch.cartesian_prod(axis, axis)), (axis[1] - axis[0]) ** 2
    assert (density.exp().sum() * cell).item() == pytest.approx(1, abs=1e-3)
    found, entropy = moons.log_prob(moons.sample(20_000, source)), -(density.exp() * density).nan_to_num(0).sum() * cell
    assert abs(found.mean() + entropy) < 4 * found.std() / math.sqrt(20_000) + 1e-3
