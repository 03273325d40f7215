"""Prompt-to-Prompt's loop, its store of maps and the local blend, on an untrained network."""

import pytest
import torch
from test_p2p_maps import LENGTH, SOURCE, TARGET, maps
from tiny import CONFIG, make_unet

import ddim
import p2p
from ddpm import Noise, Schedule, Trained
from p2p.blend import above
from unet import Tokenizer
from unet.attention import Site

TRAINED = Trained(make_unet(), Tokenizer(), Schedule(1000), {})


def start(n: int = 2) -> torch.Tensor:
    return Noise(range(n)).start((3, 8, 8))


def last(trajectory) -> torch.Tensor:
    *_, (_, x, _) = trajectory
    return x


def edited(source=SOURCE, target=TARGET, x_T=None, steps=4, **how) -> torch.Tensor:
    return last(p2p.edit(TRAINED, source, target, start() if x_T is None else x_T, steps, **how))


# ---- the loop --------------------------------------------------------------------------------------------------------


def joint(prompts: list[str], scale: float = 1.0, n: int = 2, steps: int = 4, sampler=ddim.sample) -> torch.Tensor:
    """Plain sampling of sources and targets side by side."""
    return last(sampler(TRAINED.eps(prompts, scale), TRAINED.schedule, torch.cat([start(n)] * 2), steps))


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("sampler", [ddim.sample, ddim.sample_2m, ddim.sample_exact, p2p.shared_noise([7, 8])])
def test_the_same_prompt_twice_is_the_same_image_bit_for_bit(scale, sampler):
    source, target = edited(target=SOURCE, scale=scale, sampler=sampler).chunk(2)
    assert torch.equal(source, target)


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("sampler", [ddim.sample, ddim.sample_2m])
def test_windows_at_0_are_plain_sampling_of_the_target(scale, sampler):
    x = edited(scale=scale, cross_until=0, self_until=0, sampler=sampler)
    assert torch.equal(x, joint([SOURCE] * 2 + [TARGET] * 2, scale, sampler=sampler))


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_source_rows_equal_those_of_a_run_without_an_edit(scale):
    """Up to rounding: with a hook the softmax is PyTorch's plain one, without it the fused one runs."""
    plain = last(ddim.sample(TRAINED.eps([SOURCE] * 2, scale), TRAINED.schedule, start(), 4))
    for how in ({}, {"cross_until": 1.0, "self_until": 1.0}, {"weights": {"blue": 5.0}}):
        assert (edited(scale=scale, **how)[:2] - plain).abs().max() < 1e-4 * plain.abs().max()


def test_the_sources_of_a_walk_with_noise_are_ddpms_of_the_same_seeds():
    """And each walk draws its noise anew."""
    sampler = p2p.shared_noise([7, 8])
    *_, (_, x, _) = ddim.sample(TRAINED.eps([SOURCE] * 2), TRAINED.schedule, start(), 4, 1.0, generator=Noise([7, 8]))
    for _ in range(2):
        assert (edited(sampler=sampler)[:2] - x).abs().max() < 1e-4 * x.abs().max()
    assert (edited()[:2] - x).abs().max() > 1e-2


def test_an_edit_changes_the_target_and_each_window_matters():
    plain = edited(cross_until=0, self_until=0)[2:]
    cross, pixels = edited(cross_until=1, self_until=0)[2:], edited(cross_until=0, self_until=1)[2:]
    assert min((a - b).abs().max() for a, b in ((plain, cross), (plain, pixels), (cross, pixels))) > 1e-5


def test_a_pairs_result_does_not_depend_on_the_rest_of_the_batch():
    alone = edited(x_T=start(1))
    among = edited([SOURCE, "a small cross"], [TARGET, "a large cross"], start(2))
    assert (alone[[0, 1]] - among[[0, 2]]).abs().max() < 1e-4 * alone.abs().max()


def test_weight_1_does_nothing():
    assert torch.equal(edited(weights={"blue": 1.0}), edited())


def test_a_weight_changes_only_the_target():
    light, heavy = edited(weights={"blue": -2.0}), edited(weights={"blue": 5.0})
    assert torch.equal(light[:2], heavy[:2])
    assert (light[2:] - heavy[2:]).abs().max() > 1e-5


