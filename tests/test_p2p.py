"""Prompt-to-Prompt: the hook and the loop, the store of maps and the local blend, on an untrained network."""

import pytest
import torch
from test_p2p_maps import LENGTH, SOURCE, TARGET, maps
from tiny import make_unet

import ddim
import p2p
from ddpm import Noise, Schedule, Trained, last
from p2p.blend import above
from unet import Tokenizer
from unet.attention import Site

TRAINED = Trained(make_unet(), Tokenizer(), Schedule(1000), {})
BOTH = [SOURCE] * 2 + [TARGET] * 2
WORDS = [["circle"]] * 4  # of a local blend
NOTHING = {"cross_until": 0, "self_until": 0}  # of the source is injected
CROSS, OTHER = Site("down.0.0.cross", "cross", "down", 2), Site("up.0.0.cross", "cross", "up", 2)
SELF = Site("down.0.0.self", "self", "down", 2)


def start(n: int = 2) -> torch.Tensor:
    return Noise(range(n)).start((3, 8, 8))


def edited(source=SOURCE, target=TARGET, x_T=None, steps=4, **how) -> torch.Tensor:
    return last(p2p.edit(TRAINED, source, target, start() if x_T is None else x_T, steps, **how))


def joint(scale: float = 1.0, sampler=ddim.sample, hook=None) -> torch.Tensor:
    """Plain sampling of sources and targets side by side."""
    return last(sampler(TRAINED.eps(BOTH, scale, hook), TRAINED.schedule, torch.cat([start()] * 2), 4))


# ---- the edit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [ddim.sample, ddim.sample_2m, ddim.sample_exact, p2p.shared_noise([7, 8])])
def test_the_same_prompt_twice_is_the_same_image_bit_for_bit(sampler):
    source, target = edited(target=SOURCE, scale=3.0, sampler=sampler).chunk(2)
    assert torch.equal(source, target)


@pytest.mark.parametrize(("sampler", "scale"), [(ddim.sample, 3.0), (ddim.sample_2m, 1.0)])
def test_cross_until_0_and_self_until_0_are_plain_sampling_of_the_target(sampler, scale):
    assert torch.equal(edited(scale=scale, sampler=sampler, **NOTHING), joint(scale, sampler))


def test_source_rows_equal_sampling_alone_bit_for_bit():
    """In a batch of the same size; alone, up to rounding."""
    beside = joint(3.0)[:2]
    alone = last(ddim.sample(TRAINED.eps([SOURCE] * 2, 3.0), TRAINED.schedule, start(), 4))
    for how in ({}, {"cross_until": 1.0, "self_until": 1.0}, {"weights": {"blue": 5.0}}):
        assert torch.equal(edited(scale=3.0, **how)[:2], beside)
    assert (beside - alone).abs().max() < 1e-4 * alone.abs().max()


def test_a_hook_acts_in_the_conditional_prediction_of_guidance_alone():
    def halve(weights, site, t):
        return weights / 2

    x, t = start(), torch.tensor([500, 500])
    hooked, null = TRAINED.eps([SOURCE], hook=halve)(x, t), TRAINED.eps(None)(x, t)
    assert torch.equal(TRAINED.eps([SOURCE], 3.0, halve)(x, t), null + 3 * (hooked - null))


def test_with_shared_noise_the_sources_are_ddpms_samples_of_the_same_seeds():
    """And each run draws the same noise again."""
    eps, sampler = TRAINED.eps([SOURCE] * 2), p2p.shared_noise([7, 8])
    x = last(ddim.sample(eps, TRAINED.schedule, start(), 4, 1.0, generator=Noise([7, 8])))
    for _ in range(2):
        assert (edited(sampler=sampler)[:2] - x).abs().max() < 1e-4 * x.abs().max()


def test_a_pairs_result_does_not_depend_on_the_rest_of_the_batch():
    """Each pair has its own prompts, shares and weights."""
    target, until, weights = "a photo of blue red circle", {"blue": 0.3}, {"red": 2.0}
    alone = edited(x_T=start(1), target=target, word_until=until, weights=weights)
    pairs = [SOURCE, "a small cross"], [target, "a large cross"]
    among = edited(*pairs, word_until=[until, {}], weights=[weights, {}])
    assert (alone - among[[0, 2]]).abs().max() < 1e-4 * alone.abs().max()


