"""The measures of edits on images whose truth is known, pairs of captions, the baselines and the score."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import make_trained

import ddim
from ddpm import Noise, last
from ddpm.data import scenes, shapes
from ddpm.evaluation.edits import PAIR_KINDS, PARSERS, SCENE_PAIRS, kind_between, pairs, scene_edits
from ddpm.experiments.common import shown_words
from ddpm.noise import noise_like
from ddpm.utils.images import from_bytes, to_bytes
from p2p.experiments import score
from p2p.experiments.baselines import PAIR_SAMPLERS, WAYS, EditSettings, Pairs, sampled_pairs, words_that_differ
from p2p.real import ITERATIONS
from p2p.words import word_positions
from unet.attention import Site

TINY = make_trained()
QUICK = EditSettings(steps=3)


def task(kind: str, n: int) -> score.CaptionPairs:
    return score.task_of(TINY, kind, n)


def sampled(kind: str | None = "shape", **how) -> tuple[EditSettings, Pairs]:
    """Three pairs of a kind, with the source images that the settings make; None for targets that are the sources."""
    settings, each = replace(QUICK, **how), task(kind or "colour", 3)
    return settings, sampled_pairs(TINY, settings, each.sources, each.targets if kind else each.sources, [0, 1, 2])


def drawn(prompts: list[str], x: float = 8.0) -> np.ndarray:
    """The true image of each full prompt, centred at (x, 8)."""
    return shapes.draw([shapes.Shape(**shapes.parse(prompt), x=x) for prompt in prompts])


# ---- measures --------------------------------------------------------------------------------------------------------


def test_an_edit_succeeds_when_the_changed_word_is_shown_and_all_that_was_shown_before():
    nan = np.nan
    before = {"colour": np.array([1, 1, 1, 1.0]), "shape": np.array([1, 1, 0, 1.0])}
    after = {"colour": np.array([1, 0, 1, 1.0]), "shape": np.array([1, 1, 0, 0.0]), "size": np.array([nan] * 4)}
    assert score.succeeded(before, after, "colour").tolist() == [True, False, True, False]
    assert score.succeeded(before, after, "shape").tolist() == [True, False, False, False]
    assert score.succeeded(before, {"shape": after["shape"]}, None).tolist() == [True, True, True, False]


@pytest.mark.parametrize("kind", PAIR_KINDS["shapes"])
def test_elsewhere_is_outside_both_objects_or_inside_both_for_an_edit_of_the_background(kind):
    one, other = (drawn([f"a photo of a large {s} square on a blue background"], x)
                  for s, x in (("red", 7.0), ("green", 9.0)))  # fmt: skip
    elsewhere = score.elsewhere(task(kind, 1), one, other)[0]
    inside, edge, outside = elsewhere[8, 8], elsewhere[8, 3], elsewhere[0]
    assert inside == (kind == "background") and not edge and (outside == (kind != "background")).all()


def test_an_object_is_where_it_was_drawn_and_a_scenes_stands_on_its_lower_edge(monkeypatch):
    drawn_at = [shapes.Shape("circle", "red", "blue", "small", *place) for place in ((6.0, 7.0), (9.0, 11.0))]
    found = score.centres(task("colour", 1), shapes.draw(drawn_at))
    assert np.abs(found - [(6, 7), (9, 11)]).max() < 0.05
    masks = np.zeros((2, 32, 32), dtype=bool)
    masks[0, 2:5, 1:7] = True
    for times in (1, 2):  # in the same unit
        large = masks.repeat(times, axis=1).repeat(times, axis=2)
        monkeypatch.setattr(score, "places", lambda *_, large=large: {"thing": large})
        assert score.centres(score.CaptionPairs("scenes", "thing", [], []), large[:, None]).tolist() == [
            [4, 5],
            [16, 16],
        ]
    assert np.flatnonzero(score.wider(masks).any(axis=(0, 2))).tolist() == [1, 2, 3, 4, 5]


# ---- pairs of captions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "kind"), [(data, kind) for data, kinds in PAIR_KINDS.items() for kind in kinds])
def test_a_pair_differs_in_its_kind_of_word_alone(data, kind):
    name, found = kind.split()[-1], pairs(data, kind, 50)
    for source, target in zip(found.sources, found.targets, strict=True):
        before, after = PARSERS[data](source), PARSERS[data](target)
        assert {key for key in before if before[key] != after[key]} == {name}
        for each in (before, after):
            assert each.get("colour") is None or each["colour"] != each.get("background")
        assert (not after[name]) == kind.startswith("drop") and (not before[name]) >= kind.startswith("add")
        assert kind_between(data, source, target) == kind
    assert found == pairs(data, kind, 50)


@pytest.mark.parametrize("kind", PAIR_KINDS["scenes"])
def test_the_true_edit_of_a_scene_is_what_its_caption_says(kind):
    for e in scene_edits(kind, 20):
        for scene, text in ((e.before, e.source), (e.after, e.target)):
            assert all(value in (None, False, getattr(scene, name)) for name, value in scenes.parse(text).items())
        differ = {name for name, value in vars(e.before).items() if value != getattr(e.after, name)}
        assert differ == (set() if kind == "drop colour" else {kind.split()[-1]})


def test_other_pairs_have_no_kind():
    for data, source, target in (
        ("shapes", "a photo of a red circle", "a photo of a green cross"),
        ("shapes", "a photo of a red circle", "a photo of a circle"),
        ("cifar10", "a photo of a cat", "a photo of a white cat"),
        ("moons", "a photo of a red circle", "a photo of a green circle"),
    ):
        assert kind_between(data, source, target) is None


# ---- the baselines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_every_way_edits_pair_i_alike_in_any_batch(way):
    settings, together = sampled("colour", sampler="ddpm")
    alone = sampled_pairs(TINY, settings, together.sources[2:], together.targets[2:], [2])
    x, y = WAYS[way](TINY, settings, together), WAYS[way](TINY, settings, alone)
    assert x.shape == (3, 3, 16, 16) and (x[2:] - y).abs().max() < 1e-3 * y.abs().max()


@pytest.mark.parametrize("sampler", PAIR_SAMPLERS)
@pytest.mark.parametrize("way", ["plain", "p2p", "sdedit", "p2p-exact"])
def test_with_the_same_prompt_a_way_gives_the_source(way, sampler):
    """SDEdit at strength 0."""
    settings, same = sampled(None, scale=3.0, sampler=sampler, strength=0.0)
    assert (WAYS[way](TINY, settings, same) - same.x_0).abs().max() < 1e-4 * same.x_0.abs().max()


@pytest.mark.parametrize(("way", "iterations"), [("plain", None), ("ddim", 0), ("ddim-iterations", ITERATIONS)])
def test_plain_samples_the_target_and_ddim_inverts_before_with_the_sources_prompt(way, iterations):
    settings, each = sampled(scale=2.0, sampler="ddim")
    back = ddim.invert(TINY.eps(each.sources), TINY.schedule, each.x_0, 3, iterations=iterations or 0)
    x_T = each.x_T if way == "plain" else last(back)
    x = last(ddim.sample(TINY.eps(each.targets, 2.0), TINY.schedule, x_T, 3))
    assert (WAYS[way](TINY, settings, each) - x).abs().max() < 1e-4 * x.abs().max()


@pytest.mark.parametrize(("way", "sampler"), [("sdedit", "edit_naive"), ("p2p", "sample")])
def test_the_noise_of_an_edit_is_independent_of_x_T(monkeypatch, way, sampler):
    settings, same = sampled(None, sampler="ddpm")

    def record(*given, generator, **how):
        yield 0, torch.cat([noise_like(given[2], generator)[:3]] * 2), None

    monkeypatch.setattr(ddim, sampler, record)
    both = torch.stack([WAYS[way](TINY, settings, same)[:3].flatten(), same.x_T.flatten()])
    assert torch.equal(noise_like(same.x_0, Noise(same.seeds)), same.x_T) and abs(torch.corrcoef(both)[0, 1]) < 0.1


def test_the_local_blend_is_around_the_words_that_differ_above_the_threshold_of_the_settings():
    """Nothing is above a threshold of 1, so nothing may change."""
    changes = []
    for threshold in (1.0, 0.3, 0.0):
        settings, each = sampled("colour", threshold=threshold, grow=0)
        changes.append((WAYS["p2p-blend"](TINY, settings, each) - each.x_0).abs().amax(dim=1) > 1e-4)
    assert not changes[0].any() and changes[1].sum() < changes[2].sum()
    each = Pairs(["a cat", "a red cat"], ["a small cat", "a red dog"], [0, 1], each.x_T, each.x_0)
    assert words_that_differ(each) == [[], ["cat"], ["small"], ["dog"]]


# ---- the score -------------------------------------------------------------------------------------------------------


@pytest.fixture
def true_images(monkeypatch):
    """Source images that are the truth, two to a batch, in place of samples."""

    def batch(trained, settings, sources, targets, seeds):
        x_0 = from_bytes(drawn(sources))
        return Pairs(sources, targets, seeds, x_0, x_0)

    monkeypatch.setattr(score, "sampled_pairs", batch)
    monkeypatch.setattr(score, "BATCH", 2)


def test_a_perfect_editor_has_all_points_and_one_that_does_nothing_no_success(true_images, monkeypatch):
    monkeypatch.setitem(score.WAYS, "perfect", lambda trained, settings, pairs: from_bytes(drawn(pairs.targets)))
    monkeypatch.setitem(score.WAYS, "nothing", lambda trained, settings, pairs: pairs.x_0)
    cells = score.compare(TINY, QUICK, task("colour", 6), ["perfect", "nothing"])
    perfect = cells["perfect"]
    assert perfect["success"] == 100 and perfect["drift"] < 0.02
    assert perfect["error elsewhere"] < 1e-4  # a reading leaves out pixels that the object covers by less than 15 %
    assert cells["nothing"]["success"] == cells["nothing"]["drift"] == 0


@pytest.mark.parametrize("kind", SCENE_PAIRS)
def test_true_edits_of_scenes_succeed_and_unchanged_ones_do_not(kind):
    """A flag that is taken away must be gone; where only its colour is no longer named, an image may stay as it is."""
    each, chosen = pairs("scenes", kind, 6), scene_edits(kind, 6)
    before, after = (np.stack([scenes.draw(scene) for scene in found])
                     for found in ([e.before for e in chosen], [e.after for e in chosen]))  # fmt: skip
    shown = shown_words("scenes", before, each.sources)
    assert score.measure(each, shown, before, after, None)["success"] == 100
    assert score.measure(each, shown, before, before, None)["success"] == (100 if kind == "drop colour" else 0)


@pytest.mark.parametrize("inside", [True, False])
def test_without_readings_elsewhere_is_where_the_words_that_differ_do_not_look(true_images, monkeypatch, inside):
    """An editor that repaints a region leaves all else alone."""
    settings, each = replace(QUICK, scale=2.0, threshold=0.5), replace(task("colour", 3), data="celeba")
    monkeypatch.setattr(score, "shown_words", lambda data, *given: shown_words("shapes", *given))

    def painted(trained, settings, pairs):
        region = torch.from_numpy(score.region(trained, settings, pairs))[:, None]
        assert region.any() and not region.all()
        return torch.where(region == inside, -pairs.x_0, pairs.x_0)

    monkeypatch.setitem(score.WAYS, "painted", painted)
    cell = score.compare(TINY, settings, each, ["painted"])["painted"]
    assert (cell["error elsewhere"] == 0) == inside and "drift" not in cell


def test_a_face_that_no_edit_has_changed_is_the_same_person(true_images, monkeypatch):
    monkeypatch.setattr(score, "shown_words", lambda data, *given: shown_words("shapes", *given))
    monkeypatch.setattr(score.faces, "installed", lambda: True)
    monkeypatch.setattr(score.faces, "descriptors", lambda images: images.reshape(len(images), -1) / 255)
    cells = score.compare(TINY, QUICK, replace(task("colour", 3), data="celeba"), ["nothing"])
    assert cells["nothing"]["same person"] == 100 and cells["nothing"]["distance of faces"] == 0


# ---- maps of words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [True, False])
def test_maps_that_are_the_true_masks_are_localised_perfectly(true_images, monkeypatch, inside):
    """Each image's colour word has exactly the object, its background's exactly the rest; or the reverse."""

    def maps(trained, settings, pairs, store):
        masks = np.stack([reading.mask for reading in shapes.read(to_bytes(pairs.x_0))]) > 0.5
        weights = torch.zeros(2 * len(masks), 1, 256, 16)
        for i, (mask, prompt) in enumerate(zip(masks, pairs.sources, strict=True)):
            for name, place in (("colour", mask == inside), ("background", mask != inside)):
                (token,) = word_positions(prompt, shapes.parse(prompt)[name])
                weights[i, 0, :, token] = torch.from_numpy(place.ravel()).float()
        store(weights, Site("up", "cross", "up", 16), torch.tensor([1]))

    monkeypatch.setattr(score, "prompt_to_prompt", maps)
    cells = score.localise(TINY, QUICK, task("maps", 3))
    assert cells.keys() == {"size", "colour", "shape", "background"} and cells["size"]["n"] == 3
    for kind in ("colour", "background"):
        assert cells[kind]["pointing, 16 x 16"] == (100 if inside else 0)
        assert cells[kind]["overlap, 16 x 16"] == 100 if inside else cells[kind]["overlap, 16 x 16"] < 60
