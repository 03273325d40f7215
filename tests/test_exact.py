"""The sampler that runs backwards exactly: round trips, costs, and that it still samples the right thing."""

import math

import pytest
import torch
from helpers import BOTH, Recorder
from helpers import normal as normal64

import ddim
from ddim.bdia import check_gamma
from ddpm import GaussianEps, MixtureEps, Schedule, last


def normal(*shape, seed=0):
    return normal64(*shape, seed=seed, dtype=torch.float32)


def encode(eps, schedule, x_0, steps, **options):
    """The latent pair of an image."""
    *_, (_, below, _), (_, x_T, _) = ddim.invert_exact(eps, schedule, x_0, steps, **options)
    return x_T, below


def untrained_network(schedule):
    """Nothing like a good eps: two fixed random convolutions and a sine, as v, that depend on t."""
    first, second = normal(8, 3, 3, 3, seed=3), normal(3, 8, 3, 3, seed=4)

    def eps(x_t, t):
        hidden = torch.sin(torch.conv2d(x_t, first, padding=1) + t.view(-1, 1, 1, 1) / 100)
        a = schedule.at("alpha_bar", t, x_t).to(x_t.dtype)
        return (1 - a).sqrt() * x_t + a.sqrt() * torch.conv2d(hidden, second, padding=1) / 10

    return eps


def networks(schedule):
    mixture = MixtureEps(schedule, torch.full((5,), 0.2), normal(5, 3, 8, 8).clamp(-1, 1), torch.full((5,), 0.02))
    return GaussianEps(schedule, 0.2, 0.25), mixture, untrained_network(schedule)


@BOTH
@pytest.mark.parametrize(
    ("S", "spacing", "gamma"),
    [(2, "linear", None), (50, "quadratic", None), (300, "linear", None), (50, "linear", 0.9), (50, "linear", 1.0)],
)
def test_the_round_trip_is_exact_in_float32(kind, S, spacing, gamma):
    schedule, x_0 = Schedule(1000, kind), normal(2, 3, 8, 8).clamp(-1, 1)
    for eps in networks(schedule):
        pair = encode(eps, schedule, x_0, S, spacing=spacing, gamma=gamma)
        again = last(ddim.sample_exact(eps, schedule, pair, S, spacing, gamma))
        assert (again - x_0).abs().max() <= 1e-5


def test_a_step_is_the_papers():
    """z_s = z_r - [(1 - gamma) (z_r - z_t) + gamma D_r] + D_s, where D_u is what DDIM adds to z_t on the way to u."""
    schedule, (r, t, s), gamma = Schedule(), (900, 500, 200), 0.7
    z_r, z_t = normal64(2, 1, 4)
    D_r, D_s = (ddim.step(schedule, torch.sin(z_t), z_t, t, u)[0] - z_t for u in (r, s))
    given = lambda x, t: torch.sin(x), schedule, (z_r, z_t), [r, t, s]
    z_s = last(ddim.sample_exact(*given, gamma=gamma, dtype=torch.float64))
    torch.testing.assert_close(z_s, z_r - ((1 - gamma) * (z_r - z_t) + gamma * D_r) + D_s)


@BOTH
def test_more_steps_approach_the_exact_flow(kind):
    """From noise: closer to the Gaussian's flow than DDIM at the same number of calls, and closer with more of them."""
    schedule, x_T = Schedule(1000, kind), normal(50, 1)
    eps = GaussianEps(schedule, 0.3, 0.25)
    truth, errors = eps.flow(x_T.double(), 1000, 0), []
    for S in (10, 20, 50):
        errors.append((last(ddim.sample_exact(eps, schedule, x_T, S)) - truth).abs().max())
        assert errors[-1] < (last(ddim.sample(eps, schedule, x_T, S)) - truth).abs().max()
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_call_per_step_and_never_at_time_0(dtype):
    """The network is called in the image's dtype, x_s is float64."""
    schedule, x_0 = Schedule(100), normal64(2, 3).to(dtype)
    best = GaussianEps(schedule, 0.0, 0.3)
    eps = Recorder(lambda x, t: best(x, t) if x.dtype == dtype else None)
    up = list(ddim.invert_exact(eps, schedule, x_0, 5))
    assert eps.times == [20, 20, 40, 60, 80] and [t for t, _, _ in up] == [20, 40, 60, 80, 100]
    eps.times.clear()
    down = list(ddim.sample_exact(eps, schedule, (up[-1][1], up[-2][1]), 5, dtype=dtype))
    assert eps.times == [80, 60, 40, 20] and [t for t, _, _ in down] == [60, 40, 20, 0]
    eps.times.clear()
    fresh = list(ddim.sample_exact(eps, schedule, x_0, 5, dtype=dtype))
    assert eps.times == [100, 80, 60, 40, 20] and [t for t, _, _ in fresh] == [80, 60, 40, 20, 0]
    assert all(x.dtype == torch.float64 for steps in (up, down, fresh) for _, x, _ in steps)


def test_the_default_gamma_loses_the_same_share_over_any_number_of_steps():
    for S in (2, 10, 1000):
        assert check_gamma(None, list(range(S, -1, -1))) ** S == pytest.approx(math.exp(-2), rel=1e-12)
