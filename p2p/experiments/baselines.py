"""Prompt-to-Prompt and the baselines that it is compared with: all edit the same source images."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

import ddim
from ddim.sampler import Trajectory
from ddpm.diffusion import last
from ddpm.model import Trained
from ddpm.noise import Noise

from ..blend import LocalBlend
from ..editing import Values, edit, shared_noise
from ..real import ITERATIONS
from ..store import AttentionStore
from ..words import changed

SDEDIT_SEEDS, SHARED_SEEDS = 2**20, 2**21  # added to the seeds of x_T, so that later noise is independent of it
SAMPLERS: dict[str, Callable[[list[int]], Callable[..., Trajectory]]] = {  # name -> the sampler of pairs of these seeds
    "ddim": lambda seeds: ddim.sample,
    "2m": lambda seeds: ddim.sample_2m,
    "ddpm": lambda seeds: shared_noise([seed + SHARED_SEEDS for seed in seeds]),
}

# ---- recipes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """How images are made and edited: arguments of `edit`, of the local blend (size, threshold, grow), and SDEdit's
    strength. ValueError: guidance below 1, which leads away from the prompt.
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

    def __post_init__(self):
        if self.scale < 1:
            raise ValueError(f"--scale is {self.scale:g}: expected 1 (no guidance) or more, for an edit has a prompt")

    def blend(self, words: list[list[str]]) -> LocalBlend:
        """The local blend around the words of each of the 2n prompts, sources first."""
        return LocalBlend(words, size=self.size, threshold=self.threshold, grow=self.grow)


GUIDED = Recipe(steps=16, scale=3.0)
NOISY = Recipe(steps=30, sampler="ddpm", scale=4.0)
SCENE = Recipe(steps=20, sampler="ddim", scale=2.0, cross_until=0.8)
# The recipe of each kind of edit. Shapes: the injection schedules are those of `python -m p2p score --sweep`
# (notebooks/results/p2p/sweep-shapes.json), but for three kinds in which more pairs than its own say otherwise: of 200
# pairs "add size" succeeds in 89.0 % at 0.6 and in 93.0 % at 0.5; "drop colour" in 92 % at 0.6, and in 91 % at 1 with
# the least drift; "drop background" has two more successes at 0 than elsewhere, but 0 injects nothing. Guidance and
# sampler are from trials: with a prompt without the colour the model often draws two colours, which guidance and noise
# mend. Re-weighting and real images: from trials. The sweep has the same first seeds as the score.
# Scenes: of 40, 60 and 80 % of the steps what is nearest to the truth with nearly the best success, in 40 other images
# of each kind (`python -m p2p truth --seed 1`).
RECIPES: dict[tuple[str, str], Recipe] = {  # (dataset, kind of edit) -> recipe
    ("shapes", "colour"): Recipe(cross_until=1.0),
    ("shapes", "background"): Recipe(cross_until=1.0),
    ("shapes", "shape"): replace(GUIDED, cross_until=0.6, size=8),
    ("shapes", "add colour"): replace(NOISY, cross_until=1.0),
    ("shapes", "add background"): replace(NOISY, cross_until=1.0),
    ("shapes", "add size"): replace(GUIDED, cross_until=0.5),
    ("shapes", "drop colour"): replace(NOISY, cross_until=1.0),
    ("shapes", "drop background"): replace(NOISY, cross_until=1.0),
    ("shapes", "drop size"): Recipe(cross_until=1.0, self_until=0.8),
    ("shapes", "reweight colour"): Recipe(cross_until=1.0, self_until=0.4),
    ("shapes", "reweight background"): Recipe(cross_until=1.0, self_until=0.4),
    ("scenes", "thing"): replace(SCENE, cross_until=0.4),
    ("scenes", "colour"): SCENE,
    ("scenes", "setting"): replace(SCENE, cross_until=0.4),
    ("scenes", "setting_colour"): SCENE,
    ("scenes", "add flag"): SCENE,
    ("scenes", "drop flag"): replace(SCENE, cross_until=0.6),
    ("scenes", "add spikey"): replace(SCENE, cross_until=0.4),
    ("scenes", "add colour"): SCENE,
    ("scenes", "drop colour"): SCENE,
    ("cifar10", "class"): Recipe(scale=3.0, cross_until=0.4),
    ("cifar10", "colour"): Recipe(scale=3.0, cross_until=0.6),
    ("cifar10", "background"): Recipe(scale=3.0, cross_until=0.6),
    ("celeba", "smiling"): Recipe(scale=3.0, cross_until=0.8),
    ("celeba", "eyeglasses"): Recipe(scale=3.0, cross_until=0.8),
    ("celeba", "hair"): Recipe(scale=3.0, cross_until=0.6),
    ("celeba", "age"): Recipe(scale=3.0, cross_until=0.6),
}

