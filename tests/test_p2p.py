"""Prompt-to-Prompt: the hook and the loop, the store of maps and the local blend, on an untrained network."""

import pytest
import torch
from test_p2p_maps import LENGTH, SOURCE, TARGET, maps
from tiny import make_unet

import ddim
import p2p
from ddpm import Noise, Schedule, Trained, last
from p2p.blend import above
from p2p.editing import Plan, editing_hook, progress_of
from p2p.words import alignment
from unet import Tokenizer
from unet.attention import Site

TRAINED = Trained(make_unet(), Tokenizer(), Schedule(1000), {})


def start(n: int = 2) -> torch.Tensor:
    return Noise(range(n)).start((3, 8, 8))


def edited(source=SOURCE, target=TARGET, x_T=None, steps=4, **how) -> torch.Tensor:
    return last(p2p.edit(TRAINED, source, target, start() if x_T is None else x_T, steps, **how))


# ---- the hook --------------------------------------------------------------------------------------------------------

CROSS, OTHER = Site("down.0.0.cross", "cross", "down", 2), Site("up.0.0.cross", "cross", "up", 2)
SELF = Site("down.0.0.self", "self", "down", 2)
ADDED = "a photo of a small red circle"


def hooked(site: Site, done: float, target: str = TARGET, store=None, **plan) -> tuple[torch.Tensor, ...]:
    """Source and target maps of two pairs, before and after the hook, when a share `done` of the steps is done."""
    default = {"weights": torch.ones(2, LENGTH), "cross_until": torch.full((2, LENGTH), 0.8)}
    default |= {"self_until": 0.4, "progress": progress_of(list(range(10, -1, -1)), 10)}
    mapping = alignment(SOURCE, target, LENGTH).expand(2, -1, -1)
    before = torch.cat([maps(seed=1), maps(seed=2)])
    after = editing_hook(Plan(mapping, **default | plan), store)(before, site, torch.full((4,), round(10 * (1 - done))))
    assert torch.equal(after[:2], before[:2])  # never the source's
    return *before.chunk(2), after[2:], mapping


@pytest.mark.parametrize("target", [TARGET, ADDED, "a photo of a circle"])
def test_in_the_first_steps_the_hook_replaces_or_refines_the_targets_cross_maps(target):
    source, own, edit, mapping = hooked(CROSS, 0.7, target)
    expected = p2p.replace(source, mapping) if target == TARGET else p2p.refine(source, own, mapping)
    assert torch.equal(edit, expected) and not torch.equal(edit, own)
    _, own, edit, _ = hooked(CROSS, 0.8, target)
    assert torch.equal(edit, own)


def test_word_until_opens_the_map_of_each_word_for_its_own_share():
    until = torch.tensor([[1.0, 0.0, 0.5, 0.6, 1.0, 0.2, 0.8, 0.8]]).expand(2, -1)
    source, own, edit, mapping = hooked(CROSS, 0.5, cross_until=until)
    for j, share in enumerate(until[0].tolist()):
        expected = p2p.replace(source, mapping) if share > 0.5 else own
        assert torch.equal(edit[..., j], expected[..., j])


@pytest.mark.parametrize(("done", "size", "injected"), [(0.3, 16, True), (0.4, 16, False), (0.0, 17, False)])
def test_self_until_gives_the_targets_small_self_maps_the_sources(done, size, injected):
    source, own, edit, _ = hooked(Site("self", "self", "down", size), done)
    assert torch.equal(edit, source if injected else own)


@pytest.mark.parametrize("done", [0.0, 0.9])
def test_weights_scale_the_targets_cross_maps_in_all_steps_after_they_are_stored(done):
    factors, store = torch.linspace(-2, 5, 2 * LENGTH).view(2, LENGTH), p2p.AttentionStore(["a"] * 4)
    plain = hooked(CROSS, done)[2]
    edit = hooked(CROSS, done, weights=factors, store=store)[2]
    assert torch.equal(edit, p2p.reweight(plain, factors)) and not torch.equal(edit, plain)
    assert torch.allclose(store.mean(CROSS)[2:], plain.mean(dim=1))
    assert torch.equal(hooked(SELF, done, weights=factors)[2], hooked(SELF, done)[2])


