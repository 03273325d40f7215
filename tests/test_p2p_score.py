"""The measures of edits on images whose truth is known, pairs of captions, the baselines and the score."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import make_trained

import ddim
from ddpm import Noise, last
from ddpm.data import DataError, scenes, shapes
from ddpm.data.captions import parse_face, parse_thing
from ddpm.data.edits import PAIR_KINDS, kind_between, pairs, scene_edits
from ddpm.data.judge import judged
from ddpm.images import from_bytes, to_bytes
from ddpm.noise import noise_like
from p2p.experiments import measures, records, score
from p2p.experiments.baselines import RECIPES, SAMPLERS, WAYS, Recipe, source_batch, words_that_differ
from p2p.words import word_positions
from unet.attention import Site

TINY = make_trained()
QUICK = Recipe(steps=3)


def judge(images: np.ndarray, prompts: list[str]) -> dict[str, np.ndarray]:
    return judged("shapes", images, prompts)


def task(kind: str, n: int) -> score.Task:
    return score.task_of("shapes", kind, n)


def batch_of(kind: str = "shape", **how) -> tuple[Recipe, score.Batch]:
    """Three pairs of a kind, with the source images that the recipe makes; "" for targets that are the sources."""
    recipe, each = replace(QUICK, **how), task(kind or "colour", 3)
    return recipe, source_batch(TINY, recipe, each.sources, each.targets if kind else each.sources, [0, 1, 2])


def drawn(prompts: list[str], x: float = 8.0) -> np.ndarray:
    """The true image of each full prompt, centred at (x, 8)."""
    return shapes.draw([shapes.Shape(**shapes.parse(prompt), x=x) for prompt in prompts])


# ---- measures --------------------------------------------------------------------------------------------------------


def test_an_edit_succeeds_when_the_changed_word_is_shown_and_all_that_was_shown_before():
    nan = np.nan
    before = {"colour": np.array([1, 1, 1, 1.0]), "shape": np.array([1, 1, 0, 1.0])}
    after = {"colour": np.array([1, 0, 1, 1.0]), "shape": np.array([1, 1, 0, 0.0]), "size": np.array([nan] * 4)}
    assert measures.succeeded(before, after, "colour").tolist() == [True, False, True, False]
    assert measures.succeeded(before, after, "shape").tolist() == [True, False, False, False]
    assert measures.succeeded(before, {"shape": after["shape"]}, None).tolist() == [True, True, True, False]


def test_true_edits_succeed_and_unchanged_sources_do_not():
    each = task("colour", 20)
    before, after = drawn(each.sources), drawn(each.targets)
    shown = judge(before, each.sources)
    assert measures.succeeded(shown, judge(after, each.targets), "colour").all()
    assert not measures.succeeded(shown, judge(before, each.targets), "colour").any()


def test_overlap_of_two_boxes():
    one, other = np.zeros((2, 1, 8, 8))
    one[:, :4, :4], other[:, 2:6, :4] = 1, 1
    assert measures.overlap(one, one) == 1
    assert measures.overlap(one, other) == pytest.approx(8 / 24)
    assert measures.overlap(one, 0 * one) == 0


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


def test_elsewhere_is_outside_both_objects_or_inside_both_for_backgrounds():
    one, other = (shapes.read(drawn([f"a photo of a large {s} square on a blue background"], x))
                  for s, x in (("red", 7.0), ("green", 9.0)))  # fmt: skip
    outside, inside = measures.elsewhere(one, other, False), measures.elsewhere(one, other, True)
    assert not (outside & inside).any()
    assert inside[0, 8, 8] and not inside[0, 8, 3] and outside[0, 0].all() and not outside[0, 8, 3]


def test_along_is_0_at_one_colour_and_1_at_the_other():
    zero, one = np.array([[0.0, 0, 100]]), np.array([[100.0, 0, 0]])
    where = np.ones((1, 2, 2), dtype=bool)
    for place in (-0.5, 0, 0.25, 1, 1.5):
        colour = zero + place * (one - zero) + np.array([0, 60, 0])  # what lies across does not count
        images = np.broadcast_to(colour.reshape(1, 3, 1, 1), (1, 3, 2, 2))
        assert measures.along(images, where, zero, one)[0] == pytest.approx(place)


def test_pointing_is_whether_the_largest_value_lies_in_the_mask():
    maps, masks = torch.rand(3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.bool)
    maps[0, 1, 2] = maps[1, 3, 3] = 2
    masks[:, 1, 2] = True
    masks[2] = True
    assert measures.pointing(maps, masks).tolist() == [True, False, True]


def test_best_overlap_of_a_noisy_mask_is_1_and_of_its_negative_small():
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, 2:5, 3:7] = True
    maps = masks.float() * 0.7 + torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.2
    assert measures.best_overlap(maps, masks)[0] == 1
    assert measures.best_overlap(-maps, masks)[0] < 0.25


# ---- pairs of captions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "kind"), [(data, kind) for data, kinds in PAIR_KINDS.items() for kind in kinds])
def test_a_pair_differs_in_its_kind_of_word_alone(data, kind):
    parse = {"shapes": shapes.parse, "cifar10": lambda s: vars(parse_thing(s)), "celeba": lambda s: vars(parse_face(s))}
    parse["scenes"] = scenes.parse
    name = {"class": "kind"}.get(kind.split()[-1], kind.split()[-1])
    found = pairs(data, kind, 50)
    for source, target in zip(found.sources, found.targets, strict=True):
        before, after = parse[data](source), parse[data](target)
        assert {key for key in before if before[key] != after[key]} == {name}
        for each in (before, after):
            assert each.get("colour") is None or each["colour"] != each.get("background")
        assert (not after[name]) == kind.startswith("drop")
        assert kind_between(data, source, target) == kind


@pytest.mark.parametrize("kind", PAIR_KINDS["scenes"])
def test_the_true_edit_of_a_scene_is_what_its_caption_says(kind):
    for e in scene_edits(kind, 20):
        for scene, text in ((e.before, e.source), (e.after, e.target)):
            assert all(value in (None, False, getattr(scene, name)) for name, value in scenes.parse(text).items())
        differ = {name for name, value in vars(e.before).items() if value != getattr(e.after, name)}
        assert differ == (set() if kind == "drop colour" else {kind.split()[-1]})


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
def test_other_pairs_have_no_kind(data, source, target):
    assert kind_between(data, source, target) is None


def test_the_same_seed_draws_the_same_pairs():
    assert pairs("cifar10", "class", 9) == pairs("cifar10", "class", 9) != pairs("cifar10", "class", 9, seed=1)


@pytest.mark.parametrize(("data", "kind"), [("shapes", "smiling"), ("moons", "colour")])
def test_an_unknown_kind_is_named(data, kind):
    with pytest.raises(DataError, match=f"no edits '{kind}' of {data}"):
        pairs(data, kind, 1)


# ---- the baselines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_edits_pair_i_alike_in_any_batch(way, sampler):
    recipe, together = batch_of("colour", sampler=sampler)
    alone = source_batch(TINY, recipe, together.sources[2:], together.targets[2:], [2])
    x, y = WAYS[way](TINY, recipe, together), WAYS[way](TINY, recipe, alone)
    assert x.shape == (3, 3, 16, 16)
    assert (x[2:] - y).abs().max() < 1e-3 * y.abs().max()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("way", ["plain", "p2p"])
def test_with_the_same_prompt_a_way_from_x_T_gives_the_source(way, sampler):
    recipe, batch = batch_of("", scale=3.0, sampler=sampler)
    assert (WAYS[way](TINY, recipe, batch) - batch.x_0).abs().max() < 1e-4 * batch.x_0.abs().max()


def test_sdedit_of_strength_0_gives_the_source():
    recipe, batch = batch_of("", strength=0.0)
    assert torch.equal(WAYS["sdedit"](TINY, recipe, batch), batch.x_0)


def test_ddim_with_the_same_prompt_reconstructs_better_with_more_steps_and_with_iterations():
    _, batch = batch_of("")
    few, many, iterated = (
        (WAYS[way](TINY, Recipe(steps=S), batch) - batch.x_0).square().mean()
        for way, S in (("ddim", 5), ("ddim", 20), ("ddim-iterations", 20))
    )
    assert many < 0.5 * few and many < 0.1 * batch.x_0.square().mean() and iterated < 0.5 * many


def test_plain_re_generation_is_sampling_of_the_target():
    recipe, batch = batch_of(scale=2.0)
    x = last(ddim.sample_2m(TINY.eps(batch.targets, 2.0), TINY.schedule, batch.x_T, 3))
    assert (WAYS["plain"](TINY, recipe, batch) - x).abs().max() < 1e-4 * x.abs().max()


def test_ddim_inverts_with_the_sources_prompt_and_samples_with_the_targets():
    recipe, batch = batch_of(scale=2.0)
    x_T = last(ddim.invert(TINY.eps(batch.sources), TINY.schedule, batch.x_0, 3))
    x = last(ddim.sample(TINY.eps(batch.targets, 2.0), TINY.schedule, x_T, 3))
    assert (WAYS["ddim"](TINY, recipe, batch) - x).abs().max() < 1e-4 * x.abs().max()


@pytest.mark.parametrize(("way", "sampler"), [("sdedit", "edit_naive"), ("p2p", "sample")])
def test_the_noise_of_an_edit_is_independent_of_x_T(monkeypatch, way, sampler):
    recipe, batch = batch_of("", sampler="ddpm")
    noise = []

    def record(*given, generator, **how):
        noise.append(noise_like(given[2], generator)[:3])
        yield 0, torch.cat([batch.x_0] * 2), None

    monkeypatch.setattr(ddim, sampler, record)
    WAYS[way](TINY, recipe, batch)
    assert torch.equal(noise_like(batch.x_0, Noise(batch.seeds)), batch.x_T)
    both = torch.stack([noise[0].flatten(), batch.x_T.flatten()])
    assert abs(torch.corrcoef(both)[0, 1]) < 0.1


def test_the_local_blend_has_the_recipes_threshold():
    """Nothing is above a threshold of 1, so nothing may change."""
    edits = []
    for threshold in (1.0, 0.3, 0.0):
        recipe, batch = batch_of("colour", threshold=threshold, grow=0)
        edits.append((WAYS["p2p-blend"](TINY, recipe, batch) - batch.x_0).abs().amax(dim=1) > 1e-4)
    assert not edits[0].any()
    assert edits[1].sum() < edits[2].sum()


def test_the_words_that_differ_are_listed_sources_first():
    words = words_that_differ(batch_of("add colour")[1])
    assert words[:3] == [[]] * 3 and [len(each) for each in words[3:]] == [1] * 3


# ---- the score -------------------------------------------------------------------------------------------------------


def test_every_way_is_measured_beside_the_sources():
    cells = score.compare(TINY, QUICK, task("colour", 4), list(WAYS))
    assert list(cells) == ["source", *WAYS]
    for way in WAYS:
        assert 0 <= cells[way]["success"] <= 100 and 0 <= cells[way]["overlap"] <= 1
        assert all(value is None or np.isfinite(value) for value in cells[way].values())


def test_without_readings_elsewhere_is_outside_the_words_maps():
    cell = score.compare(TINY, QUICK, replace(task("colour", 3), read=None, elsewhere=None), ["p2p"])["p2p"]
    assert "drift" not in cell and "error elsewhere" in cell


@pytest.fixture
def true_images(monkeypatch):
    """Source images that are the truth, two to a batch, in place of samples."""

    def batch(trained, recipe, sources, targets, seeds):
        x_0 = from_bytes(drawn(sources))
        return score.Batch(sources, targets, seeds, x_0, x_0)

    monkeypatch.setattr(score, "source_batch", batch)
    monkeypatch.setattr(score, "BATCH", 2)


def test_a_perfect_editor_has_all_points_and_one_that_does_nothing_no_success(true_images, monkeypatch):
    monkeypatch.setitem(score.WAYS, "perfect", lambda trained, recipe, batch: from_bytes(drawn(batch.targets)))
    monkeypatch.setitem(score.WAYS, "nothing", lambda trained, recipe, batch: batch.x_0)
    cells = score.compare(TINY, QUICK, task("colour", 6), ["perfect", "nothing"])
    perfect = cells["perfect"]
    assert cells["source"]["shows its prompt"] == perfect["success"] == 100
    assert perfect["overlap"] > 0.99 and perfect["drift"] < 0.02
    assert perfect["error elsewhere"] < 1e-4  # a reading leaves out pixels that the object covers by less than 15 %
    assert cells["nothing"]["success"] == 0 and cells["nothing"]["overlap"] == 1


def test_growth_is_as_large_for_edits_that_shrink():
    each = task("colour", 4)
    large, small = (shapes.draw([shapes.Shape(**shapes.parse(p), radius=r) for p in each.sources]) for r in (4.5, 3.0))
    for pair in ((large, small), (small, large)):
        growth = score.measure(each, judge(large, each.sources), *pair, None)["growth"]
        assert growth == pytest.approx(1.5, abs=0.1)


def test_good_sources_are_those_that_show_their_own_prompt():
    """Source 0 is bad, its edit lies where it lay; edit 1 is bad, and lies elsewhere than its good source."""
    each = task("colour", 4)
    before, after = drawn(each.sources), drawn(each.targets)
    before[0], after[1] = after[0], drawn(each.sources, 13.0)[1]
    cell = score.measure(each, judge(before, each.sources), before, after, None)
    overlap = measures.geometry(shapes.read(before), shapes.read(after))["overlap"]
    assert cell["overlap, good sources"] == pytest.approx(overlap[1:].mean()) and overlap[1] < 0.5 < overlap[0]


def test_batches_are_put_together_in_order(monkeypatch):
    cells = []
    for size in (50, 2):
        monkeypatch.setattr(score, "BATCH", size)
        cells.append(score.compare(TINY, QUICK, task("colour", 5), ["p2p", "plain"]))
    for way in ("p2p", "plain"):
        whole, parts = ({name: value for name, value in each[way].items() if value is not None} for each in cells)
        assert parts == pytest.approx(whole, rel=1e-3, abs=1e-6)


def test_an_edit_of_the_background_leaves_the_object_alone_and_any_other_the_rest():
    for kind in ("background", "drop background", "colour", "shape"):
        images = drawn(["a photo of a large red square on a blue background"])
        elsewhere = task(kind, 1).elsewhere(images, images)[0]
        assert elsewhere[8, 8] == ("background" in kind) != elsewhere[0, 0]


def test_a_box_stands_on_the_middle_of_its_lower_edge():
    mask = np.zeros((8, 8), dtype=bool)
    mask[2:5, 1:7] = True
    assert measures.place(mask)[:3] == (4, 5, 3)
    assert measures.place(mask & False)[:3] == (4, 4, 0)
    assert np.flatnonzero(measures.wider(mask[None]).any(axis=(0, 2))).tolist() == [1, 2, 3, 4, 5]


# ---- the injection schedule ------------------------------------------------------------------------------------------


def test_each_cell_of_a_sweep_is_of_its_own_injection_schedule(monkeypatch):
    monkeypatch.setattr(score, "CROSS", (0.0, 1.0))
    monkeypatch.setattr(score, "SELF", (0.0, 0.5))
    monkeypatch.setattr(score, "compare", lambda trained, recipe, *_: {"p2p": (recipe.cross_until, recipe.self_until)})
    cells = score.sweep(TINY, QUICK, task("shape", 2))
    assert cells == {"0 0": (0, 0), "0 0.5": (0, 0.5), "1 0": (1, 0), "1 0.5": (1, 0.5)}


def test_the_best_schedule_drifts_least_of_those_of_nearly_the_best_success():
    cells = {
        "0 0": {"success": 99.0, "drift": 2.0, "edges": 0.1},
        "0.5 0": {"success": 96.0, "drift": 0.3, "edges": 0.5},
        "1 0": {"success": 50.0, "drift": 0.0, "edges": 1.0},
    }
    assert score.best_schedule(cells) == "0.5 0"
    cells["0 0"]["success"] = 101.5
    assert score.best_schedule(cells) == "0 0"
    blind = {key: {name: cell[name] for name in ("success", "edges")} for key, cell in cells.items() if key != "0 0"}
    assert score.best_schedule(blind) == "0.5 0"


def test_the_recipes_of_the_shapes_have_the_schedules_of_the_shipped_sweep():
    """For three kinds more pairs say otherwise: see beside the recipes."""
    record = records.read_record(Path("notebooks/results/p2p/sweep-shapes.json"))
    assert {"colour", "background", "shape"} <= record["cells"].keys()
    for kind in record["cells"].keys() - {"add size", "drop colour", "drop background"}:
        recipe = RECIPES["shapes", kind]
        assert f"{recipe.cross_until:g} {recipe.self_until:g}" == score.best_schedule(record["cells"][kind])


# ---- maps and weights of words ---------------------------------------------------------------------------------------


def test_maps_are_localised_for_each_kind_of_word_and_size():
    cells = score.localise(TINY, QUICK, task("colour", 3))
    assert cells.keys() == {"size", "colour", "shape", "background"}
    names = ["n"] + [f"{name}, {size} x {size}" for size in (16, 8) for name in ("pointing", "overlap")]
    assert all(list(cell) == names for cell in cells.values())


@pytest.mark.parametrize("inside", [True, False])
def test_maps_that_are_the_true_masks_are_localised_perfectly(true_images, monkeypatch, inside):
    """Each image's colour word has exactly the object, its background's exactly the rest; or the reverse."""

    def maps(trained, recipe, batch, store):
        masks = measures.masks(shapes.read(to_bytes(batch.x_0))) > 0.5
        weights = torch.zeros(2 * len(masks), 1, 256, 16)
        for i, (mask, prompt) in enumerate(zip(masks, batch.sources, strict=True)):
            for name, place in (("colour", mask == inside), ("background", mask != inside)):
                (token,) = word_positions(prompt, shapes.parse(prompt)[name])
                weights[i, 0, :, token] = torch.from_numpy(place.ravel()).float()
        store(weights, Site("up", "cross", "up", 16), torch.tensor([1]))

    monkeypatch.setattr(score, "prompt_to_prompt", maps)
    cells = score.localise(TINY, QUICK, task("colour", 3))
    for kind in ("colour", "background"):
        assert cells[kind]["pointing, 16 x 16"] == (100 if inside else 0)
        assert cells[kind]["overlap, 16 x 16"] == 100 if inside else cells[kind]["overlap, 16 x 16"] < 60


@pytest.mark.parametrize("kind", ["colour", "background"])
def test_reweighting_measures_how_far_the_weight_moves_the_words_colour(true_images, monkeypatch, kind):
    """An editor that paints all between the prompt's other colour and the word's own, as far as its weight says."""

    def painted(trained, recipe, batch, weights):
        assert batch.targets == batch.sources and recipe is QUICK
        edits = []
        for source, each in zip(batch.sources, weights, strict=True):
            caption = shapes.parse(source)
            ((word, weight),) = each.items()
            assert word == caption[kind]
            own, other = (np.array(shapes.PALETTE[caption[name]]) for name in (kind, other_kind))
            edits.append(torch.from_numpy((1 - weight) * other + weight * own).float() / 127.5 - 1)
        return torch.stack(edits)[..., None, None].expand_as(batch.x_T)

    other_kind = "background" if kind == "colour" else "colour"
    monkeypatch.setattr(score, "prompt_to_prompt", painted)
    monkeypatch.setattr(score, "WEIGHTS", (0.0, 0.5, 1.0))
    cells = score.reweighting(TINY, QUICK, task(kind, 3), kind)
    assert {name: cell["strength"] for name, cell in cells.items() if name != "all weights"} == pytest.approx(
        {"weight 0": 0, "weight 0.5": 0.5, "weight 1": 1}, abs=0.02
    )
    assert cells["all weights"]["rising"] == 100


# ---- the record ------------------------------------------------------------------------------------------------------


def test_cells_that_another_command_has_written_meanwhile_are_kept(tmp_path):
    path = tmp_path / "score.json"
    records.add(path, "colour", {"n": 2}, {"p2p": {"success": 1.0}})
    records.add(path, "shape", {"n": 3}, {"p2p": {"success": 2.0}})
    record = records.add(path, "colour", {"n": 2}, {"plain": {"success": 3.0}})
    assert record == records.read_record(path)
    assert record["settings"] == {"colour": {"n": 2}, "shape": {"n": 3}}
    assert list(record["cells"]["colour"]) == ["p2p", "plain"] and list(record["cells"]["shape"]) == ["p2p"]
    with pytest.raises(ValueError, match="was made with n 2, not 4: results are not mixed, choose another --out"):
        records.add(path, "colour", {"n": 4}, {"p2p": {"success": 4.0}})
    assert records.read_record(path) == record


@pytest.mark.parametrize("content", ["[]", "{", '{"settings": {}}', '{"settings": {"a": {}}, "cells": {}}'])
def test_a_file_that_is_no_record_of_scores_is_named(tmp_path, content):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(ValueError, match="s.json is no record of"):
        records.read_record(tmp_path / "s.json")


def test_the_table_labels_what_was_not_measured_now():
    cells = {"p2p": {"success": 99.5}, "plain": {"success": None, "drift": 1.0}}
    record = {"settings": {"colour": {"n": 3, "size": None}}, "cells": {"colour": cells}}
    text = records.table("colour", record, Path("s.json"), {"plain": {}})
    assert text == "colour: n 3\n  p2p              success 99.5  (read from s.json)\n  plain            drift 1"
