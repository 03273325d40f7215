"""Editing an image with the sampler: go part of the way to noise, and come back with another caption.

The lecture's naive idea noises the image with the forward process ("noise", `edit_naive`). Its next one encodes the
image with the deterministic sampler, edits the condition and decodes ("invert", `edit_inverted`). The third is the
same with a sampler that runs backwards exactly ("exact", `edit_exact`).

`strength` in [0, 1] says how far: through the last round(strength S) of the S steps, so 0 leaves the image alone and
1 keeps nothing of it but its noise. All are generators on EpsFn that yield (t, x_t, predicted x_0), on the way up and
on the way down; the last x_t is the edited image. x_0 (B, ...) is in [-1, 1], `steps` as in `sample`.
"""

import torch

from ddpm.diffusion import EpsFn, q_sample
from ddpm.noise import Draw, noise_like
from ddpm.schedule import Schedule

from .bdia import invert_exact, sample_exact
from .inversion import invert
from .sampler import Steps, Trajectory, as_grid, sample


def last_steps(T: int, steps: Steps, strength: float) -> list[int]:
    """The last round(strength S) steps of a grid of S steps, as a grid of its own; for strength 0 it is [0].

    ValueError: strength outside [0, 1], a list of times that does not end at 0, and what `as_grid` refuses.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}, expected a number in [0, 1]")
    grid = as_grid(T, steps)
    if grid[-1] != 0:
        raise ValueError(f"the times {grid} end at {grid[-1]}: an edit needs the way down to the image, at 0")
    S = len(grid) - 1
    return grid[S - round(strength * S) :]


@torch.no_grad()
def edit_naive(
    eps_target: EpsFn,
    schedule: Schedule,
    x_0: torch.Tensor,
    strength: float,
    steps: Steps,
    eta: float = 1.0,
    generator: Draw = None,
) -> Trajectory:
    """Noise x_0 to an intermediate time, then denoise with the target's condition: the lecture's naive editing.

    eta = 1 is the reverse process of DDPM, 0 that of DDIM: the noise of the way up is random in both. `generator` draws
    that noise first, then that of the steps; see `ddpm.noise`.
    """
    grid = last_steps(schedule.T, steps, strength)
    x_t = q_sample(schedule, x_0, grid[0], noise_like(x_0, generator))
    yield grid[0], x_t, x_0
    if len(grid) > 1:
        yield from sample(eps_target, schedule, x_t, grid, eta, generator=generator)


@torch.no_grad()
def edit_inverted(
    eps_source: EpsFn,
    eps_target: EpsFn,
    schedule: Schedule,
    x_0: torch.Tensor,
    strength: float,
    steps: Steps,
    iterations: int = 0,
) -> Trajectory:
    """Encode x_0 with DDIM inversion under the source's condition, decode with the target's: nothing is random.

    With the same condition both ways it is a reconstruction, whose error falls with S and with `iterations` (`invert`).
    """
    grid = last_steps(schedule.T, steps, strength)
    x_t = x_0
    yield 0, x_0, x_0
    if len(grid) > 1:
        for t, x_t, predicted in invert(eps_source, schedule, x_0, grid, iterations=iterations):
            yield t, x_t, predicted
        yield from sample(eps_target, schedule, x_t, grid)


@torch.no_grad()
def edit_exact(
    eps_source: EpsFn,
    eps_target: EpsFn,
    schedule: Schedule,
    x_0: torch.Tensor,
    strength: float,
    steps: Steps,
) -> Trajectory:
    """`edit_inverted` with the sampler that inverts exactly (BDIA): the same condition both ways gives x_0 back.

    ValueError: a strength above 0 that leaves one step, because the latent is a pair.
    """
    grid = last_steps(schedule.T, steps, strength)
    x_t, below = x_0, x_0
    yield 0, x_0, x_0
    if len(grid) > 1:
        for t, x, predicted in invert_exact(eps_source, schedule, x_0, grid):
            below, x_t = x_t, x
            yield t, x_t, predicted
        yield from sample_exact(eps_target, schedule, (x_t, below), grid, dtype=x_0.dtype)