def test_maps_are_injected_in_their_share_of_any_number_of_steps():
    """Of 8 steps the self maps in two, the cross maps in four, those of words as word_until says; START is no word."""
    store = p2p.AttentionStore([SOURCE, TARGET], by_time=True, kinds=("cross", "self"))
    until, shares = {"a": 0.0, "blue": 1.0, "circle": 0.375}, torch.tensor([0.5, 0, 0.5, 0.5, 0, 1, 0.375])
    edited(x_T=start(1), steps=8, cross_until=0.5, self_until=0.25, word_until=until, store=store)
    for i, recorded in enumerate(store.by_time.values()):
        for site, (source, target) in recorded.items():
            if site.kind == "self":
                assert torch.equal(source, target) == (i < 2)
            else:
                same = (source == target)[:, : len(shares)].all(dim=0)
                assert torch.equal(same, i / 8 < shares)


def test_large_self_attention_maps_stay_the_targets_own(monkeypatch):
    """The network has self-attention at 4 x 4."""
    for size, injected in ((4, True), (3, False)):
        monkeypatch.setattr(p2p.editing, "SELF_SIZE", size)
        assert torch.equal(edited(cross_until=0, self_until=1.0), joint()) != injected


def test_weights_scale_the_targets_cross_maps_in_all_steps():
    factors = torch.ones(2, LENGTH)
    factors[:, 5] = -2.0

    def hook(weights, site, t):
        source, target = weights.chunk(2)
        return torch.cat([source, p2p.reweight(target, factors) if site.kind == "cross" else target])

    assert torch.equal(edited(weights={"blue": -2.0}, **NOTHING), joint(hook=hook))


@pytest.mark.parametrize("weights", [{}, {"blue": -2.0}])
def test_maps_sum_to_one_over_real_words_in_every_row(weights):
    """Also of a weighted word: the store records maps before re-weighting."""
    store = p2p.AttentionStore(BOTH, kinds=("cross", "self"))
    edited(store=store, cross_until=0.5, weights=weights)
    assert store.sites == TRAINED.unet.sites
    for site in store.sites:
        sums = store.mean(site)[..., :7].sum(dim=-1) if site.kind == "cross" else store.mean(site).sum(dim=-1)
        assert torch.allclose(sums, torch.ones(()), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "target", "matrix"),
    [
        ("replace", "a photo of red blue circle", p2p.swap_map),  # two words in the place of one
        ("refine", TARGET, p2p.refine_map),
        (None, TARGET, p2p.swap_map),
        (None, "a photo of red blue circle", p2p.refine_map),
    ],
)
def test_the_kind_decides_which_maps_the_target_takes(kind, target, matrix):
    """At the first site of the first step both halves have the same image."""
    source = "a photo of green circle" if "red blue" in target else SOURCE
    plain, store = (p2p.AttentionStore([source, target], by_time=True) for _ in range(2))
    edited(source, target, start(1), store=plain, **NOTHING)
    edited(source, target, start(1), cross_until=1, self_until=0, kind=kind, store=store)
    before, after = (next(iter(s.by_time[1000].values())) for s in (plain, store))
    expected = p2p.refine(before[:1, None], before[1:, None], matrix(source, target, LENGTH)[None])[:, 0]
    assert torch.allclose(after[1:], expected, atol=1e-6)


# ---- store -----------------------------------------------------------------------------------------------------------


