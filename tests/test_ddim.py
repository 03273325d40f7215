"""DDIM: grids, the family q_sigma, sampling and inversion, against plain floats and Gaussians known in closed form."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import BOTH, Recorder, normal

import ddim
import ddpm
from ddpm import GaussianEps, Noise, Schedule, last

ETAS = pytest.mark.parametrize("eta", [0.0, 0.2, 1.0, "hat"])


def walk(eta):
    """The sampler of an eta, or of "hat"."""
    if eta == "hat":
        return ddim.sample_hat
    return lambda *args, **more: ddim.sample(*args, eta=eta, **more)


def one_step(schedule, eps, x_t, t, s, eta, noise):
    """The step of an eta, or of "hat"."""
    if eta == "hat":
        return ddim.step_hat(schedule, eps, x_t, t, s, noise)
    return ddim.step(schedule, eps, x_t, t, s, eta, noise)


# Grids


@pytest.mark.parametrize("T", [1, 2, 7, 60, 1000])
def test_the_linear_grid_is_every_floor_of_i_t_over_s(T):
    for S in range(1, T + 1):
        grid = ddim.timesteps(T, S)
        assert grid == [math.floor(i * T / S + 1e-9) for i in range(S, -1, -1)]
        assert {t - s for t, s in pairwise(grid)} <= {T // S, -(-T // S)}  # as even as whole numbers can be


def test_the_quadratic_grid_is_the_published_one_counted_from_1():
    """(linspace(0, sqrt(0.8 T), S))^2, rounded down, and one more; coinciding times are listed once."""
    # (i sqrt(800) / 9)^2 = 800 i^2 / 81, rounded down: 0 9 39 88 158 246 355 483 632 800
    assert ddim.timesteps(1000, 10, "quadratic") == [801, 633, 484, 356, 247, 159, 89, 40, 10, 1, 0]
    for S in (2, 10, 16, 20, 29, 30, 50, 100, 101, 500, 1000):
        published = {int(t) + 1 for t in np.linspace(0, np.sqrt(1000 * 0.8), S) ** 2}
        grid = ddim.timesteps(1000, S, "quadratic")
        assert grid == sorted(published | {0}, reverse=True)
        assert (len(grid) - 1 < S) == (S >= 30)  # from there on the second, 800 / (S - 1)^2, is below 1


# The family


def composed(schedule, t, s, eta):
    """Of x_s given x_0: the factor of x_0, the variance that comes from x_t ~ q(x_t | x_0), and sigma^2.

    q_sigma's mean is a x_0 + b x_t.
    """
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    (a, variance), (b, _) = (ddim.q_sigma(schedule, *x, t, s, eta) for x in ((one, zero), (zero, one)))
    a_t = schedule.alpha_bar[t].item()
    return (a + b * math.sqrt(a_t)).item(), (b**2 * (1 - a_t)).item(), variance


@BOTH
@pytest.mark.parametrize("eta", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize(("t", "s"), [(1, 0), (2, 1), (40, 39), (40, 17), (60, 59), (60, 1), (60, 0)])
def test_ddim_eq_7_keeps_the_marginals(kind, eta, t, s):
    schedule = Schedule(60, kind)
    (signal, passed, variance), a_s = composed(schedule, t, s, eta), schedule.alpha_bar[s].item()
    assert signal == pytest.approx(math.sqrt(a_s), rel=1e-10)
    assert passed + variance == pytest.approx(1 - a_s, abs=1e-12)


def test_sigma_hat_lies_outside_the_family():
    """The mean of eta = 1 and the larger noise: composed with q(x_t | x_0), more variance than the marginal has."""
    schedule, x = Schedule(60), torch.zeros(1, dtype=torch.float64)
    hat = ddim.step_hat(schedule, x, x, 40, 17, x + 1)[0].item()
    assert composed(schedule, 40, 17, 1.0)[1] + hat**2 > 1 - schedule.alpha_bar[17].item() + 1e-3


@BOTH
def test_ddim_eq_16_at_eta_1_is_ddpms_posterior(kind):
    """At every t, neighbouring times: mean and variance of Ho Eq. (6) and (7)."""
    schedule, (x_0, x_t) = Schedule(1000, kind), normal(2, 4)
    for t in range(1, 1001):
        mean, variance = ddim.q_sigma(schedule, x_0, x_t, t, t - 1, 1.0)
        expected_mean, expected_variance = ddpm.posterior(schedule, x_0, x_t, t)
        assert (mean - expected_mean).abs().max() < 1e-10
        assert abs(variance - expected_variance.item()) < 1e-10


@BOTH
@pytest.mark.parametrize("t", [3, 10, 1000])
def test_sqrt_beta_in_q_sigma_keeps_the_marginals_from_t_3_on(kind, t):
    """The slide's "sigma_t = sqrt(beta_t)" is the member eta = sqrt((1 - a_t) / (1 - a_{t-1})) > 1; DDPM is eta = 1."""
    schedule = Schedule(1000, kind)
    a_t, a_s, beta = schedule.alpha_bar[t].item(), schedule.alpha_bar[t - 1].item(), schedule.beta[t].item()
    eta = math.sqrt((1 - a_t) / (1 - a_s))
    _, passed, variance = composed(schedule, t, t - 1, eta)
    assert (
        eta > 1 and variance == pytest.approx(beta, rel=1e-6) and passed + variance == pytest.approx(1 - a_s, abs=1e-12)
    )
    early = schedule.alpha_bar[:2].double()  # at t = 1 and 2 the root in the mean is of a negative number
    assert (1 - early - schedule.beta[1:3] < 0).all()


