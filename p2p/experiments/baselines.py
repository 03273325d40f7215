"""Prompt-to-Prompt and the baselines that it is compared with: all edit the same source images."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from torch import Tensor

import ddim
from ddim.sampler import Trajectory, as_grid
from ddpm.diffusion import last
from ddpm.experiments.common import SAMPLERS, finite
from ddpm.model import Trained
from ddpm.noise import Noise

from ..blend import LocalBlend
from ..editing import edit, shared_noise
from ..real import ITERATIONS, latent_pair
from ..words import Words, as_words, changed, split

SDEDIT_SEEDS, SHARED_SEEDS = 2**20, 2**21  # added to the seeds of x_T, so that later noise is independent of it
PAIR_SAMPLERS = ("ddim", "2m", "ddpm")  # see `sampler_of`
MOST_PAIRS = 10_000  # of one kind of edit

# ---- settings --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EditSettings:
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

    @property
    def keywords(self) -> dict[str, Any]:
        """Those that `edit` takes."""
        return {name: getattr(self, name) for name in ("steps", "scale", "cross_until", "self_until")}

    def blend(self, trained: Trained, words: list[Words]) -> LocalBlend:
        """The local blend around the words of each of the 2n prompts, sources first."""
        return LocalBlend(words, size=map_size(trained, self.size), threshold=self.threshold, grow=self.grow)


def with_flags(settings: EditSettings, args: Namespace) -> EditSettings:
    """The settings, with what flags of the same name give in their place."""
    given = {field.name: getattr(args, field.name, None) for field in fields(EditSettings)}
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def words_of(trained: Trained, prompts: list[str]) -> list[Words]:
    """The words of each prompt. ValueError: a prompt without a word, too many words, words the model does not know; a
    model whose pixels attend to no words.
    """
    if not trained.unet.config.cross_sizes:
        raise ValueError("the model has no cross-attention (it was trained with --cross-sizes none): nothing to inject")
    trained.tokens(prompts)
    return as_words(prompts, len(prompts))


def map_size(trained: Trained, size: int | None) -> int | None:
    """The size of cross-attention maps if the model has it, else None, which stands for the largest."""
    return size if size in trained.unet.config.cross_sizes else None


SCENE = EditSettings(steps=20, sampler="ddim", scale=2.0, cross_until=0.8)
# Shapes, CIFAR-10 and CelebA: chosen in trials on a few dozen pairs. Scenes: of 40, 60 and 80 % of the steps what is
# nearest to the truth with nearly the best success, in 40 other images of each kind (`python -m p2p truth --seed 1`).
SETTINGS: dict[tuple[str, str], EditSettings] = {  # (dataset, kind of edit) -> settings
    ("shapes", "colour"): EditSettings(cross_until=1.0),
    ("shapes", "background"): EditSettings(cross_until=1.0),
    ("shapes", "shape"): EditSettings(steps=16, scale=3.0, cross_until=0.6, size=8),
    ("shapes", "reweight colour"): EditSettings(cross_until=1.0, self_until=0.4),
    ("shapes", "reweight background"): EditSettings(cross_until=1.0, self_until=0.4),
    ("scenes", "thing"): replace(SCENE, cross_until=0.4),
    ("scenes", "colour"): SCENE,
    ("scenes", "setting"): replace(SCENE, cross_until=0.4),
    ("scenes", "setting_colour"): SCENE,
    ("scenes", "add flag"): SCENE,
    ("scenes", "drop flag"): replace(SCENE, cross_until=0.6),
    ("scenes", "add spikey"): replace(SCENE, cross_until=0.4),
    ("scenes", "add colour"): SCENE,
    ("scenes", "drop colour"): SCENE,
    ("cifar10", "class"): EditSettings(scale=3.0, cross_until=0.4, size=8),
    ("cifar10", "colour"): EditSettings(scale=3.0, cross_until=0.6, size=8),
    ("cifar10", "background"): EditSettings(scale=3.0, cross_until=0.6, size=8),
    ("celeba", "smiling"): EditSettings(scale=3.0, cross_until=0.8, size=8),
    ("celeba", "eyeglasses"): EditSettings(scale=3.0, cross_until=0.8, size=8),
    ("celeba", "hair"): EditSettings(scale=3.0, cross_until=0.6, size=8),
    ("celeba", "age"): EditSettings(scale=3.0, cross_until=0.6, size=8),
}

# ---- pairs of a source image and a target prompt ---------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """n pairs to edit: prompts, seeds, x_T (n, 3, H, W) or an exact latent pair of them, and the source images x_0
    (n, 3, H, W).
    """

    sources: list[str]
    targets: list[str]
    seeds: list[int]
    x_T: Tensor | tuple[Tensor, Tensor]
    x_0: Tensor


def sampled_pairs(
    trained: Trained, settings: EditSettings, sources: list[str], targets: list[str], seeds: list[int]
) -> Pairs:
    """n pairs whose source images are sampled, one seed each."""
    x_T = Noise(seeds).start(trained.shape, trained.device)
    return Pairs(sources, targets, seeds, x_T, sampled(trained, settings, sources, seeds))


def sampled(trained: Trained, settings: EditSettings, prompts: list[str], seeds: list[int]) -> Tensor:
    """The images (n, 3, H, W) of n prompts, one seed each."""
    eps, x_T = trained.eps(prompts, settings.scale), Noise(seeds).start(trained.shape, trained.device)
    sampler = sampler_of(settings.sampler, seeds)
    return last(finite(sampler(eps, trained.schedule, x_T, settings.steps), settings.scale))


def sampler_of(name: str, seeds: list[int]) -> Callable[..., Trajectory]:
    """The sampler of pairs of these seeds; "ddpm" is eta = 1, with the same noise for both images."""
    return shared_noise([(seed + SHARED_SEEDS) % 2**63 for seed in seeds]) if name == "ddpm" else SAMPLERS[name]


def words_that_differ(pairs: Pairs) -> list[Words]:
    """For each of the 2n prompts, sources first, the words that differ within its pair."""
    words = [changed(split(source), split(target)) for source, target in zip(pairs.sources, pairs.targets, strict=True)]
    return [removed for removed, _ in words] + [new for _, new in words]


# ---- the ways of editing: each gives the edits (n, 3, H, W) of n pairs -----------------------------------------------


def nothing(trained: Trained, settings: EditSettings, pairs: Pairs) -> Tensor:
    """The source images as they are."""
    return pairs.x_0


def plain(trained: Trained, settings: EditSettings, pairs: Pairs) -> Tensor:
    """The new caption only: sampled from the noise of the seeds, from which a sampled source came, too."""
    return sampled(trained, settings, pairs.targets, pairs.seeds)


def sdedit(trained: Trained, settings: EditSettings, pairs: Pairs) -> Tensor:
    """SDEdit (Meng et al. 2022): noise the source image to `strength`, then DDPM's steps with the target's prompt."""
    noise, eps = Noise(seed + SDEDIT_SEEDS for seed in pairs.seeds), trained.eps(pairs.targets, settings.scale)
    way = ddim.edit_naive(eps, trained.schedule, pairs.x_0, settings.strength, settings.steps, generator=noise)
    return last(finite(way, settings.scale))


def ddim_inversion(trained: Trained, settings: EditSettings, pairs: Pairs, iterations: int = 0) -> Tensor:
    """DDIM: invert all the way to noise with the source's prompt, sample with the target's.

    iterations: of the fixed point of each step of the inversion (`ddim.invert`).
    """
    source, target = trained.eps(pairs.sources), trained.eps(pairs.targets, settings.scale)
    way = ddim.edit_inverted(source, target, trained.schedule, pairs.x_0, 1.0, settings.steps, iterations)
    return last(finite(way, settings.scale))


def prompt_to_prompt(trained: Trained, settings: EditSettings, pairs: Pairs, **how: Any) -> Tensor:
    """`p2p.edit`, with further keywords of it."""
    how = {"sampler": sampler_of(settings.sampler, pairs.seeds)} | settings.keywords | how
    way = edit(trained, pairs.sources, pairs.targets, pairs.x_T, **how)
    return last(finite(way, settings.scale))[len(pairs.sources) :]


def with_local_blend(trained: Trained, settings: EditSettings, pairs: Pairs, **how: Any) -> Tensor:
    """`p2p.edit` with a local blend around the words that differ."""
    return prompt_to_prompt(trained, settings, pairs, blend=settings.blend(trained, words_that_differ(pairs)), **how)


def exact(trained: Trained, settings: EditSettings, pairs: Pairs, way: Callable[..., Tensor]) -> Tensor:
    """A way of Prompt-to-Prompt after the exact inversion at the settings' guidance."""
    x_T = latent_pair(trained, pairs.sources, pairs.x_0, settings.steps, settings.scale)
    return way(trained, settings, replace(pairs, x_T=x_T), sampler=ddim.sample_exact)


