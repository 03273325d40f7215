"""The embedded dataset: captions, splits, what is drawn against geometry, and what is read off again."""

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest

from ddpm.data import shapes
from ddpm.data.shapes import PALETTE, SIZE, Shape, caption, combinations, coverage, draw, parse, read, scatter, score
from unet.vocabulary import SHAPES, SIZES

# area of a shape of radius 1, by school geometry
AREA = {"circle": math.pi, "square": 1.6**2}
AREA["triangle"] = 3 * math.sqrt(3) / 4 * 1.35**2  # equilateral, corners at 1.35 from the centre
AREA["cross"] = 2 * (2 * 1.2) * (2 * 0.4) - (2 * 0.4) ** 2  # two bars, their overlap counted once
WORDS = ("size", "colour", "shape", "background")


@pytest.fixture(scope="module")
def real():
    """Real renderings of both splits, with a seed that training does not use, and what they show."""
    return [s for split in ("train", "test") for s in scatter(1000, split, seed=7)]


def noisy(images: np.ndarray) -> np.ndarray:
    """A standard deviation of 6 in 255: what generated images have, and more."""
    noise = np.random.default_rng(0).normal(0, 6, images.shape)
    return np.clip(images + noise, 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def readings(real):
    return read(draw(real))


def test_captions_parse_back_to_attributes_and_other_sentences_do_not():
    for size, colour, shape, background in product((None, *SIZES), (None, *PALETTE), SHAPES, (None, *PALETTE)):
        parts = {"size": size, "colour": colour, "shape": shape, "background": background}
        assert parse(caption(**parts)) == parts
    for other in ("a red circle", "a photo of a cat", "a photo of a red small circle", "a photo of a cross on a red"):
        with pytest.raises(ValueError, match="no sentence of the shapes grammar"):
            parse(other)


def test_variants_are_true_and_the_fullest_comes_first():
    for s in scatter(50, "train", seed=3):
        every = shapes.variants(s)
        assert parse(every[0]) == {word: getattr(s, word) for word in WORDS}
        for sentence in every:
            assert all(value in (None, getattr(s, word)) for word, value in parse(sentence).items())
        assert Counter(every)[every[0]] == len(every) / 2  # half of the time all is said


def test_the_splits_divide_all_combinations():
    train, test = set(combinations("train")), set(combinations("test"))
    every = {(c, s, b) for c, s, b in product(PALETTE, SHAPES, PALETTE) if c != b}
    assert not train & test and train | test == every
    assert len(combinations("train")) == len(train) and len(combinations("test")) == len(test)
    assert len(test) == pytest.approx(len(every) / 8, rel=0.2)  # "one in eight", as near as the pattern divides 120


def test_training_shows_every_word_and_every_pair_of_words():
    """So a held-out combination is new only as a whole: nothing in it is unknown."""
    for pair in ((0, 1), (0, 2), (1, 2)):
        seen = {(row[pair[0]], row[pair[1]]) for row in combinations("train")}
        assert seen == {(row[pair[0]], row[pair[1]]) for row in combinations("train") + combinations("test")}


def test_what_is_scattered_is_even():
    """Each combination and size equally often: chi-square within five standard deviations of its mean."""
    drawn = scatter(8000, "train", seed=0)
    for counts in (Counter((s.colour, s.shape, s.background) for s in drawn), Counter(s.size for s in drawn)):
        expected, freedom = len(drawn) / len(counts), len(counts) - 1
        chi_square = sum((n - expected) ** 2 / expected for n in counts.values())
        assert chi_square < freedom + 5 * math.sqrt(2 * freedom)
    for split in ("train", "test"):
        shown = {(s.colour, s.shape, s.background) for s in scatter(8000, split, seed=0)}
        assert shown == set(combinations(split))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_fine_drawing_has_the_area_of_geometry_stands_upright_and_reaches_as_far_as_it_says(shape):
    """At 16 times the size the corners' share falls away; the centre of mass is the centre; the triangle points up."""
    covered, pixels = coverage(shape, [256], [256], [150], size=512)[0], np.arange(512) + 0.5
    assert covered.sum() == pytest.approx(AREA[shape] * 150**2, rel=1e-3)
    assert covered.sum(axis=0) @ pixels / covered.sum() == pytest.approx(256, abs=0.01)
    assert covered.sum(axis=1) @ pixels / covered.sum() == pytest.approx(256, abs=0.2)
    assert np.allclose(covered, covered[:, ::-1])
    widths = covered.sum(axis=1)
    if shape == "triangle":
        assert widths[120] < widths[200] < widths[300]
    else:
        assert np.allclose(covered, covered[::-1])
    rows, columns = np.nonzero(covered > 0.5)
    farthest = max(256 - rows.min(), rows.max() + 1 - 256, 256 - columns.min(), columns.max() + 1 - 256)
    assert farthest == pytest.approx(shapes.REACH[shape] * 150, abs=1)


def test_colours_are_exact_and_blended_and_the_object_is_inside_the_frame(real):
    """Antialiasing: nothing but the straight line from background to colour, to half a step of rounding."""
    for s, image in zip(real, draw(real), strict=True):
        assert tuple(image[:, int(s.y), int(s.x)]) == PALETTE[s.colour]
        frame = np.concatenate([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], axis=1)
        assert tuple(np.median(frame, axis=1)) == PALETTE[s.background]
        assert shapes.REACH[s.shape] * s.radius <= min(s.x, s.y, SIZE - s.x, SIZE - s.y)
        front, back = np.array(PALETTE[s.colour], float), np.array(PALETTE[s.background], float)
        pixels = image.reshape(3, -1).T - back
        share = pixels @ (front - back) / np.square(front - back).sum()
        assert share.min() > -0.01 and share.max() < 1.01
        assert abs(pixels - share[:, None] * (front - back)).max() < 1


def test_words_of_real_renderings_are_read_right_and_their_place_within_a_fifth_of_a_pixel(real, readings):
    """In 99 of 100, words also of noisy images; and a place or a radius is never wrong by more than half a pixel."""
    for word, found in product(WORDS, (readings, read(noisy(draw(real))))):
        assert np.mean([getattr(r, word) == getattr(s, word) for r, s in zip(found, real, strict=True)]) >= 0.99
    for name in ("x", "y", "radius"):
        errors = np.array([abs(getattr(r, name) - getattr(s, name)) for r, s in zip(readings, real, strict=True)])
        assert np.mean(errors < 0.2) >= 0.99 and errors.max() < 0.5


def test_the_mask_is_what_was_drawn(real, readings):
    """Pixel by pixel in 99 of 100 images: `read` forgets what covers less than 0.15 of a pixel, and nothing else."""
    wrong = [abs(coverage(s.shape, s.x, s.y, s.radius)[0] - r.mask).max() for s, r in zip(real, readings, strict=True)]
    assert np.mean(np.array(wrong) < 0.15 + 0.02) >= 0.99  # a colour in bytes is known to within 1 part in 100


def test_blank_images_and_noise_show_nothing():
    for colour in [*PALETTE.values(), (0, 0, 0)]:
        (reading,) = read(np.broadcast_to(np.array(colour, np.uint8)[None, :, None, None], (1, 3, SIZE, SIZE)))
        assert (reading.shape, reading.size, reading.colour) == (None, None, None)
        assert reading.background == next((name for name, rgb in PALETTE.items() if rgb == colour), None)
    noise = np.random.default_rng(0).integers(0, 256, (200, 3, SIZE, SIZE), dtype=np.uint8)
    assert {(reading.shape, reading.size) for reading in read(noise)} == {(None, None)}


def test_a_colour_far_from_the_palette_has_no_name():
    for colour in [(0, 0, 0), (255, 140, 200), (0, 255, 255), (120, 120, 120)]:
        assert min(math.dist(colour, rgb) for rgb in PALETTE.values()) > 60
        covered = coverage("circle", [SIZE / 2], [SIZE / 2], [shapes.RADII["large"]])[0]
        back = np.array(PALETTE["white"])[:, None, None]
        on_white = covered * np.array(colour)[:, None, None] + (1 - covered) * back
        around = (1 - covered) * np.array(colour)[:, None, None] + covered * back
        first, second = read(np.round(np.stack([on_white, around])).astype(np.uint8))
        assert (first.shape, first.colour, first.background) == ("circle", None, "white")
        assert (second.shape, second.colour, second.background) == ("circle", "white", None)


def test_the_score_counts_right():
    """Swap one word in some prompts, and exactly their share is lost, for that word and for all four."""
    pool = scatter(400, "train", seed=9)
    drawn = [s for s in pool if s.shape != "cross" and "red" not in (s.colour, s.background)][:100]
    images, prompts = draw(drawn), [shapes.variants(s)[0] for s in drawn]
    assert score(images, prompts) == {"background": 1, "colour": 1, "size": 1, "shape": 1, "all": 1}
    for word, wrong, n in (("shape", "cross", 30), ("colour", "red", 20), ("background", "red", 7)):
        changed = [caption(**parse(p) | {word: wrong}) if i < n else p for i, p in enumerate(prompts)]
        lost = dict.fromkeys((word, "all"), (100 - n) / 100)
        assert score(images, changed) == pytest.approx({"background": 1, "colour": 1, "size": 1, "shape": 1} | lost)


def test_a_prompts_omissions_are_not_scored_and_two_faults_are_one_failure():
    s = Shape("circle", "green", "white", "small")
    assert score(draw([s]), [caption(None, None, "circle", None)])["all"] == 1
    prompt = caption("large", "blue", "circle", "white")
    assert score(draw([s]), [prompt]) == {"background": 1, "colour": 0, "size": 0, "shape": 1, "all": 0}
