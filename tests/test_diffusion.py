"""DDPM's formulas against Bayes' rule, plain floats and distributions known in closed form."""

import math

import pytest
import torch
from helpers import BOTH, Recorder, normal

from ddpm import GaussianEps, MixtureEps, Noise, Schedule, last, noise_like
from ddpm.diffusion import posterior, predict_eps, predict_x0, q_sample, reverse_variance, sample, simple_loss, step


def within_error_bars(x, mean, variance):
    """Sample mean and variance of n independent numbers, each within 4 of its standard errors (1 in 15,000 outside)."""
    n = x.numel()
    assert abs(x.mean().item() - mean) < 4 * math.sqrt(variance / n)
    assert abs(x.var().item() - variance) < 4 * variance * math.sqrt(2 / (n - 1))


@BOTH
@pytest.mark.parametrize("t", [1, 150, 300])
def test_ddpm_eq_4_moments_of_q_sample(kind, t):
    schedule = Schedule(300, kind)
    x_0 = torch.full((200_000,), 0.7, dtype=torch.float64)
    x_t = q_sample(schedule, x_0, t, normal(200_000))
    factor = math.prod(1 - beta for beta in schedule.beta[: t + 1].tolist())
    within_error_bars(x_t, 0.7 * math.sqrt(factor), 1 - factor)
    assert torch.equal(q_sample(schedule, x_0, 0, normal(200_000)), x_0)


@BOTH
def test_ddpm_eq_15_and_its_twin_undo_q_sample(kind):
    schedule, x_0, noise = Schedule(1000, kind), normal(6, 2, 3), normal(6, 2, 3, seed=1)
    t = torch.tensor([1, 2, 500, 900, 999, 1000])
    x_t = q_sample(schedule, x_0, t, noise)
    assert torch.allclose(predict_x0(schedule, x_t, t, noise), x_0, rtol=0, atol=1e-10)
    assert torch.allclose(predict_eps(schedule, x_t, t, x_0), noise, rtol=0, atol=1e-10)
    assert torch.equal(predict_x0(schedule, x_0, 0, noise), x_0)


@pytest.mark.parametrize("formula", [q_sample, predict_x0, predict_eps, lambda *a: posterior(*a[:2], a[3], a[2])[0]])
def test_an_int_and_a_batch_of_times_agree_and_keep_float32(formula):
    schedule, x, y = Schedule(50), normal(4, 3, 5, 5).float(), normal(4, 3, 5, 5, seed=1).float()
    times = torch.tensor([1, 20, 50, 7])
    whole = formula(schedule, x, times, y)
    assert whole.dtype == torch.float32 and whole.shape == x.shape
    for row, t in enumerate(times.tolist()):
        assert torch.equal(whole[row : row + 1], formula(schedule, x[row : row + 1], t, y[row : row + 1]))


@BOTH
@pytest.mark.parametrize("t", [2, 3, 20, 40])
def test_ddpm_eq_6_and_eq_7_are_bayes_rule(kind, t):
    """q(x_{t-1} | x_t, x_0) is proportional to q(x_t | x_{t-1}) q(x_{t-1} | x_0), summed over a fine grid; at t = 1
    it is the image itself."""
    schedule, x_0, x_t = Schedule(40, kind), 0.6, -0.3
    beta, before = schedule.beta[t].item(), schedule.alpha_bar[t - 1].item()
    x = torch.linspace(-10, 10, 200_001, dtype=torch.float64)
    log_forward = -((x_t - math.sqrt(1 - beta) * x) ** 2) / (2 * beta)
    log_prior = -((x - math.sqrt(before) * x_0) ** 2) / (2 * (1 - before))
    weight = (log_forward + log_prior).softmax(0)
    mean = (weight * x).sum()
    variance = (weight * (x - mean) ** 2).sum()
    numbers = torch.tensor([[x_0], [x_t]], dtype=torch.float64)
    found = posterior(schedule, *numbers, t)
    assert found[0].item() == pytest.approx(mean.item(), abs=1e-9)
    assert found[1].item() == pytest.approx(variance.item(), rel=1e-9)
    last_mean, last_variance = posterior(schedule, *numbers, 1)
    assert last_mean.item() == pytest.approx(x_0, abs=1e-12) and last_variance == 0