# ---- pairs of a source image and a target prompt ---------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """n pairs to edit: prompts, seeds, x_T (n, 3, H, W), and the source images x_0 (n, 3, H, W) sampled from it."""

    sources: list[str]
    targets: list[str]
    seeds: list[int]
    x_T: Tensor
    x_0: Tensor


def source_batch(trained: Trained, recipe: Recipe, sources: list[str], targets: list[str], seeds: list[int]) -> Batch:
    """The source images of n pairs, one seed each."""
    x_T = Noise(seeds).start(trained.shape, trained.device)
    x_0 = sampled(trained, recipe, sources, seeds, x_T)
    return Batch(sources, targets, seeds, x_T, x_0)


def sampled(trained: Trained, recipe: Recipe, prompts: list[str], seeds: list[int], x_T: Tensor) -> Tensor:
    """The images (n, 3, H, W) of n prompts."""
    sampler = SAMPLERS[recipe.sampler](seeds)
    return last(sampler(trained.eps(prompts, recipe.scale), trained.schedule, x_T, recipe.steps))


def words_that_differ(batch: Batch) -> list[list[str]]:
    """For each of the 2n prompts, sources first, the words that differ within its pair."""
    pairs = [changed(*pair) for pair in zip(batch.sources, batch.targets, strict=True)]
    return [removed for removed, _ in pairs] + [new for _, new in pairs]


# ---- the ways of editing ---------------------------------------------------------------------------------------------


def plain(trained: Trained, recipe: Recipe, batch: Batch) -> Tensor:
    """Plain re-generation: the new caption alone, from the same noise."""
    return sampled(trained, recipe, batch.targets, batch.seeds, batch.x_T)


def sdedit(trained: Trained, recipe: Recipe, batch: Batch) -> Tensor:
    """SDEdit (Meng et al. 2022): noise the source image to `strength`, then DDPM's steps with the target's prompt."""
    noise = Noise(seed + SDEDIT_SEEDS for seed in batch.seeds)
    eps = trained.eps(batch.targets, recipe.scale)
    return last(ddim.edit_naive(eps, trained.schedule, batch.x_0, recipe.strength, recipe.steps, generator=noise))


def ddim_inversion(trained: Trained, recipe: Recipe, batch: Batch, iterations: int = 0) -> Tensor:
    """DDIM: invert all the way to noise with the source's prompt, sample with the target's.

    iterations: of the fixed point of each step of the inversion (`ddim.invert`).
    """
    source, target = trained.eps(batch.sources), trained.eps(batch.targets, recipe.scale)
    return last(ddim.edit_inverted(source, target, trained.schedule, batch.x_0, 1.0, recipe.steps, iterations))


def prompt_to_prompt(
    trained: Trained,
    recipe: Recipe,
    batch: Batch,
    blend: LocalBlend | None = None,
    store: AttentionStore | None = None,
    weights: Values = None,
) -> Tensor:
    """`p2p.edit`: the edits (n, 3, H, W)."""
    how = {name: getattr(recipe, name) for name in ("steps", "scale", "cross_until", "self_until")}
    how |= {"blend": blend, "store": store, "weights": weights, "sampler": SAMPLERS[recipe.sampler](batch.seeds)}
    return last(edit(trained, batch.sources, batch.targets, batch.x_T, **how))[len(batch.x_T) :]


def with_local_blend(trained: Trained, recipe: Recipe, batch: Batch) -> Tensor:
    """`p2p.edit` with a local blend around the words that differ."""
    return prompt_to_prompt(trained, recipe, batch, recipe.blend(words_that_differ(batch)))


WAYS: dict[str, Callable[[Trained, Recipe, Batch], Tensor]] = {
    "plain": plain,
    "sdedit": sdedit,
    "ddim": ddim_inversion,
    "ddim-iterations": partial(ddim_inversion, iterations=ITERATIONS),
    "p2p": prompt_to_prompt,
    "p2p-blend": with_local_blend,
}