def test_the_store_averages_over_heads_steps_and_sites():
    store, seen = p2p.AttentionStore(["a b", "b c"]), []
    for t, site, seed in ((5, CROSS, 1), (3, CROSS, 2), (5, OTHER, 3), (3, OTHER, 4)):
        seen.append(maps(seed=seed))
        store(seen[-1], site, torch.tensor([t]))
    store(torch.ones(2, 1, 4, 4), SELF, torch.tensor([5]))  # is not recorded
    expected = torch.stack(seen).mean(dim=(0, 2)).view(2, 2, 2, LENGTH)
    assert torch.allclose(store.maps(2), expected) and store.sites == [CROSS, OTHER] and store.largest == 2
    assert torch.allclose(store.word("b", 2), torch.stack([expected[0, ..., 2], expected[1, ..., 1]]))
    assert torch.allclose(store.word(["a", ["b", "c"]], 2)[1], expected[1, ..., 1] + expected[1, ..., 2])
    assert torch.equal(store.word([["a"], []], 2)[1], torch.zeros(2, 2))


def test_a_store_by_time_records_each_step():
    store = p2p.AttentionStore(["a b", "b c"], by_time=True)
    for t in (5, 3):
        store(maps(seed=t), CROSS, torch.tensor([t]))
    assert torch.equal(store.maps(2, t=3), maps(seed=3).mean(dim=1).view(2, 2, 2, LENGTH))


# ---- local blend -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [ddim.sample_2m, ddim.sample_exact])
def test_outside_the_region_the_sources_image_is_kept(sampler, monkeypatch):
    """Of the predicted x_0, too: the second-order sampler goes on from it."""
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 3:6] = True
    monkeypatch.setattr(p2p.blend, "region", lambda *_: mask)
    blend = p2p.LocalBlend(WORDS, start=0.0)
    for _, x, x_0 in p2p.edit(TRAINED, SOURCE, TARGET, start(), 4, blend=blend, sampler=sampler, **NOTHING):
        for image in (x, x_0):
            changes = (image[:2] - image[2:]).abs().amax(dim=1)
            assert (changes[:, ~mask] == 0).all() and (changes[:, mask] > 0).all()
    mask[:] = True
    assert torch.equal(edited(blend=blend), edited())


@pytest.mark.parametrize(("at", "blended"), [(0.0, [1, 1, 1, 1]), (0.5, [0, 1, 1, 1]), (0.6, [0, 0, 1, 1])])
def test_a_blend_begins_with_its_start(at, blended, monkeypatch):
    """After 1, 2, 3, 4 of 4 steps; nothing may change in an empty region, so a blended edit is its source."""
    monkeypatch.setattr(p2p.blend, "region", lambda *_: torch.tensor(False))
    blend = p2p.LocalBlend(WORDS, start=at)
    steps = list(p2p.edit(TRAINED, SOURCE, TARGET, start(), 4, cross_until=0, blend=blend))
    assert [torch.equal(*x.chunk(2)) for _, x, _ in steps] == blended


def test_the_mask_from_words_is_the_union_of_the_sources_and_the_targets_grown_by_whole_pixels():
    store, weights = p2p.AttentionStore(["a b", "a c"]), torch.zeros(2, 1, 64, LENGTH)
    weights[0, 0, 1 * 8 + 1, 2], weights[1, 0, 5 * 8 + 6, 2] = 1, 1  # where b and c look
    store(weights, Site("x", "cross", "up", 8), torch.tensor([1]))

    def region(words, grow):
        inside = p2p.blend.region(store.word(words, 8), 8, 0.3, grow)
        return [tuple(place) for place in inside[0, 0].nonzero().tolist()]

    assert region([["b"], ["c"]], 0) == [(1, 1), (5, 6)] and region([["b"], []], 0) == [(1, 1)]
    assert region([[], ["c"]], 2) == [(y, x) for y in range(3, 8) for x in range(4, 8)]


def test_above_goes_by_each_maps_own_range():
    inside = above(torch.tensor([[[1.0, 2, 3]], [[0.1, 0.1, 0.1]]]), 0.4)
    assert inside.tolist() == [[[False, True, True]], [[False, False, False]]]
    wide = p2p.blend.region(torch.tensor([[[0.0, 1], [0, 1]]] * 2), 4, 0.2, 0)  # bilinear: 0, 1/4, 3/4, 1
    assert wide.tolist() == [[[[False, True, True, True]] * 4]]
