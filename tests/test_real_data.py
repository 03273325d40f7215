"""CIFAR-10, CelebA and one's own folder: files as their authors write them, images whose colours are known."""

import hashlib
import http.client
import io
import itertools
import os
import pickle
import random
import tarfile
import urllib.error
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import ddpm.data.cifar10 as cifar10_module
from ddpm.data import captions as grammar
from ddpm.data.base import DataError
from ddpm.data.captions import Face, Thing
from ddpm.data.celeba import celeba
from ddpm.data.cifar10 import cifar10, describe, read_batch
from ddpm.data.colours import NAMES, name_pixels, to_lab
from ddpm.data.folder import folder
from unet.vocabulary import CLASSES, VOCABULARY

RGB = {
    "red": (200, 20, 25),
    "orange": (250, 130, 10),
    "yellow": (250, 220, 30),
    "green": (40, 130, 40),
    "blue": (30, 70, 200),
    "purple": (130, 20, 150),
    "pink": (250, 150, 190),
    "brown": (120, 75, 40),
    "white": (245, 245, 245),
    "gray": (120, 120, 120),
    "black": (10, 10, 10),
}


def painted(colour: str, background: str) -> np.ndarray:
    """uint8 (3, 32, 32): a square of 16 x 16 in the middle of a plain background."""
    image = np.empty((32, 32, 3), dtype=np.uint8)
    image[:] = RGB[background]
    image[8:24, 8:24] = RGB[colour]
    return image.transpose(2, 0, 1)


def one_line(message: str) -> bool:
    return "\n" not in message


# ---- colours ---------------------------------------------------------------------------------------------------------


def test_lab_of_published_colours():
    rgb = np.array([(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)])
    lab = [(100, 0, 0), (0, 0, 0), (53.24, 80.09, 67.20), (87.73, -86.18, 83.18), (32.30, 79.19, -107.86)]
    np.testing.assert_allclose(to_lab(rgb), lab, atol=0.06)


def test_every_colour_word_names_its_colour():
    images = np.array([[[rgb]] for rgb in RGB.values()], np.uint8).transpose(0, 3, 1, 2)
    assert [NAMES[i] for i in name_pixels(images).ravel()] == list(RGB)


def test_object_and_background_words_of_painted_cars():
    pairs = [pair for pair in itertools.permutations(RGB, 2) if pair[0] != "brown"]
    images = np.stack([painted(*pair) for pair in pairs])
    things = describe(images, np.full(len(images), CLASSES.index("car")))
    for thing, (colour, background) in zip(things, pairs, strict=True):
        shaded = (colour, background) == ("gray", "white")  # perhaps a white thing: no word is right
        assert (thing.kind, thing.colour, thing.background) == ("car", None if shaded else colour, background)


def test_a_thing_only_gets_colours_that_such_things_have():
    fox, bush = describe(np.stack([painted("orange", "green"), painted("green", "white")]), np.array([3, 3]))
    assert (fox.colour, fox.background) == ("brown", "green")
    assert (bush.colour, bush.background) == (None, "white")


def test_unclear_colours_get_no_word():
    stripes = np.zeros((1, 3, 32, 32), np.uint8)
    for column in range(32):
        stripes[0, :, :, column] = np.array(list(RGB.values())[column % 11])[:, None]
    (thing,) = describe(stripes, np.array([1]))
    assert (thing.colour, thing.background) == (None, None)


def test_light_of_the_photo():
    images = np.stack([painted(*pair) for pair in (("gray", "black"), ("gray", "white"), ("white", "green"))])
    assert [thing.light for thing in describe(images, np.array([1, 1, 1]))] == ["dark", "bright", None]


# ---- grammars --------------------------------------------------------------------------------------------------------


