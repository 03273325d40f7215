"""CIFAR-10, CelebA and one's own folder: files as their authors write them, images whose colours are known."""

import hashlib
import io
import itertools
import os
import pickle
import random
import shutil
import tarfile
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

import ddpm
import ddpm.data.cifar10 as cifar10_module
from ddpm.data import base
from ddpm.data import captions as grammar
from ddpm.data.base import DataError, Dataset
from ddpm.data.celeba import celeba, where_words_show
from ddpm.data.cifar10 import cifar10, read_batch
from ddpm.data.colours import NAMES, describe, name_colours, to_lab
from ddpm.data.folder import folder
from unet.vocabulary import CLASSES

RGB = {
    "red": (200, 20, 25), "orange": (250, 130, 10), "yellow": (250, 220, 30), "green": (40, 130, 40),
    "blue": (30, 70, 200), "purple": (130, 20, 150), "pink": (250, 150, 190), "brown": (120, 75, 40),
    "white": (245, 245, 245), "gray": (120, 120, 120), "black": (10, 10, 10),
}  # fmt: skip


def painted(colour: str, background: str) -> np.ndarray:
    """uint8 (3, 32, 32): a square of 16 x 16 in the middle of a plain background."""
    image = np.empty((32, 32, 3), dtype=np.uint8)
    image[:] = RGB[background]
    image[8:24, 8:24] = RGB[colour]
    return image.transpose(2, 0, 1)


# ---- colours ---------------------------------------------------------------------------------------------------------


def test_colours_have_their_published_lab_and_their_word():
    rgb = np.array([(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)])
    lab = [(100, 0, 0), (0, 0, 0), (53.24, 80.09, 67.20), (87.73, -86.18, 83.18), (32.30, 79.19, -107.86)]
    np.testing.assert_allclose(to_lab(rgb), lab, atol=0.06)
    assert [NAMES[i] for i in name_colours(np.array(list(RGB.values())))] == list(RGB)


def test_object_and_background_words_of_painted_cars():
    pairs = [pair for pair in itertools.permutations(RGB, 2) if pair[0] != "brown"]
    images = np.stack([painted(*pair) for pair in pairs])
    said = dict(zip(pairs, describe(images, np.full(len(images), CLASSES.index("car"))), strict=True))
    for pair, light in {("gray", "black"): "dark", ("gray", "white"): "bright", ("white", "green"): None}.items():
        assert said[pair]["light"] == light
    shaded = said.pop(("gray", "white"))  # perhaps a white thing in the shade: no word is right
    assert (shaded["colour"], shaded["background"]) == (None, "white")
    assert all(list(thing.values())[:3] == ["car", *pair] for pair, thing in said.items())


def test_a_thing_only_gets_clear_colours_that_such_things_have():
    stripes = np.zeros((3, 32, 32), np.uint8)
    for column in range(32):
        stripes[:, :, column] = np.array(list(RGB.values())[column % 11])[:, None]
    images = np.stack([painted("orange", "green"), painted("green", "white"), stripes])
    said = [(cat["colour"], cat["background"]) for cat in describe(images, np.full(3, CLASSES.index("cat")))]
    assert said == [("brown", "green"), (None, "white"), (None, None)]


# ---- grammars --------------------------------------------------------------------------------------------------------


def test_cifar_sentences_parse_back_for_all_attributes():
    turned, words = grammar.thing_sentence("horse", "white", "green", background_first=True), set()
    assert turned == "a photo of a green background with a white horse"
    for values in itertools.product(CLASSES, (None, *RGB), (None, *RGB), (None, "dark", "bright")):
        for first in (False, True):
            sentence = grammar.thing_sentence(*values, first)
            words.update(sentence.split())
            assert tuple(grammar.parse_thing(sentence).values()) == values
    assert words == set(ddpm.load("cifar10").tokenizer.known)


def test_celeba_sentences_parse_back_for_all_attributes():
    words, rng = set(), random.Random(0)
    groups = {"age": ("young", "old"), "style": ("wavy", "straight"), "hair": ("black", "blond", "brown", "gray")}
    groups |= {"beard": ("beard", "goatee", "mustache")}
    for _ in range(5000):
        face = {name: rng.choice((None, *groups[name]) if name in groups else (False, True)) for name in grammar.LOOKS}
        face["person"] = rng.choice(("man", "woman"))
        sentence = grammar.face_sentence(face, rng)
        words.update(sentence.split())
        assert grammar.parse_face(sentence) == face
    assert words == set(ddpm.load("celeba64").tokenizer.known)


