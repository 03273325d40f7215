#!/usr/bin/env bash
# torchcfm 1.0.7: OTPlanSampler pairs a batch of noise with a batch of images for flow matching (Tong et al. 2024).
# Guess: the exact plan between two sets of 128 is a permutation, so each image of the batch gets one noise of its own.
# What happens: the plan is one, but sample_plan draws 128 pairs from it with replacement by default: of 128 images 81
# are trained on, one of them seven times with the same noise, and a third of the work is for nothing. replace=False
# gives all 128. torch.manual_seed does not repeat the draw either: it is numpy's.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 scipy==1.17.1 POT==0.9.7.post1
"$folder/bin/pip" install --quiet --no-deps torchcfm==1.0.7
"$folder/bin/python" - <<'PYTHON'
import numpy as np
import torch
from torchcfm.optimal_transport import OTPlanSampler

np.random.seed(0)
noise, images = torch.randn(2, 128, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def pairs(**how):
    return torch.cat(OTPlanSampler("exact").sample_plan(noise, images, **how), dim=1).flatten(1)


def times(**how):
    """How often each pair of the batch is drawn."""
    return torch.unique(pairs(**how), dim=0, return_counts=True)[1]


drawn = [times() for _ in range(20)]
different, most = np.mean([len(counts) for counts in drawn]), max(counts.max().item() for counts in drawn)
print(f"torch {torch.__version__}; pairs in a batch of 128: {different:.1f} on average of 20 batches, one {most} times")
print("with replace=False:", len(times(replace=False)))
torch.manual_seed(0)
one = pairs()
torch.manual_seed(0)
print("the same draw after the same torch.manual_seed:", torch.equal(one, pairs()))
assert 75 < different < 87 and len(times(replace=False)) == 128  # 128 (1 - (127 / 128)^128) = 81.1
PYTHON
# Output seen:
#   torch 2.13.0+cpu; pairs in a batch of 128: 80.9 on average of 20 batches, one 7 times
#   with replace=False: 128
#   the same draw after the same torch.manual_seed: False