def test_cifar_sentences():
    horse = Thing("horse", "white", "green")
    assert grammar.thing_sentence(horse) == "a photo of a white horse on a green background"
    assert grammar.thing_sentence(horse, background_first=True) == "a photo of a green background with a white horse"
    dark = Thing("airplane", "orange", light="dark")
    assert grammar.thing_sentence(dark) == "a dark photo of an orange airplane"
    assert grammar.thing_sentence(Thing("airplane")) == "a photo of an airplane"


def test_cifar_captions_parse_back_for_all_attributes():
    words = set()
    colours = (None, *RGB)
    for values in itertools.product(CLASSES, colours, colours, (None, "dark", "bright")):
        thing = Thing(*values)
        for first in (False, True):
            sentence = grammar.thing_sentence(thing, first)
            words.update(sentence.split())
            assert grammar.parse_thing(sentence) == thing
    assert words <= set(VOCABULARY)


def test_cifar_captions_are_true_and_the_fullest_comes_first():
    thing = Thing("dog", "brown", "blue", "dark")
    sentences = grammar.thing_captions(thing)
    assert sentences[0] == "a dark photo of a brown dog on a blue background"
    assert sentences.count(sentences[0]) == len(sentences) / 2
    for sentence in sentences:
        said = grammar.parse_thing(sentence)
        assert all(getattr(said, name) in (None, getattr(thing, name)) for name in vars(thing))
    assert grammar.thing_captions(Thing("ship")) == ("a photo of a ship",)


NOT_CIFAR = ["", "a photo of a", "a photo of a orange car", "a photo of a red bus", "a photo of a car on a background"]


def test_other_sentences_are_refused_by_the_cifar_grammar():
    for sentence in (*NOT_CIFAR, "a photo of a red background with a car on a blue background"):
        with pytest.raises(ValueError, match="CIFAR-10 grammar") as error:
            grammar.parse_thing(sentence)
        assert repr(sentence) in str(error.value)


FULL_FACE = Face("woman", True, "young", False, "wavy", "blond", None, True, True, True, True, True, True)


def test_celeba_sentences():
    face = Face("woman", smiling=True, age="young", hair="blond", eyeglasses=True)
    assert grammar.face_sentence(face) == "a photo of a smiling young woman with blond hair and eyeglasses"
    old = Face("man", age="old", bald=True, beard="goatee", hat=True, necktie=True)
    assert grammar.face_sentence(old) == "a photo of an old bald man with a goatee wearing a hat and a necktie"
    assert grammar.face_sentence(Face("man", style="wavy")) == "a photo of a man with wavy hair"


def test_celeba_captions_parse_back_for_all_attributes():
    words, flag = set(), (False, True)
    looks = itertools.product(("man", "woman"), flag, (None, "young", "old"), flag)
    hair = itertools.product((None, "wavy", "straight"), (None, "black", "blond", "brown", "gray"))
    rest = itertools.product((None, "beard", "goatee", "mustache"), *[flag] * 6)
    rng, rest = random.Random(0), list(rest)
    for who, (style, colour) in itertools.product(looks, hair):
        for chosen in rng.sample(rest, 16):
            face = Face(*who, style, colour, *chosen)
            sentence = grammar.face_sentence(face, rng)
            words.update(sentence.split())
            assert grammar.parse_face(sentence) == face
    for chosen in rest:
        face = Face("man", True, "old", False, "straight", "gray", *chosen)
        assert grammar.parse_face(grammar.face_sentence(face)) == face
    assert words <= set(VOCABULARY)


NOT_FACES = """
a photo of
a photo of a old man
a photo of a young smiling man
a photo of a robot
a photo of a man with a hat
a photo of a man wearing bangs
a photo of a man with bangs and bangs
a photo of a man with blue hair
a photo of a man wearing a hat with bangs
a photo of a man with hair"""


def test_other_sentences_are_refused_by_the_celeba_grammar():
    for sentence in NOT_FACES.split("\n"):
        with pytest.raises(ValueError, match="CelebA grammar"):
            grammar.parse_face(sentence)


