"""CelebA: 202,599 faces, 40 attributes each [Liu et al., "Deep Learning Face Attributes in the Wild", ICCV 2015]."""

from pathlib import Path

import numpy as np

from .base import DataError, Dataset, cached, check_split, decode, open_image, read_lines, to_array
from .captions import Words, face_captions, parse_face

IMAGES, ATTRIBUTES = "img_align_celeba", "list_attr_celeba"
SPLITS = {"train": (1, 162_770), "valid": (162_771, 182_637), "test": (182_638, 202_599)}  # the official file numbers
FULL_SIZE = (178, 218)  # width, height of the aligned images
CROP = (25, 57, 153, 185)  # left, top, right, bottom: 64 pixels around row 121, column 89, as in the code of DDIM
HAIR = {"Black_Hair": "black", "Blond_Hair": "blond", "Brown_Hair": "brown", "Gray_Hair": "gray"}
STYLE = {"Wavy_Hair": "wavy", "Straight_Hair": "straight"}
YES_OR_NO = {
    "Smiling": "smiling", "Bangs": "bangs", "Eyeglasses": "eyeglasses", "Wearing_Earrings": "earrings",
    "Wearing_Hat": "hat", "Wearing_Necktie": "necktie", "Wearing_Lipstick": "lipstick",
}  # fmt: skip
NEEDED = ("Male", "Young", "Bald", "No_Beard", "Goatee", "Mustache", *HAIR, *STYLE, *YES_OR_NO)
SOURCE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


def read_attributes(path: Path) -> dict[str, dict[str, bool]]:
    """File name -> attribute -> whether it holds: of the official list, whose first line may be a count, or Kaggle's
    .csv. Raises DataError that names the file and the line.
    """
    text = read_lines(path, f"put CelebA's list there, from {SOURCE}")
    lines = [line.replace(",", " ").split() for line in text]
    counted = text[0].strip().isdecimal()
    names = [name for name in lines[counted] if name != "image_id"] if len(lines) > counted else []
    if missing := [name for name in NEEDED if name not in names]:
        raise DataError(f"{path}:{counted + 1}: expected the names of 40 attributes, but {missing[0]} is not there")
    rows: dict[str, dict[str, bool]] = {}
    for number, line in enumerate(lines[counted + 1 :], counted + 2):
        if not line:
            continue
        name, *values = line
        if len(values) != len(names) or not set(values) <= {"1", "-1"}:
            found = text[number - 1][:60]
            raise DataError(f"{path}:{number}: expected a file name and {len(names)} values 1 or -1, got {found!r}")
        if not Path(name).stem.isdecimal() or name in rows:
            raise DataError(f"{path}:{number}: expected file names such as 000017.jpg, each once, got {name!r}")
        rows[name] = {attribute: value == "1" for attribute, value in zip(names, values, strict=True)}
    if counted and int(text[0]) != len(rows):
        raise DataError(f"{path} announces {text[0].strip()} images but lists {len(rows)}: fetch it again")
    return rows


def number_of(name: str) -> int:
    """The file number by which the official split goes: 000017.jpg -> 17."""
    return int(Path(name).stem)


def _only(row: dict[str, bool], words: dict[str, str]) -> str | None:
    """The word of the one attribute that holds; None when none holds or they contradict each other."""
    true = [word for name, word in words.items() if row[name]]
    return true[0] if len(true) == 1 else None


def face_of(row: dict[str, bool]) -> Words:
    """What the grammar can say of an image with these attributes."""
    face = {word: row[name] for name, word in YES_OR_NO.items()}
    face |= {"person": "man" if row["Male"] else "woman", "age": "young" if row["Young"] else "old"}
    if row["Male"] and not row["No_Beard"]:  # the most specific word
        face["beard"] = "goatee" if row["Goatee"] else "mustache" if row["Mustache"] else "beard"
    if row["Bald"]:  # the list gives a few bald men hair of some colour as well
        return face | {"bald": True, "bangs": False}
    return face | {"hair": _only(row, HAIR), "style": _only(row, STYLE)}