@ETAS
def test_ddim_eq_12_and_eq_16_on_numbers(eta):
    """Predicted x_0, direction pointing to x_t and noise, in plain floats; "hat" (appendix D.3) is eta = 1's mean."""
    schedule, x_t, eps, noise, t, s = Schedule(), 0.4, -1.1, 0.7, 700, 450
    a_t, a_s = (math.prod(1 - beta for beta in schedule.beta[1 : time + 1].tolist()) for time in (t, s))
    sigma = (1.0 if eta == "hat" else eta) * math.sqrt((1 - a_s) / (1 - a_t)) * math.sqrt(1 - a_t / a_s)
    spread = math.sqrt(1 - a_t / a_s) if eta == "hat" else sigma
    x_0 = (x_t - math.sqrt(1 - a_t) * eps) / math.sqrt(a_t)
    expected = math.sqrt(a_s) * x_0 + math.sqrt(1 - a_s - sigma**2) * eps + spread * noise
    numbers = torch.tensor([[eps], [x_t], [noise]], dtype=torch.float64)
    found = one_step(schedule, numbers[0], numbers[1], t, s, eta, numbers[2])
    assert [x.item() for x in found] == pytest.approx([expected, x_0], rel=1e-10)
    if eta != "hat":
        assert ddim.sigma(schedule, t, s, eta) == pytest.approx(sigma, rel=1e-10)


@ETAS
def test_the_last_step_adds_no_noise_and_draws_none(eta):
    schedule, x, drawn = Schedule(20), normal(2, 3), []
    for t in (1, 7, 20):
        x_0, predicted = one_step(schedule, x, x, t, 0, eta, 1e6 * x)
        assert torch.allclose(x_0, predicted, rtol=0, atol=1e-12)
    noise = lambda x: drawn.append(x) or torch.zeros_like(x)  # noqa: E731
    list(walk(eta)(lambda x, t: x, schedule, x, 7, generator=noise))
    assert len(drawn) == (0 if eta == 0 else 6)


# Sampling


@BOTH
def test_all_steps_at_eta_1_are_ddpm_with_the_same_noise(kind):
    """Clipped too, where the data reach beyond [-1, 1]."""
    schedule = Schedule(100, kind)
    eps, x_T = GaussianEps(schedule, 0.9, 0.3), normal(3, 2, 4, 4)
    few = ddim.sample(eps, schedule, x_T, 100, eta=1.0, generator=Noise([1, 2, 3]))
    all_steps = list(ddpm.sample(eps, schedule, x_T, clip=False, generator=Noise([1, 2, 3])))
    for (s, x, x_0), (t, y, y_0) in zip(few, all_steps, strict=True):
        assert s == t and (x - y).abs().max() < 1e-10 and (x_0 - y_0).abs().max() < 1e-10


@pytest.mark.parametrize("spacing", ["linear", "quadratic"])
def test_every_s_runs_and_costs_one_call_per_step(spacing):
    """Each fixed-point iteration of inversion costs one more."""
    schedule = Schedule(25, "cosine")
    best, x_T = GaussianEps(schedule, 0.2, 0.3), normal(1, 2)
    for S in range(1, 26):
        grid = ddim.timesteps(25, S, spacing)
        for sampler in (ddim.sample, ddim.sample_2m):
            eps = Recorder(best)
            steps = list(sampler(eps, schedule, x_T, S, spacing=spacing))
            assert eps.times == grid[:-1] and [s for s, _, _ in steps] == grid[1:]
            assert steps[-1][1].isfinite().all()
        for iterations in (0, 2):
            eps = Recorder(best)
            steps = list(ddim.invert(eps, schedule, x_T, S, spacing, iterations))
            assert [t for t, _, _ in steps] == grid[-2::-1]
            assert eps.times == [t for t in grid[-2::-1] for _ in range(1 + iterations)]  # target times: never 0
            assert steps[-1][1].isfinite().all()