def test_cifar_captions_are_true_and_the_fullest_comes_first_and_half_of_the_time():
    thing = dict(zip(("class", "colour", "background", "light"), ("dog", "brown", "blue", "dark"), strict=True))
    sentences = grammar.thing_captions(*thing.values())
    assert sentences[0] == "a dark photo of a brown dog on a blue background"
    assert sentences.count(sentences[0]) == len(sentences) / 2
    for said in map(grammar.parse_thing, sentences):
        assert all(word in (None, thing[name]) for name, word in said.items())
    assert grammar.thing_captions("airplane", None, None, None) == ("a photo of an airplane",)


def test_celeba_captions_are_true_short_and_the_same_for_the_same_seed():
    full = {"person": "woman", "age": "young", "style": "wavy", "hair": "blond", "bald": False, "beard": None}
    full = dict.fromkeys(grammar.LOOKS, True) | full
    man = {"person": "man", "age": "old", "beard": "goatee"}
    for face in (full, full | man, {"person": "man", "bald": True}):
        sentences = grammar.face_captions(face, 3)
        assert sentences == grammar.face_captions(face, 3)
        assert len(sentences) == 5 and sentences[0] == max(sentences, key=len)
        for sentence in sentences:
            assert len(sentence.split()) <= 20
            said = grammar.parse_face(sentence)
            assert all(value in (None, False, face.get(name)) for name, value in said.items())


def test_other_sentences_are_refused_by_a_grammar():
    for parse, name, others in (
        (grammar.parse_thing, "CIFAR-10", ["", "a photo of a orange car", "a photo of a car on a background"]),
        (grammar.parse_face, "CelebA", ["a photo of a old man", "a photo of a robot", "a photo of a man with a hat"]),
    ):
        for sentence in others:
            with pytest.raises(ValueError, match=f"{name} grammar"):
                parse(sentence)


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
    first = ["a photo of a white horse on a green background", "a photo of a red car on a gray background"]
    assert [entry[0] for entry in test.captions] == first
    (tmp_path / "cifar-10-batches-py" / "data_batch_5").unlink()
    with pytest.raises(DataError, match="data_batch_5 is missing"):
        cifar10(tmp_path)