# ---- the loop --------------------------------------------------------------------------------------------------------


def joint(prompts: list[str], scale: float = 1.0, sampler=ddim.sample) -> torch.Tensor:
    """Plain sampling of sources and targets side by side."""
    return last(sampler(TRAINED.eps(prompts, scale), TRAINED.schedule, torch.cat([start()] * 2), 4))


@pytest.mark.parametrize("sampler", [ddim.sample, ddim.sample_2m, ddim.sample_exact, p2p.shared_noise([7, 8])])
def test_the_same_prompt_twice_is_the_same_image_bit_for_bit(sampler):
    source, target = edited(target=SOURCE, scale=3.0, sampler=sampler).chunk(2)
    assert torch.equal(source, target)


@pytest.mark.parametrize(("sampler", "scale"), [(ddim.sample, 3.0), (ddim.sample_2m, 1.0)])
def test_cross_until_0_and_self_until_0_are_plain_sampling_of_the_target(sampler, scale):
    x = edited(scale=scale, cross_until=0, self_until=0, sampler=sampler)
    assert torch.equal(x, joint([SOURCE] * 2 + [TARGET] * 2, scale, sampler))


def test_source_rows_equal_sampling_alone_bit_for_bit():
    """In a batch of the same size; alone, up to rounding."""
    beside = joint([SOURCE] * 2 + [TARGET] * 2, 3.0)[:2]
    alone = last(ddim.sample(TRAINED.eps([SOURCE] * 2, 3.0), TRAINED.schedule, start(), 4))
    for how in ({}, {"cross_until": 1.0, "self_until": 1.0}, {"weights": {"blue": 5.0}}):
        assert torch.equal(edited(scale=3.0, **how)[:2], beside)
    assert (beside - alone).abs().max() < 1e-4 * alone.abs().max()


def test_with_shared_noise_the_sources_are_ddpms_samples_of_the_same_seeds():
    """And each run draws the same noise again."""
    eps, sampler = TRAINED.eps([SOURCE] * 2), p2p.shared_noise([7, 8])
    x = last(ddim.sample(eps, TRAINED.schedule, start(), 4, 1.0, generator=Noise([7, 8])))
    for _ in range(2):
        assert (edited(sampler=sampler)[:2] - x).abs().max() < 1e-4 * x.abs().max()


def test_a_pairs_result_does_not_depend_on_the_rest_of_the_batch():
    """Each pair has its own prompts, shares and weights."""
    alone = edited(x_T=start(1), word_until={"blue": 0.3}, weights={"red": 2.0}, target="a photo of blue red circle")
    targets, until, weights = ["a photo of blue red circle", "a large cross"], [{"blue": 0.3}, {}], [{"red": 2.0}, {}]
    among = edited([SOURCE, "a small cross"], targets, word_until=until, weights=weights)
    assert (alone - among[[0, 2]]).abs().max() < 1e-4 * alone.abs().max()


def test_word_until_leaves_start_at_cross_until():
    """START is no word: its map is injected where those of all words are not."""
    store = p2p.AttentionStore([SOURCE, TARGET])
    edited(x_T=start(1), store=store, cross_until=1.0, self_until=0, word_until=dict.fromkeys(TARGET.split(), 0.0))
    source, target = store.mean(store.sites[0])
    assert torch.equal(source[:, 0], target[:, 0]) and not torch.equal(source[:, 1:], target[:, 1:])


@pytest.mark.parametrize("scale", [0.0, 2.0])
def test_the_hook_runs_once_for_each_site_and_step_at_every_scale(scale):
    """With guidance 0 the conditional network is not called."""

    class Calls(p2p.AttentionStore):
        def __call__(self, weights, site, t):
            calls.append((t.unique().tolist(), site))
            return weights

    calls = []
    edited(scale=scale, store=Calls([SOURCE] * 2 + [TARGET] * 2))
    times = ddim.timesteps(1000, 4)[:-1] if scale else []
    assert calls == [([t], site) for t in times for site in TRAINED.unet.sites]


