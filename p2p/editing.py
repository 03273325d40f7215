"""Prompt-to-Prompt (Hertz et al. 2022): source and target walk side by side from one x_T, and at every step the
target's attention looks where the source's does.

Both halves go through the network as one batch, source rows first, target rows second, so the hook finds the maps of
both in one tensor. The sampler is any of `ddim`: an edit is an `EpsFn` like every other.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

import ddim
from ddim.grids import as_grid
from ddim.sampling import Steps, Trajectory
from ddpm.diffusion import EpsFn
from ddpm.guidance import guided
from ddpm.noise import Noise
from unet.attention import Hook, Site

from .blend import LocalBlend
from .maps import refine, reweight, within
from .store import AttentionStore
from .words import kind_of, refine_map, split, swap_map, word_positions

KINDS = ("replace", "refine")
LEAST_WEIGHT, MOST_WEIGHT = -2.0, 5.0
Shares = Mapping[str, float] | Sequence[Mapping[str, float]] | None


class Plan(NamedTuple):
    """An edit of n pairs as tensors: mapping (n, L, L) of words, until (n, L) and factors (n, L) of the target's words,
    self_until and self_size of self-attention.
    """

    mapping: Tensor
    until: Tensor
    factors: Tensor
    self_until: float
    self_size: int


def watched(trained: Any, prompts: list[str] | None, hook_at: Callable[[int], Hook | None]) -> EpsFn:
    """The conditional model with a hook chosen by the time t of each call; the prompts are encoded once."""
    open_hook: Hook | None = None
    plain = trained.eps(prompts)
    hooked = trained.eps(prompts, 1.0, lambda weights, site: open_hook(weights, site))

    def eps(x_t: Tensor, t: Tensor) -> Tensor:
        nonlocal open_hook
        open_hook = hook_at(int(t[0]))
        return (hooked if open_hook else plain)(x_t, t)

    return eps


def editing_hook(plan: Plan, progress: float) -> Hook | None:
    """The hook of one step: replaces the second half of a batch's maps, the targets', with what comes from the first,
    the sources'; None where no window is open.
    """
    words, pixels = bool((progress < plan.until).any()), progress < plan.self_until
    if not words and not pixels:
        return None

    def hook(weights: Tensor, site: Site) -> Tensor:
        source, target = weights.chunk(2)
        if site.kind == "cross" and words:
            # where no word is new or gone, refine is `maps.replace`: one call serves both kinds
            return torch.cat([source, within(refine(source, target, plan.mapping), target, plan.until, progress)])
        if site.kind == "self" and pixels and site.size <= plan.self_size:
            return torch.cat([source, source])
        return weights

    return hook


def weighing_hook(plan: Plan) -> Hook | None:
    """The hook of every step that scales the words of the targets, the second half of the rows; None where all factors
    are 1.
    """
    if (plan.factors == 1).all():
        return None

    def hook(weights: Tensor, site: Site) -> Tensor:
        if site.kind != "cross":
            return weights
        source, target = weights.chunk(2)
        return torch.cat([source, reweight(target, plan.factors)])

    return hook


def chain(*hooks: Hook | None) -> Hook | None:
    """Hooks one after the other; None where there is none."""
    present = [hook for hook in hooks if hook is not None]
    return (lambda weights, site: reduce(lambda w, hook: hook(w, site), present, weights)) if present else None


def edit(
    trained: Any,
    source: str | list[str],
    target: str | list[str],
    x_T: Tensor | tuple[Tensor, Tensor],
    steps: Steps = 50,
    scale: float = 1.0,
    cross_until: float = 0.8,
    self_until: float = 0.4,
    windows: Shares = None,
    weights: Shares = None,
    kind: str | None = None,
    self_size: int = 16,
    blend: LocalBlend | None = None,
    store: AttentionStore | None = None,
    null: EpsFn | None = None,
    sampler: Callable[..., Trajectory] = ddim.sample,
) -> Trajectory:
    """Edit n pictures through their prompts (Hertz et al. 2022, Algorithm 1): yields (s, x_s (2n, C, H, W), predicted
    x_0) after each step.

    The first n rows are the sources, walking as if alone, the last n the edits. trained: a `ddpm.Trained` or whatever
    has its eps, tokens, tokenizer and schedule. source, target: one prompt for each pair, or a single one for all.
    x_T (n, C, H, W), or the latent pair of `ddim.invert_exact` with sampler=ddim.sample_exact.
    cross_until, self_until: shares of the steps, [0, 1], during which the target takes the source's cross-attention,
        and its self-attention on maps up to self_size x self_size. 0 and 0 is plain sampling of the target.
    windows: word of the target -> its own share instead of cross_until, which START and all other words keep.
    weights: word of the target -> factor of its maps in all steps, -2 .. 5. Windows and weights are one mapping for all
        pairs, or one for each.
    kind: "replace" or "refine", by default `kind_of` each pair: see `swap_map` and `refine_map`.
    blend: keeps the source's picture outside a mask. store: takes note of all 2n pictures' maps, with the source's in
        place of the target's but before the weights: where a word looks does not depend on how loud it is.
    null: what guidance walks away from, by default the model's answer to the empty prompt.
    sampler: `ddim.sample`, `ddim.sample_2m`, `ddim.sample_exact` or one with noise (`shared_noise`); one call of the
        conditional network per step.
    ValueError: shares outside [0, 1], weights outside -2 .. 5, words that are not in their prompt, an unknown kind, a
    store of other prompts, with notes of another walk, or without the maps that the blend reads.
    """
    n = len(x_T[0] if isinstance(x_T, tuple) else x_T)
    prompts = trained.tokenizer.decode(trained.tokens(listed(source, n) + listed(target, n)))
    by_words = blend is not None and blend.words is not None
    if store is not None:
        check_store(store, prompts, by_words)
    plan = make_plan(trained, prompts, cross_until, self_until, windows, weights, kind, self_size)
    grid = as_grid(trained.schedule.T, steps)
    progress = {t: i / (len(grid) - 1) for i, t in enumerate(grid)}
    if store is None and by_words:
        store = AttentionStore(prompts)

    def hook_at(t: int) -> Hook | None:
        return chain(editing_hook(plan, progress[t]), store.at(t) if store else None, weighing_hook(plan))

    conditional = watched(trained, prompts, hook_at)
    eps = guided(conditional, null or trained.eps(None), scale)
    start = tuple(torch.cat([x, x]) for x in x_T) if isinstance(x_T, tuple) else torch.cat([x_T, x_T])
    for s, x, x_0 in sampler(eps, trained.schedule, start, grid):
        if blend is not None and progress[s] >= blend.start:
            for picture in (x, x_0):  # the sampler goes on from the tensors that it hands out
                picture.copy_(blend(picture, store))
        yield s, x, x_0


def shared_noise(seeds: Sequence[int], eta: float = 1.0) -> Callable[..., Trajectory]:
    """A sampler for `edit` that adds noise, eta = 1 being DDPM: the same noise to both pictures of a pair.

    seeds: one for each pair, other than those that drew x_T; every row i of a batch of n, 2n, ... has the noise of seed
    i mod n, anew in each walk. Noise mends what few steps got wrong, and a pair that shares it is mended alike.
    """

    def sampler(eps: EpsFn, schedule: Any, x_T: Tensor, steps: Steps) -> Trajectory:
        noise = Noise(list(seeds) * (len(x_T) // len(seeds)))
        return ddim.sample(eps, schedule, x_T, steps, eta, generator=noise)

    return sampler


def listed(prompts: str | list[str], n: int) -> list[str]:
    """n prompts from one for all or one for each."""
    prompts = [prompts] * n if isinstance(prompts, str) else list(prompts)
    if len(prompts) != n:
        raise ValueError(f"{len(prompts)} prompts for {n} pictures: expected one for each, or a single one")
    if empty := [prompt for prompt in prompts if not split(prompt)]:
        raise ValueError(f"the prompt {empty[0]!r} has no word: an edit needs something to edit")
    return prompts


def check_store(store: AttentionStore, prompts: list[str], by_words: bool) -> None:
    """ValueError for a store that cannot take the notes of an edit of these 2n prompts; by_words: a local blend will
    read words in them.
    """
    if store.sites:
        raise ValueError("the store has notes of another walk: make a new one for each edit")
    if len(store.prompts) != len(prompts):
        raise ValueError(f"the store has {len(store.prompts)} prompts: expected {len(prompts)}, sources first")
    for i, (noted, edited) in enumerate(zip(store.prompts, prompts, strict=True)):
        if split(noted) != split(edited):
            raise ValueError(f"the store's prompt {i} is {noted!r}: expected {edited!r}, as the edit has it")
    if by_words and "cross" not in store.kinds:
        raise ValueError(f"the store notes {', '.join(store.kinds)} maps only: a local blend by words reads cross maps")


def make_plan(
    trained: Any,
    prompts: list[str],
    cross_until: float,
    self_until: float,
    windows: Shares,
    weights: Shares,
    kind: str | None = None,
    self_size: int = 16,
) -> Plan:
    """The tensors of `edit` for 2n prompts, sources first; see there for what they mean and what is refused."""
    n, length = len(prompts) // 2, trained.tokens(prompts[:1]).shape[1]
    sources, targets = prompts[:n], prompts[n:]
    if kind not in (None, *KINDS):
        raise ValueError(f"kind is {kind!r}: expected one of {', '.join(KINDS)}")
    for name, share in (("cross_until", cross_until), ("self_until", self_until)):
        check_share(name, share)
    mapping = torch.stack([
        (swap_map if (kind or kind_of(*pair)) == "replace" else refine_map)(*pair, length)
        for pair in zip(sources, targets, strict=True)
    ])  # fmt: skip
    until, factors = torch.full((n, length), float(cross_until)), torch.ones(n, length)
    for i, (prompt, shares, changes) in enumerate(zip(targets, each(windows, n), each(weights, n), strict=True)):
        for word, share in shares.items():
            check_share(f"the window of {word!r}", share)
            until[i, word_positions(prompt, word)] = share
        for word, factor in changes.items():
            if not LEAST_WEIGHT <= factor <= MOST_WEIGHT:
                raise ValueError(f"the weight of {word!r} is {factor}: expected {LEAST_WEIGHT:g} .. {MOST_WEIGHT:g}")
            factors[i, word_positions(prompt, word)] = factor
    device = trained.tokens(prompts[:1]).device
    return Plan(mapping.to(device), until.to(device), factors.to(device), self_until, self_size)


def each(values: Shares, n: int) -> Sequence[Mapping[str, float]]:
    """One mapping for each of n pairs from one for all, one for each, or None."""
    values = [values or {}] * n if values is None or isinstance(values, Mapping) else values
    if len(values) != n:
        raise ValueError(f"{len(values)} mappings for {n} pairs: expected one for each, or a single one")
    return values


def check_share(name: str, share: float) -> None:
    """ValueError unless 0 <= share <= 1."""
    if not 0 <= share <= 1:
        raise ValueError(f"{name} is {share}: expected a share of the steps in [0, 1]")