def test_celeba_captions_are_true_short_and_the_same_for_the_same_seed():
    full_man = replace(FULL_FACE, beard="goatee", person="man", age="old")
    faces = [FULL_FACE, full_man, Face("man"), Face("man", bald=True)]
    for seed, face in enumerate(faces):
        sentences = grammar.face_captions(face, seed)
        assert sentences == grammar.face_captions(face, seed)
        assert len(sentences) == 5 and sentences[0] == max(sentences, key=len)
        for sentence in sentences:
            assert len(sentence.split()) <= 20
            said = grammar.parse_face(sentence)
            assert all(value in (None, False, getattr(face, name)) for name, value in vars(said).items())


# ---- CIFAR-10 files --------------------------------------------------------------------------------------------------


def python_3_batch(images: np.ndarray, labels: list[int]) -> bytes:
    return pickle.dumps({b"batch_label": b"x", b"labels": labels, b"data": images.reshape(len(images), -1)}, protocol=2)


def python_2_batch(images: np.ndarray, labels: list[int]) -> bytes:
    """The opcodes that Python 2 wrote into the official files, one by one."""

    def text(word: bytes) -> bytes:
        return b"U" + bytes([len(word)]) + word

    raw, rows = images.tobytes(), len(images).to_bytes(2, "little")
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2
    shape, pixels = b"M" + rows + b"M\x00\x0c\x86", b"T" + len(raw).to_bytes(4, "little") + raw
    state = b"(K\x01" + shape + dtype + b"K\x00tb\x89" + pixels + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + state + text(b"labels") + numbers + b"u."


def write_cifar(root, batch=python_3_batch) -> np.ndarray:
    """Six batches of two images each; returns the training images."""
    target = root / "cifar-10-batches-py"
    target.mkdir(parents=True)
    images = np.stack([painted("white", "green"), painted("red", "gray")])
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        (target / name).write_bytes(batch(images, [7, 1]))
    (target / "batches.meta").write_bytes(pickle.dumps({b"num_vis": 3072}, protocol=2))
    return np.concatenate([images] * 5)


@pytest.mark.parametrize("batch", [python_2_batch, python_3_batch])
def test_cifar10_reads_the_official_format(tmp_path, batch):
    images = write_cifar(tmp_path, batch)
    train, test = cifar10(tmp_path), cifar10(str(tmp_path), "test")
    np.testing.assert_array_equal(train.images, images)
    np.testing.assert_array_equal(test.images, images[:2])
    assert train.name == "cifar10" and train.captions[2:4] == test.captions
    assert test.captions[0][0] == "a photo of a white horse on a green background"
    assert test.captions[1][0] == "a photo of a red car on a gray background"


def test_python_2_batch_is_a_pickle_that_python_reads_otherwise_too():
    """Guards the hand-written opcodes: they also load where numpy's old names still do."""
    images = np.stack([painted("white", "green")])
    opcodes = python_2_batch(images, [3]).replace(b"numpy.core.", b"numpy._core.")
    opcodes = opcodes.replace(b"u1K\x00K\x01", b"u1\x89\x88")  # today's numpy wants bools here
    batch = pickle.loads(opcodes, encoding="bytes")
    np.testing.assert_array_equal(batch[b"data"].reshape(images.shape), images)
    assert batch[b"labels"] == [3]


IMAGES = np.zeros((2, 3, 32, 32), np.uint8)


