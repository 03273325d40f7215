"""Prompt-to-Prompt's parts and its loop: alignment of words, edits of maps, the store, local blend, trajectories."""

import math

import pytest
import torch

import ddim
import ddpm
import p2p
from ddpm import Noise, Schedule, Trained
from p2p.blend import above
from p2p.words import changed, common
from tests.tiny import CONFIG, make_unet
from unet import Tokenizer
from unet.attention import Site

SOURCE, TARGET = "a photo of a red circle", "a photo of a blue circle"
LENGTH = 8


def tiny(**changes) -> Trained:
    return Trained(make_unet(), Tokenizer(), Schedule(1000), {}, **changes)


TRAINED = tiny()


def start(n: int = 2) -> torch.Tensor:
    return Noise(range(n)).start((3, 8, 8))


def last(trajectory) -> torch.Tensor:
    *_, (_, x, _) = trajectory
    return x


def edited(source=SOURCE, target=TARGET, x_T=None, steps=4, **how) -> torch.Tensor:
    return last(p2p.edit(TRAINED, source, target, start() if x_T is None else x_T, steps, **how))


def maps(n: int = 2, rows: int = 4, seed: int = 0) -> torch.Tensor:
    """Attention weights (n, 3 heads, rows, LENGTH) over the first six tokens."""
    logits = torch.randn(n, 3, rows, LENGTH, generator=torch.Generator().manual_seed(seed))
    logits[..., 6:] = -math.inf
    return logits.softmax(dim=-1)


# ---- words -----------------------------------------------------------------------------------------------------------


def test_word_i_is_token_i_plus_1_wherever_it_occurs():
    assert p2p.word_positions("a photo of a cat", "photo") == [2]
    assert p2p.word_positions("a photo of a cat", "a") == [1, 4]


@pytest.mark.parametrize("prompt", ["a red, small circle.", "a red , small circle", "A photo of a 'red' CIRCLE!"])
def test_words_are_counted_as_the_tokenizer_counts_them(prompt):
    row = TRAINED.tokenizer.encode([prompt], LENGTH)[0]
    (circle,) = TRAINED.tokenizer.encode(["circle"], LENGTH)[0, 1:2]
    assert p2p.word_positions(prompt, "circle") == (row == circle).nonzero().flatten().tolist()


def test_a_word_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="'dog' is not in the prompt 'a photo of a cat'"):
        p2p.word_positions("a photo of a cat", "dog")


@pytest.mark.parametrize(
    ("source", "target", "length"),
    [("abcbdab", "bdcaba", 4), ("abc", "abc", 3), ("abc", "xyz", 0), ("", "abc", 0), ("aab", "ab", 2)],
)
def test_common_is_the_longest_rising_sequence_of_equal_words(source, target, length):
    pairs = common(source, target)
    assert len(pairs) == length
    assert all(source[i] == target[j] for i, j in pairs)
    assert all(a < c and b < d for (a, b), (c, d) in zip(pairs, pairs[1:], strict=False))


def test_between_prompts_of_equal_length_the_swap_map_is_the_identity():
    """Users of the reference implementation have reported this as a bug: word i stands for word i."""
    expected = torch.zeros(LENGTH, LENGTH)
    expected[range(7), range(7)] = 1
    assert torch.equal(p2p.swap_map("a photo of a red circle", "a photo of a blue square", LENGTH), expected)


@pytest.mark.parametrize(
    ("source", "target", "tail"),
    [
        ("a red cat on a road", "a dog on a road", 3),
        ("a cat on a road", "a small brown old dog on a road", 3),
        ("a dark red cat on road", "the dog on road", 2),
    ],
)
def test_after_an_uneven_swap_every_later_word_is_aligned(source, target, tail):
    """The reference implementation writes mapper[j, j] after the first uneven swap."""
    for one, other in ((source, target), (target, source)):
        matrix = p2p.swap_map(one, other, 10)
        m, n = len(one.split()), len(other.split())
        for back in range(tail):
            row = torch.zeros(10)
            row[m - back] = 1
            assert torch.equal(matrix[:, n - back], row)


def test_a_swap_hands_all_of_the_old_words_map_to_the_new_words():
    """Every source word's row sums to one, so maps that sum to one still do."""
    for source, target in (("a cat on a road", "a small brown dog on a road"), ("a small old cat", "a dog")):
        matrix = p2p.swap_map(source, target, 10)
        assert torch.allclose(matrix.sum(dim=1)[: len(source.split()) + 1], torch.ones(()))
        assert (matrix.sum(dim=0)[: len(target.split()) + 1] > 0).all()


