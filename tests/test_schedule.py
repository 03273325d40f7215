"""The schedule against numbers worked out with plain floats."""

import math

import pytest
import torch
from helpers import BOTH

from ddpm import Schedule
from ddpm.schedule import cast


@BOTH
@pytest.mark.parametrize("T", [1, 2, 7, 1000])
def test_tables_have_an_entry_for_every_time_and_time_0_is_data(kind, T):
    schedule = Schedule(T, kind)
    for table in (schedule.beta, schedule.alpha, schedule.alpha_bar, schedule.snr):
        assert table.shape == (T + 1,) and table.dtype == torch.float64
    assert (schedule.beta[0], schedule.alpha[0], schedule.alpha_bar[0]) == (0, 1, 1)
    assert schedule.snr[0] == math.inf
    assert (schedule.alpha_bar.diff() < 0).all() and (schedule.alpha_bar > 0).all()
    assert (schedule.beta[1:] > 0).all() and (schedule.beta < 1).all()


@BOTH
def test_ddpm_eq_2_composed_t_times_is_the_alpha_bar_marginal(kind):
    """Push x_0 through q(x_t | x_{t-1}) one step at a time: the mean's factor and the variance, in plain floats."""
    schedule = Schedule(300, kind)
    factor, variance = 1.0, 0.0
    for t in range(1, 301):
        beta = schedule.beta[t].item()
        factor, variance = math.sqrt(1 - beta) * factor, (1 - beta) * variance + beta
        assert factor == pytest.approx(math.sqrt(schedule.alpha_bar[t]), rel=1e-10)
        assert variance == pytest.approx(1 - schedule.alpha_bar[t].item(), rel=1e-10)


@pytest.mark.parametrize("T", [10, 1000])
def test_linear_betas_rise_evenly_between_the_papers_end_points(T):
    beta = Schedule(T, "linear").beta[1:].tolist()
    assert beta[0] == 1e-4 and beta[-1] == 0.02
    rise = (0.02 - 1e-4) / (T - 1)
    assert all(after - before == pytest.approx(rise, rel=1e-9) for before, after in zip(beta, beta[1:], strict=False))


@pytest.mark.parametrize("T", [10, 1000])
def test_improved_ddpm_eq_17_cosine_alpha_bar(T):
    def f(t):
        return math.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** 2

    schedule = Schedule(T, "cosine")
    for t in range(T):  # all but the last, whose beta is clipped
        assert schedule.alpha_bar[t].item() == pytest.approx(f(t) / f(0), rel=1e-9)
    assert schedule.beta[T] == 0.999 and (schedule.beta[:T] < 0.999).all()


def test_at_gives_shapes_that_multiply_a_batch():
    schedule, image, point = Schedule(10), torch.zeros(3, 1, 4, 4), torch.zeros(3, 2)
    t = torch.tensor([0, 5, 10])
    assert schedule.at("alpha_bar", 5, image).shape == ()
    assert schedule.at("alpha_bar", t, image).shape == (3, 1, 1, 1)
    assert schedule.at("alpha_bar", t, point).shape == (3, 1)
    assert torch.equal(schedule.at("beta", t, point).flatten(), schedule.beta[t])
    assert schedule.at("snr", 5, image) == schedule.snr[5]
    assert cast(image, schedule.at("beta", t, image))[0].dtype == torch.float32