def face_image(path: Path, size: int) -> np.ndarray:
    """uint8 (3, size, size): a full image is cropped as in DDIM's code; a square one is resized where it must be."""
    image = open_image(path)
    if image.size == FULL_SIZE:
        image = image.crop(CROP)
    if image.width != image.height:
        shape = f"{image.width} x {image.height}"
        raise DataError(f"{path} has {shape} pixels: expected 178 x 218 (the aligned images) or a square")
    return to_array(image, size)


def files_of(data_dir: str | Path, split: str = "train") -> dict[Path, dict[str, bool]]:
    """The images of a split that are there, in order, with their attributes; see `celeba`."""
    check_split("celeba", split, SPLITS)
    root, (first, last) = Path(data_dir) / "celeba", SPLITS[split]
    if not root.is_dir() and any(Path(data_dir).glob(f"{IMAGES}*")):
        root = Path(data_dir)
    folder = root / IMAGES
    if not folder.is_dir():
        others = " and ".join(sorted(path.name for path in root.glob(f"{IMAGES}*")))
        only = f"; there is only {others}" if others else ""
        raise DataError(f"{folder} is missing: put CelebA's aligned JPEG images there, unpacked, from {SOURCE}{only}")
    if (folder / IMAGES).is_dir():  # as Kaggle has them
        folder = folder / IMAGES
    table = root / f"{ATTRIBUTES}.csv"
    rows = read_attributes(table if table.is_file() else root / f"{ATTRIBUTES}.txt")
    there = {path.name for path in folder.iterdir()}
    names = [name for name in sorted(rows, key=number_of) if first <= number_of(name) <= last and name in there]
    if not names:
        example = f"; it has {max(there)} and the like" if there else "; it is empty"
        raise DataError(f"{folder} has none of the {split} images {first:06d}.jpg .. {last:06d}.jpg{example}")
    return {folder / name: rows[name] for name in names}


def load_images(data_dir: str | Path, files: list[Path], size: int, split: str) -> np.ndarray:
    """These files, uint8 (N, 3, size, size), decoded once; split is for the progress bar."""
    state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return cached(
        data_dir, f"celeba-{split}-{size}", state, ("celeba", "base"),
        lambda: decode(files, size, face_image, f"celeba {split}"),
    )  # fmt: skip


def celeba(data_dir: str | Path, split: str = "train", size: int = 64) -> Dataset:
    """CelebA from data_dir/celeba, or from data_dir itself: the images in img_align_celeba and list_attr_celeba.txt,
    as its authors and torchvision have them, or as Kaggle has them.

    split: "train" (file numbers up to 162770), "valid" (up to 182637) or "test". A folder with only some of the
    images gives those. Raises DataError for an unknown split, a missing folder or list, a damaged file, no image.
    """
    files = files_of(data_dir, split)
    captions = [face_captions(face_of(row), number_of(file.name)) for file, row in files.items()]
    return Dataset("celeba", load_images(data_dir, list(files), size, split), captions)


def where_words_show(faces: Dataset, share: float = 0.1) -> dict[str, np.ndarray]:
    """Kind of word -> bool (H, W): the share of the pixels in which mean faces with and without the word differ most.

    The faces are aligned, so that a mouth is at one place in all of them. The hair is that of blond against black.
    """
    said, shown = [parse_face(captions[0]) for captions in faces.captions], {}
    groups = {"hair": ("blond", "black"), "smiling": (True, False), "eyeglasses": (True, False)}
    for kind, pair in groups.items():
        words = np.array([face[kind] for face in said])
        means = [faces.images[words == word].mean(axis=0) for word in pair]
        difference = abs(means[0] - means[1]).sum(axis=0)
        shown[kind] = difference > np.quantile(difference, 1 - share)
    return shown