def test_a_words_own_window_of_the_common_length_is_the_common_window():
    words = TARGET.split()
    spread = edited(cross_until=0.5, windows=dict.fromkeys(words, 0.5))
    assert torch.equal(spread, edited(cross_until=0.5))
    assert not torch.equal(edited(cross_until=0.5, windows={"blue": 0.0}), spread)


def test_a_words_own_window_leaves_start_the_common_one():
    """START is no word: its maps keep cross_until where all words are shut."""
    store = p2p.AttentionStore([SOURCE, TARGET])
    edited(x_T=start(1), store=store, cross_until=1.0, self_until=0, windows=dict.fromkeys(TARGET.split(), 0.0))
    source, target = store.mean(store.sites[0])
    assert torch.equal(source[:, 0], target[:, 0]) and not torch.equal(source[:, 1:], target[:, 1:])


def test_windows_and_weights_may_differ_between_pairs():
    x = edited([SOURCE] * 2, [TARGET, SOURCE], windows=[{"blue": 0.3}, {}], weights=[{}, {"red": 2.0}])
    assert (x[[0, 2]] - edited(windows={"blue": 0.3})[[0, 2]]).abs().max() < 1e-5 * x.abs().max()


def test_only_self_maps_up_to_the_size_asked_for_are_replaced():
    plain = edited(cross_until=0, self_until=0)
    below, within = (edited(cross_until=0, self_until=1, self_size=size) for size in (2, 4))  # its self map is 4 x 4
    assert (below - plain).abs().max() < 1e-6 * plain.abs().max() < (within - plain).abs().max()


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("how", [{}, {"weights": {"blue": 2.0}}, {"cross_until": 0.0, "self_until": 0.0}])
def test_the_hook_fires_once_for_each_site_and_step_at_every_scale(scale, how):
    """Nothing counts calls, so guidance cannot disturb what a step is: the reference implementation infers it."""
    store, calls = p2p.AttentionStore([SOURCE] * 2 + [TARGET] * 2), []
    store.add = lambda t, weights, site: calls.append((t, site))
    edited(scale=scale, store=store, **how)
    times = ddim.timesteps(1000, 4)[:-1] if scale else []  # with 0 the conditional network is not asked
    assert calls == [(t, site) for t in times for site in TRAINED.unet.sites]


def test_a_grid_of_any_steps_opens_each_window_for_its_share():
    """Of 8 steps, a window of 0.5 covers the first four: their target maps are the source's."""
    store = p2p.AttentionStore([SOURCE, TARGET], by_time=True, kinds=("cross", "self"))
    edited(x_T=start(1), steps=8, cross_until=0.5, self_until=0.25, store=store)
    for i, seen in enumerate(store.by_time.values()):
        for site, both in seen.items():
            same = torch.equal(both[0], both[1])
            assert same == (i < (4 if site.kind == "cross" else 2))


@pytest.mark.parametrize("weights", [{}, {"blue": -2.0}])
def test_maps_sum_to_one_over_real_words_in_every_row(weights):
    """Also where a word is weighted: the store sees where it looks, not how loud it is."""
    store = p2p.AttentionStore([SOURCE] * 2 + [TARGET] * 2, kinds=("cross", "self"))
    edited(store=store, cross_until=0.5, weights=weights)
    assert {site.kind for site in store.sites} == {"cross", "self"}
    for site in store.sites:
        sums = store.mean(site)[..., :7].sum(dim=-1) if site.kind == "cross" else store.mean(site).sum(dim=-1)
        assert torch.allclose(sums, torch.ones(()), atol=1e-5)