class Evil:
    """An object whose unpickling calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_damaged_batch_is_named_and_one_that_runs_code_is_refused(tmp_path):
    path, marker, images = tmp_path / "data_batch_1", tmp_path / "marker", np.zeros((2, 3, 32, 32), np.uint8)
    whole, damaged = python_3_batch(images, [1, 2]), "data_batch_1 is damaged"
    wrong = [(whole[:n], damaged) for n in (0, 40, 3000, -1)]
    wrong += [(python_3_batch(images, labels), damaged) for labels in ([1, 2, 3], [1, 10])]
    wrong += [(python_3_batch(images[:, :, :31], [1, 2]), damaged), (pickle.dumps({b"labels": [1]}), damaged)]
    for evil in (Evil(os.system, f"touch {marker}"), Evil(os.mkdir, str(marker)), Evil(np.fromfile, "x")):
        wrong.append((pickle.dumps({b"data": evil, b"labels": [1]}, protocol=2), f"{damaged}.* asks for"))
    for content, message in wrong:
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_batch(path)
    assert not marker.exists()


def test_a_failed_download_says_what_to_do_and_leaves_nothing(tmp_path, monkeypatch):
    def no_route(*_, **__):
        raise urllib.error.URLError("no route to host")

    nothing = b"not the archive"
    md5 = hashlib.md5(nothing, usedforsecurity=False).hexdigest()
    for urlopen, named in (
        (no_route, "put the archive https://www.cs.toronto.edu.*cifar-10-python.tar.gz into"),
        (lambda *_, **__: io.BytesIO(nothing), md5),
    ):
        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        with pytest.raises(DataError, match=named):
            cifar10(tmp_path / "new" / "data")
        assert list(tmp_path.iterdir()) == []


def test_a_download_is_unpacked_and_nothing_lands_elsewhere(tmp_path, monkeypatch):
    images, archive = write_cifar(tmp_path / "origin"), io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(tmp_path / "origin" / "cifar-10-batches-py", "cifar-10-batches-py")
        tar.addfile(tarfile.TarInfo("../evil"), io.BytesIO())
    answer = archive.getvalue()
    monkeypatch.setattr(cifar10_module, "MD5", hashlib.md5(answer, usedforsecurity=False).hexdigest())

    def check_fetched(place, meanwhile=lambda: None) -> None:
        def urlopen(*_, **__):
            meanwhile()
            return io.BytesIO(answer)

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        np.testing.assert_array_equal(cifar10(place).images, images)
        assert sorted(path.name for path in place.iterdir()) == [".cache", "cifar-10-batches-py"]

    check_fetched(tmp_path / "new" / "data")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["data"]
    check_fetched(tmp_path / "slower", lambda: write_cifar(tmp_path / "slower"))  # another command is faster
    monkeypatch.setattr(urllib.request, "urlopen", None)  # from here on nothing is fetched
    np.testing.assert_array_equal(cifar10(tmp_path / "new" / "data" / "cifar-10-batches-py").images, images)
    local = tmp_path / "local" / "cifar-10-python.tar.gz"
    local.parent.mkdir()
    local.write_bytes(answer[:-1])
    with pytest.raises(DataError, match="local/cifar-10-python.tar.gz is not the official archive"):
        cifar10(local.parent)
    local.write_bytes(answer)
    np.testing.assert_array_equal(cifar10(local.parent).images, images)


# ---- CelebA ----------------------------------------------------------------------------------------------------------

ATTRIBUTES = """5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair
Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones
Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks
Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace
Wearing_Necktie Young""".split()


def write_celeba(root, images: dict[str, Image.Image], facts: dict[str, str] | None = None):
    """The official layout; PNG content under a .jpg name keeps pixels exact. facts: name -> attributes that hold."""
    (root / "celeba" / "img_align_celeba").mkdir(parents=True)
    rows = []
    for name, image in images.items():
        image.save(root / "celeba" / "img_align_celeba" / name, format="PNG")
        held = (facts or {}).get(name, "Young No_Beard").split()
        rows.append(f"{name} " + " ".join(" 1" if attribute in held else "-1" for attribute in ATTRIBUTES))
    lines = [str(len(rows)), " ".join(ATTRIBUTES), *rows, ""]
    (root / "celeba" / "list_attr_celeba.txt").write_text("\n".join(lines))


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


def test_celeba_splits_by_file_number_and_skips_what_is_not_there(tmp_path):
    names = ["202599.jpg", "162770.jpg", "162771.jpg", "000001.jpg", "182637.jpg", "182638.jpg", "000005.jpg"]
    facts = {name: f"No_Beard {'Young' * (i % 2)}" for i, name in enumerate(names)}
    write_celeba(tmp_path, {name: noise((8, 8)) for name in names}, facts)
    (tmp_path / "celeba" / "img_align_celeba" / "000005.jpg").unlink()
    full = {split: [entry[0] for entry in celeba(tmp_path, split, 8).captions] for split in ("train", "valid", "test")}
    young, old = "a photo of a young woman", "a photo of an old woman"
    assert full == {"train": [young, young], "valid": [old, old], "test": [young, old]}


def test_celeba_captions_say_the_attributes(tmp_path):
    said = {
        "Young No_Beard Smiling Blond_Hair Eyeglasses": "a smiling young woman with blond hair and eyeglasses",
        "Male Bald Black_Hair Bangs": "an old bald man with a beard",
        "Male Goatee Wearing_Hat Wearing_Necktie": "an old man with a goatee wearing a hat and a necktie",
        "Male Young Mustache Wavy_Hair": "a young man with wavy hair and a mustache",
        "Male Young No_Beard Black_Hair Brown_Hair Straight_Hair Wavy_Hair": "a young man",
    }
    names = [f"00000{i}.jpg" for i in range(1, 6)]
    write_celeba(tmp_path, {name: noise((8, 8)) for name in names}, dict(zip(names, said, strict=True)))
    captions = celeba(tmp_path, size=8).captions
    assert [entry[0] for entry in captions] == [f"a photo of {sentence}" for sentence in said.values()]


def test_the_place_of_a_word_is_where_faces_with_and_without_it_differ():
    """Each word paints its own rows of 16 x 16 noise; an eighth of the image."""
    rng, rows = np.random.default_rng(0), {"smiling": slice(12, 14), "eyeglasses": slice(7, 9), "hair": slice(0, 2)}
    captions, images = [], rng.integers(60, 90, (200, 3, 16, 16), dtype=np.uint8)
    for image in images:
        said = {"smiling": bool(rng.integers(2)), "eyeglasses": bool(rng.integers(2))}
        face = {"person": "woman", "hair": str(rng.choice(["black", "blond"]))} | said
        for kind, place in rows.items():
            image[:, place] += np.uint8(100 * (face[kind] in (True, "blond")))
        captions.append((grammar.face_sentence(face),))
    for kind, mask in where_words_show(Dataset("celeba", images, captions), 0.125).items():
        expected = np.zeros((16, 16), dtype=bool)
        expected[rows[kind]] = True
        assert (mask == expected).all()


def test_celeba_is_read_as_its_authors_torchvision_and_kaggle_have_it(tmp_path):
    """Kaggle: a .csv without a count, images one folder deeper. All: data_dir may be the folder itself."""
    facts = {"000001.jpg": "Smiling", "000002.jpg": "Male Young No_Beard"}
    write_celeba(tmp_path / "a", {name: noise((8, 8)) for name in facts}, facts)
    official, theirs, kaggle = celeba(tmp_path / "a", size=8), tmp_path / "a" / "celeba", tmp_path / "b" / "celeba"
    (theirs / "img_align_celeba.zip").write_bytes(b"")
    shutil.copytree(theirs / "img_align_celeba", kaggle / "img_align_celeba" / "img_align_celeba")
    _, head, *rows = (theirs / "list_attr_celeba.txt").read_text().split("\n")
    csv = "\r\n".join(",".join(line.split()) for line in [f"image_id {head}", *rows])
    (kaggle / "list_attr_celeba.csv").write_text(csv, encoding="utf-8-sig", newline="")
    for place in (tmp_path / "a", theirs, tmp_path / "b", kaggle):
        found = celeba(place, size=8)
        assert (found.images == official.images).all() and found.captions == official.captions


def test_what_is_wrong_with_celeba_is_named(tmp_path):
    with pytest.raises(DataError, match="img_align_celeba is missing: put CelebA's aligned JPEG images there"):
        celeba(tmp_path)
    for name in ("img_align_celeba.zip", "img_align_celeba_png.7z"):  # what lies there instead is named
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"missing.*unpacked.*only img_align_celeba.zip and img_align_celeba_png.7z"):
        celeba(tmp_path)
    write_celeba(tmp_path, {f"00000{i}.jpg": noise((8, 8 + i // 3)) for i in range(1, 4)})
    for split, message in (("train", r"003\.jpg has 8 x 9 pixels"), ("test", "none of the"), ("dev", "no split 'dev'")):
        with pytest.raises(DataError, match=message):
            celeba(tmp_path, split, 8)
    path, images = tmp_path / "celeba" / "list_attr_celeba.txt", tmp_path / "celeba" / "img_align_celeba"
    count, head, *rows = lines = path.read_text().splitlines()
    for damaged, message in [
        (lines[:-1], "announces 3 images but lists 2"),
        ([*lines[:-1], lines[-1][:-5]], "list_attr_celeba.txt:5: expected a file name and 40 values"),
        ([*lines[:-1], "face.jpg" + lines[-1][10:]], "list_attr_celeba.txt:5: expected file names such as"),
        ([head, rows[0], "", rows[1] + "\x0c", rows[1]], "list_attr_celeba.txt:5: expected file names .* each once"),
        ([count, head.replace("Male", "Female"), *rows], "list_attr_celeba.txt:2: .* Male is not there"),
        ([], "list_attr_celeba.txt:1"),
    ]:
        path.write_text("\n".join(damaged), encoding="utf-8-sig")
        with pytest.raises(DataError, match=message):
            celeba(tmp_path, size=8)
    path.write_text("\n".join(lines))
    for image in images.iterdir():
        image.rename(image.with_suffix(".png"))
    with pytest.raises(DataError, match=r"none of the train images 000001\.jpg .*; it has 000003\.png and the like"):
        celeba(tmp_path, size=8)


# ---- one's own folder ------------------------------------------------------------------------------------------------


def test_folder_reads_images_as_they_look_and_their_captions(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[::2, 4:12], pixels[1::2, 4:12] = 100, 200  # shrunk to half its size by averaging
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    half, exif = Image.new("RGB", (4, 4)), Image.Exif()
    half.paste((255, 255, 255), (0, 0, 4, 2))
    exif[0x0112] = 6  # to be shown turned by a quarter
    half.save(tmp_path / "turned.png", exif=exif)
    grey = np.linspace(0, 65535, 16).astype(np.uint16).reshape(4, 4)  # a value of v / 65535 is v / 257 of 255
    for name in ("a.png", "a.tif"):
        Image.fromarray(grey).save(tmp_path / name)
    names = ("wide.png", "clear.png", "turned.png", "a.png", "a.tif")
    lines = "".join(f"{name}\ta gray square\n\n" for name in names) + "wide.png\t a square \n"
    (tmp_path / "captions.txt").write_text(lines, encoding="utf-8-sig")
    data = folder(tmp_path, size=4)
    assert data.captions == [("a gray square", "a square")] + [("a gray square",)] * 4
    wide, clear, turned, *greys = data.images
    assert (wide == 150).all() and (clear == 255).all() and (turned == [0, 0, 255, 255]).all()
    for image in greys:
        np.testing.assert_array_equal(image, np.round(np.stack([grey] * 3) / 257))
    Image.fromarray(grey.astype(np.float32) / 65535).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif cannot be read as an image \(floating-point pixels"):
        folder(tmp_path, 4)


def test_what_is_wrong_with_a_folder_is_said_with_its_line(tmp_path, monkeypatch):
    """Captions before images: a wrong line is found though the image before it cannot be read."""
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "page.pdf")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "none.ppm").write_bytes(b"P6 0 0 255 ")
    words = "broken.png\ta corgi\na.png\tA square, a corgi.\n\na.png\ta small robot\n" + "a.png\ta corgi\n" * 3
    for text, message in (
        ("a.png\ta square\na.png a square\n", r"captions\.txt:2: expected a file name, a tab"),
        ("a.png\ta square\x0c\u2028\n\ttext\n", r"captions\.txt:2: expected a file name, a tab"),
        ("a.png\ta square\na.png\t... !\n", r"captions\.txt:2: expected .* a caption with words, got"),
        ("broken.png\ta square\r\nb.png\ta square\r\n", r"captions\.txt:2: there is no file .*b\.png"),
        (words, r"corgi \(5 x, first in line 1\), robot \(1 x, first in line 4\); .* unet/vocabulary\.py"),
        ("broken.png\ta square\n", r"broken\.png cannot be read as an image"),
        ("empty.png\ta square\n", r"empty\.png cannot be read as an image \(it is empty\)"),
        ("page.pdf\ta square\n", r"page\.pdf cannot be read as an image \(damaged, or no format of Pillow"),
        ("none.ppm\ta square\n", r"none\.ppm cannot be read as an image"),
        ("\n\n", "lists no images"),
    ):
        (tmp_path / "captions.txt").write_text(text, encoding="utf-8", newline="")
        with pytest.raises(DataError, match=message):
            folder(tmp_path)
    for encoding, word in (("latin-1", "gr\xfcn"), ("utf-16", "red"), ("utf-16-le", "red"), ("utf-16-be", "red")):
        (tmp_path / "captions.txt").write_bytes(f"a.png\ta {word} square\n".encode(encoding))
        with pytest.raises(DataError, match=r"captions\.txt is not UTF-8 text .*: save it as UTF-8"):
            folder(tmp_path)
    (tmp_path / "captions.txt").write_text("a.png\ta red square\na.png\ta corgi\n")
    assert folder(tmp_path, words=("a", "red", "square", "corgi"), longest=3).captions == [("a red square", "a corgi")]
    with pytest.raises(DataError, match=r"captions\.txt:1: the caption has 3 words, but the network reads 2"):
        folder(tmp_path, longest=2)
    (tmp_path / "captions.txt").unlink()
    with pytest.raises(DataError, match=r"captions\.txt is missing: each line of captions\.txt has"):
        folder(tmp_path)

    def old(*_):
        raise AttributeError("no attribute of a newer Pillow")

    monkeypatch.setattr(base.ImageOps, "exif_transpose", old)
    with pytest.raises(DataError, match=r"a\.png: Pillow .* cannot do it .*: install a newer one"):
        base.open_image(tmp_path / "a.png")
