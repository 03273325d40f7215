"""What an edit loses and whether it succeeds, and the edits it is measured with."""

from dataclasses import replace

import numpy as np
import pytest

from ddim.experiments import strength_sweep as tradeoff
from ddpm.data import DataError, Dataset, edits, shapes
from ddpm.data.captions import parse_face, parse_thing

CURVE = [{"strength": s, "lost": 0.1 * s, "met": m} for s, m in ((0.2, 0.0), (0.4, 0.4), (0.6, 0.8), (0.8, 0.6))]


# ---- points ----------------------------------------------------------------------------------------------------------


def test_lost_counts_only_what_should_stay():
    before = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    after = before.copy()
    after[:, :, 0] = 255  # the first row is another
    keep = np.ones((2, 4, 4), dtype=bool)
    assert tradeoff.lost(before, after, keep) == pytest.approx(0.25)
    keep[:, 0] = False
    assert tradeoff.lost(before, after, keep) == 0
    keep[1, 0] = True  # the second image loses a quarter of its pixels
    assert tradeoff.lost(before, after, keep) == pytest.approx(0.125)


def test_equal_success_is_read_off_between_two_strengths():
    assert tradeoff.at_success(CURVE, 0.6) == pytest.approx(0.05)
    assert tradeoff.at_success(CURVE, 0.8) == pytest.approx(0.06)
    assert tradeoff.at_success(CURVE, 0.0) == pytest.approx(0.02)
    assert tradeoff.at_success(CURVE, 0.9) is None


def test_points_judge_what_each_strength_gives():
    images, keep = np.zeros((2, 3, 4, 4), dtype=np.uint8), np.ones((2, 4, 4), dtype=bool)

    def brighter(s: int) -> np.ndarray:
        return (images + 255 * s).astype(np.uint8)

    found = [point for point, _ in tradeoff.points(brighter, [0, 1], images, keep, lambda x: x.mean() / 255)]
    assert found == [{"strength": s, "lost": s, "met": s} for s in (0, 1)]


def test_the_text_and_the_plot_have_every_way(tmp_path):
    curves = {"colour": {"noise": CURVE, "invert": CURVE}}
    words = tradeoff.text(["head"], curves)
    assert words.count(tradeoff.NAMES["invert"]) == 3 and "80.0" in words
    assert tradeoff.plot(tmp_path / "plot.png", curves, "title").stat().st_size > 5000


def test_the_plot_draws_met_and_lost_over_the_strength_and_met_over_lost(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(tradeoff, "save_figure", lambda figure, path: drawn.append(figure))
    tradeoff.plot(tmp_path / "plot.png", {"colour": {"noise": CURVE}}, "title")
    found = [axis.lines[0].get_xydata().tolist() for axis in drawn[0].axes]
    names = (("strength", "met"), ("lost", "met"), ("strength", "lost"))
    assert found == [[[p[x], p[y]] for p in CURVE] for x, y in names]


# ---- edits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", edits.KINDS["shapes"])
def test_an_edit_of_the_shapes_changes_one_thing(kind):
    e = edits.edits(shapes.shapes("test", 4), kind, 50)
    for source, target, wanted in zip(e.sources, e.targets, e.wanted, strict=True):
        before, after = shapes.parse(source), shapes.parse(target)
        assert {name for name in before if before[name] != after[name]} == {kind}
        assert after[kind] == wanted and after["colour"] != after["background"]


@pytest.mark.parametrize("kind", edits.KINDS["shapes"])
def test_the_perfect_edit_loses_nothing_and_meets_its_caption(kind):
    e = edits.edits(shapes.shapes("test", 4), kind, 50)
    after = shapes.draw([edits.changed(s, kind) for s in shapes.scatter(50, "test", edits.HELD_OUT_SEED)])
    assert tradeoff.lost(e.images, after, e.keep) == 0
    assert shapes.score(after, e.targets)["all"] == 1
    assert shapes.score(e.images, e.targets)["all"] == 0
    assert 0 < e.keep.mean() < 1


def test_a_colour_edit_may_touch_the_object_and_a_background_edit_the_rest():
    s = shapes.scatter(1, "test", edits.HELD_OUT_SEED)[0]
    mask = shapes.coverage(s.shape, [s.x], [s.y], [s.radius])
    for kind, object_may_change in (("colour", True), ("background", False)):
        keep = edits.edits(shapes.shapes("test", 1), kind, 1).keep
        assert (~keep[mask == 1] == object_may_change).all() and (keep[mask == 0] == object_may_change).all()


def test_the_sources_were_never_shown_in_training():
    e = edits.edits(shapes.shapes("test", 4), "colour", 30)
    shown = {shapes.caption(None, c, s, b) for c, s, b in shapes.combinations("train")}
    for sentence in e.sources:
        assert shapes.caption(**(shapes.parse(sentence) | {"size": None})) not in shown


def test_an_edit_of_cifar10_changes_the_class():
    images = np.zeros((2, 3, 32, 32), dtype=np.uint8)
    data = Dataset("cifar10", images, [("a dark photo of a white cat on a green background",), ("a photo of a car",)])
    e = edits.edits(data, "class", 2)
    assert e.wanted == ["dog", "truck"] and e.head == "class" and e.keep.all()
    for source, target, wanted in zip(e.sources, e.targets, e.wanted, strict=True):
        assert parse_thing(target) == replace(parse_thing(source), kind=wanted)


def test_an_edit_of_celeba_gives_faces_what_they_lack():
    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1).repeat(3, 1).repeat(8, 2).repeat(8, 3)
    captions = [("a photo of a woman",), ("a photo of a smiling man",), ("a photo of an old man",)]
    e = edits.edits(Dataset("celeba", images, captions), "smiling", 5)
    assert e.images[:, 0, 0, 0].tolist() == [0, 2] and e.wanted == ["yes"] * 2 and e.head == "Smiling"
    assert all(parse_face(target).smiling for target in e.targets)


def test_unknown_edits_are_told():
    with pytest.raises(DataError, match="'size'"):
        edits.edits(shapes.shapes("test", 4), "size", 2)
