"""Edits of real images: find the noise that leads to the image, then edit.

Guidance makes sampling leave the way of the inversion. Null-text optimisation (Mokady et al. 2023) leads it back: it
optimises the null prompt of guidance for each step.
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

ITERATIONS = 3  # of the inversion's fixed point, for each step
ROUNDS = 10  # of the null text's optimisation, for each step


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
    rounds: int = ROUNDS,
    rate: float = 0.01,
    tokens: int = 8,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Null prompts under which guided DDIM sampling follows the unguided inversion: yields (t, x_s, states) per step.

    x_0: (n, C, H, W) in [-1, 1], with one prompt each. states: (n, tokens, width), the null prompts of the step t -> s.
    `rounds` steps of Adam move them, from those of the step before, so that the guided step lands on the inversion's
    x_s. The last x_s is the reconstruction. Hand {t: states} to `null_of`.
    """
    grid = as_grid(trained.schedule.T, steps)
    eps = trained.eps(prompts)
    pivot = {t: x for t, x, _ in ddim.invert(eps, trained.schedule, x_0, grid, iterations=ITERATIONS)} | {grid[-1]: x_0}
    x, states = pivot[grid[0]], null_states(trained, len(x_0), tokens)
    for t, s in pairwise(grid):
        step = partial(guided_step, trained, x, t, s, predict(eps, x, t), scale)
        states = nearest(step, pivot[s], states, rounds, rate)
        with torch.no_grad():
            x = step(states)
        yield t, x, states


def null_of(trained: Trained, states: dict[int, Tensor]) -> EpsFn:
    """The prediction for the null prompts of each time t, for `edit`'s null."""

    def eps(x_t: Tensor, t: Tensor) -> Tensor:
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
    states = states.repeat(n // len(states), 1, 1)
    return Text(states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device))


def guided_step(
    trained: Trained, x: Tensor, t: int, s: int, eps_conditional: Tensor, scale: float, states: Tensor
) -> Tensor:
    """x_s of the DDIM step t -> s from x (n, C, H, W) under guidance, with null prompts given by their states."""
    eps_null = trained.unet(x, torch.full((len(x),), t, device=x.device), as_text(states, len(x)))
    return ddim.step(trained.schedule, guide(eps_conditional, eps_null, scale), x, t, s)[0]


def nearest(step: Callable[[Tensor], Tensor], aim: Tensor, states: Tensor, rounds: int, rate: float) -> Tensor:
    """Of the states on the way of `rounds` steps of Adam, start and end included, those whose step is nearest to aim.

    step: states (n, tokens, width) -> (n, ...), like aim. Each image has its own error, the mean square, and its own
    best states.
    """
    best, least = states.detach(), torch.full((len(states),), torch.inf, device=states.device)
    states = states.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([states], lr=rate)
    for left in reversed(range(rounds + 1)):
        with torch.enable_grad():
            errors = (step(states) - aim).square().flatten(1).mean(dim=1)
        best = torch.where((errors < least)[:, None, None], states.detach(), best)
        least = torch.minimum(errors.detach(), least)
        if left:
            optimiser.zero_grad()
            errors.sum().backward()
            optimiser.step()
    return best