def test_a_swap_of_one_word_by_several_splits_it_evenly_and_back_again_adds_it_up():
    there = p2p.swap_map("a cat", "a small brown dog", 6)
    assert torch.equal(there[2], torch.tensor([0, 0, 1 / 3, 1 / 3, 1 / 3, 0]))
    back = p2p.swap_map("a small brown dog", "a cat", 6)
    assert torch.equal(back[:, 2], torch.tensor([0, 0, 1.0, 1, 1, 0]))
    assert torch.allclose((there @ back).diag()[:3], torch.ones(3))


def test_refine_keeps_shared_words_and_leaves_new_ones_empty():
    matrix = p2p.refine_map("a photo of a circle", "a photo of a small circle", LENGTH)
    assert [(i, j) for i, j in matrix.nonzero().tolist()] == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 6)]
    back = p2p.refine_map("a photo of a small circle", "a photo of a circle", LENGTH)
    assert torch.equal(back, matrix.T)


def test_the_kind_of_edit_follows_from_the_lengths():
    assert p2p.kind_of(SOURCE, TARGET) == "replace"
    assert p2p.kind_of(SOURCE, "a photo of a circle") == p2p.kind_of("a circle", SOURCE) == "refine"


def test_changed_names_the_words_that_differ():
    assert changed("a red cat on a road", "a red dog on a road") == (["cat"], ["dog"])
    assert changed("a cat", "a small cat") == ([], ["small"])
    assert changed("a small cat", "a cat") == (["small"], [])
    assert changed("a cat a dog", "a dog a cat") == (["cat", "dog"], ["dog", "cat"])


# ---- maps ------------------------------------------------------------------------------------------------------------


def mapping(source: str, target: str, kind=p2p.swap_map, n: int = 2) -> torch.Tensor:
    return kind(source, target, LENGTH).expand(n, -1, -1)


def test_replaced_maps_still_sum_to_one_over_real_words():
    moved = p2p.replace(maps(), mapping("a b c d e", "a x y z c d e"))
    assert torch.allclose(moved.sum(dim=-1), torch.ones(()))
    assert (moved >= 0).all()


def test_replacing_by_the_identity_changes_no_bit():
    assert torch.equal(p2p.replace(maps(), torch.eye(LENGTH).expand(2, -1, -1)), maps())


def test_refine_takes_shared_words_from_the_source_and_new_ones_from_the_target():
    source, target = maps(seed=1), maps(seed=2)
    mixed = p2p.refine(source, target, mapping("a b c d e", "a new b c d e", p2p.refine_map))
    for j, i in ((0, 0), (1, 1), (3, 2), (4, 3), (5, 4), (6, 5)):
        assert torch.equal(mixed[..., j], source[..., i])
    assert torch.equal(mixed[..., 2], target[..., 2])


def test_what_a_word_taken_away_had_goes_to_the_targets_own_maps():
    source, target = maps(seed=1), maps(seed=2)
    target = torch.where(torch.arange(LENGTH) < 5, target, 0)  # the target is a word shorter
    target = target / target.sum(dim=-1, keepdim=True)
    mixed = p2p.refine(source, target, mapping("a b gone c d", "a b c d", p2p.refine_map))
    assert torch.allclose(mixed.sum(dim=-1), torch.ones(()))
    left = source[..., 3:4]
    for j, i in ((0, 0), (1, 1), (2, 2), (3, 4), (4, 5)):
        assert torch.allclose(mixed[..., j], source[..., i] + left[..., 0] * target[..., j])


def test_a_word_takes_the_edited_map_while_its_window_is_open():
    until = torch.tensor([[0.0, 0.5, 1.0, 0, 0, 0, 0, 0]]).expand(2, -1)
    edit, target = maps(seed=1), maps(seed=2)
    for progress, opened in ((0.0, [1, 2]), (0.49, [1, 2]), (0.5, [2]), (0.99, [2])):
        mixed = p2p.within(edit, target, until, progress)
        for j in range(LENGTH):
            assert torch.equal(mixed[..., j], (edit if j in opened else target)[..., j])


