"""Edits of real images: find the noise that leads to the image, then edit; and null-text optimisation, which makes
the way back hold under guidance (Mokady et al. 2023).
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

import ddim
from ddim.sampler import Steps, as_grid
from ddpm.diffusion import EpsFn, predict
from ddpm.guidance import guide
from unet.attention import Text

ITERATIONS = 3  # of the inversion's fixed point, for each step
ROUNDS = 10  # of the null text's optimisation, for each step


def latent(trained: Any, prompts: list[str], x_0: Tensor, steps: Steps) -> Tensor:
    """The x_T (n, C, H, W) from which `ddim.sample` without guidance leads back to x_0, nearly: `ddim.invert`."""
    *_, (_, x_T, _) = ddim.invert(trained.eps(prompts), trained.schedule, x_0, steps, iterations=ITERATIONS)
    return x_T


def latent_pair(
    trained: Any, prompts: list[str], x_0: Tensor, steps: Steps, scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The pair that `ddim.sample_exact` at this guidance takes back to x_0, to rounding: `ddim.invert_exact`."""
    *_, (_, below, _), (_, x_T, _) = ddim.invert_exact(trained.eps(prompts, scale), trained.schedule, x_0, steps)
    return x_T, below


def null_states(trained: Any, n: int, tokens: int) -> Tensor:
    """(n, tokens, width): where the optimisation starts, copies of the empty prompt's START with a little noise.

    Attention to copies is attention to one, so the start means the empty prompt; the noise lets them part.
    """
    with torch.no_grad():
        state = trained.unet.text(trained.tokens([""])).states[:, :1]
    noise = torch.randn(tokens, state.shape[2], generator=torch.Generator().manual_seed(0)).to(state)
    return state.expand(n, tokens, -1) + 1e-3 * noise


def as_text(states: Tensor, n: int) -> Text:
    """States (m, tokens, width) as the prompts of n images, n a multiple of m."""
    states = states.repeat(n // len(states), 1, 1)
    return Text(states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device))


def null_of(trained: Any, states: dict[int, Tensor]) -> EpsFn:
    """The answer to the null prompt that was found for each time t, for `edit`'s null."""

    def eps(x_t: Tensor, t: Tensor) -> Tensor:
        with torch.no_grad():
            return trained.unet(x_t, t, as_text(states[int(t[0])], len(x_t)))

    return eps


def null_text(
    trained: Any,
    prompts: list[str],
    x_0: Tensor,
    steps: Steps,
    scale: float,
    rounds: int = ROUNDS,
    rate: float = 0.01,
    tokens: int = 8,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Null prompts under which guided DDIM sampling follows the unguided inversion: yields (t, x_s, states) per step.

    x_0 (n, C, H, W) in [-1, 1], prompts as many. At each step t -> s the null states (n, tokens, width) are moved by
    `rounds` steps of Adam so that the guided step from where the walk is lands on the inversion's x_s; those of the
    step before are where they start. The last x_s is the reconstruction. Each image has states of its own.
    """
    grid = as_grid(trained.schedule.T, steps)
    eps = trained.eps(prompts)
    pivot = {t: x for t, x, _ in ddim.invert(eps, trained.schedule, x_0, grid, iterations=ITERATIONS)} | {grid[-1]: x_0}
    x, states = pivot[grid[0]], null_states(trained, len(x_0), tokens)
    for t, s in pairwise(grid):
        conditional = predict(eps, x, t)

        def step_of(states: Tensor, x=x, t=t, s=s, conditional=conditional) -> Tensor:
            null = trained.unet(x, torch.full((len(x),), t, device=x.device), as_text(states, len(x)))
            return ddim.step(trained.schedule, guide(conditional, null, scale), x, t, s)[0]

        states = descend(lambda states, aim=pivot[s], to=step_of: (to(states) - aim).square(), states, rounds, rate)
        with torch.no_grad():
            x = step_of(states)
        yield t, x, states


def descend(loss: Callable[[Tensor], Tensor], start: Tensor, rounds: int, rate: float) -> Tensor:
    """The states with the least mean loss on the way of `rounds` steps of Adam, start and end included, chosen for each
    image by itself. loss: (n, tokens, width) -> (n, ...).
    """
    states = start.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([states], lr=rate)
    best, least = start.detach(), torch.full((len(start),), torch.inf, device=start.device)
    for left in reversed(range(rounds + 1)):
        with torch.enable_grad():
            errors = loss(states).flatten(1).mean(dim=1)
        best = torch.where((errors < least)[:, None, None], states.detach(), best)
        least = torch.minimum(errors.detach(), least)
        if left:
            optimiser.zero_grad()
            errors.sum().backward()
            optimiser.step()
    return best