def test_of_a_refined_prompt_maps_sum_to_one_and_what_the_new_word_adds():
    """The words that stay have all of the source's attention, and the new word's own comes on top: 1 .. 2."""
    store = p2p.AttentionStore([SOURCE] * 2 + ["a photo of a small red circle"] * 2)
    edited(target="a photo of a small red circle", store=store, cross_until=1.0)
    for site in store.sites:
        sums = store.mean(site).sum(dim=-1)
        added = store.mean(site)[2:, :, 5]
        assert torch.allclose(sums[:2], torch.ones(()), atol=1e-5) and torch.allclose(sums[2:], 1 + added, atol=1e-5)
        assert (sums[2:] > 1).all() and (sums[2:] < 2).all()


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
    """At the first site of the first step both halves still see the same image: the maps can be told."""
    source = "a photo of green circle" if "red blue" in target else SOURCE
    plain, store = (p2p.AttentionStore([source, target], by_time=True) for _ in range(2))
    edited(source, target, start(1), cross_until=0, self_until=0, store=plain)
    edited(source, target, start(1), cross_until=1, self_until=0, kind=kind, store=store)
    before, after = (next(iter(s.by_time[1000].values())) for s in (plain, store))
    expected = p2p.refine(before[:1, None], before[1:, None], matrix(source, target, LENGTH)[None])[:, 0]
    assert torch.allclose(after[1:], expected, atol=1e-6)


def test_an_edit_touches_no_layer():
    """The reference implementation overwrites the forward of layers that it finds by their class's name."""
    before = {name: module.__dict__.get("forward") for name, module in TRAINED.unet.named_modules()}
    plain = joint([SOURCE] * 4)
    edited(cross_until=1, self_until=1, weights={"blue": 3.0})
    assert {name: module.__dict__.get("forward") for name, module in TRAINED.unet.named_modules()} == before
    assert torch.equal(joint([SOURCE] * 4), plain)


def test_any_length_of_prompt_and_size_of_map_will_do():
    """The reference implementation has 77 tokens and maps of 16 x 16 written into it."""
    assert TRAINED.unet.config.words == LENGTH and CONFIG.cross_sizes == (8, 4)
    x = edited("a circle", "a photo of a small blue circle")
    assert x.shape == (4, 3, 8, 8) and x.isfinite().all()


def test_one_source_may_have_several_targets():
    x = edited(SOURCE, [TARGET, "a photo of a red cross"], torch.cat([start(1)] * 2))
    assert torch.equal(x[0], x[1])
    assert not torch.equal(x[2], x[3])


# ---- store -----------------------------------------------------------------------------------------------------------

CROSS, OTHER = Site("down.0.0.cross", "cross", "down", 2), Site("up.0.0.cross", "cross", "up", 2)
SELF = Site("down.0.0.self", "self", "down", 2)


def test_the_store_averages_over_heads_steps_and_sites():
    store, seen = p2p.AttentionStore(["a b", "b c"]), []
    for t, site, seed in ((5, CROSS, 1), (3, CROSS, 2), (5, OTHER, 3), (3, OTHER, 4)):
        seen.append(maps(seed=seed))
        store.add(t, seen[-1], site)
    store.add(5, torch.ones(2, 1, 4, 4), SELF)
    expected = torch.stack(seen).mean(dim=(0, 2)).view(2, 2, 2, LENGTH)
    assert torch.allclose(store.maps(2), expected)
    down = torch.stack(seen[:2]).mean(dim=(0, 2)).view(2, 2, 2, LENGTH)
    assert torch.allclose(store.maps(2, stage="down"), down)
    assert torch.allclose(store.word("b", 2), torch.stack([expected[0, ..., 2], expected[1, ..., 1]]))
    assert torch.allclose(store.word(["a", ["b", "c"]], 2)[1], expected[1, ..., 1] + expected[1, ..., 2])
    assert torch.equal(store.word([["a"], []], 2)[1], torch.zeros(2, 2))


def test_the_store_keeps_each_step_when_asked():
    store = p2p.AttentionStore(["a b", "b c"], by_time=True)
    for t in (5, 3):
        store.add(t, maps(seed=t), CROSS)
    assert torch.equal(store.maps(2, t=3), maps(seed=3).mean(dim=1).view(2, 2, 2, LENGTH))
    with pytest.raises(ValueError, match=r"size 2, t = 4: expected one of the sizes \[\]"):
        store.maps(2, t=4)


def test_the_store_is_untouched_by_what_happens_to_the_weights_later():
    weights = maps()[:, :1].requires_grad_()
    store = p2p.AttentionStore(["a b", "b c"], by_time=True)
    store.at(7)(weights, CROSS)
    kept = store.maps(2).clone()
    with torch.no_grad():
        weights.zero_()
    assert torch.equal(store.maps(2), kept) and torch.equal(store.maps(2, t=7), kept)
    assert not store.mean(CROSS).requires_grad


