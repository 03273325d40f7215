"""Edits of real images: find the noise that leads to the image, then edit.

Guided sampling leaves the inverted trajectory. Null-text optimisation (Mokady et al. 2023) corrects that: for each step
it optimises the null prompt of guidance until the guided step ends where the inversion was.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

import ddim
from ddim.sampler import Steps, as_grid
from ddpm.diffusion import EpsFn, last, predict
from ddpm.guidance import guide
from ddpm.model import Trained
from unet.attention import Text

from .words import in_range

ITERATIONS = 3  # of the inversion's fixed point, for each step
INNER_STEPS = 10  # of Adam in null-text optimisation, for each step of the sampler


def latent(trained: Trained, prompts: list[str], x_0: Tensor, steps: Steps) -> Tensor:
    """The x_T (n, C, H, W) from which `ddim.sample` without guidance leads back to x_0, nearly: `ddim.invert`."""
    return last(ddim.invert(trained.eps(prompts), trained.schedule, x_0, steps, iterations=ITERATIONS))


def latent_pair(
    trained: Trained, prompts: list[str], x_0: Tensor, steps: Steps, scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The pair that `ddim.sample_exact` at this guidance takes back to x_0, to rounding: `ddim.invert_exact`."""
    *_, (_, below, _), (_, x_T, _) = ddim.invert_exact(trained.eps(prompts, scale), trained.schedule, x_0, steps)
    return x_T, below


# ---- null-text optimisation ------------------------------------------------------------------------------------------


def null_text(
    trained: Trained,
    prompts: list[str],
    x_0: Tensor,
    steps: Steps,
    scale: float,
    inner_steps: int = INNER_STEPS,
    learning_rate: float = 0.01,
    tokens: int = 8,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Null prompts under which guided DDIM sampling follows the unguided inversion: yields (t, x_s, states) per step.

    x_0: (n, C, H, W) in [-1, 1], with one prompt each. states: (n, tokens, width), the null prompts of the step t -> s.
    Adam moves them, from those of the step before, so that the guided step lands on the inversion's x_s; the paper's
    code also lowers the rate step by step, and stops early. The last x_s is the reconstruction. Hand {t: states} to
    `null_of`. ValueError: x_0 of another size, numbers out of range.
    """
    if x_0.shape != (len(prompts), *trained.shape):
        expected = (len(prompts), *trained.shape)
        raise ValueError(f"x_0 has the shape {tuple(x_0.shape)}: expected {expected}, for {len(prompts)} prompts")
    in_range("scale", scale, -1000, 1000)
    in_range("inner_steps", inner_steps, 0, 1000)
    in_range("learning_rate", learning_rate, 0, 1)
    in_range("tokens", tokens, 1, 1000)
    grid = as_grid(trained.schedule.T, steps)
    eps = trained.eps(prompts)
    pivot = {t: x for t, x, _ in ddim.invert(eps, trained.schedule, x_0, grid, iterations=ITERATIONS)} | {grid[-1]: x_0}
    x, states = pivot[grid[0]], null_states(trained, len(x_0), tokens)
    for t, s in pairwise(grid):
        step = partial(guided_step, trained, x, t, s, predict(eps, x, t), scale)
        states = optimise_null(step, pivot[s], states, inner_steps, learning_rate)
        with torch.no_grad():
            x = step(states)
        yield t, x, states


def null_of(trained: Trained, states: dict[int, Tensor]) -> EpsFn:
    """The prediction for the null prompts of each time t, for `edit`'s null.

    ValueError, when called: a time that has none, a batch that is no multiple of their images.
    """

    def eps(x_t: Tensor, t: Tensor) -> Tensor:
        if int(t[0]) not in states:
            raise ValueError(f"no null prompts for t = {int(t[0])}: edit with the steps of null_text, {list(states)}")
        with torch.no_grad():
            return trained.unet(x_t, t, as_text(states[int(t[0])], len(x_t)))

    return eps


def null_states(trained: Trained, n: int, tokens: int) -> Tensor:
    """(n, tokens, width): where the optimisation starts, copies of the empty prompt's START with a little noise.

    Attention to copies of a token is attention to that token, so the start means the empty prompt. The noise makes the
    copies differ, so that each can move on its own.
    """
    with torch.no_grad():
        state = trained.unet.text(trained.tokens([""])).states[:, :1]
    noise = torch.randn(tokens, state.shape[2], generator=torch.Generator().manual_seed(0)).to(state)
    return state.expand(n, tokens, -1) + 1e-3 * noise


def as_text(states: Tensor, n: int) -> Text:
    """States (m, tokens, width) as the prompts of n images, n a multiple of m."""
    if n % len(states):
        raise ValueError(f"null prompts of {len(states)} images for {n}: expected those of each pair's source")
    states = states.repeat(n // len(states), 1, 1)
    return Text(states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device))


def guided_step(
    trained: Trained, x: Tensor, t: int, s: int, eps_conditional: Tensor, scale: float, states: Tensor
) -> Tensor:
    """x_s of the DDIM step t -> s from x (n, C, H, W) under guidance, with null prompts given by their states."""
    eps_null = trained.unet(x, torch.full((len(x),), t, device=x.device), as_text(states, len(x)))
    return ddim.step(trained.schedule, guide(eps_conditional, eps_null, scale), x, t, s)[0]


def optimise_null(
    step: Callable[[Tensor], Tensor], target: Tensor, states: Tensor, inner_steps: int, learning_rate: float
) -> Tensor:
    """Adam on the null states (n, tokens, width); returns the best seen, the first and the last ones included.

    step: states -> (n, ...), like target. Each image has its own error, the mean square, and its own best states.
    """
    best, least = states.detach(), torch.full((len(states),), torch.inf, device=states.device)
    states = states.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([states], lr=learning_rate)
    for left in reversed(range(inner_steps + 1)):
        with torch.enable_grad():
            errors = (step(states) - target).square().flatten(1).mean(dim=1)
        best = torch.where((errors < least)[:, None, None], states.detach(), best)
        least = torch.minimum(errors.detach(), least)
        if left:
            optimiser.zero_grad()
            errors.sum().backward()
            optimiser.step()
    return best