def test_the_injection_schedule_is_a_share_of_any_number_of_steps():
    """Of 8 steps, the first four (0.5) and two (0.25): their target maps are the source's."""
    store = p2p.AttentionStore([SOURCE, TARGET], by_time=True, kinds=("cross", "self"))
    edited(x_T=start(1), steps=8, cross_until=0.5, self_until=0.25, store=store)
    for i, recorded in enumerate(store.by_time.values()):
        for site, both in recorded.items():
            assert torch.equal(both[0], both[1]) == (i < (4 if site.kind == "cross" else 2))


@pytest.mark.parametrize("weights", [{}, {"blue": -2.0}])
def test_maps_sum_to_one_over_real_words_in_every_row(weights):
    """Also of a weighted word: the store records maps before re-weighting."""
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
    """At the first site of the first step both halves have the same image."""
    source = "a photo of green circle" if "red blue" in target else SOURCE
    plain, store = (p2p.AttentionStore([source, target], by_time=True) for _ in range(2))
    edited(source, target, start(1), cross_until=0, self_until=0, store=plain)
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
    store(torch.ones(2, 1, 4, 4), SELF, torch.tensor([5]))
    expected = torch.stack(seen).mean(dim=(0, 2)).view(2, 2, 2, LENGTH)
    assert torch.allclose(store.maps(2), expected)
    down = torch.stack(seen[:2]).mean(dim=(0, 2)).view(2, 2, 2, LENGTH)
    assert torch.allclose(store.maps(2, stage="down"), down)
    assert torch.allclose(store.word("b", 2), torch.stack([expected[0, ..., 2], expected[1, ..., 1]]))
    assert torch.allclose(store.word(["a", ["b", "c"]], 2)[1], expected[1, ..., 1] + expected[1, ..., 2])
    assert torch.equal(store.word([["a"], []], 2)[1], torch.zeros(2, 2))


def test_a_store_by_time_records_each_step():
    store = p2p.AttentionStore(["a b", "b c"], by_time=True)
    for t in (5, 3):
        store(maps(seed=t), CROSS, torch.tensor([t]))
    assert torch.equal(store.maps(2, t=3), maps(seed=3).mean(dim=1).view(2, 2, 2, LENGTH))
    with pytest.raises(ValueError, match=r"size 2, t = 4: expected one of the sizes \[\]"):
        store.maps(2, t=4)


def test_the_store_is_untouched_by_what_happens_to_the_weights_later():
    weights = maps()[:, :1].requires_grad_()
    store = p2p.AttentionStore(["a b", "b c"], by_time=True)
    store(weights, CROSS, torch.tensor([7, 7]))
    kept = store.maps(2).clone()
    with torch.no_grad():
        weights.zero_()
    assert torch.equal(store.maps(2), kept) and torch.equal(store.maps(2, t=7), kept)
    assert not store.mean(CROSS).requires_grad


def test_a_store_that_is_used_or_of_other_prompts_or_without_the_blends_maps_is_refused():
    prompts = [SOURCE] * 2 + [TARGET] * 2
    used, by_words = p2p.AttentionStore(prompts), p2p.LocalBlend([["red"]] * 2 + [["blue"]] * 2)
    edited(store=used)
    for store, blend, says in (
        (used, None, "has maps of another trajectory"),
        (p2p.AttentionStore(prompts[:3]), None, "the store has 3 prompts: expected 4, sources first"),
        (p2p.AttentionStore([SOURCE] * 4), None, "the store's prompt 2 is '.* red circle': expected '.* blue circle'"),
        (p2p.AttentionStore(prompts, kinds=("self",)), by_words, "records self maps: a local blend by words"),
    ):
        with pytest.raises(ValueError, match=says):
            edited(store=store, blend=blend)
    edited(store=p2p.AttentionStore([SOURCE.upper() + "."] * 2 + [TARGET] * 2))  # the same words


