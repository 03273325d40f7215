"""The ways of editing that Prompt-to-Prompt is compared with, and itself: all start from the same source images."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import Tensor

import ddim
from ddim.sampler import Trajectory
from ddpm.diffusion import last
from ddpm.noise import Noise

from ..blend import LocalBlend
from ..editing import Values, edit, shared_noise
from ..real import ITERATIONS
from ..store import AttentionStore
from ..words import changed

NAIVE, SHARED = 2**20, 2**21  # seeds of the noise of naive editing and of pairs, apart from those that draw x_T
SAMPLERS: dict[str, Callable[[list[int]], Callable[..., Trajectory]]] = {  # name -> the sampler of pairs of these seeds
    "ddim": lambda seeds: ddim.sample,
    "2m": lambda seeds: ddim.sample_2m,
    "ddpm": lambda seeds: shared_noise([seed + SHARED for seed in seeds]),
}


@dataclass(frozen=True)
class Recipe:
    """How images are made and edited: what `edit` takes, and the `strength` of the naive editing.

    size, threshold, grow: of the local blend (`LocalBlend`).
    """

    steps: int = 12
    sampler: str = "2m"
    scale: float = 1.0
    cross_until: float = 0.9
    self_until: float = 0.0
    strength: float = 0.7
    size: int | None = None
    threshold: float = 0.3
    grow: int = 1

    def as_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    def blend(self, words: list[list[str]]) -> LocalBlend:
        """The local blend around the words of each of the 2n prompts."""
        return LocalBlend(words, size=self.size, threshold=self.threshold, grow=self.grow)


@dataclass(frozen=True)
class Batch:
    """n pairs to edit: prompts, seeds, x_T (n, 3, H, W), and the source images x_0 (n, 3, H, W) that came from it."""

    sources: list[str]
    targets: list[str]
    seeds: list[int]
    x_T: Tensor
    x_0: Tensor


def source_batch(trained: Any, recipe: Recipe, sources: list[str], targets: list[str], seeds: list[int]) -> Batch:
    """The source images of n pairs, one seed each."""
    x_T = Noise(seeds).start(trained.shape, trained.device)
    sampler = SAMPLERS[recipe.sampler](seeds)
    walk = sampler(trained.eps(sources, recipe.scale), trained.schedule, x_T, recipe.steps)
    return Batch(sources, targets, seeds, x_T, last(walk))


def again(trained: Any, recipe: Recipe, batch: Batch) -> Tensor:
    """Plain re-generation: the target's prompt with the source's seed."""
    eps = trained.eps(batch.targets, recipe.scale)
    return last(SAMPLERS[recipe.sampler](batch.seeds)(eps, trained.schedule, batch.x_T, recipe.steps))


def noised(trained: Any, recipe: Recipe, batch: Batch) -> Tensor:
    """The lecture's naive editing: noise to `strength`, then DDPM's reverse steps with the target's prompt."""
    noise = Noise(seed + NAIVE for seed in batch.seeds)
    eps = trained.eps(batch.targets, recipe.scale)
    return last(ddim.edit_naive(eps, trained.schedule, batch.x_0, recipe.strength, recipe.steps, generator=noise))


def recoded(trained: Any, recipe: Recipe, batch: Batch, iterations: int = 0) -> Tensor:
    """The lecture's DDIM editing: encode with the source's prompt all the way to noise, decode with the target's.

    iterations: of `ddim.invert`, the fixed point of each step of the encoding.
    """
    eps = (trained.eps(prompts, scale) for prompts, scale in ((batch.sources, 1.0), (batch.targets, recipe.scale)))
    return last(ddim.edit_inverted(*eps, trained.schedule, batch.x_0, 1.0, recipe.steps, iterations))


def prompt_to_prompt(
    trained: Any,
    recipe: Recipe,
    batch: Batch,
    blend: LocalBlend | None = None,
    store: AttentionStore | None = None,
    weights: Values = None,
) -> Tensor:
    """`p2p.edit`: the edits (n, 3, H, W)."""
    how = {name: getattr(recipe, name) for name in ("steps", "scale", "cross_until", "self_until")}
    how |= {"blend": blend, "store": store, "weights": weights, "sampler": SAMPLERS[recipe.sampler](batch.seeds)}
    walk = edit(trained, batch.sources, batch.targets, batch.x_T, **how)
    return last(walk)[len(batch.x_T) :]


def differing(batch: Batch) -> list[list[str]]:
    """For the 2n prompts, sources first, the words that differ."""
    pairs = [changed(*pair) for pair in zip(batch.sources, batch.targets, strict=True)]
    return [gone for gone, _ in pairs] + [new for _, new in pairs]


def blended(trained: Any, recipe: Recipe, batch: Batch) -> Tensor:
    """`p2p.edit` with a local blend around the words that differ."""
    return prompt_to_prompt(trained, recipe, batch, recipe.blend(differing(batch)))


WAYS: dict[str, Callable[[Any, Recipe, Batch], Tensor]] = {
    "plain re-generation": again,
    "noise and denoise": noised,
    "DDIM encode and decode": recoded,
    "DDIM, with iterations": partial(recoded, iterations=ITERATIONS),
    "P2P": prompt_to_prompt,
    "P2P, local blend": blended,
}