@pytest.mark.parametrize("eta", [0.0, 1.0, "hat", "posterior", "beta"])
def test_image_i_of_seed_i_is_the_same_in_any_batch(eta):
    """The last two are DDPM's sampler and its variances."""
    schedule = Schedule(30)
    eps, ddpms = GaussianEps(schedule, 0.1, 0.3), eta in ("posterior", "beta")

    def images(seeds):
        noise, (sampler, how) = Noise(seeds), (ddpm.sample, eta) if ddpms else (walk(eta), 10)
        return last(sampler(eps, schedule, noise.start((3, 4, 4)), how, generator=noise))

    whole = images([4, 8, 15, 16])
    assert torch.equal(whole, torch.cat([images([4]), images([8, 15]), images([16])]))
    assert not torch.equal(whole[0], whole[1])


@pytest.mark.parametrize("S", [1, 2, 13])
def test_one_point_is_reached_in_any_number_of_steps(S):
    schedule, point = Schedule(), normal(2, 3)
    eps = GaussianEps(schedule, point, 0.0)
    for sampler in (ddim.sample, ddim.sample_2m):
        x_0 = last(sampler(eps, schedule, normal(4, 2, 3), S))
        assert torch.allclose(x_0, point.expand(4, 2, 3), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("sampler", "order", "within"), [(ddim.sample, 1, 0.05), (ddim.sample_2m, 2, 0.1)])
