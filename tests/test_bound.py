"""The variational bound against torch.distributions, exact likelihoods and the lecture's reductions."""

import json
import math

import pytest
import torch
from helpers import Recorder, normal
from PIL import Image
from tiny import CONFIG, make_data, make_unet, save_model

from ddim import q_sigma
from ddpm import GaussianEps, Noise, Schedule, Trained, bits_per_dim, gaussian_kl, posterior, q_sample
from ddpm import __main__ as command
from ddpm.bound import denoising_term, diagonal_kl, reconstruction_term
from ddpm.data import shapes
from ddpm.diffusion import predict_eps, predict_x0
from ddpm.experiments import likelihood
from ddpm.model import LARGEST_BATCH
from ddpm.utils.images import from_bytes
from unet import Tokenizer


def covariance(*shape, seed=0):
    root = normal(*shape, shape[-1], seed=seed)
    return root @ root.mT + 0.1 * torch.eye(shape[-1], dtype=torch.float64)


def mean_bound(eps, schedule, x, variance, levels=None):
    """The bound of one image, averaged over x_t: 1 and -1 as noises are Gauss and Hermite's points of a quadratic."""

    def plus_and_minus_one(x):
        return torch.stack([torch.ones_like(x[0]), -torch.ones_like(x[0])])

    x_0 = torch.stack([x, x])
    bound = bits_per_dim(eps, schedule, x_0, variance, generator=plus_and_minus_one, clip=False, levels=levels)
    return bound.total.mean().item()


def test_gaussian_kl_is_that_of_torch_distributions():
    """And 0 of a Gaussian to itself; the diagonal formula is the general one's special case."""
    means, covariances = normal(2, 5, 4), covariance(2, 5, 4)
    first, second = (torch.distributions.MultivariateNormal(m, c) for m, c in zip(means, covariances, strict=True))
    expected = torch.distributions.kl_divergence(first, second)
    found = gaussian_kl(means[0], covariances[0], means[1], covariances[1])
    assert found.shape == (5,) and torch.allclose(found, expected, rtol=1e-10, atol=1e-10)
    assert gaussian_kl(means[0], covariances[0], means[0], covariances[0]).abs().max() < 1e-12
    variances = normal(2, 5, 4, seed=1).exp()
    general = gaussian_kl(means[0], torch.diag_embed(variances[0]), means[1], torch.diag_embed(variances[1]))
    diagonal = diagonal_kl(means[0], variances[0], means[1], variances[1]).sum(1)
    assert torch.allclose(diagonal, general, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("eta", ["ddpm", 0.01, 0.2, 0.5, 1.0])
@pytest.mark.parametrize(("t", "s"), [(2, 1), (30, 29), (60, 20)])
def test_the_elbo_reduces_to_a_squared_distance_of_means(eta, t, s):
    """Two Gaussians of one variance: |mean - mean|^2 / (2 variance)."""
    schedule, (x_0, guess, x_t) = Schedule(60), normal(3, 4)
    (mu_q, variance), (mu_theta, _) = (
        posterior(schedule, x, x_t, t) if eta == "ddpm" else q_sigma(schedule, x, x_t, t, s, eta) for x in (x_0, guess)
    )
    sigma = variance * torch.eye(4, dtype=torch.float64)
    reduced = (mu_theta - mu_q).square().sum() / (2 * variance)
    assert abs(gaussian_kl(mu_q, sigma, mu_theta, sigma) - reduced) <= 1e-10 * reduced


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_ddpm_eq_5_denoising_term(variance):
    schedule, x_0, noise = Schedule(50), *normal(2, 3, 4)
    eps, t = GaussianEps(schedule, 0.1, 0.3), torch.tensor([2, 20, 50])
    x_t = q_sample(schedule, x_0, t, noise)
    found = denoising_term(eps, schedule, x_0, t, noise, variance, clip=False)
    for row, time in enumerate(t.tolist()):
        mean, spread = posterior(schedule, x_0[row], x_t[row], time)
        a, before, beta = schedule.alpha_bar[time], schedule.alpha_bar[time - 1], schedule.beta[time]
        guess = (x_t[row] - beta / (1 - a).sqrt() * eps(x_t[row], time)) / (1 - beta).sqrt()  # Ho Eq. (11)
        other = beta if variance == "beta" else (1 - before) / (1 - a) * beta
        first, second = (torch.distributions.Normal(m, v.sqrt()) for m, v in ((mean, spread), (guess, other)))
        expected = torch.distributions.kl_divergence(first, second)
        assert torch.allclose(found[row], expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 0.01), (0.31, 0.004), (-0.98, 0.3), (1.2, 0.05), (0.5, 30.0)])
def test_ddpm_eq_13_is_a_distribution_over_the_256_levels(mean, scale):
    x = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    log_p = -reconstruction_term(x, *torch.tensor([mean, scale**2], dtype=torch.float64), 256)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_ddpm_eq_13_is_the_mass_of_the_bin():
    def phi(z):
        return math.erfc(-z / math.sqrt(2)) / 2

    x = torch.tensor([-1.0, 3 / 127.5 - 1, 1.0], dtype=torch.float64)
    mean, scale = torch.tensor([-0.3, 0.25], dtype=torch.float64)
    found = reconstruction_term(x, mean, scale**2, 256)
    low, middle, high = ((value - mean) / scale for value in x)
    half = 1 / 255 / scale
    masses = [phi(low + half), phi(middle + half) - phi(middle - half), phi(half - high)]
    assert found.tolist() == pytest.approx([-math.log(mass) for mass in masses], rel=1e-9)