@pytest.mark.parametrize("t", [1, 2, 500, 1000])
def test_ddpm_eq_11_is_the_unclipped_step(t):
    schedule, x_t, eps = Schedule(), normal(3, 2, 4), normal(3, 2, 4, seed=1)
    mean, _ = step(schedule, eps, x_t, t, torch.zeros_like(x_t), clip=False)
    beta, alpha_bar = schedule.beta[t].item(), schedule.alpha_bar[t].item()
    expected = (x_t - beta / math.sqrt(1 - alpha_bar) * eps) / math.sqrt(1 - beta)
    assert torch.allclose(mean, expected, rtol=0, atol=1e-10)
    inside = predict_eps(schedule, x_t, t, predict_x0(schedule, x_t, t, eps).clamp(-1, 1))  # the clipped step's eps
    means = (step(schedule, e, x_t, t, torch.zeros_like(x_t), clip=c)[0] for e, c in ((eps, True), (inside, False)))
    assert torch.allclose(*means, rtol=0, atol=1e-10)


def test_both_variances_of_the_paper():
    """A step moves by the square root of the variance times the noise."""
    schedule, x, beta = Schedule(), normal(1), Schedule().beta[10].item()
    before, now = schedule.alpha_bar[9].item(), schedule.alpha_bar[10].item()
    for variance, expected in (("beta", beta), ("posterior", (1 - before) / (1 - now) * beta)):
        still, moved = (step(schedule, x, x, 10, z, variance)[0] for z in (torch.zeros_like(x), torch.ones_like(x)))
        assert reverse_variance(schedule, x, 10, variance).item() == pytest.approx(expected, rel=1e-12)
        assert (moved - still).item() ** 2 == pytest.approx(expected, rel=1e-9)


def test_ddpm_eq_14_is_the_mean_square_of_each_image():
    schedule, x_0, noise = Schedule(), normal(3, 2, 4, 4), normal(3, 2, 4, 4, seed=1)
    t = torch.tensor([1, 400, 1000])
    seen = []

    def eps(x_t, times):
        seen.append((x_t, times))
        return 0.25 * x_t

    loss = simple_loss(eps, schedule, x_0, t, noise)
    for row in range(3):
        a = schedule.alpha_bar[t[row]].item()
        x_t = math.sqrt(a) * x_0[row] + math.sqrt(1 - a) * noise[row]
        assert torch.allclose(seen[0][0][row], x_t, rtol=0, atol=1e-14)
        assert loss[row].item() == pytest.approx(((noise[row] - 0.25 * x_t) ** 2).mean().item(), rel=1e-12)
    assert loss.shape == (3,) and seen[0][1] is t


@BOTH
def test_weighting_v_is_the_loss_of_the_v_prediction(kind):
    schedule, x_0, noise, v_hat = Schedule(100, kind), *normal(3, 5, 3, 4, 4)
    t = torch.tensor([1, 10, 50, 90, 99])
    a = schedule.alpha_bar[t].view(-1, 1, 1, 1)
    loss = simple_loss(lambda x, _: a.sqrt() * v_hat + (1 - a).sqrt() * x, schedule, x_0, t, noise, "v")
    v = a.sqrt() * noise - (1 - a).sqrt() * x_0
    assert torch.allclose(loss, ((v_hat - v) ** 2).mean((1, 2, 3)), rtol=1e-8, atol=0)


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_ddpm_algorithm_2_visits_every_time_once_and_ends_without_noise(variance):
    schedule, T = Schedule(20), 20
    eps, drawn = Recorder(GaussianEps(schedule, 0.0, 0.3)), []

    def noise(x):
        drawn.append(x)
        return normal(*x.shape, seed=len(drawn))

    steps = list(sample(eps, schedule, normal(2, 3, 4, 4), variance, generator=noise))
    assert eps.times == list(range(T, 0, -1)) and len(drawn) == T - 1
    assert [t for t, _, _ in steps] == list(range(T - 1, -1, -1))
    assert torch.allclose(steps[-1][1], steps[-1][2], rtol=0, atol=1e-12)  # x_0 is the last predicted x_0
    assert all(predicted.abs().max() <= 1 for _, _, predicted in steps)