def test_a_damaged_batch_is_named(tmp_path):
    path, whole = tmp_path / "data_batch_1", python_3_batch(IMAGES, [1, 2])
    wrong = [
        b"no pickle at all",
        pickle.dumps([1, 2, 3], protocol=2),
        pickle.dumps({b"labels": [1]}, protocol=2),
        python_3_batch(IMAGES[:, :, :31], [1, 2]),
        python_3_batch(IMAGES, [1, 2, 3]),
        python_3_batch(IMAGES, [1, 10]),
        python_3_batch(IMAGES.astype(np.float32), [1, 2]),
        python_3_batch(np.asfortranarray(IMAGES.reshape(2, -1)), [1, 2]),
    ]
    for content in (*wrong, *(whole[:n] for n in (0, 1, 40, 150, 3000, 6000, -1))):
        path.write_bytes(content)
        with pytest.raises(DataError, match="data_batch_1") as error:
            read_batch(path)
        assert one_line(str(error.value))


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    path, marker = tmp_path / "data_batch_1", tmp_path / "marker"
    calls = (os.system, f"touch {marker}"), (os.mkdir, str(marker)), (eval, "1"), (np.fromfile, "x")
    for evil in (Evil(*call) for call in calls):
        for batch in (evil, {b"data": evil, b"labels": [1]}):
            path.write_bytes(pickle.dumps(batch, protocol=2))
            with pytest.raises(DataError, match="data_batch_1.* asks for"):
                read_batch(path)
    assert not marker.exists()


def test_missing_cifar_files_and_unknown_splits(tmp_path):
    with pytest.raises(DataError, match="put the folder cifar-10-batches-py"):
        cifar10(tmp_path, download=False)
    with pytest.raises(DataError, match="no split 'valid'"):
        cifar10(tmp_path, "valid")
    write_cifar(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_5").unlink()
    with pytest.raises(DataError, match="data_batch_5 is missing"):
        cifar10(tmp_path)


class Broken(io.BytesIO):
    def read(self, *_):
        raise http.client.IncompleteRead(b"abc")


@pytest.mark.parametrize("answer", [urllib.error.URLError("no route to host"), Broken(), TimeoutError("timed out")])
def test_a_failed_download_says_what_to_put_where_and_leaves_nothing(tmp_path, monkeypatch, answer):
    def urlopen(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(DataError, match="put the folder cifar-10-batches-py from https://www.cs.toronto.edu") as error:
        cifar10(tmp_path)
    assert one_line(str(error.value)) and str(tmp_path) in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_download_with_the_wrong_md5_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b"not the archive"))
    with pytest.raises(DataError, match=hashlib.md5(b"not the archive", usedforsecurity=False).hexdigest()):
        cifar10(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_is_unpacked_and_nothing_lands_elsewhere(tmp_path, monkeypatch):
    images = write_cifar(tmp_path / "origin")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(tmp_path / "origin" / "cifar-10-batches-py", "cifar-10-batches-py")
        tar.addfile(tarfile.TarInfo("../evil"), io.BytesIO())
    answer = archive.getvalue()
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(answer))
    monkeypatch.setattr(cifar10_module, "MD5", hashlib.md5(answer, usedforsecurity=False).hexdigest())
    target = tmp_path / "new" / "data"
    np.testing.assert_array_equal(cifar10(target).images, images)
    assert [path.name for path in target.iterdir()] == ["cifar-10-batches-py"]
    assert [path.name for path in target.parent.iterdir()] == ["data"]


# ---- CelebA ----------------------------------------------------------------------------------------------------------

ATTRIBUTES = """5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair
Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones
Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks
Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace
Wearing_Necktie Young""".split()


def write_celeba(root, images: dict[str, Image.Image], facts: dict[str, str] | None = None, count=True, kind="PNG"):
    """The official layout; PNG content under a .jpg name keeps pixels exact. facts: name -> attributes that hold."""
    (root / "celeba" / "img_align_celeba").mkdir(parents=True)
    rows = []
    for name, image in images.items():
        image.save(root / "celeba" / "img_align_celeba" / name, format=kind)
        held = (facts or {}).get(name, "Young No_Beard").split()
        rows.append(f"{name} " + " ".join(" 1" if attribute in held else "-1" for attribute in ATTRIBUTES))
    head = [str(len(rows))] * count + [" ".join(ATTRIBUTES)]
    (root / "celeba" / "list_attr_celeba.txt").write_text("\n".join(head + rows) + "\n")


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(256, size=(*size[::-1], 3), dtype=np.uint8))