def test_reweight_scales_one_word_and_weight_1_changes_no_bit():
    factors = torch.ones(2, LENGTH)
    assert torch.equal(p2p.reweight(maps(), factors), maps())
    factors[0, 3] = -2
    scaled = p2p.reweight(maps(), factors)
    assert torch.equal(scaled[0, ..., 3], -2 * maps()[0, ..., 3])
    assert torch.equal(scaled[1], maps()[1])


def test_edits_of_maps_compose_in_any_order():
    """A word's factor follows the word: scaling before or after the words change places is the same."""
    source, matrix = maps(), mapping("a b c d e", "a b x c d e", p2p.refine_map)
    before, after = torch.ones(2, LENGTH), torch.ones(2, LENGTH)
    before[:, 4], after[:, 5] = 3, 3
    target = maps(seed=2)
    one = p2p.refine(p2p.reweight(source, before), target, matrix)
    other = p2p.reweight(p2p.refine(source, target, matrix), after)
    assert torch.equal(one, other)


def test_no_edit_of_maps_writes_in_place():
    """The reference implementation edits the stored map through a view."""
    source, target = maps(seed=1), maps(seed=2)
    kept = source.clone(), target.clone()
    p2p.refine(source, target, mapping("a b c", "a b d c", p2p.refine_map))
    p2p.reweight(source, 2 * torch.ones(2, LENGTH))
    p2p.within(source, target, torch.ones(2, LENGTH), 0.0)
    assert torch.equal(source, kept[0]) and torch.equal(target, kept[1])


def test_maps_in_half_precision_agree():
    source, target, matrix = maps(seed=1), maps(seed=2), mapping("a b c d e", "a x y c d e")
    full = p2p.refine(source, target, matrix)
    half = p2p.refine(source.bfloat16(), target.bfloat16(), matrix)
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().max() < 2**-7  # bfloat16 keeps 8 bits of a number up to one


def test_maps_of_the_trained_network_agree_in_half_precision():
    """In the mean to the rounding of bfloat16's 8 bits. (Single weights differ more, where two words nearly tie.)"""
    trained, prompt = ddpm.load("shapes"), "a photo of a large red circle on a blue background"
    x_t, t, seen = Noise([0]).start(trained.shape), torch.tensor([500]), []
    for half in (False, True):
        store = p2p.AttentionStore([prompt])
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            trained.eps([prompt], 1.0, store.at(500))(x_t, t)
        seen.append([store.mean(site) for site in store.sites])
    assert len(seen[0]) == len(seen[1]) > 10
    assert max((full - half).abs().mean() for full, half in zip(*seen, strict=True)) < 2**-8


# ---- the loop --------------------------------------------------------------------------------------------------------


def joint(prompts: list[str], scale: float = 1.0, n: int = 2, steps: int = 4, sampler=ddim.sample) -> torch.Tensor:
    """Plain sampling of sources and targets side by side."""
    return last(sampler(TRAINED.eps(prompts, scale), TRAINED.schedule, torch.cat([start(n)] * 2), steps))


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("sampler", [ddim.sample, ddim.sample_2m, ddim.sample_exact, p2p.shared_noise([7, 8])])
def test_the_same_prompt_twice_is_the_same_picture_bit_for_bit(scale, sampler):
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
    """At the first site of the first step both halves still see the same picture: the maps can be told."""
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


def test_words_for_another_number_of_pictures_are_refused():
    store = p2p.AttentionStore(["a b", "b c"])
    store.add(1, maps(), CROSS)
    with pytest.raises(ValueError, match="words for 1 pictures, but the store has 2 prompts"):
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
def test_outside_a_drawn_mask_the_sources_picture_is_kept(sampler):
    x = edited(cross_until=0, self_until=0, blend=p2p.LocalBlend(mask=square_mask()), sampler=sampler)
    changes = (x[:2] - x[2:]).abs().amax(dim=1)
    assert (changes[:, ~square_mask()] == 0).all()
    assert (changes[:, square_mask()] > 0).all()


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
        ({"source": [SOURCE] * 3}, "3 prompts for 2 pictures: expected one for each, or a single one"),
        ({"windows": [{}]}, "1 mappings for 2 pairs: expected one for each, or a single one"),
        ({"blend": lambda: p2p.LocalBlend(mask=torch.ones(4, 5))}, "the mask has 4x5 pixels, the picture 8x8"),
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
