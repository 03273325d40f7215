"""The strength sweep: error and accuracy of edits, and the edits it is measured with."""

from types import SimpleNamespace

import numpy as np
import pytest
from tiny import make_trained

import ddim
import ddpm
from ddim.experiments import strength_sweep as sweep
from ddpm.data import Dataset, shapes
from ddpm.data.captions import parse_face, parse_thing
from ddpm.evaluation import edits
from ddpm.experiments import common
from ddpm.utils.files import write_json
from ddpm.utils.images import from_bytes, squared_error
from p2p.real import null_text
from unet.vocabulary import CLASSES, SHAPES

CURVE = [{"strength": s, "error": 0.1 * s, "accuracy": m} for s, m in ((0.2, 0.0), (0.4, 0.4), (0.6, 0.8), (0.8, 0.6))]


def test_the_error_at_equal_accuracy_is_interpolated_between_two_strengths():
    assert sweep.at_success(CURVE, 0.6) == pytest.approx(0.05)
    assert sweep.at_success(CURVE, 0.8) == pytest.approx(0.06)
    assert sweep.at_success(CURVE, 0.0) == pytest.approx(0.02)
    assert sweep.at_success(CURVE, 0.9) is None


def test_a_point_has_the_error_where_nothing_should_change_and_the_share_that_shows_the_edit():
    images, keep = np.zeros((2, 3, 4, 4), dtype=np.uint8), np.ones((2, 4, 4), dtype=bool)
    keep[0, 0] = False  # the first row of the first image may change
    after = images.copy()
    after[:, :, 0] = 255
    e = edits.Edits(images, [""] * 2, [""] * 2, keep)
    assert sweep.point(e, after, np.array([True, False])) == {"error": 0.125, "accuracy": 0.5}


def test_a_face_that_no_edit_has_changed_is_the_same_person_and_one_far_away_is_not(monkeypatch):
    monkeypatch.setattr(sweep.faces, "descriptors", lambda images: images[:, 0, 0] / 255)  # a row of pixels: distance
    e = edits.Edits(np.zeros((2, 3, 4, 4), dtype=np.uint8), [""] * 2, [""] * 2, np.ones((2, 4, 4), dtype=bool))
    after = e.images.copy()
    after[1, 0, 0, 0] = 255  # at the distance 1
    found = sweep.point(e, after, np.array([True, True]), before=sweep.faces.descriptors(e.images))
    assert found["same"] == found["distance"] == 0.5


def test_curves_of_earlier_calls_stay_and_new_ones_take_their_place(tmp_path):
    path, how = tmp_path / "sweep.json", {"settings": {"n": 5}}
    people = {"hair": {"mirrored": 4}, "smiling": {"mirrored": 5, "sampled": 6}}
    before = how | {"curves": {"hair": {"ddim": 1}, "smiling": {"exact": 2, "sdedit": 3}}, "recogniser": people}
    new = how | {"curves": {"smiling": {"sdedit": 6, "ddim": 7}}, "recogniser": {"smiling": {"mirrored": 8}}}
    curves = {"hair": {"ddim": 1}, "smiling": {"sdedit": 6, "ddim": 7, "exact": 2}}
    people = {"hair": {"mirrored": 4}, "smiling": {"mirrored": 8, "sampled": 6}}
    write_json(path, before)
    both = sweep.together(path, new)
    assert both == how | {"curves": curves, "recogniser": people}
    assert list(both["curves"]["smiling"]) == ["sdedit", "ddim", "exact"]  # in the tables' order
    with pytest.raises(ValueError, match="was made with n 5, not 6"):
        sweep.together(path, new | {"settings": {"n": 6}})


def test_an_edited_shape_shows_its_edit_where_every_word_is_right():
    words = (("square", "red", "small"), ("circle", "red", "small"), ("square", "green", "small"))
    images = shapes.draw([shapes.Shape(shape, colour, "blue", size) for shape, colour, size in words])
    target = "a photo of a small red square on a blue background"
    e = edits.Edits(images, [""] * 3, [target] * 3, np.ones((3, *images.shape[2:]), bool))
    assert sweep.shows_edit("shapes", "shape", e, images).tolist() == [True, False, False]


def test_an_edited_photograph_shows_its_edit_where_the_classifier_says_so(monkeypatch):
    answers = np.eye(10)[[CLASSES.index("dog"), CLASSES.index("cat")]]
    judge = SimpleNamespace(probabilities=lambda images: {"class": answers})
    monkeypatch.setattr(common.classifier, "load", lambda *_: judge)
    images = np.zeros((2, 3, 32, 32), dtype=np.uint8)
    e = edits.Edits(images, [""] * 2, ["a photo of a white dog"] * 2, np.ones((2, 32, 32), bool))
    assert sweep.shows_edit("cifar10", "class", e, images).tolist() == [True, False]  # the colour does not count


