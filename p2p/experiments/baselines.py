"""Prompt-to-Prompt and the baselines that it is compared with: all edit the same source images."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

import ddim
from ddim.sampler import Trajectory, as_grid
from ddpm.diffusion import last
from ddpm.experiments import records
from ddpm.experiments.common import SAMPLERS, check_n, finite, model_facts
from ddpm.experiments.records import Cell
from ddpm.model import Trained
from ddpm.noise import Noise
from ddpm.utils import cli

from ..blend import LocalBlend
from ..editing import edit, shared_noise
from ..real import ITERATIONS, latent_pair
from ..store import AttentionStore
from ..words import Words, as_words, changed, split

SDEDIT_SEEDS, SHARED_SEEDS = 2**20, 2**21  # added to the seeds of x_T, so that later noise is independent of it
PAIR_SAMPLERS = ("ddim", "2m", "ddpm")  # see `sampler_of`

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

    def blend(self, trained: Trained, words: list[Words]) -> LocalBlend:
        """The local blend around the words of each of the 2n prompts, sources first."""
        return LocalBlend(words, size=map_size(trained, self.size), threshold=self.threshold, grow=self.grow)


def with_flags(settings: EditSettings, flags: dict[str, Any]) -> EditSettings:
    """The settings, with what flags of the same name give in their place."""
    given = {field.name: flags.get(field.name) for field in fields(EditSettings)}
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
PHOTO = EditSettings(scale=3.0, cross_until=0.6, size=8)
# Shapes, CIFAR-10 and CelebA: chosen in trials on a few dozen pairs. Scenes: of 40, 60 and 80 % of the steps what is
# nearest to the truth with nearly the best success, in 40 other images of each kind (`python -m p2p truth --seed 1`).
SETTINGS = {  # (dataset, kind of edit) -> settings
    (data, kind): settings
    for data, kinds, settings in (
        ("shapes", ["colour", "background"], EditSettings(cross_until=1.0)),
        ("shapes", ["shape"], EditSettings(steps=16, scale=3.0, cross_until=0.6, size=8)),
        ("shapes", ["reweight colour", "reweight background"], EditSettings(cross_until=1.0, self_until=0.4)),
        ("scenes", ["thing", "setting", "add spikey"], replace(SCENE, cross_until=0.4)),
        ("scenes", ["drop flag"], replace(SCENE, cross_until=0.6)),
        ("scenes", ["colour", "setting_colour", "add flag", "add colour", "drop colour"], SCENE),
        ("cifar10", ["class"], replace(PHOTO, cross_until=0.4)),
        ("cifar10", ["colour", "background"], PHOTO),
        ("celeba", ["smiling", "eyeglasses"], replace(PHOTO, cross_until=0.8)),
        ("celeba", ["hair", "age"], PHOTO),
    )
    for kind in kinds
}

# ---- pairs of a source image and a target prompt ---------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """n pairs to edit: prompts, seeds, x_T (n, C, H, W) or an exact latent pair of them, and the source images x_0."""

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
    """The images (n, C, H, W) of n prompts, one seed each."""
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


# ---- the ways of editing: each gives the edits (n, C, H, W) of n pairs -----------------------------------------------


def nothing(trained: Trained, settings: EditSettings, pairs: Pairs) -> Tensor:
    """The source images as they are."""
    return pairs.x_0


def plain(trained: Trained, settings: EditSettings, pairs: Pairs) -> Tensor:
    """The new caption only: sampled from the noise of the seeds, from which a sampled source came, too."""
    return sampled(trained, settings, pairs.targets, pairs.seeds)


def sdedit(trained: Trained, settings: EditSettings, pairs: Pairs) -> Tensor:
    """SDEdit (Meng et al. 2022): noise the source image to `strength`, then DDPM's steps with the target's prompt."""
    noise, eps = Noise(seed + SDEDIT_SEEDS for seed in pairs.seeds), trained.eps(pairs.targets, settings.scale)
    states = ddim.edit_naive(eps, trained.schedule, pairs.x_0, settings.strength, settings.steps, generator=noise)
    return last(finite(states, settings.scale))


def ddim_inversion(trained: Trained, settings: EditSettings, pairs: Pairs, iterations: int = 0) -> Tensor:
    """DDIM: invert all the way to noise with the source's prompt, sample with the target's.

    iterations: of the fixed point of each step of the inversion (`ddim.invert`).
    """
    source, target = trained.eps(pairs.sources), trained.eps(pairs.targets, settings.scale)
    states = ddim.edit_inverted(source, target, trained.schedule, pairs.x_0, 1.0, settings.steps, iterations)
    return last(finite(states, settings.scale))


def prompt_to_prompt(
    trained: Trained,
    settings: EditSettings,
    pairs: Pairs,
    store: AttentionStore | None = None,
    exact: bool = False,
    local: bool = False,
) -> Tensor:
    """`p2p.edit`. exact: from the latent pair of the exact inversion; local: blend around the words that differ."""
    how, x_T, sampler = settings, pairs.x_T, sampler_of(settings.sampler, pairs.seeds)
    if exact:
        x_T, sampler = latent_pair(trained, pairs.sources, pairs.x_0, how.steps, how.scale), ddim.sample_exact
    blend = how.blend(trained, words_that_differ(pairs)) if local else None
    keywords = dict(cross_until=how.cross_until, self_until=how.self_until, blend=blend, store=store, sampler=sampler)
    states = edit(trained, pairs.sources, pairs.targets, x_T, how.steps, how.scale, **keywords)
    return last(finite(states, how.scale))[len(pairs.sources) :]


WAYS: dict[str, Callable[[Trained, EditSettings, Pairs], Tensor]] = {
    "nothing": nothing,
    "plain": plain,
    "sdedit": sdedit,
    "ddim": ddim_inversion,
    "ddim-iterations": partial(ddim_inversion, iterations=ITERATIONS),
    "p2p": prompt_to_prompt,
    "p2p-blend": partial(prompt_to_prompt, local=True),
    "p2p-exact": partial(prompt_to_prompt, exact=True),
}
NAMES = {
    "nothing": "source", "plain": "new caption\nonly", "sdedit": "SDEdit", "ddim": "DDIM\ninversion",
    "ddim-iterations": "DDIM inversion,\n3 iterations", "p2p": "Prompt-\nto-Prompt", "p2p-blend": "+ local\nblend",
    "p2p-exact": "P2P, exact\ninversion",
}  # fmt: skip

# ---- commands that measure the ways ----------------------------------------------------------------------------------


def add_flags(parser: ArgumentParser, ways: Collection[str] = WAYS, **own: Any) -> None:
    """The flags of a command that measures ways of editing on kinds of edit; own: further flags of `cli.FLAGS`."""
    cli.add_flags(parser, "device", "out", model="scenes", n=500, steps=None, scale=None, **own)
    parser.add_argument("--kinds", nargs="+", help="kinds of edit, such as colour; by default all")
    parser.add_argument("--ways", nargs="+", choices=list(ways), help="ways of editing, by default most of them")
    parser.add_argument("--cross-until", type=cli.share, help="in place of that of each kind")


def settings_of(trained: Trained, args: Namespace, known: Collection[str]) -> dict[str, EditSettings]:
    """Kind of edit -> its settings, or those of flags. ValueError, before any work: an unknown kind, a flag without
    effect, a wrong number of steps.
    """
    check_n(args.n)
    data, exact = trained.info["data"], [way for way in args.ways if "exact" in way]
    if unknown := [kind for kind in args.kinds if kind not in known]:
        raise ValueError(f"no kind of edit {unknown[0]!r} of {data}: expected one of {', '.join(known)}")
    if args.cross_until is not None and not any(way.startswith("p2p") for way in args.ways):
        raise ValueError("--cross-until has no effect: none of --ways is p2p")
    settings = {kind: with_flags(SETTINGS.get((data, kind), EditSettings()), vars(args)) for kind in args.kinds}
    for each in settings.values():
        as_grid(trained.schedule.T, each.steps)
        if exact and each.steps == 1:
            raise ValueError(f"{exact[0]} needs two steps for its exact inversion, --steps is 1: take more")
    return settings


def record_of(trained: Trained, args: Namespace, name: str, settings: dict, **facts: Any) -> tuple[Path, dict, dict]:
    """The file of a record, what it says of each kind's settings, and the cells it has already: kind -> way -> cell."""
    facts = model_facts(trained, args) | facts
    said = {kind: facts | asdict(how) for kind, how in settings.items()}
    path = cli.output(args, f"{name}-{cli.name_of(args.model)}", ".json")
    return path, said, records.resume_rows(path, said)["cells"]


def add_cells(path: Path, kind: str, settings: dict, new: dict[str, Cell]) -> None:
    """Write the new cells of a kind, way -> cell, into the record, and print all that it has."""
    print(records.row_text(path, records.add_cells(path, kind, settings, new), kind, new))
