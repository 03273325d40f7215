"""The face recogniser: what is said without it, which files are taken, and how faces are compared."""

import numpy as np
import pytest

from ddpm.evaluation import faces
from ddpm.utils.files import CheckpointError


@pytest.fixture(autouse=True)
def afresh():
    faces.models.cache_clear()


def test_without_its_packages_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(faces.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="pip install --no-deps dlib-bin==.* face_recognition_models=="):
        faces.models()


def test_another_file_than_the_recognisers_is_refused(monkeypatch):
    if not faces.installed():
        pytest.skip(faces.INSTALL)
    monkeypatch.setitem(faces.SHA256, "dlib_face_recognition_resnet_model_v1.dat", "0" * 64)
    with pytest.raises(CheckpointError, match="recognition_resnet_model_v1.dat is damaged or another file"):
        faces.models()


def test_faces_below_the_threshold_are_one_person():
    before, after = np.zeros((2, 128)), np.zeros((2, 128))
    after[0, 3], after[1, :2] = 0.5, (0.6, 0.8)  # at the distances 0.5 and 1
    assert faces.person(before, after) == {"distance": 0.75, "same": 0.5}


def test_a_mirrored_face_that_is_symmetric_is_itself():
    if not faces.installed():
        pytest.skip(faces.INSTALL)
    half = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 32), dtype=np.uint8)
    images = np.concatenate([half, half[..., ::-1]], axis=3).repeat(2, axis=0)
    found = faces.own_errors(images, faces.descriptors(images))
    assert found["mirrored"] == found["two other people"] == {"distance": 0.0, "same": 1.0}