def test_ddpm_eq_13_keeps_its_digits_far_out():
    """The mass of a bin 60 standard deviations away underflows, its logarithm must not: about -z^2/2 - log z."""
    x, variance = torch.tensor([0.6, -0.6]), torch.tensor(0.01**2)
    left, right = reconstruction_term(x, torch.zeros(2), variance, 256).tolist()
    near = (0.6 - 1 / 255) / 0.01
    assert left == pytest.approx(right, rel=1e-5)
    assert left == pytest.approx(near**2 / 2 + math.log(near * math.sqrt(2 * math.pi)), rel=1e-4)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("T", [2, 10, 60])
def test_ddpm_eq_5_is_tight_where_the_reverse_process_is_gaussian(kind, T):
    """For N(0, I) data, variance beta is the true one and the bound is -log p(x_0), image by image, at any T."""
    schedule, x = Schedule(T, kind), normal(3, 4, 4)
    exact = -torch.distributions.Normal(0.0, 1.0).log_prob(x).mean() / math.log(2)
    found = mean_bound(GaussianEps(schedule, 0.0, 1.0), schedule, x, "beta")
    assert found == pytest.approx(exact.item(), abs=1e-10)


def test_the_parts_add_up_and_the_network_is_asked_once_per_term():
    schedule, x = Schedule(12), normal(3, 2, 4).clamp(-1, 1)
    eps = Recorder(GaussianEps(schedule, 0.0, 0.3))
    bound = bits_per_dim(eps, schedule, x, generator=Noise(range(3)))
    assert eps.times == [1, *range(12, 1, -1)]
    assert bound.times.tolist() == [list(range(12, 1, -1))] * 3 and bound.denoising.shape == (3, 11)
    assert torch.allclose(bound.total, bound.prior + bound.denoising.sum(1) + bound.reconstruction, rtol=1e-12)
    assert (bound.denoising >= 0).all() and (bound.prior >= 0).all()


def test_clipping_in_the_bound_is_an_eps_whose_image_is_clipped():
    schedule, x = Schedule(12), normal(3, 2, 4).clamp(-1, 1)
    eps = GaussianEps(schedule, 0.9, 0.3)

    def inside(x_t, t):
        return predict_eps(schedule, x_t, t, predict_x0(schedule, x_t, t, eps(x_t, t)).clamp(-1, 1))

    pairs = ((eps, True), (inside, False))
    found = [bits_per_dim(e, schedule, x, generator=Noise(range(3)), clip=clip).total for e, clip in pairs]
    assert torch.allclose(*found, rtol=1e-9)


def test_an_image_costs_the_same_in_any_batch(monkeypatch):
    """Cut into batches of two, with captions and without: each image as by itself, with its own caption and seed."""
    monkeypatch.setitem(LARGEST_BATCH, "cpu", 2)
    data = make_data(4)
    trained = Trained(make_unet(CONFIG, 6, "cosine"), Tokenizer(), Schedule(6, "cosine"), {"data": "shapes"})
    x_0 = from_bytes(torch.from_numpy(data.images))
    for captions in ([several[0] for several in data.captions[:3]], None):
        bound = likelihood.measure(trained, data.images[:3], captions, "beta")
        assert bound.total.shape == (3,)
        for i in range(3):
            eps = trained.eps(captions and captions[i : i + 1])
            alone = bits_per_dim(eps, trained.schedule, x_0[i : i + 1], "beta", Noise([i]))
            assert bound.total[i].item() == pytest.approx(alone.total.item(), rel=1e-4)


def test_the_command_prints_writes_and_plots_the_terms(tmp_path, monkeypatch, capsys):
    """Of a tiny model with T = 12 and a test split of 4 images."""
    few, out = shapes.shapes("test", 4), tmp_path / "bound.json"
    monkeypatch.setattr(shapes, "shapes", lambda split: few)
    flags = ["bound", "--model", str(save_model(tmp_path / "model.pt", T=12)), "--out", str(out)]
    assert command.main([*flags, "--n", "3"]) == 0
    printed, record = capsys.readouterr().out, json.loads(out.read_text())
    assert (record["precision"], record["device"]) == ("float32", "cpu")
    parts = record["bits per dimension"]
    assert (record["n"], record["split"], record["schedule"]) == (3, "test", {"T": 12, "kind": "cosine"})
    assert record["t"] == list(range(2, 13)) and sum(record["L_(t-1)"]) == pytest.approx(parts["denoising"]["mean"])
    three = sum(parts[name]["mean"] for name in ("prior", "denoising", "reconstruction"))
    assert parts["total"]["mean"] == pytest.approx(three)
    for part in parts.values():
        assert f"{part['mean']:.5f}  +- {part['standard error']:.5f}" in printed
    with Image.open(tmp_path / "bound.png") as image:
        assert image.format == "PNG" and image.width > image.height
    assert command.main([*flags, "--n", "3", "--null", "--variance", "beta"]) == 0
    assert json.loads(out.read_text())["variance"] == "beta"


def test_a_bound_that_is_not_finite_is_an_error():
    unet = make_unet(CONFIG, 6, "cosine")
    unet.last.bias.data.fill_(math.nan)
    trained = Trained(unet, Tokenizer(), Schedule(6, "cosine"), {"data": "shapes"})
    with pytest.raises(ValueError, match=r"the bound of images 0 \.\. 1 is not finite"):
        likelihood.measure(trained, make_data(2).images, None)
