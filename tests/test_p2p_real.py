"""Edits of real images: inversion, exact or with null-text optimisation, on an untrained network."""

import pytest
import torch
from tiny import make_trained

import ddim
import p2p
from ddpm import last
from ddpm.data.shapes import Shape, draw
from ddpm.utils.images import from_bytes
from p2p import real

SOURCE = "a photo of a large red circle on a blue background"
TARGET = "a photo of a large green circle on a blue background"
PROMPTS = [SOURCE, "a photo of a small white cross on a green background"]
TRAINED = make_trained()
SHAPES = [Shape("circle", "red", "blue", "large"), Shape("cross", "white", "green", "small", 6.0, 9.0)]
IMAGES = from_bytes(draw(SHAPES))


def sources(steps: int, **start) -> torch.Tensor:
    """The source rows at the end of an edit."""
    return last(p2p.edit(TRAINED, PROMPTS, TARGET, steps=steps, cross_until=0, self_until=0, **start))[:2]


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_source_row_of_an_exactly_inverted_image_is_the_image(scale):
    x_T = real.latent_pair(TRAINED, PROMPTS, IMAGES, 5, scale)
    assert (sources(5, x_T=x_T, sampler=ddim.sample_exact, scale=scale) - IMAGES).abs().max() < 1e-4


def test_the_null_prompts_start_as_the_empty_prompt():
    """Attention to copies of one token is attention to that token."""
    t, empty = torch.full((2,), 10), TRAINED.eps(None)(IMAGES, torch.full((2,), 10))
    for n, tokens in ((1, 1), (2, 6)):
        eps = real.null_of(TRAINED, {10: real.null_states(TRAINED, n, tokens)})(IMAGES, t)
        assert (eps - empty).abs().max() < 0.01 * empty.abs().max()


def test_optimise_null_finds_the_minimum_of_a_parabola_for_each_image():
    aim = torch.tensor([[[0.3]], [[-0.2]]])
    assert (real.optimise_null(lambda states: states, aim, torch.zeros(2, 1, 1), 200, 0.02) - aim).abs().max() < 1e-2


def test_optimise_null_returns_each_images_best_states_start_and_end_included():
    """Adam's first step is as long as its rate: from 0 to 0.25, nearer to 1, but farther from 0.1 than the start."""
    aim = torch.tensor([[[1.0]], [[0.1]]])
    best = real.optimise_null(lambda states: states, aim, torch.zeros(2, 1, 1), 1, 0.25)
    assert best.flatten().tolist() == pytest.approx([0.25, 0.0], abs=1e-6)


def test_null_text_brings_a_guided_reconstruction_back():
    """The edit takes the steps of the optimisation, and each of them ends nearer to the inversion's x_s."""
    scale, x_T = 4.0, real.latent(TRAINED, PROMPTS, IMAGES, 4)
    pivot = {t: x for t, x, _ in ddim.invert(TRAINED.eps(PROMPTS), TRAINED.schedule, IMAGES, 4, iterations=3)}
    free, found = ({t: (x, states) for t, x, states in real.null_text(TRAINED, PROMPTS, IMAGES, 4, scale, inner, 0.1)}
                   for inner in (0, 8))  # fmt: skip
    assert list(found) == [20, 15, 10, 5]
    null = real.null_of(TRAINED, {t: states for t, (_, states) in found.items()})
    after = sources(4, x_T=x_T, scale=scale, null=null)
    assert (after - found[5][0]).abs().max() < 1e-3
    for t, aim in ((20, pivot[15]), (15, pivot[10]), (10, pivot[5]), (5, IMAGES)):
        optimised, plain = ((each[t][0] - aim).square().flatten(1).mean(1) for each in (found, free))
        assert (optimised < 0.5 * plain).all(), t


def test_null_text_goes_on_from_the_null_prompts_of_the_step_before(monkeypatch):
    monkeypatch.setattr(real, "optimise_null", lambda step, target, states, *_: states + 1)
    first, _, third = (states for _, _, states in real.null_text(TRAINED, PROMPTS, IMAGES, 3, 2.0))
    torch.testing.assert_close(third, first + 2)


def test_null_text_of_an_image_does_not_depend_on_the_other():
    together, alone = (
        list(real.null_text(TRAINED, prompts, x, 2, 3.0, inner_steps=2))[-1][1]
        for prompts, x in ((PROMPTS, IMAGES), (PROMPTS[1:], IMAGES[1:]))
    )
    assert (together[1] - alone[0]).abs().max() < 1e-3
