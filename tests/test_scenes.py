"""Scenes are what their captions say: grammar, held-out combinations, masks and true edits."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from ddpm.data import scenes
from ddpm.experiments import common

SCENES = scenes.scatter(60, "train", 7) + scenes.scatter(60, "test", 7)
CAT = scenes.Scene("cat", "gray", "couch", "red", x=2.0, ground=23.0)
HOUSE = scenes.Scene("house", "white", "mountain", flag=True, x=-3.0)
BUTTERFLY = scenes.Scene("butterfly", "orange", "flower", "pink")
EDITS = [
    (CAT, dict(thing="tiger")),
    (CAT, dict(setting_colour="blue")),
    (dataclasses.replace(CAT, setting="bicycle", mirror=True), dict(thing="dog")),
    (HOUSE, dict(thing="hotel")),
    (HOUSE, dict(flag=False)),
    (BUTTERFLY, dict(spikey=True)),
]


def test_a_caption_reads_back_as_what_the_scene_names():
    for scene in SCENES:
        named = scenes.parse(scenes.caption(scene))
        for name in ("thing", "setting", "flag", "spikey"):
            assert named[name] == getattr(scene, name)
        assert named["colour"] == (None if scene.thing in ("tiger", "tree") else scene.colour)
        assert named["setting_colour"] == (None if scene.setting in scenes.PLACES else scene.setting_colour)


def test_every_caption_of_training_is_true_and_in_the_grammar():
    for scene in SCENES:
        full = scenes.parse(scenes.caption(scene))
        for text in scenes.variants(scene):
            for name, word in scenes.parse(text).items():
                assert word in (full[name], None, False)


def test_the_lectures_captions():
    assert scenes.caption(CAT) == "a photo of a gray cat on a red couch"
    assert scenes.caption(HOUSE) == "a photo of a white house with a flag on a mountain"
    spikey = scenes.replace(BUTTERFLY, spikey=True)
    assert scenes.caption(spikey) == "a photo of an orange butterfly on a spikey pink flower"


def test_training_never_shows_a_combination_of_the_test_split():
    seen, unseen = (
        {tuple(scenes.parse(scenes.caption(s))[name] for name in ("thing", "colour", "setting", "setting_colour"))
         for s in scenes.scatter(2000, split, 0)}
        for split in ("train", "test")
    )  # fmt: skip
    assert unseen and not seen & unseen
    for place in range(4):  # but every word of them
        assert {row[place] for row in unseen} <= {row[place] for row in seen}


def masks(scene: scenes.Scene, size: int = 32) -> dict[str, np.ndarray]:
    """For each noun of the image, float (size, size) in 0..1: how much of each pixel it covers and nothing hides."""
    fine = {
        name: scenes.render(scene, "L", lambda noun, _, name=name: 255 * (noun == name), size)
        for name in ("background", scene.setting, scene.thing, "flag")
    }
    return {name: np.asarray(image.reduce(scenes.FINE)) / 255 for name, image in fine.items()}


def test_a_pixels_part_is_what_covers_it():
    for scene in SCENES[::6]:
        covered, names = masks(scene), {scene.thing: "thing", scene.setting: "setting", "flag": "flag"}
        for noun, mask in covered.items():
            part = scenes.PARTS.index(names.get(noun, "background"))
            assert (scenes.parts(scene)[mask > 0.99] == part).all()


@pytest.mark.parametrize("scene, change", EDITS)
def test_a_true_edit_changes_what_is_named_and_nothing_else(scene, change):
    edited = scenes.replace(scene, **change)
    before, after = masks(scene), masks(edited)
    moved = sum(np.abs(before.get(noun, 0) - after.get(noun, 0)) for noun in before | after) > 0
    changed = {noun for name in ("thing", "setting") for noun in (getattr(scene, name), getattr(edited, name))}
    inside = sum(masks.get(noun, 0) for masks in (before, after) for noun in changed) > 0
    differs = (scenes.draw(scene) != scenes.draw(edited)).any(axis=0)
    assert differs.any() and not differs[~(moved | inside)].any()


def test_a_thing_covers_the_same_share_of_an_image_of_64():
    for scene in (scenes.replace(scene, flag=False) for scene in SCENES):
        share, larger = (masks(scene, size)[scene.thing].mean() for size in (32, 64))
        assert abs(share - larger) < 0.03 * share


@pytest.mark.parametrize("scene", [CAT, scenes.replace(CAT, setting="bicycle"), BUTTERFLY])
def test_a_mirrored_scene_is_the_mirrored_image(scene):
    """Of what stands in the image's middle; fine pixels at an edge round to one side."""
    left, right = (scenes.parts(scenes.replace(scene, x=0, flag=False, mirror=mirror), 64) for mirror in (False, True))
    assert (left != right[:, ::-1]).mean() < 0.02 < 0.03 < (left != right).mean()


def test_a_flag_of_64_stands_before_everything():
    for scene in (scene for scene in SCENES if scene.setting in scenes.PLACES):
        with_flag, without = (scenes.replace(scene, flag=flag) for flag in (True, False))
        flag = scenes.parts(with_flag, 64) == scenes.PARTS.index("flag")
        differs = (scenes.draw(with_flag, 64) != scenes.draw(without, 64)).any(axis=0)
        assert 0.02 < flag.mean() < 0.08 and differs[flag].mean() > 0.99


@pytest.mark.parametrize("size", [32, 64])
def test_a_few_images_of_a_split_are_those_of_the_whole_and_nothing_is_kept(size, tmp_path, monkeypatch):
    monkeypatch.setattr(common, "COUNT", 9)
    trained = SimpleNamespace(info={"data": "scenes"}, image_shape=(3, size, size))
    there, take = common.images_in(trained, tmp_path)
    images, captions = take([7, 3])
    assert there == 9 and not any(tmp_path.iterdir())
    whole = scenes.scenes(tmp_path, "test", 9, size=size)
    assert (images == whole.images[[7, 3]]).all() and captions == [whole.captions[i][0] for i in (7, 3)]