@BOTH
def test_one_point_is_sampled_exactly_with_variance_posterior(kind):
    schedule, point = Schedule(25, kind), normal(3, 4).clamp(-1, 1)
    x = last(sample(GaussianEps(schedule, point, 0.0), schedule, normal(5, 3, 4), clip=False))
    assert torch.allclose(x, point.expand_as(x), rtol=0, atol=1e-9)


@BOTH
@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_a_gaussian_data_set_comes_out_of_ddpm_sample(kind, variance):
    schedule = Schedule(1000, kind)
    generator = torch.Generator().manual_seed(1)
    x = last(sample(GaussianEps(schedule, 0.3, 0.25), schedule, normal(1000, 1), variance, False, generator))
    within_error_bars(x, 0.3, 0.25)


def test_noise_is_standard_normal_and_never_repeats():
    noise = Noise([3, 3, 5])
    first, second = noise.start((100, 100)), noise(torch.zeros(3, 100, 100, dtype=torch.float64))
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    assert not torch.equal(first.double(), second) and second.dtype == torch.float64
    within_error_bars(torch.cat([first[1:].flatten(), second[1:].flatten()]), 0, 1)


def test_every_source_of_noise_gives_noise_like_x():
    for source in (None, torch.Generator(), Noise(range(400)), torch.ones_like):
        x = torch.zeros(400, 3, dtype=torch.float64)
        noise = noise_like(x, source)
        assert noise.shape == x.shape and noise.dtype == x.dtype


@pytest.mark.parametrize("K", [1, 5])
def test_gaussian_and_mixture_eps_are_the_score_of_the_marginal(K):
    """-sqrt(1 - alpha_bar) times the gradient of log q(x_t), by automatic differentiation of the density."""
    schedule, means, variances = Schedule(100), normal(K, 3, 2), normal(K, 3, 2, seed=1).square() + 0.01
    weights = normal(K, seed=3).softmax(0)
    x, t = normal(4, 3, 2, seed=2).requires_grad_(), torch.tensor([1, 30, 70, 100])
    a = schedule.alpha_bar[t].view(-1, 1, 1, 1)
    parts = torch.distributions.Normal(a.sqrt() * means, (a * variances + 1 - a).sqrt())
    log_p = (parts.log_prob(x.unsqueeze(1)).sum((2, 3)) + weights.log()).logsumexp(1)
    (score,) = torch.autograd.grad(log_p.sum(), x)
    every = [MixtureEps(schedule, weights, means, variances)]
    if K == 1:
        every.append(GaussianEps(schedule, means[0], variances[0]))
    for eps in every:
        assert torch.allclose(eps(x.detach(), t), -(1 - a[:, 0]).sqrt() * score, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("t", "s"), [(100, 0), (100, 40), (40, 100), (0, 60)])
def test_sde_eq_13_and_ddim_eq_14_lead_where_flow_says(t, s):
    """d(x/sqrt(alpha_bar)) = eps dk, k = sqrt(1/alpha_bar - 1), by Runge and Kutta with eps from the score."""
    schedule, mean, variance = Schedule(100), 0.3, 0.25

    def slope(k, y):  # y = x / sqrt(alpha_bar) ~ N(mean, variance + k^2), whose score is -(y - mean) / (variance + k^2)
        return k * (y - mean) / (variance + k * k)

    k, end = (math.sqrt(1 / schedule.alpha_bar[time].item() - 1) for time in (t, s))
    y = start = 1.7
    h = (end - k) / 2000
    for _ in range(2000):
        a, b = slope(k, y), slope(k + h / 2, y + h / 2 * slope(k, y))
        c = slope(k + h / 2, y + h / 2 * b)
        y, k = y + h / 6 * (a + 2 * b + 2 * c + slope(k + h, y + h * c)), k + h
    x_t = torch.tensor([start * math.sqrt(schedule.alpha_bar[t])], dtype=torch.float64)
    found = GaussianEps(schedule, mean, variance).flow(x_t, t, s).item()
    assert found == pytest.approx(y * math.sqrt(schedule.alpha_bar[s]), rel=1e-9)
