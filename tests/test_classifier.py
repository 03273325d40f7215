"""The feature networks: a classifier that learns what can be seen, its files, and whose distance may be called what."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_real_data import noise, one_line, write_celeba, write_cifar

from ddim.experiments import features
from ddpm import __main__ as command
from ddpm.data import classifier
from ddpm.data.base import DataError
from ddpm.data.cifar10 import load_images
from ddpm.data.classifier import Classifier, batches, load, ship, train, varied
from ddpm.data.labels import load_labelled
from ddpm.data.shapes import PALETTE, draw, read, scatter
from ddpm.files import CheckpointError, sha256

COLOURS = tuple(PALETTE)
HEADS = {"background": COLOURS}


def tiny(seed: int = 0, size: int = 16) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(size, (4, 8, 8, 12), HEADS, {"data": "shapes"}).eval()


def backgrounds(n: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    drawn = scatter(n, "train", seed)
    return draw(drawn), np.array([[COLOURS.index(s.background)] for s in drawn])


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """An empty place for shipped classifiers."""
    monkeypatch.setattr(classifier, "SHIPPED", tmp_path / "weights")
    return tmp_path / "weights"


# ---- the network ---------------------------------------------------------------------------------------------------


def test_an_image_is_classified_alone():
    """The answer for an image is the same in any batch."""
    network, (images, _) = tiny(), backgrounds(7)
    together = network.probabilities(images)["background"]
    alone = torch.cat([network.probabilities(images[i : i + 1])["background"] for i in range(7)])
    assert torch.allclose(together, alone, atol=1e-6)
    assert torch.allclose(together, network.probabilities(images, batch=3)["background"], atol=1e-6)
    assert torch.allclose(together.sum(dim=1), torch.ones(7), atol=1e-6)


def test_logits_are_a_linear_layer_of_the_features():
    network, (images, _) = tiny(), backgrounds(3)
    (x,) = batches(images, 16)
    logits = network.features(x) @ network.last[0].weight.T + network.last[0].bias
    assert torch.allclose(network(x)["background"], logits, atol=1e-6)


def test_plain_images_of_any_size_are_the_same_image():
    network = tiny()
    plain = [np.full((1, 3, size, size), 200, dtype=np.uint8) for size in (8, 16, 50)]
    told = [network.probabilities(image)["background"] for image in plain]
    assert torch.allclose(told[0], told[1], atol=1e-5) and torch.allclose(told[2], told[1], atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 1, 16, 16), (2, 3, 16, 8)])
def test_only_batches_of_square_images_are_taken(shape):
    with pytest.raises(ValueError, match="expected uint8"):
        tiny().probabilities(np.zeros(shape, dtype=np.uint8))
    with pytest.raises(ValueError, match="expected uint8"):
        tiny().probabilities(np.zeros((2, 3, 16, 16), dtype=np.float32))


# ---- training ------------------------------------------------------------------------------------------------------


def test_varied_images_are_mirrored_and_moved_ones():
    """Each is one of the 2 x 5 x 5 that can come out, built here by cutting them out; and all kinds do come out."""
    source, image = torch.Generator().manual_seed(0), torch.randn(1, 3, 6, 6)
    candidates = {}
    for flipped in (False, True):
        padded = F.pad(image.flip(3) if flipped else image, (2, 2, 2, 2), mode="reflect")[0]
        for dy in range(5):
            for dx in range(5):
                candidates[flipped, dy, dx] = padded[:, dy : dy + 6, dx : dx + 6]
    seen = set()
    for made in varied(image.expand(400, -1, -1, -1), 2, source):
        matches = [key for key, candidate in candidates.items() if torch.equal(made, candidate)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 50


@pytest.mark.slow
def test_it_learns_what_can_be_seen_and_the_seed_says_how():
    """Backgrounds of the shapes, told right on images of combinations that training never showed."""
    images, labels = backgrounds(1000)
    networks = [tiny(), tiny()]
    for network in networks:
        records = list(train(network, images, labels, epochs=6, batch=50))
        assert records[-1][0] == 1.0 and len(records) == 6 * 20
    fresh = scatter(200, "test", 3)
    truth = np.array([[COLOURS.index(s.background)] for s in fresh])
    assert networks[0].scores(draw(fresh), truth)["background"] > 0.95
    assert all(torch.equal(a, b) for a, b in zip(*(n.state_dict().values() for n in networks), strict=True))


# ---- files ---------------------------------------------------------------------------------------------------------


def test_shipped_in_half_precision_and_loaded(shelf):
    network, (images, labels) = tiny(), backgrounds(200)
    for _ in train(network, images, labels, epochs=2, batch=50):
        pass
    network.info["accuracy"] = {"background": 0.5}
    path = ship(network, "toy")
    again = load("toy")
    assert path.parent == shelf and again.heads == HEADS and again.accuracy == {"background": 0.5}
    a, b = (n.probabilities(images)["background"] for n in (network, again))
    assert torch.allclose(a, b, atol=0.01)
    assert not again.training and len(again.sha256) == 64


def test_a_changed_or_unknown_file_is_refused(shelf):
    with pytest.raises(CheckpointError, match="no classifier 'toy': expected one of none yet"):
        load("toy")
    path = ship(tiny(), "toy")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="not the file that was shipped"):
        load("toy")


def test_what_is_too_large_is_not_shipped(shelf, monkeypatch):
    monkeypatch.setattr(classifier, "MOST_BYTES", 1000)
    with pytest.raises(CheckpointError, match="at most"):
        ship(tiny(), "toy")
    assert list(shelf.iterdir()) == []


def test_the_shipped_classifier_of_shapes_agrees_with_the_exact_checks():
    """On combinations it has never seen, beside what `read` reads off the same images."""
    judge, drawn = load("shapes"), scatter(300, "test", 8)
    told, read_off = judge.probabilities(draw(drawn)), read(draw(drawn))
    for head, classes in judge.heads.items():
        best = [classes[i] for i in told[head].argmax(dim=1)]
        assert np.mean([word == getattr(r, head) for word, r in zip(best, read_off, strict=True)]) >= 0.98, head


def test_the_command_trains_and_ships(shelf, tmp_path, monkeypatch, capsys):
    write_cifar(tmp_path)
    monkeypatch.setitem(classifier.RECIPES, "cifar10", classifier.Recipe(32, (4, 8, 8, 8), 1))
    command.main(["classifier", "--data", "cifar10", "--data-dir", str(tmp_path), "--epochs", "2"])
    network, (images, labels) = load("cifar10"), load_images(tmp_path, "test")
    assert network.info["epochs"] == 2 and network.heads["class"][3] == "cat"
    assert network.accuracy == network.scores(images, labels[:, None])
    assert str(shelf / "cifar10.pt") in capsys.readouterr().out
    assert command.main(["classifier", "--data", "cifar10", "--data-dir", str(tmp_path)]) == 2
    assert "shipped 'cifar10'" in capsys.readouterr().err
    assert command.main(["classifier", "--data", "folder"]) == 2
    assert "no recipe for the dataset 'folder': expected shapes, scenes, cifar10, celeba" in capsys.readouterr().err


# ---- feature networks ----------------------------------------------------------------------------------------------


def test_the_classifiers_distance_is_not_called_fid():
    told = features.load("classifier", "shapes")
    images = backgrounds(5)[0]
    assert told.name == "FD-classifier" and told.network == "classifier shapes"
    assert told.sha256 == load("shapes").sha256
    (x,) = batches(images, 16)
    assert torch.allclose(told(images, batch=2), load("shapes").features(x), atol=1e-5)


def test_the_classifiers_features_are_computed_on_the_device_requested():
    """"meta" computes nothing: nothing can come back from it."""
    told = features.load("classifier", "shapes", device="meta")
    with pytest.raises(NotImplementedError, match="meta tensor"):
        told(backgrounds(2)[0])


class Official(torch.nn.Module):
    """Called like the official network: 2048 numbers of each image, all its mean brightness."""

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return x.float().mean(dim=(1, 2, 3))[:, None].expand(-1, 2048) * float(return_features)


class Other(torch.nn.Module):
    """A network that knows nothing of features."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float().mean(dim=(2, 3))


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    """The two networks as TorchScript files."""
    folder = tmp_path_factory.mktemp("scripts")
    for network in (Official(), Other()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.save(torch.jit.script(network), str(folder / f"{type(network).__name__}.pt"))
    return folder


def test_an_inception_file_gives_what_is_called_fid(scripted, monkeypatch):
    monkeypatch.setattr(features, "SHA256", sha256(scripted / "Official.pt"))
    told = features.load("inception", path=scripted / "Official.pt")
    images = backgrounds(3)[0]
    assert told.name == "FID" and told.network == "inception-2015-12-05"
    assert told(images).shape == (3, 2048)
    assert np.allclose(told(images)[:, 7], images.mean(axis=(1, 2, 3)), rtol=1e-5)


def test_files_that_are_not_the_official_network_are_refused_in_one_line(scripted, tmp_path):
    """Official.pt too: called like the official network, it would be printed as FID."""
    (tmp_path / "half.pt").write_bytes((scripted / "Official.pt").read_bytes()[:500])
    (tmp_path / "text.pt").write_text("no network")
    wrong = [tmp_path / "half.pt", tmp_path / "text.pt", tmp_path / "absent.pt"]
    for path in (scripted / "Official.pt", scripted / "Other.pt", *wrong):
        with pytest.raises(CheckpointError, match=path.name) as caught:
            features.load("inception", path=path)
        assert one_line(str(caught.value)) and features.URL in str(caught.value)
    with pytest.raises(ValueError, match="unknown feature network 'vgg': expected one of classifier, inception"):
        features.load("vgg")


def test_a_failed_fetch_says_what_to_do_and_leaves_nothing(tmp_path, monkeypatch):
    def unreachable(url, path):
        raise OSError("no route")

    monkeypatch.setattr(features, "CACHE", tmp_path / "data" / "inception.pt")
    monkeypatch.setattr(features.urllib.request, "urlretrieve", unreachable)
    with pytest.raises(CheckpointError, match="could not be fetched .no route.: put https") as caught:
        features.load("inception")
    assert one_line(str(caught.value)) and list((tmp_path / "data").iterdir()) == []


def test_a_fetched_page_that_is_no_network_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "CACHE", tmp_path / "data" / "inception.pt")
    monkeypatch.setattr(features.urllib.request, "urlretrieve", lambda url, path: path.write_text("please log in"))
    with pytest.raises(CheckpointError, match="what was fetched is damaged or not the official network"):
        features.load("inception")
    assert list((tmp_path / "data").iterdir()) == []


