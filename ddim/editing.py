"""Editing an image with the sampler: encode it up to an intermediate time, then denoise with another caption.

- `edit_naive`: SDEdit (Meng et al. 2022), "partial noising" on the slide. The forward process noises the image.
- `edit_inverted`: DDIM inversion encodes the image under the source's caption, DDIM decodes it under the target's.
- `edit_exact`: the same with BDIA, whose inversion is exact.

`strength` in [0, 1] says how far the image is encoded: through the last round(strength S) of the S steps. At 0 the
image stays as it is; at 1 nothing of it remains but its noise. All are generators on EpsFn that yield (t, x_t,
predicted x_0), first upwards and then downwards; the last x_t is the edited image. x_0 (B, ...) is in [-1, 1], `steps`
as in `sample`.
"""

import torch

from ddpm.diffusion import EpsFn, q_sample
from ddpm.noise import Draw, noise_like
from ddpm.schedule import Schedule

from .bdia import invert_exact, sample_exact
from .inversion import invert
from .sampler import Steps, Trajectory, as_grid, sample


def last_steps(T: int, steps: Steps, strength: float) -> list[int]:
    """The last round(strength S) steps of a grid of S steps, as a grid of its own; at strength 0 it is [0]."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}, expected a number in [0, 1]")
    grid = as_grid(T, steps)
    if grid[-1] != 0:
        raise ValueError(f"the times {grid} end at {grid[-1]}: an edit must end at the image, t = 0")
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
    """SDEdit (Meng et al. 2022): noise x_0 to an intermediate time, then denoise with the target's condition.

    eta = 1 denoises with DDPM's posterior, 0 with DDIM; the noise that is added to the image is random in both.
    `generator` draws that noise first, then the noise of the steps; see `ddpm.noise`.
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
    """Encode x_0 with DDIM inversion under the source's condition, decode it under the target's: nothing is random.

    With the same condition for both it reconstructs x_0; the error falls with S and with `iterations` (see `invert`).
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
    """`edit_inverted` with BDIA, which inverts exactly: the same condition for both reconstructs x_0 to rounding.

    A strength above 0 must leave two steps, because the latent is a pair.
    """
    grid = last_steps(schedule.T, steps, strength)
    x_t, below = x_0, x_0
    yield 0, x_0, x_0
    if len(grid) > 1:
        for t, x, predicted in invert_exact(eps_source, schedule, x_0, grid):
            below, x_t = x_t, x
            yield t, x_t, predicted
        yield from sample_exact(eps_target, schedule, (x_t, below), grid, dtype=x_0.dtype)