def test_celeba_crops_full_images_like_ddim(tmp_path):
    row, column = np.mgrid[:218, :178].astype(np.uint8)
    write_celeba(tmp_path, {"000001.jpg": Image.fromarray(np.stack([row, column, row], axis=2))})
    (image,) = celeba(tmp_path, size=128).images
    np.testing.assert_array_equal(image[0, :, 0], np.arange(121 - 64, 121 + 64))
    np.testing.assert_array_equal(image[1, 0, :], np.arange(89 - 64, 89 + 64))
    (small,) = celeba(tmp_path, size=64).images
    assert small.shape == (3, 64, 64) and abs(int(small[0, 0, 0]) - 57) <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_celeba_takes_images_of_the_right_size_as_they_are(tmp_path, kind):
    write_celeba(tmp_path, {"000001.jpg": noise((64, 64))}, kind=kind)
    with Image.open(tmp_path / "celeba" / "img_align_celeba" / "000001.jpg") as image:
        pixels = np.asarray(image).transpose(2, 0, 1)
    np.testing.assert_array_equal(celeba(tmp_path).images[0], pixels)
    means = pixels.reshape(3, 32, 2, 32, 2).mean(axis=(2, 4))
    assert abs(celeba(tmp_path, size=32).images[0] - means).max() <= 1  # Pillow rounds rows, then columns


@pytest.mark.parametrize("count", [True, False])
def test_celeba_splits_by_file_number_and_skips_what_is_not_there(tmp_path, count):
    names = ["202599.jpg", "162770.jpg", "162771.jpg", "000001.jpg", "182637.jpg", "182638.jpg", "000005.jpg"]
    facts = {name: f"No_Beard {'Young' * (i % 2)}" for i, name in enumerate(names)}
    write_celeba(tmp_path, {name: noise((8, 8)) for name in names}, facts, count)
    (tmp_path / "celeba" / "img_align_celeba" / "000005.jpg").unlink()
    full = {split: [entry[0] for entry in celeba(tmp_path, split, 8).captions] for split in ("train", "valid", "test")}
    young, old = "a photo of a young woman", "a photo of an old woman"
    assert full == {"train": [young, young], "valid": [old, old], "test": [young, old]}


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ("Young No_Beard Smiling Blond_Hair Eyeglasses", "a smiling young woman with blond hair and eyeglasses"),
        ("Male Bald Black_Hair Bangs", "an old bald man with a beard"),
        ("Male Young Goatee Mustache Wearing_Necktie", "a young man with a goatee wearing a necktie"),
        ("Male Young Mustache Wearing_Hat Wavy_Hair", "a young man with wavy hair and a mustache wearing a hat"),
        ("Male Young No_Beard Black_Hair Brown_Hair Straight_Hair Wavy_Hair", "a young man"),
        ("Young Wearing_Earrings Bangs Gray_Hair", "a young woman with gray hair and bangs and earrings"),
    ],
)
def test_celeba_captions_say_the_attributes(tmp_path, facts, sentence):
    write_celeba(tmp_path, {"000001.jpg": noise((8, 8))}, {"000001.jpg": facts})
    assert celeba(tmp_path, size=8).captions[0][0] == f"a photo of {sentence}"


def test_celeba_errors_name_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match="img_align_celeba is missing"):
        celeba(tmp_path)
    with pytest.raises(DataError, match="no split 'dev'"):
        celeba(tmp_path, "dev")
    write_celeba(tmp_path, {"000001.jpg": noise((8, 8)), "000002.jpg": noise((8, 9))})
    with pytest.raises(DataError, match=r"000002\.jpg has 8 x 9 pixels"):
        celeba(tmp_path, size=8)
    with pytest.raises(DataError, match="none of the test images"):
        celeba(tmp_path, "test", 8)
    path = tmp_path / "celeba" / "img_align_celeba" / "000001.jpg"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"000001\.jpg cannot be read as an image"):
        celeba(tmp_path, size=8)