def test_a_store_records_its_kinds_of_sites():
    store = p2p.AttentionStore(["a b", "b c"])
    store(torch.ones(2, 1, 4, 4), SELF, torch.tensor([1]))
    with pytest.raises(ValueError, match="no cross-attention was recorded: with guidance 0"):
        _ = store.largest
    store(maps(), CROSS, torch.tensor([1]))
    assert store.sites == [CROSS] and store.largest == 2
    with pytest.raises(ValueError, match="words for 1 images, but the store has 2 prompts"):
        store.word(["a"], 2)
    with pytest.raises(ValueError, match=r"size 4, stage up: expected one of the sizes \[2\]"):
        store.maps(4, stage="up")


# ---- local blend -----------------------------------------------------------------------------------------------------


def square_mask() -> torch.Tensor:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 3:6] = True
    return mask


@pytest.mark.parametrize("sampler", [ddim.sample_2m, ddim.sample_exact])
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


@pytest.mark.parametrize(("at", "blended"), [(0.0, [1, 1, 1, 1]), (0.5, [0, 1, 1, 1]), (0.6, [0, 0, 1, 1])])
def test_a_blend_begins_with_its_start(at, blended):
    """After 1, 2, 3, 4 of 4 steps; nothing may change inside an empty mask, so a blended edit is its source."""
    blend = p2p.LocalBlend(mask=torch.zeros(8, 8, dtype=torch.bool), start=at)
    steps = list(p2p.edit(TRAINED, SOURCE, TARGET, start(), 4, cross_until=0, blend=blend))
    assert [torch.equal(*x.chunk(2)) for _, x, _ in steps] == blended


def test_the_mask_from_words_is_the_union_of_the_sources_and_the_targets():
    store = p2p.AttentionStore(["a b", "a c"])
    weights = torch.zeros(2, 1, 4, LENGTH)
    weights[0, 0, 0, 2], weights[1, 0, 3, 2] = 1, 1  # the second word: top left in the source, bottom right in the edit
    store(weights, CROSS, torch.tensor([1]))
    blend = p2p.LocalBlend(words=[["b"], ["c"]], grow=0)
    assert blend.region(store, torch.Size((2, 3, 2, 2)))[0, 0].tolist() == [[True, False], [False, True]]
    only = p2p.LocalBlend(words=[["b"], []], grow=0)
    assert only.region(store, torch.Size((2, 3, 2, 2)))[0, 0].tolist() == [[True, False], [False, False]]


def test_a_mask_grows_by_whole_pixels():
    blend = p2p.LocalBlend(words=[["b"], []], size=8, grow=2)
    store = p2p.AttentionStore(["a b", "a b"])
    weights = torch.zeros(2, 1, 64, LENGTH)
    weights[0, 0, 4 * 8 + 4, 2] = 1
    store(weights, Site("x", "cross", "up", 8), torch.tensor([1]))
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
        ({"cross_until": 1.5}, "cross_until is 1.5: expected 0 .. 1"),
        ({"weights": {"blue": 6.0}}, "weight of 'blue' is 6.0: expected -2 .. 5"),
        ({"kind": "swap"}, "kind is 'swap': expected one of replace, refine"),
        ({"source": "..."}, "the prompt '...' has no word"),
        ({"source": [SOURCE] * 3}, "3 prompts for 2 images: expected one for each, or a single one"),
        ({"word_until": [{}]}, "1 mappings for 2 pairs: expected one for each, or a single one"),
        ({"blend": lambda: p2p.LocalBlend(mask=torch.ones(4, 5))}, "the mask has 4x5 pixels, the image 8x8"),
        ({"blend": lambda: p2p.LocalBlend(mask=torch.ones(3, 8, 8))}, "3 masks for 2 pairs"),
        ({"blend": lambda: p2p.LocalBlend(words=[["red"]] * 2 + [["blue"]] * 2, start=0), "scale": 0}, "guidance 0"),
        ({"blend": lambda: p2p.LocalBlend()}, "needs either words or a drawn mask"),
        ({"blend": lambda: p2p.LocalBlend(words=[["a"]], threshold=2)}, r"threshold is 2: expected a share"),
    ],
)
def test_bad_input_is_named(how, says):
    with pytest.raises(ValueError, match=says):
        edited(**{key: value() if callable(value) else value for key, value in how.items()})