def test_a_store_serves_one_walk():
    store = p2p.AttentionStore([SOURCE] * 2 + [TARGET] * 2)
    edited(store=store)
    with pytest.raises(ValueError, match="has notes of another walk"):
        edited(store=store)


def test_a_store_of_other_prompts_or_without_the_blends_maps_is_refused():
    with pytest.raises(ValueError, match="the store has 3 prompts: expected 4, sources first"):
        edited(store=p2p.AttentionStore([SOURCE] * 2 + [TARGET]))
    with pytest.raises(ValueError, match="the store's prompt 2 is '.* red circle': expected '.* blue circle'"):
        edited(store=p2p.AttentionStore([SOURCE] * 4))
    edited(store=p2p.AttentionStore([SOURCE.upper() + "."] * 2 + [TARGET] * 2))  # the same words
    prompts = [SOURCE] * 2 + [TARGET] * 2
    with pytest.raises(ValueError, match="the store notes self maps only: a local blend by words reads cross maps"):
        edited(store=p2p.AttentionStore(prompts, kinds=("self",)), blend=p2p.LocalBlend([["red"]] * 2 + [["blue"]] * 2))


def test_a_store_notes_the_kinds_of_sites_it_is_asked_for():
    store = p2p.AttentionStore(["a b", "b c"])
    store.add(1, torch.ones(2, 1, 4, 4), SELF)
    with pytest.raises(ValueError, match="no cross-attention was seen: with guidance 0"):
        _ = store.largest
    store.add(1, maps(), CROSS)
    assert store.sites == [CROSS] and store.largest == 2


def test_words_for_another_number_of_images_are_refused():
    store = p2p.AttentionStore(["a b", "b c"])
    store.add(1, maps(), CROSS)
    with pytest.raises(ValueError, match="words for 1 images, but the store has 2 prompts"):
        store.word(["a"], 2)


def test_sizes_that_were_not_seen_are_refused():
    store = p2p.AttentionStore(["a b", "b c"])
    store.add(1, maps(), CROSS)
    with pytest.raises(ValueError, match=r"size 4, stage up: expected one of the sizes \[2\]"):
        store.maps(4, stage="up")


# ---- local blend -----------------------------------------------------------------------------------------------------


def square_mask() -> torch.Tensor:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 3:6] = True
    return mask


@pytest.mark.parametrize("sampler", [ddim.sample, ddim.sample_2m, ddim.sample_exact])
def test_outside_a_drawn_mask_the_sources_image_is_kept(sampler):
    x = edited(cross_until=0, self_until=0, blend=p2p.LocalBlend(mask=square_mask()), sampler=sampler)
    changes = (x[:2] - x[2:]).abs().amax(dim=1)
    assert (changes[:, ~square_mask()] == 0).all()
    assert (changes[:, square_mask()] > 0).all()


def test_a_blend_is_of_the_predicted_x_0_too():
    """The second-order sampler goes on from it."""
    blend = p2p.LocalBlend(mask=square_mask(), start=0.0)
    for _, x, x_0 in p2p.edit(TRAINED, SOURCE, TARGET, start(), 4, cross_until=0, blend=blend, sampler=ddim.sample_2m):
        for image in (x, x_0):
            source, target = image[..., ~square_mask()].chunk(2)
            assert torch.equal(source, target)


def test_with_an_empty_mask_the_edit_is_the_source_and_with_a_full_one_the_free_edit():
    nothing, everything = (p2p.LocalBlend(mask=torch.full((8, 8), value)) for value in (False, True))
    source, target = edited(blend=nothing).chunk(2)
    assert torch.equal(source, target)
    assert torch.equal(edited(blend=everything), edited())


def test_before_its_start_a_blend_leaves_the_edit_free():
    blend = p2p.LocalBlend(mask=torch.zeros(8, 8, dtype=torch.bool), start=0.6)
    steps = list(p2p.edit(TRAINED, SOURCE, TARGET, start(), 4, cross_until=0, blend=blend))
    assert [torch.equal(*x.chunk(2)) for _, x, _ in steps] == [False, False, True, True]