# ---- labels --------------------------------------------------------------------------------------------------------


def test_labels_of_the_shapes_are_what_can_be_read_off_them():
    data = load_labelled("shapes", "", "test")
    rows = np.random.default_rng(0).choice(len(data.images), 100, replace=False)
    for reading, label in zip(read(data.images[rows]), data.labels[rows], strict=True):
        words = {head: classes[i] for (head, classes), i in zip(data.heads.items(), label, strict=True)}
        assert words == {head: getattr(reading, head) for head in data.heads}


def test_labels_of_cifar10_are_those_of_the_files(tmp_path):
    write_cifar(tmp_path)
    data = load_labelled("cifar10", tmp_path, "train")
    images, labels = load_images(tmp_path, "train")
    assert (data.images == images).all() and (data.labels[:, 0] == labels).all()
    assert data.heads["class"][3] == "cat"


def test_labels_of_celeba_are_its_attributes(tmp_path):
    facts = {"000001.jpg": "Smiling Bald", "000002.jpg": "Eyeglasses"}
    write_celeba(tmp_path, {name: noise((64, 64)) for name in facts}, facts)
    data = load_labelled("celeba", tmp_path, "train", 32)
    assert data.images.shape == (2, 3, 32, 32)
    heads = list(data.heads)
    said = [{heads[i] for i in np.flatnonzero(row)} for row in data.labels]
    assert said == [{"Smiling", "Bald"}, {"Eyeglasses"}]


def test_a_data_set_without_labels_is_named():
    with pytest.raises(DataError, match="no labels for the dataset 'folder'"):
        load_labelled("folder", "")
