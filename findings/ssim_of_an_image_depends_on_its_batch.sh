#!/usr/bin/env bash
# torchmetrics 1.9.0: the structural similarity of an image when other images are in the batch.
# Guess: with reduction="none" each image has its own score, whatever stands beside it.
# What happens: without data_range the range is taken from the whole batch. A dark image (values up to 0.2) with noise
# scores 0.39 alone and 0.76 beside a bright one; with data_range given both are the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0
"$folder/bin/python" - <<'PYTHON'
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

generator = torch.Generator().manual_seed(0)
y, x = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing="ij")
bright = torch.stack([x, y, ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.09).float()])[None]
dark = 0.2 * bright
noisy = 0.2 * (bright + 0.1 * torch.randn(bright.shape, generator=generator)).clamp(0, 1)


def first_score(*others, **given):
    batch = [torch.cat([each, *others]) for each in (noisy, dark)]
    return structural_similarity_index_measure(*batch, reduction="none", **given)[0].item()


alone, beside = first_score(), first_score(bright)
print(f"no data_range: alone {alone:.4f}, beside a bright image {beside:.4f}")
given = first_score(data_range=0.2), first_score(bright, data_range=0.2)
print(f"data_range=0.2: alone {given[0]:.4f}, beside a bright image {given[1]:.4f}")
assert beside - alone > 0.3 and abs(given[0] - given[1]) < 1e-5
PYTHON
# Output seen (torch 2.13.0+cpu):
#   no data_range: alone 0.3910, beside a bright image 0.7560
#   data_range=0.2: alone 0.3910, beside a bright image 0.3910
