"""What Prompt-to-Prompt is measured with, on images whose truth is drawn: measures, pairs of captions, the score."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import make_trained

import ddim
from ddpm import Noise
from ddpm.data import DataError, shapes
from ddpm.data.captions import parse_face, parse_thing
from ddpm.data.judge import judged
from ddpm.data.pairs import KINDS, kind_between, pairs
from ddpm.noise import noise_like
from p2p.experiments import measures, score
from p2p.experiments.baselines import SAMPLERS, WAYS, Recipe, differing, source_batch
from p2p.words import word_positions
from unet.attention import Site

TINY = make_trained()
QUICK = Recipe(steps=3)


def judge(images: np.ndarray, prompts: list[str]) -> dict[str, np.ndarray]:
    return judged("shapes", images, prompts)


def task(kind: str, n: int) -> score.Task:
    drawn = pairs("shapes", kind, n)
    return score.Task(drawn.sources, drawn.targets, drawn.changed, judge, shapes.read, "background" in kind)


def drawn(prompts: list[str], x: float = 8.0) -> np.ndarray:
    """The image each full prompt asks for, centred at (x, 8)."""
    return shapes.draw([shapes.Shape(**shapes.parse(prompt), x=x) for prompt in prompts])


# ---- measures --------------------------------------------------------------------------------------------------------


def test_an_edit_succeeds_when_the_changed_word_is_shown_and_nothing_shown_is_lost():
    nan = np.nan
    before = {"colour": np.array([1, 1, 1, 1.0]), "shape": np.array([1, 1, 0, 1.0])}
    after = {"colour": np.array([1, 0, 1, 1.0]), "shape": np.array([1, 1, 0, 0.0]), "size": np.array([nan] * 4)}
    assert measures.succeeded(before, after, "colour").tolist() == [True, False, True, False]
    assert measures.succeeded(before, after, "shape").tolist() == [True, False, False, False]
    assert measures.succeeded(before, {"shape": after["shape"]}, None).tolist() == [True, True, True, False]


def test_success_of_drawn_edits_is_complete_and_of_forgotten_ones_none():
    asked = task("colour", 20)
    before, after = drawn(asked.sources), drawn(asked.targets)
    told = judge(before, asked.sources)
    assert measures.succeeded(told, judge(after, asked.targets), "colour").all()
    assert not measures.succeeded(told, judge(before, asked.targets), "colour").any()


def test_overlap_of_two_boxes():
    one, other = np.zeros((2, 1, 8, 8))
    one[:, :4, :4], other[:, 2:6, :4] = 1, 1
    assert measures.overlap(one, one) == 1
    assert measures.overlap(one, other) == pytest.approx(8 / 24)
    assert measures.overlap(one, 0 * one) == 0


def test_squared_error_is_taken_over_the_pixels_asked_for():
    before = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    after = before.copy()
    after[:, :, 0] = 51  # a fifth of the scale
    where = np.zeros((2, 4, 4), dtype=bool)
    where[0, :2] = True
    error = measures.squared_error(before, after, where)
    assert error[0] == pytest.approx(0.5 * 0.04) and np.isnan(error[1])


def test_edges_agree_with_themselves_in_any_colour_and_not_with_those_elsewhere():
    circle, moved = (drawn(["a photo of a small red circle on a blue background"], x) for x in (5.0, 11.0))
    brighter = np.clip(circle.astype(int) + 10, 0, 255).astype(np.uint8)
    assert measures.edge_agreement(circle, brighter)[0] == pytest.approx(1)
    assert measures.edge_agreement(circle, moved)[0] < 0.3
    assert measures.edge_agreement(circle, 0 * circle)[0] == 0


def test_geometry_reads_drift_and_growth_off_drawings():
    before, after = (shapes.read(shapes.draw([shapes.Shape("circle", "red", "blue", "small", *place)]))
                     for place in ((6.0, 7.0), (9.0, 11.0)))  # fmt: skip
    found = measures.geometry(before, after)
    assert found["drift"][0] == pytest.approx(5, abs=0.05)
    assert found["growth"][0] == pytest.approx(0, abs=0.05)
    assert found["overlap"][0] < 0.1


def test_what_to_keep_is_outside_both_objects_or_inside_both_for_backgrounds():
    one, other = (shapes.read(drawn([f"a photo of a large {s} square on a blue background"], x))
                  for s, x in (("red", 7.0), ("green", 9.0)))  # fmt: skip
    outside, inside = measures.to_keep(one, other, False), measures.to_keep(one, other, True)
    assert not (outside & inside).any()
    assert inside[0, 8, 8] and not inside[0, 8, 3] and outside[0, 0].all() and not outside[0, 8, 3]


def test_along_is_0_at_one_colour_1_at_the_other_and_goes_on_beyond():
    zero, one = np.array([[0.0, 0, 100]]), np.array([[100.0, 0, 0]])
    where = np.ones((1, 2, 2), dtype=bool)
    for place in (-0.5, 0, 0.25, 1, 1.5):
        colour = zero + place * (one - zero) + np.array([0, 60, 0])  # what lies across does not count
        images = np.broadcast_to(colour.reshape(1, 3, 1, 1), (1, 3, 2, 2))
        assert measures.along(images, where, zero, one)[0] == pytest.approx(place)


def test_pointing_asks_where_the_largest_value_is():
    maps, masks = torch.rand(3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.bool)
    maps[0, 1, 2] = maps[1, 3, 3] = 2
    masks[:, 1, 2] = True
    masks[2] = True
    assert measures.pointing(maps, masks).tolist() == [True, False, True]


def test_best_overlap_of_a_blurred_mask_is_complete_and_of_its_negative_poor():
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, 2:5, 3:7] = True
    maps = masks.float() * 0.7 + torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.2
    assert measures.best_overlap(maps, masks)[0] == 1
    assert measures.best_overlap(-maps, masks)[0] < 0.25


# ---- pairs of captions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "kind"), [(data, kind) for data, kinds in KINDS.items() for kind in kinds])
def test_a_pair_differs_in_the_one_thing_its_kind_says(data, kind):
    parse = {"shapes": shapes.parse, "cifar10": lambda s: vars(parse_thing(s)), "celeba": lambda s: vars(parse_face(s))}
    name = {"class": "kind"}.get(kind.split()[-1], kind.split()[-1])
    drawn = pairs(data, kind, 50)
    for source, target in zip(drawn.sources, drawn.targets, strict=True):
        before, after = parse[data](source), parse[data](target)
        assert {key for key in before if before[key] != after[key]} == {name}
        assert before.get("colour") is None or before["colour"] != before["background"]
        assert after.get("colour") is None or after["colour"] != after["background"]
        assert (after[name] is None) == kind.startswith("drop")


@pytest.mark.parametrize(("data", "kind"), [(data, kind) for data, kinds in KINDS.items() for kind in kinds])
def test_the_kind_of_a_pair_can_be_told(data, kind):
    drawn = pairs(data, kind, 20)
    assert {kind_between(data, *pair) for pair in zip(drawn.sources, drawn.targets, strict=True)} == {kind}


@pytest.mark.parametrize(
    ("data", "source", "target"),
    [
        ("shapes", "a photo of a red circle", "a photo of a red circle"),
        ("shapes", "a photo of a red circle", "a photo of a green cross"),
        ("shapes", "a photo of a red circle", "a red circle"),
        ("cifar10", "a photo of a cat", "a photo of a white cat"),
        ("moons", "a photo of a red circle", "a photo of a green circle"),
    ],
)
def test_what_is_none_of_the_kinds_has_none(data, source, target):
    assert kind_between(data, source, target) is None


def test_the_same_seed_draws_the_same_pairs():
    assert pairs("cifar10", "class", 9) == pairs("cifar10", "class", 9) != pairs("cifar10", "class", 9, seed=1)


@pytest.mark.parametrize(("data", "kind"), [("shapes", "smiling"), ("moons", "colour")])
def test_an_unknown_kind_is_named(data, kind):
    with pytest.raises(DataError, match=f"no edits '{kind}' of {data}"):
        pairs(data, kind, 1)


# ---- the score -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_edits_pair_i_alike_in_any_batch(way, sampler):
    asked, recipe = task("colour", 3), replace(QUICK, sampler=sampler)
    together = source_batch(TINY, recipe, asked.sources, asked.targets, [0, 1, 2])
    alone = source_batch(TINY, recipe, asked.sources[2:], asked.targets[2:], [2])
    x, y = WAYS[way](TINY, recipe, together), WAYS[way](TINY, recipe, alone)
    assert x.shape == (3, 3, 16, 16)
    assert (x[2:] - y).abs().max() < 1e-3 * y.abs().max()


def nothing_to_edit(**how) -> tuple[Recipe, score.Batch]:
    """Pairs whose target is the source, with the images that the recipe makes of them."""
    recipe, prompts = replace(QUICK, **how), task("colour", 3).sources
    return recipe, source_batch(TINY, recipe, prompts, prompts, [0, 1, 2])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("way", ["plain re-generation", "P2P"])
def test_where_nothing_differs_a_way_from_x_T_gives_the_source_back(way, sampler):
    recipe, batch = nothing_to_edit(scale=3.0, sampler=sampler)
    assert (WAYS[way](TINY, recipe, batch) - batch.x_0).abs().max() < 1e-4 * batch.x_0.abs().max()


def test_naive_editing_of_strength_0_gives_the_source_back():
    recipe, batch = nothing_to_edit(strength=0.0)
    assert torch.equal(WAYS["noise and denoise"](TINY, recipe, batch), batch.x_0)


def test_encoding_and_decoding_by_one_prompt_comes_back_the_closer_the_more_the_steps():
    _, batch = nothing_to_edit()
    again = [WAYS["DDIM encode and decode"](TINY, Recipe(steps=S), batch) for S in (5, 20)]
    few, many = ((x - batch.x_0).square().mean() for x in again)
    assert many < 0.5 * few and many < 0.1 * batch.x_0.square().mean()


def test_iterations_bring_a_image_back_from_its_code_closer():
    _, batch = nothing_to_edit()
    plain, refined = (
        (WAYS[way](TINY, Recipe(steps=20), batch) - batch.x_0).square().mean()
        for way in ("DDIM encode and decode", "DDIM, with iterations")
    )
    assert refined < 0.5 * plain


def test_plain_re_generation_is_sampling_of_the_target():
    asked, recipe = task("shape", 3), replace(QUICK, scale=2.0)
    batch = source_batch(TINY, recipe, asked.sources, asked.targets, [0, 1, 2])
    *_, (_, x, _) = ddim.sample_2m(TINY.eps(asked.targets, 2.0), TINY.schedule, batch.x_T, 3)
    assert (WAYS["plain re-generation"](TINY, recipe, batch) - x).abs().max() < 1e-4 * x.abs().max()


@pytest.mark.parametrize(("way", "drawing"), [("noise and denoise", "edit_naive"), ("P2P", "sample")])
def test_noise_of_an_edit_is_not_the_one_that_its_x_T_was(monkeypatch, way, drawing):
    """x_T is the noise of its seed: what an edit draws must have nothing to do with it."""
    recipe, batch = nothing_to_edit(sampler="ddpm")
    drawn_noise = []

    def draws(*given, generator, **how):
        drawn_noise.append(noise_like(given[2], generator)[:3])
        yield 0, torch.cat([batch.x_0] * 2), None

    monkeypatch.setattr(ddim, drawing, draws)
    WAYS[way](TINY, recipe, batch)
    assert torch.equal(noise_like(batch.x_0, Noise(batch.seeds)), batch.x_T)
    both = torch.stack([drawn_noise[0].flatten(), batch.x_T.flatten()])
    assert abs(torch.corrcoef(both)[0, 1]) < 0.1


def test_encoding_goes_by_the_sources_prompt_and_decoding_by_the_targets():
    asked, recipe = task("shape", 3), replace(QUICK, scale=2.0)
    batch = source_batch(TINY, recipe, asked.sources, asked.targets, [0, 1, 2])
    *_, (_, x_T, _) = ddim.invert(TINY.eps(asked.sources), TINY.schedule, batch.x_0, 3)
    *_, (_, x, _) = ddim.sample(TINY.eps(asked.targets, 2.0), TINY.schedule, x_T, 3)
    assert (WAYS["DDIM encode and decode"](TINY, recipe, batch) - x).abs().max() < 1e-4 * x.abs().max()


def test_a_local_blend_keeps_the_source_outside_the_place_of_the_words():
    """The recipe's threshold reaches the blend: nothing lies above all of a map's range, so nothing may change."""
    asked = task("colour", 3)
    edits = []
    for threshold in (1.0, 0.3, 0.0):
        recipe = replace(QUICK, threshold=threshold, grow=0)
        batch = source_batch(TINY, recipe, asked.sources, asked.targets, [0, 1, 2])
        edits.append((WAYS["P2P, local blend"](TINY, recipe, batch) - batch.x_0).abs().amax(dim=1) > 1e-4)
    assert not edits[0].any()
    assert edits[1].sum() < edits[2].sum()


def test_the_words_that_differ_are_listed_sources_first():
    asked = task("add colour", 2)
    words = differing(source_batch(TINY, QUICK, asked.sources, asked.targets, [0, 1]))
    assert words[:2] == [[], []]
    assert [len(each) for each in words[2:]] == [1, 1]


def test_run_measures_every_way_beside_the_sources():
    found = score.run(TINY, QUICK, task("colour", 4), list(WAYS))
    assert list(found) == ["source", *WAYS]
    for way in WAYS:
        assert 0 <= found[way]["success"] <= 100 and 0 <= found[way]["overlap"] <= 1
        assert all(value is None or np.isfinite(value) for value in found[way].values())


def test_without_readings_what_is_kept_goes_by_the_words_maps():
    blind = replace(task("colour", 3), read=None)
    found = score.run(TINY, QUICK, blind, ["P2P"])["P2P"]
    assert "drift" not in found and "error kept" in found


def test_a_perfect_editor_and_a_lazy_one_get_what_they_deserve(monkeypatch):
    """Drawings in place of samples: the score itself is put to the test."""
    asked = task("colour", 6)
    as_x = [torch.from_numpy(drawn(prompts)).float() / 127.5 - 1 for prompts in (asked.sources, asked.targets)]
    monkeypatch.setattr(
        score, "source_batch", lambda *_: score.Batch(asked.sources, asked.targets, [], as_x[0], as_x[0])
    )
    monkeypatch.setitem(score.WAYS, "perfect", lambda *_: as_x[1])
    monkeypatch.setitem(score.WAYS, "lazy", lambda *_: as_x[0])
    found = score.run(TINY, QUICK, asked, ["perfect", "lazy"])
    assert found["source"]["shows its prompt"] == found["perfect"]["success"] == 100
    perfect = found["perfect"]
    assert perfect["overlap"] > 0.99 and perfect["drift"] < 0.02
    assert perfect["error kept"] < 1e-4  # a reading leaves out pixels that the object covers by less than 15 %
    assert found["lazy"]["success"] == 0 and found["lazy"]["overlap"] == 1


def test_growth_is_as_large_for_edits_that_shrink():
    asked = task("colour", 4)
    large, small = (shapes.draw([shapes.Shape(**shapes.parse(p), radius=r) for p in asked.sources]) for r in (4.5, 3.0))
    told = judge(large, asked.sources)
    for pair in ((large, small), (small, large)):
        assert score.measure(asked, told, *pair, None)["growth"] == pytest.approx(1.5, abs=0.1)


def test_good_sources_are_those_that_show_their_own_prompt():
    """Source 0 is bad, its edit lies where it lay; edit 1 is bad, and lies elsewhere than its good source."""
    asked = task("colour", 4)
    before, after = drawn(asked.sources), drawn(asked.targets)
    before[0], after[1] = after[0], drawn(asked.sources, 13.0)[1]
    found = score.measure(asked, judge(before, asked.sources), before, after, None)
    where = measures.geometry(shapes.read(before), shapes.read(after))["overlap"]
    assert found["overlap, good sources"] == pytest.approx(where[1:].mean()) and where[1] < 0.5 < where[0]


def test_the_best_windows_drift_least_among_those_of_nearly_the_best_success():
    rows = {
        "0 0": {"success": 99.0, "drift": 2.0, "edges": 0.1},
        "0.5 0": {"success": 96.0, "drift": 0.3, "edges": 0.5},
        "1 0": {"success": 50.0, "drift": 0.0, "edges": 1.0},
    }
    assert score.best_windows(rows) == "0.5 0"
    rows["0 0"]["success"] = 101.5
    assert score.best_windows(rows) == "0 0"
    blind = {key: {name: row[name] for name in ("success", "edges")} for key, row in rows.items() if key != "0 0"}
    assert score.best_windows(blind) == "0.5 0"


def test_the_windows_of_the_shapes_are_those_that_the_sweep_chose():
    """Today's edits; for three kinds more pairs overrule the sweep's 24, as stands beside the recipes."""
    sweep = score.resume(Path(score.__file__).parent / "results" / "sweep-shapes.json")
    assert {"colour", "background", "shape"} <= set(sweep)
    for kind, rows in sweep.items():
        chosen = tuple(map(float, rows["chosen"].split()))
        assert rows["made"]["edits"] == score.EDITS
        assert rows["chosen"] == score.best_windows({k: v for k, v in rows.items() if k not in ("made", "chosen")})
        recipe = score.RECIPES["shapes", kind]
        if kind not in ("add size", "drop colour", "drop background"):
            assert (recipe.cross_until, recipe.self_until) == chosen


def test_a_sweep_asks_every_pair_of_windows():
    found = score.sweep(TINY, QUICK, task("shape", 2), (0.0, 1.0), (0.0, 0.5))
    assert list(found) == ["0 0", "0 0.5", "1 0", "1 0.5"]


def test_each_row_of_a_sweep_is_of_its_own_windows(monkeypatch):
    def by_windows(trained, recipe, task, ways):
        return {"P2P": (recipe.cross_until, recipe.self_until)}

    monkeypatch.setattr(score, "run", by_windows)
    found = score.sweep(TINY, QUICK, task("shape", 2), (0.0, 1.0), (0.0, 0.5))
    assert found == {"0 0": (0, 0), "0 0.5": (0, 0.5), "1 0": (1, 0), "1 0.5": (1, 0.5)}


@pytest.fixture
def in_pairs(monkeypatch):
    """Sources that are drawings, two to a batch, in place of samples."""

    def batch(trained, recipe, sources, targets, seeds):
        x_0 = torch.from_numpy(drawn(sources)).float() / 127.5 - 1
        return score.Batch(sources, targets, seeds, x_0, x_0)

    monkeypatch.setattr(score, "source_batch", batch)
    monkeypatch.setattr(score, "BATCH", 2)


def words_of(asked: score.Task) -> dict[str, list[str]]:
    return {name: [shapes.parse(source)[name] for source in asked.sources] for name in ("colour", "background")}


def test_maps_are_localised_for_each_kind_of_word_and_size():
    asked = task("colour", 3)
    found = score.localise(TINY, QUICK, asked, words_of(asked))
    assert list(found) == ["colour", "background"]
    assert all(list(sizes) == ["16", "8"] for sizes in found.values())


@pytest.mark.parametrize("inside", [True, False])
def test_maps_that_are_the_true_masks_are_localised_perfectly(in_pairs, monkeypatch, inside):
    """Each image's colour word looks exactly at the object, its background's exactly at the rest; or the reverse."""

    def looks(trained, recipe, batch, store):
        masks = np.stack([r.mask for r in shapes.read(score.to_bytes(batch.x_0))]) > 0.5
        weights = torch.zeros(2 * len(masks), 1, 256, 16)
        for i, (mask, prompt) in enumerate(zip(masks, batch.sources, strict=True)):
            for name, place in (("colour", mask == inside), ("background", mask != inside)):
                (token,) = word_positions(prompt, shapes.parse(prompt)[name])
                weights[i, 0, :, token] = torch.from_numpy(place.ravel()).float()
        store.add(1, weights, Site("up", "cross", "up", 16))

    monkeypatch.setattr(score, "prompt_to_prompt", looks)
    asked = task("colour", 3)
    for row in score.localise(TINY, QUICK, asked, words_of(asked)).values():
        assert row["16"]["pointing"] == (100 if inside else 0)
        assert row["16"]["overlap"] == 100 if inside else row["16"]["overlap"] < 60


def test_reweighting_measures_how_far_each_word_moves_its_colour(in_pairs, monkeypatch):
    """An editor that paints the object as far from `zero` to `one` as the weight of that image's word says."""
    asked = task("colour", 3)
    words, zero, one = words_of(asked)["colour"], np.full((3, 3), 50.0), np.array([[90.0, 50, 50]] * 3)

    def painted(trained, recipe, batch, weights):
        assert [list(each) for each in weights] == [[shapes.parse(source)["colour"]] for source in batch.sources]
        assert batch.targets == batch.sources and recipe is QUICK
        share = torch.tensor([next(iter(each.values())) for each in weights]).view(-1, 1, 1, 1)
        colour = torch.tensor([50.0, 50, 50]).view(1, 3, 1, 1) + share * torch.tensor([40.0, 0, 0]).view(1, 3, 1, 1)
        return (colour / 127.5 - 1).expand_as(batch.x_T)

    monkeypatch.setattr(score, "prompt_to_prompt", painted)
    found = score.reweighting(TINY, QUICK, asked, words, (0.0, 0.5, 1.0, 2.0), zero, one)
    assert found["mean strength"] == pytest.approx({"0": 0, "0.5": 0.5, "1": 1, "2": 2}, abs=0.02)
    assert found["rising in"] == 100


def test_batches_are_put_together_in_order(monkeypatch):
    asked = task("colour", 5)
    found = []
    for size in (50, 2):
        monkeypatch.setattr(score, "BATCH", size)
        found.append(score.run(TINY, QUICK, asked, ["P2P", "plain re-generation"]))
    for way in ("P2P", "plain re-generation"):
        whole, parts = ({name: value for name, value in rows[way].items() if value is not None} for rows in found)
        assert parts == pytest.approx(whole, rel=1e-3, abs=1e-6)


def test_the_table_names_every_number():
    text = score.table("colour", {"made": {"n": 3, "size": None}, "P2P": {"success": 99.5, "more": {"x": 1.0}}})
    assert text == "colour: n 3\n  P2P                      success 99.5  more (x 1)"