@pytest.mark.parametrize("kind", edits.EDIT_KINDS["shapes"])
def test_the_true_edit_changes_one_thing_has_no_error_and_shows_its_caption(kind):
    e = edits.edits(shapes.shapes("test", 4), kind, 50)
    after = shapes.draw([edits.changed(s, kind) for s in shapes.scatter(50, "test", edits.HELD_OUT_SEED)])
    assert not squared_error(e.images, after, e.keep).any()
    assert shapes.score(after, e.targets)["all"] == 1
    assert shapes.score(e.images, e.targets)["all"] == 0
    assert 0 < e.keep.mean() < 1
    assert {shapes.parse(target)[kind] for target in e.targets} == set(SHAPES if kind == "shape" else shapes.PALETTE)
    for source, target in zip(e.sources, e.targets, strict=True):
        before, after = shapes.parse(source), shapes.parse(target)
        assert {name for name in before if before[name] != after[name]} == {kind}
        assert after["colour"] != after["background"]


def test_a_colour_edit_may_change_the_object_and_a_background_edit_the_rest():
    s = shapes.scatter(1, "test", edits.HELD_OUT_SEED)[0]
    mask = shapes.coverage(s.shape, [s.x], [s.y], [s.radius])
    for kind, object_may_change in (("colour", True), ("background", False)):
        keep = edits.edits(shapes.shapes("test", 1), kind, 1).keep
        assert (~keep[mask == 1] == object_may_change).all() and (keep[mask == 0] == object_may_change).all()


def test_an_edit_of_cifar10_changes_the_class():
    images = np.zeros((2, 3, 32, 32), dtype=np.uint8)
    data = Dataset("cifar10", images, [("a dark photo of a white cat on a green background",), ("a photo of a car",)])
    e = edits.edits(data, "class", 2)
    assert e.keep.all()
    for source, target, wanted in zip(e.sources, e.targets, ("dog", "truck"), strict=True):
        assert parse_thing(target) == parse_thing(source) | {"class": wanted}


def test_an_edit_of_celeba_gives_faces_what_they_lack():
    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1).repeat(3, 1).repeat(8, 2).repeat(8, 3)
    captions = [("a photo of a woman",), ("a photo of a smiling man",), ("a photo of an old man",)]
    e = edits.edits(Dataset("celeba", images, captions), "smiling", 5)
    assert e.images[:, 0, 0, 0].tolist() == [0, 2] and e.keep.all()
    assert all(parse_face(target)["smiling"] for target in e.targets)


def test_an_edit_of_hair_gives_another_of_three_colours_to_faces_that_have_one():
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1).repeat(3, 1).repeat(8, 2).repeat(8, 3)
    hair = ("wavy black hair", "a beard", "gray hair", "blond hair and bangs")
    e = edits.edits(Dataset("celeba", images, [(f"a photo of a man with {words}",) for words in hair]), "hair", 5)
    assert e.images[:, 0, 0, 0].tolist() == [0, 3]
    assert e.targets == [f"a photo of a man with {words}" for words in ("wavy blond hair", "brown hair and bangs")]


# ---- Prompt-to-Prompt in the sweep -----------------------------------------------------------------------------------

TRAINED, SOURCE, TARGET = make_trained(), "a photo of a large red circle", "a photo of a large green circle"
PHOTOGRAPHS = edits.Edits(np.full((2, 3, 16, 16), 90, np.uint8), [SOURCE] * 2, [TARGET] * 2, np.ones((2, 16, 16), bool))
HOW = SimpleNamespace(steps=2, scale=2.0, seed=5, iterations=0, eta=1.0, strengths=[0.5, 1.0])


def test_prompt_to_prompt_of_sampled_sources_is_plain_sampling_where_no_map_is_injected():
    own, (_, after) = sweep.edits_by(TRAINED, HOW, PHOTOGRAPHS, "p2p")
    x_T = ddpm.Noise([5, 6]).start(TRAINED.shape, TRAINED.device)
    for images, prompt in ((own.images, SOURCE), (after, TARGET)):
        alone = ddpm.last(ddim.sample(TRAINED.eps([prompt], 2.0), TRAINED.schedule, x_T, 2))
        assert np.abs(images.astype(int) - ddpm.to_bytes(alone)).max() <= 1  # to rounding of another batch


def test_null_text_with_the_own_caption_of_a_photograph_gives_its_reconstruction():
    own, after = sweep.edits_by(TRAINED, HOW, PHOTOGRAPHS._replace(targets=PHOTOGRAPHS.sources), "null-text")
    reconstructed = [x for _, x, _ in null_text(TRAINED, [SOURCE] * 2, from_bytes(PHOTOGRAPHS.images), 2, 2.0)][-1]
    assert (own.images == PHOTOGRAPHS.images).all()
    for images in after:
        assert np.abs(images.astype(int) - ddpm.to_bytes(reconstructed)).max() <= 1