WAYS: dict[str, Callable[[Trained, EditSettings, Pairs], Tensor]] = {
    "nothing": nothing,
    "plain": plain,
    "sdedit": sdedit,
    "ddim": ddim_inversion,
    "ddim-iterations": partial(ddim_inversion, iterations=ITERATIONS),
    "p2p": prompt_to_prompt,
    "p2p-blend": with_local_blend,
    "p2p-exact": partial(exact, way=prompt_to_prompt),
    "p2p-exact-blend": partial(exact, way=with_local_blend),
}
NAMES = {
    "nothing": "source", "plain": "new caption\nonly", "sdedit": "SDEdit", "ddim": "DDIM\ninversion",
    "ddim-iterations": "DDIM inversion,\n3 iterations", "p2p": "Prompt-\nto-Prompt", "p2p-blend": "+ local\nblend",
    "p2p-exact": "P2P, exact\ninversion", "p2p-exact-blend": "+ local\nblend",
}  # fmt: skip


def check_ways(trained: Trained, args: Namespace, todo: dict[str, EditSettings]) -> None:
    """ValueError, before any work, for --n, --steps and what no way of --ways takes. todo: kind -> its settings."""
    if args.n > MOST_PAIRS:
        raise ValueError(f"--n is {args.n}: expected at most {MOST_PAIRS} pairs of each kind")
    for flag, needed in (("strength", "sdedit"), ("cross_until", "p2p"), ("self_until", "p2p")):
        if getattr(args, flag, None) is not None and not any(way.startswith(needed) for way in args.ways):
            raise ValueError(f"--{flag.replace('_', '-')} has no effect: none of --ways is {needed}")
    inverted = [way for way in args.ways if "exact" in way]
    for settings in todo.values():
        as_grid(trained.schedule.T, settings.steps)
        if inverted and settings.steps == 1:
            raise ValueError(f"{inverted[0]} needs two steps for its exact inversion, --steps is 1: take more")
