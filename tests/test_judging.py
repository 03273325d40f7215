"""Whether images show what their prompts say: images drawn to say it, or not to, and a classifier that knows."""

import numpy as np
import pytest
from test_real_data import painted

from ddpm.data import scenes
from ddpm.data.captions import EXAMPLES
from ddpm.data.shapes import Shape, draw
from ddpm.evaluation import classifier
from ddpm.evaluation.edits import PARSERS
from ddpm.evaluation.judge import accuracy, judged
from unet import Tokenizer
from unet.vocabulary import CLASSES


def certain(classes: list[str]) -> dict[str, np.ndarray]:
    """A classifier that is sure of these classes."""
    return {"class": np.eye(len(CLASSES))[[CLASSES.index(c) for c in classes]]}


def faces(*holding: str, names: str) -> dict[str, np.ndarray]:
    """A classifier that finds these attributes, one string for each image, among all that it knows."""
    return {
        name: np.array([[1.0, 0.0], [0.0, 1.0]])[[int(name in held.split()) for held in holding]]
        for name in names.split()
    }


def test_shapes_are_judged_word_by_word():
    images = draw([Shape("circle", "red", "blue", "small"), Shape("cross", "white", "green", "large")])
    prompts = ["a photo of a small green circle on a blue background", "a photo of a cross"]
    answers = judged("shapes", images, prompts)
    assert {kind: values[0] for kind, values in answers.items()} == {
        "size": 1, "colour": 0, "shape": 1, "background": 1,
    }  # fmt: skip
    assert answers["shape"][1] == 1 and all(np.isnan(answers[kind][1]) for kind in ("size", "colour", "background"))
    assert accuracy(answers)["colour"] == {"share": 0.0, "n": 1}
    assert accuracy(answers)["shape"] == {"share": 1.0, "n": 2} and accuracy(answers)["all"] == {"share": 0.5, "n": 2}


def test_things_are_judged_by_class_and_pixels():
    images = np.stack([painted("white", "green"), painted("red", "gray"), painted("red", "gray")])
    prompts = [
        "a photo of a white horse on a green background",
        "a photo of a green background with a red car",
        "a photo of a car",
    ]
    answers = judged("cifar10", images, prompts, certain(["horse", "car", "truck"]))
    assert answers["class"].tolist() == [1, 1, 0]
    np.testing.assert_array_equal(answers["colour"], [1, 1, np.nan])
    np.testing.assert_array_equal(answers["background"], [1, 0, np.nan])


def test_faces_are_judged_by_their_attributes():
    names = (
        "Male Young Smiling Bald No_Beard Blond_Hair Black_Hair Brown_Hair Gray_Hair Bangs Eyeglasses Wearing_Earrings"
        " Wearing_Hat Wearing_Necktie Wearing_Lipstick"
    )
    answers = faces("Young Smiling Black_Hair No_Beard", "Male Eyeglasses", names=names)
    prompts = ["a photo of a smiling old woman with blond hair", "a photo of a man with a beard and eyeglasses"]
    answers = judged("celeba", np.zeros((2, 3, 8, 8), dtype=np.uint8), prompts, answers)
    said = {kind: values.tolist() for kind, values in answers.items()}
    assert said["sex"] == [1, 1]
    assert [said[kind][0] for kind in ("smiling", "age", "hair")] == [1, 0, 0]
    assert [said[kind][1] for kind in ("beard", "eyeglasses")] == [1, 1]
    assert all(np.isnan(said[kind][1]) for kind in ("smiling", "age", "hair")) and "hat" not in said


@pytest.mark.parametrize("size", [32, 64])
def test_the_judge_of_scenes_reads_drawings_of_combinations_that_it_never_saw(size):
    drawn = scenes.scatter(200, "test", 5)
    images = np.stack([scenes.draw(scene, size) for scene in drawn])
    captions = [scenes.caption(scene) for scene in drawn]
    probabilities = classifier.load("scenes", size).probabilities(images)
    for kind, answers in judged("scenes", images, captions, probabilities).items():
        assert np.nanmean(answers) >= 0.99, kind
    animals = [i for i, scene in enumerate(drawn) if scene.thing in ("cat", "dog")]
    others = {"cat": "dog", "dog": "cat"}
    for i in animals:  # the caption of another animal
        captions[i] = scenes.caption(scenes.replace(drawn[i], thing=others[drawn[i].thing]))
    assert np.mean(judged("scenes", images, captions, probabilities)["thing"][animals]) <= 0.05


@pytest.mark.parametrize("data", EXAMPLES)
def test_the_example_captions_are_sentences_of_their_dataset(data):
    for caption in EXAMPLES[data]:
        assert PARSERS[data](caption) and Tokenizer().decode(Tokenizer().encode([caption], 24)) == [caption]