def test_damaged_attribute_lists_are_named(tmp_path):
    write_celeba(tmp_path, {f"00000{i}.jpg": noise((8, 8)) for i in range(1, 4)})
    path = tmp_path / "celeba" / "list_attr_celeba.txt"
    lines = path.read_text().splitlines()
    for damaged, message in [
        (lines[:-1], "announces 3 images but lists 2"),
        ([*lines[:-1], lines[-1][:-5]], "list_attr_celeba.txt:5: expected"),
        ([*lines[:2], lines[2].replace("-1", "0", 1), *lines[3:]], "list_attr_celeba.txt:3: expected"),
        ([lines[0], lines[1].replace("Male", "Female"), *lines[2:]], "Male is not there"),
        ([*lines[:-1], lines[-1].replace("000003", "three")], "got 'three.jpg'"),
        ([], "list_attr_celeba.txt:1"),
    ]:
        path.write_text("\n".join(damaged))
        with pytest.raises(DataError, match=message) as error:
            celeba(tmp_path, size=8)
        assert one_line(str(error.value))
    path.unlink()
    with pytest.raises(DataError, match="list_attr_celeba.txt is missing"):
        celeba(tmp_path, size=8)


# ---- one's own folder ------------------------------------------------------------------------------------------------


def test_folder_reads_images_and_their_captions(tmp_path):
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 2:6] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    (tmp_path / "captions.txt").write_text(
        "\ufeffwide.png\ta gray square\n\nclear.png\t a white square \nwide.png\ta square\n", encoding="utf-8"
    )
    data = folder(tmp_path, size=2)
    assert data.captions == [("a gray square", "a square"), ("a white square",)]
    assert (data.images[0] == 200).all() and (data.images[1] == 255).all() and data.images.shape == (2, 3, 2, 2)
    assert folder(tmp_path, size=16).images.shape == (2, 3, 16, 16)


def test_16_bit_grey_is_scaled_and_float_refused(tmp_path):
    """A value of v / 65535 is v / 257 of 255, in PNG and TIFF."""
    grey = np.linspace(0, 65535, 16).astype(np.uint16).reshape(4, 4)
    (tmp_path / "captions.txt").write_text("a.png\ta square\na.tif\ta square\n")
    for name in ("a.png", "a.tif"):
        Image.fromarray(grey).save(tmp_path / name)
    for image in folder(tmp_path, 4).images:
        np.testing.assert_array_equal(image, np.round(np.stack([grey] * 3) / 257))
    Image.fromarray(grey.astype(np.float32) / 65535).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif cannot be read as an image \(floating-point pixels"):
        folder(tmp_path, 4)


def test_folder_turns_photos_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    image = Image.new("RGB", (4, 4))
    image.paste((255, 255, 255), (0, 0, 4, 2))
    image.save(tmp_path / "a.png", exif=exif)
    (tmp_path / "captions.txt").write_text("a.png\ta square\n")
    assert (folder(tmp_path, 4).images[0, 0] == [[0, 0, 255, 255]] * 4).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a.png\ta square\na.png a square\n", r"captions\.txt:2: expected a file name, a tab"),
        (b"a.png\t  \n", r"captions\.txt:1: expected"),
        (b"\ta square\n", r"captions\.txt:1: expected"),
        (b"b.png\ta square\n", r"b\.png is missing"),
        (b"broken.png\ta square\n", r"broken\.png cannot be read as an image"),
        (b"\n\n", "lists no images"),
        (b"a.png\ta sm\xf8r square\n", "not UTF-8"),
    ],
)
def test_folder_errors(tmp_path, text, message):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    (tmp_path / "captions.txt").write_bytes(text)
    with pytest.raises(DataError, match=message) as error:
        folder(tmp_path)
    assert one_line(str(error.value))


def test_folder_without_folder_or_captions(tmp_path):
    with pytest.raises(DataError, match="nowhere is not a folder"):
        folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"captions\.txt is missing: each line"):
        folder(tmp_path)