def test_the_mask_from_words_is_the_union_of_what_source_and_target_look_at():
    store = p2p.AttentionStore(["a b", "a c"])
    weights = torch.zeros(2, 1, 4, LENGTH)
    weights[0, 0, 0, 2], weights[1, 0, 3, 2] = 1, 1  # the second word: top left in the source, bottom right in the edit
    store.add(1, weights, CROSS)
    blend = p2p.LocalBlend(words=[["b"], ["c"]], grow=0)
    assert blend.region(store, torch.Size((2, 3, 2, 2)))[0, 0].tolist() == [[True, False], [False, True]]
    only = p2p.LocalBlend(words=[["b"], []], grow=0)
    assert only.region(store, torch.Size((2, 3, 2, 2)))[0, 0].tolist() == [[True, False], [False, False]]


def test_a_mask_grows_by_whole_pixels():
    blend = p2p.LocalBlend(words=[["b"], []], size=8, grow=2)
    store = p2p.AttentionStore(["a b", "a b"])
    weights = torch.zeros(2, 1, 64, LENGTH)
    weights[0, 0, 4 * 8 + 4, 2] = 1
    store.add(1, weights, Site("x", "cross", "up", 8))
    rows, columns = blend.region(store, torch.Size((2, 3, 8, 8)))[0, 0].nonzero().T
    assert sorted(set(rows.tolist())) == sorted(set(columns.tolist())) == [2, 3, 4, 5, 6]


def test_above_goes_by_each_maps_own_range():
    inside = above(torch.tensor([[[1.0, 2, 3]], [[0.1, 0.1, 0.1]]]), 0.4)
    assert inside.tolist() == [[[False, True, True]], [[False, False, False]]]


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"weights": {"green": 2.0}}, "'green' is not in the prompt 'a photo of a blue circle'"),
        ({"windows": {"red": 0.5}}, "'red' is not in the prompt 'a photo of a blue circle'"),
        ({"cross_until": 1.5}, r"cross_until is 1.5: expected a share of the steps in \[0, 1\]"),
        ({"self_until": -0.1}, r"self_until is -0.1: expected a share of the steps in \[0, 1\]"),
        ({"windows": {"blue": 2}}, r"the window of 'blue' is 2: expected a share of the steps in \[0, 1\]"),
        ({"weights": {"blue": 6.0}}, r"the weight of 'blue' is 6.0: expected -2 .. 5"),
        ({"kind": "swap"}, "kind is 'swap': expected one of replace, refine"),
        ({"source": ""}, "the prompt '' has no word"),
        ({"source": "..."}, "the prompt '...' has no word"),
        ({"target": " ".join(["a"] * 9)}, "has 9 words, but this model reads at most 7"),
        ({"target": "a zebra"}, "unknown word 'zebra'"),
        ({"source": [SOURCE] * 3}, "3 prompts for 2 images: expected one for each, or a single one"),
        ({"windows": [{}]}, "1 mappings for 2 pairs: expected one for each, or a single one"),
        ({"blend": lambda: p2p.LocalBlend(mask=torch.ones(4, 5))}, "the mask has 4x5 pixels, the image 8x8"),
        ({"blend": lambda: p2p.LocalBlend(mask=torch.ones(3, 8, 8))}, "3 masks for 2 pairs"),
        ({"blend": lambda: p2p.LocalBlend(mask=torch.ones(8))}, r"the mask has the shape \(8,\): expected \(H, W\)"),
        ({"blend": lambda: p2p.LocalBlend(mask=torch.ones(8, 8), grow=-1)}, "grow is -1: expected 0 or more"),
        ({"blend": lambda: p2p.LocalBlend(words=[["red"]] * 2 + [["blue"]] * 2, start=0), "scale": 0}, "guidance 0"),
        ({"blend": lambda: p2p.LocalBlend()}, "needs either words or a drawn mask"),
        ({"blend": lambda: p2p.LocalBlend(words=[["a"]], threshold=2)}, r"threshold is 2: expected a share"),
    ],
)
def test_bad_input_is_named(how, says):
    with pytest.raises(ValueError, match=says):
        edited(**{key: value() if callable(value) else value for key, value in how.items()})