def test_ddim_eq_14_is_approached_with_order_1_and_by_dpm_solver_pp_with_order_2(sampler, order, within):
    """log2 of the error's fall from S = 80 to 160 to 320, on a Gaussian's exact flow from t = 8000 to 800."""
    schedule = Schedule(8000)
    eps, x_T = GaussianEps(schedule, 0.3, 0.25), torch.linspace(-2, 2, 9, dtype=torch.float64).view(9, 1)
    errors = []
    for S in (80, 160, 320):
        grid = [800 + 7200 * i // S for i in range(S, -1, -1)]
        errors.append((last(sampler(eps, schedule, x_T, grid)) - eps.flow(x_T, 8000, 800)).abs().max().item())
    assert [math.log2(coarse / fine) for coarse, fine in pairwise(errors)] == pytest.approx([order] * 2, abs=within)


def test_dpm_solver_pp_algorithm_2_on_numbers():
    """The second step, in the paper's letters; with `on_step`, which replaces the first prediction by 0."""
    schedule, grid, seen = Schedule(), [900, 450, 1], []

    def eps(x, t):
        seen.append(x.item())
        return torch.sin(3 * x)

    def on_step(s, x, x_0):
        return x, torch.zeros_like(x_0) if s == 450 else x_0

    x_T = torch.tensor([[0.8]], dtype=torch.float64)
    for replaced in (None, on_step):
        seen.clear()
        steps = list(ddim.sample_2m(eps, schedule, x_T, grid, on_step=replaced))
        alphas = [math.sqrt(schedule.alpha_bar[t]) for t in grid]
        sigmas = [math.sqrt(1 - schedule.alpha_bar[t]) for t in grid]
        lambdas = [math.log(alpha / sigma) for alpha, sigma in zip(alphas, sigmas, strict=True)]
        before, now = ((x - sigmas[i] * math.sin(3 * x)) / alphas[i] for i, x in enumerate(seen[:2]))
        h = lambdas[2] - lambdas[1]
        r = (lambdas[1] - lambdas[0]) / h
        D = (1 + 1 / (2 * r)) * now - 1 / (2 * r) * (0 if replaced else before)
        expected = sigmas[2] / sigmas[1] * seen[1] - alphas[2] * math.expm1(-h) * D
        assert [x.item() for x in steps[1][1:]] == pytest.approx([expected, now], rel=1e-9)


@pytest.mark.parametrize("sampler", [ddim.sample, ddim.sample_2m, ddim.sample_exact])
def test_on_step_is_called_with_s_and_the_next_step_starts_from_its_return(sampler):
    """Here it moves x_s and the predicted x_0."""
    seen, inputs, double = [], [], {"dtype": torch.float64} if sampler is ddim.sample_exact else {}
    eps = lambda x, t: inputs.append(x) or 0.5 * x  # noqa: E731
    on_step = lambda s, x, x_0: seen.append((s, x, x_0)) or (x + 1, x_0 + 2)  # noqa: E731
    steps = list(sampler(eps, Schedule(100), normal(2, 3), 4, on_step=on_step, **double))
    assert [s for s, _, _ in seen] == [s for s, _, _ in steps] == [75, 50, 25, 0]
    for (_, x, x_0), (_, before, before_0) in zip(steps, seen, strict=True):
        assert torch.equal(x, before + 1) and torch.equal(x_0, before_0 + 2)
    assert all(torch.equal(x, given) for (_, x, _), given in zip(steps, inputs[1:], strict=False))


# Inversion


def test_inversion_then_sampling_errs_like_1_over_s():
    schedule, x_0 = Schedule(), 0.3 + 0.5 * normal(50, 1)
    eps, errors = GaussianEps(schedule, 0.3, 0.25), []
    for S in (25, 50, 100, 200):
        x_T = last(ddim.invert(eps, schedule, x_0, S))
        errors.append((last(ddim.sample(eps, schedule, x_T, S)) - x_0).abs().max().item())
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([1, 1, 1], abs=0.1)


@BOTH
@pytest.mark.parametrize(("s", "t"), [(0, 100), (450, 500), (900, 1000)])
def test_iterations_shrink_the_error_of_the_first_guess_by_a_known_factor(kind, s, t):
    """Of a Gaussian everything is linear in x. Up: sqrt(a_t/a_s) x_s + (sqrt(1 - a_t) - sqrt(a_t (1 - a_s)/a_s)) eps.
    Down: x_s = factor x_t. Rotation: x_t = (x_s + sin(d) v(x_t)) / cos(d), v(x) = (1 - v) sqrt(a_t (1 - a_t)) / v_t x.
    """
    schedule, x_s, v = Schedule(1000, kind), normal(50, 1), 0.25
    a_t, a_s = (schedule.alpha_bar[i].item() for i in (t, s))
    v_t = a_t * v + 1 - a_t
    per_eps = math.sqrt(1 - a_t) - math.sqrt(a_t * (1 - a_s) / a_s)
    first = (math.sqrt(a_t / a_s) + per_eps * math.sqrt(1 - a_t) / v_t) * x_s
    truth = v_t / (math.sqrt(a_t * a_s) * v + math.sqrt((1 - a_t) * (1 - a_s))) * x_s
    angle = math.acos(math.sqrt(a_t)) - math.acos(math.sqrt(a_s))
    slope = math.tan(angle) * (1 - v) * math.sqrt(a_t * (1 - a_t)) / v_t
    for iterations in range(4):
        x_t = last(ddim.invert(GaussianEps(schedule, 0.0, v), schedule, x_s, [t, s], iterations=iterations))
        assert torch.allclose(x_t - truth, slope**iterations * (first - truth), rtol=1e-7, atol=1e-10)


# Interpolation


def test_ddim_appendix_d5_slerp_runs_along_the_arc():
    """Also of a small angle, where a straight line would be shorter by an eighth of the angle's square."""
    for angle, within in ((math.pi / 2, 1e-12), (5e-4, 1e-11)):
        on_circle = lambda a: torch.tensor([[2 * math.cos(a), 2 * math.sin(a)]], dtype=torch.float64)  # noqa: E731
        for weight in (0.0, 0.25, 0.5, 1.0):
            found = ddim.slerp(on_circle(0), on_circle(angle), weight)
            assert torch.allclose(found, on_circle(weight * angle), rtol=0, atol=2 * within)


def test_slerp_goes_image_by_image():
    x, y = normal(5, 3, 32, 32), normal(5, 3, 32, 32, seed=1)
    between = ddim.slerp(x, y, torch.tensor([0.0, 0.3, 0.5, 0.7, 1.0], dtype=torch.float64))
    assert torch.allclose(between[0], x[0]) and torch.allclose(between[4], y[4])
    assert torch.allclose(between[1:2], ddim.slerp(x[1:2], y[1:2], 0.3))


def test_slerp_without_an_arc_is_the_straight_line():
    """Of nearly opposite vectors too: rounding errors would decide where their arc goes."""
    x = normal(1, 3, 8, 8).float()
    for factor in (1.0, 2.0, -1.0):
        assert torch.allclose(ddim.slerp(x, factor * x, 0.25), (0.75 + 0.25 * factor) * x, atol=1e-5)
    x, y = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[-1.0, 1e-6]]).double()
    assert torch.allclose(ddim.slerp(x, y, 0.25), 0.75 * x + 0.25 * y, rtol=0, atol=1e-9)
