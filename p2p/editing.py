"""Prompt-to-Prompt (Hertz et al. 2022): source and target are denoised side by side from one x_T, and in every step the
target's attention maps are made from the source's.

Both go through the network as one batch, source rows first, target rows second, so the hook sees the maps of both.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

import ddim
from ddim.sampler import OnStep, Steps, Trajectory, as_grid
from ddpm.diffusion import EpsFn
from ddpm.model import Trained
from ddpm.noise import Noise
from ddpm.schedule import Schedule
from unet.attention import Hook, Site

from .blend import LocalBlend
from .maps import refine, reweight
from .store import AttentionStore
from .words import alignment, as_words, in_range, per_word

LEAST_WEIGHT, MOST_WEIGHT = -2.0, 5.0
SELF_SIZE = 16  # self-attention maps larger than this stay the target's own, as in the paper's code
Values = Mapping[str, float] | Sequence[Mapping[str, float]] | None


class Plan(NamedTuple):
    """An edit of n pairs as tensors, for rows of L tokens.

    mapping: (n, L, L), the alignments of source and target. factors: (n, L), of the target's words.
    cross_until: (n, L), the share of the steps in which a target word takes the source's map.
    self_until: the same share for self-attention maps.
    progress: (T + 1,), at each time t of the grid the share of the steps that are done.
    """

    mapping: Tensor
    factors: Tensor
    cross_until: Tensor
    self_until: float
    progress: Tensor


def edit(
    trained: Trained,
    source: str | list[str],
    target: str | list[str],
    x_T: Tensor | tuple[Tensor, Tensor],
    steps: Steps = 50,
    scale: float = 1.0,
    cross_until: float = 0.8,
    self_until: float = 0.4,
    word_until: Values = None,
    weights: Values = None,
    kind: str | None = None,
    blend: LocalBlend | None = None,
    store: AttentionStore | None = None,
    null: EpsFn | None = None,
    sampler: Callable[..., Trajectory] = ddim.sample,
) -> Trajectory:
    """Edit n images through their prompts, Algorithm 1: yields (s, x_s (2n, C, H, W), predicted x_0) after each step.

    The first n rows are the sources, as if sampled alone, the last n the edits.

    source, target: one prompt for each pair, or a single one for all; kind: see `words.alignment`.
    x_T: (n, C, H, W), or the latent pair of `ddim.invert_exact` with sampler=ddim.sample_exact.
    cross_until, self_until: the injection schedule, shares of the steps in [0, 1], counted from T, in which the target
        takes the source's cross-attention maps, and its self-attention maps of at most 16 x 16 (SELF_SIZE). 0 and 0 is
        plain sampling of the target. The defaults are those of the paper's code; `p2p.experiments.baselines` has those
        of a kind.
    word_until, weights: word of the target -> its own share in place of cross_until; factor of its maps in all steps,
        -2 .. 5 (re-weighting; the paper's code weights in the injected steps alone). One mapping for all pairs, or one
        for each.
    blend: keeps the source's image outside a mask. store: records the maps of all 2n images, the target's after
        replacement and before re-weighting. null: the unconditional model of guidance, by default the empty prompt's.
    sampler: `ddim.sample`, `ddim.sample_2m`, `ddim.sample_exact`, or one with noise (`shared_noise`).
    ValueError, when called: x_T of another size, a share or weight out of range, a word that is not in its prompt,
        another kind, a used store, a store or blend for other prompts.
    """
    pair = x_T if isinstance(x_T, tuple) else (x_T,)
    n = len(pair[0])
    for x in pair:
        if x.shape != (n, *trained.shape) or n == 0:
            raise ValueError(f"x_T has the shape {tuple(x.shape)}: expected (n, {', '.join(map(str, trained.shape))})")
    if len(pair) > 1 and sampler in (ddim.sample, ddim.sample_2m):
        raise ValueError("x_T is a latent pair: expected sampler=ddim.sample_exact")
    sources, targets = as_words(source, n), as_words(target, n)
    prompts, grid = sources + targets, as_grid(trained.schedule.T, steps)
    if blend is not None and scale == 0:
        raise ValueError("with guidance 0 the network does not read the prompt: a local blend has no maps")
    store = AttentionStore(prompts) if store is None and blend is not None else store
    if store is not None:
        store.check(prompts, blend is not None)
    if blend is not None:
        blend.check(prompts, trained.unet.config.cross_sizes)
    length, device, progress = trained.unet.config.words, trained.device, progress_of(grid, trained.schedule.T)
    matrices = [alignment(*words, length, kind) for words in zip(sources, targets, strict=True)]
    plan = Plan(
        mapping=torch.stack(matrices).to(device),
        factors=per_word("weight", weights, targets, length, 1.0, LEAST_WEIGHT, MOST_WEIGHT).to(device),
        cross_until=per_word("cross_until", word_until, targets, length, cross_until, 0.0, 1.0).to(device),
        self_until=in_range("self_until", self_until, 0.0, 1.0),
        progress=progress.to(device),
    )
    eps = trained.eps([" ".join(words) for words in prompts], scale, editing_hook(plan, store), null)
    start = tuple(torch.cat([x, x]) for x in pair)
    on_step = blending_step(blend, store, progress) if blend is not None else None
    return sampler(eps, trained.schedule, start if len(pair) > 1 else start[0], grid, on_step=on_step)


def editing_hook(plan: Plan, store: AttentionStore | None) -> Hook:
    """The edit itself, in the conditional prediction: of a batch the first half, the sources, stays as it is."""

    def hook(weights: Tensor, site: Site, t: Tensor) -> Tensor:
        source, target = weights.chunk(2)  # (n, heads, N, L) each
        done = plan.progress[t[:1]]  # (1,): all rows are at the same time
        if site.kind == "cross":
            mapped = refine(source, target, plan.mapping)  # `replace` where no word is new and none removed
            target = torch.where((done < plan.cross_until)[:, None, None], mapped, target)
        elif site.size <= SELF_SIZE:
            target = torch.where(done < plan.self_until, source, target)
        if store is not None:
            store(torch.cat([source, target]), site, t)
        if site.kind == "cross":
            target = reweight(target, plan.factors)
        return torch.cat([source, target])

    return hook


def blending_step(blend: LocalBlend, store: AttentionStore | None, progress: Tensor) -> OnStep:
    """What a local blend does between steps: outside its mask the source's image stays, from `blend.start` on."""

    def on_step(s: int, x: Tensor, x_0: Tensor) -> tuple[Tensor, Tensor]:
        return (blend(x, store), blend(x_0, store)) if progress[s] >= blend.start else (x, x_0)

    return on_step


def progress_of(grid: list[int], T: int) -> Tensor:
    """(T + 1,): the share of the grid's steps that are done at each of its times."""
    progress = torch.zeros(T + 1)
    progress[grid] = torch.arange(len(grid)) / (len(grid) - 1)
    return progress


def shared_noise(seeds: Sequence[int], eta: float = 1.0) -> Callable[..., Trajectory]:
    """A sampler for `edit` that adds noise (eta = 1 is DDPM's), the same noise to both images of a pair.

    seeds: one for each of n pairs, other than those that drew x_T. Row i of a batch has the noise of seed i mod n.
    """
    seeds = list(seeds)

    def sampler(eps: EpsFn, schedule: Schedule, x_T: Tensor, steps: Steps, on_step: OnStep | None = None) -> Trajectory:
        noise = Noise(seeds * -(-len(x_T) // max(len(seeds), 1)))
        return ddim.sample(eps, schedule, x_T, steps, eta, generator=noise, on_step=on_step)

    return sampler
