#!/usr/bin/env bash
# prdc 0.2: precision, recall, density and coverage (Naeem et al. 2020) where all samples are one and the same image.
# 1,000 real features of N(0, I) in d dimensions, nearest_k = 5; the "samples" are 1,000 copies of their mean.
# Guess: precision 1, recall 0, density 1 to 3, and coverage, which is there to see a lack of variety, below 0.05.
# What happens: in 64 dimensions coverage is 1.000 and density 200, the largest that they can be; right samples have
# 0.961 and 0.89. The mean lies 8.0 from a feature, whose own fifth neighbour is 9.0 away: it is in every ball, and one
# sample in a ball covers it. In 2 dimensions the guess is right. Only recall is 0 in both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet prdc==0.2 numpy==2.4.6 scikit-learn==1.9.1 scipy==1.17.1
"$folder/bin/python" - <<'PYTHON'
import contextlib
import io

import numpy as np
from prdc import compute_prdc
from scipy.spatial.distance import cdist

draws, found = np.random.default_rng(0), {}
for d in (2, 64):
    real = draws.standard_normal((1000, d))
    fifth = np.median(np.sort(cdist(real, real), axis=1)[:, 5])
    to_mean = np.median(np.linalg.norm(real, axis=1))
    print(f"{d} dimensions, medians: {fifth:.2f} from a feature to its fifth neighbour, {to_mean:.2f} to the mean")
    sets = {"right": draws.standard_normal((1000, d)), "half as wide": draws.standard_normal((1000, d)) / 2}
    for name, samples in (sets | {"the mean": np.zeros((1000, d))}).items():
        with contextlib.redirect_stdout(io.StringIO()):
            found[d, name] = compute_prdc(real, samples, nearest_k=5)
        print(f"  {name:13s}", "  ".join(f"{measure} {value:.3f}" for measure, value in found[d, name].items()))
assert found[2, "the mean"]["coverage"] < 0.05
assert found[64, "the mean"]["coverage"] == 1 and found[64, "the mean"]["density"] > 100
assert found[64, "right"]["coverage"] < 1 and found[64, "the mean"]["recall"] == 0
PYTHON
# Output seen:
#   2 dimensions, medians: 0.14 from a feature to its fifth neighbour, 1.17 to the mean
#     right         precision 0.998  recall 0.995  density 1.015  coverage 0.976
#     half as wide  precision 0.997  recall 0.816  density 1.013  coverage 0.661
#     the mean      precision 1.000  recall 0.000  density 0.600  coverage 0.003
#   64 dimensions, medians: 9.01 from a feature to its fifth neighbour, 7.96 to the mean
#     right         precision 0.701  recall 0.733  density 0.893  coverage 0.961
#     half as wide  precision 1.000  recall 0.000  density 118.896  coverage 1.000
#     the mean      precision 1.000  recall 0.000  density 200.000  coverage 1.000
