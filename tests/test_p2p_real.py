"""Edits of real images: inversion, exact or with null-text optimisation, on an untrained network."""

import pytest
import torch
from tiny import make_trained

import ddim
import p2p
from ddpm.data.shapes import Shape, draw
from p2p import real

SOURCE = "a photo of a large red circle on a blue background"
TARGET = "a photo of a large green circle on a blue background"
PROMPTS = [SOURCE, "a photo of a small white cross on a green background"]
TRAINED = make_trained()


def real_images() -> torch.Tensor:
    drawn = draw([Shape("circle", "red", "blue", "large"), Shape("cross", "white", "green", "small", 6.0, 9.0)])
    return torch.from_numpy(drawn).float() / 127.5 - 1


def sources(**start) -> torch.Tensor:
    """The source rows at the end of an edit."""
    *_, (_, x, _) = p2p.edit(TRAINED, PROMPTS, TARGET, steps=5, **start)
    return x[:2]


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_source_row_of_an_exactly_inverted_image_is_the_image(scale):
    x_T = real.latent_pair(TRAINED, PROMPTS, real_images(), 5, scale)
    again = sources(x_T=x_T, sampler=ddim.sample_exact, scale=scale, cross_until=0, self_until=0)
    assert (again - real_images()).abs().max() < 1e-4


def test_fixed_point_iterations_bring_ddim_nearer_to_the_image():
    """Plain inversion calls the network at the wrong x_t; the fixed point corrects that."""
    x_0, eps = real_images(), TRAINED.eps(PROMPTS)
    *_, (_, plain, _) = ddim.invert(eps, TRAINED.schedule, x_0, 10)
    errors = []
    for x_T in (plain, real.latent(TRAINED, PROMPTS, x_0, 10)):
        *_, (_, x, _) = ddim.sample(eps, TRAINED.schedule, x_T, 10)
        errors.append((x - x_0).square().mean())
    assert errors[1] < 0.1 * errors[0], errors


def test_the_null_prompts_start_as_the_empty_prompt():
    """Attention to copies of one token is attention to that token."""
    x, t = real_images(), torch.full((2,), 10)
    one = real.null_of(TRAINED, {10: real.null_states(TRAINED, 1, 1)})(x, t)
    many = real.null_of(TRAINED, {10: real.null_states(TRAINED, 2, 6)})(x, t)
    empty = TRAINED.eps(None)(x, t)
    assert (one - empty).abs().max() < 0.01 * empty.abs().max()
    assert (many - empty).abs().max() < 0.01 * empty.abs().max()


def test_nearest_finds_the_minimum_of_a_parabola_for_each_image():
    aim = torch.tensor([[[0.3]], [[-0.2]]])
    assert (real.nearest(lambda states: states, aim, torch.zeros(2, 1, 1), 200, 0.02) - aim).abs().max() < 1e-2


def test_nearest_returns_each_images_best_states_start_and_end_included():
    """Adam's first step is as long as its rate: from 0 to 0.25, nearer to 1, but farther from 0.1 than the start."""
    aim = torch.tensor([[[1.0]], [[0.1]]])
    best = real.nearest(lambda states: states, aim, torch.zeros(2, 1, 1), 1, 0.25)
    assert best.flatten().tolist() == pytest.approx([0.25, 0.0], abs=1e-6)


def test_null_text_yields_the_best_states_not_the_last():
    """At a rate so large that every step overshoots, the start is best, and the next step begins from it."""
    start = real.null_states(TRAINED, 2, 8)
    for _, _, states in real.null_text(TRAINED, PROMPTS, real_images(), 3, 3.0, rounds=1, rate=1e3):
        assert torch.equal(states, start)


def test_null_text_brings_a_guided_reconstruction_back():
    x_0, scale = real_images(), 4.0
    steps = list(real.null_text(TRAINED, PROMPTS, x_0, 5, scale, rounds=12, rate=0.1))
    states = {t: state for t, _, state in steps}
    assert list(states) == ddim.timesteps(20, 5)[:-1]
    start = {"x_T": real.latent(TRAINED, PROMPTS, x_0, 5), "scale": scale, "cross_until": 0, "self_until": 0}
    before, after = sources(**start), sources(**start, null=real.null_of(TRAINED, states))
    assert (after - steps[-1][1]).abs().max() < 1e-3  # the edit takes the steps of the optimisation
    error_before, error_after = ((x - x_0).square().flatten(1).mean(1) for x in (before, after))
    assert (error_after < 0.5 * error_before).all()


def test_null_text_of_an_image_does_not_depend_on_the_other():
    x_0 = real_images()
    together, alone = (
        list(real.null_text(TRAINED, prompts, x, 3, 3.0, rounds=3))[-1][1]
        for prompts, x in ((PROMPTS, x_0), (PROMPTS[1:], x_0[1:]))
    )
    assert (together[1] - alone[0]).abs().max() < 1e-3
