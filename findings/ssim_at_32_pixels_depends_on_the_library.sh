#!/usr/bin/env bash
# The structural similarity (SSIM) of one pair of 32 x 32 images, as three libraries compute it, range given as 1.
# Guess: the paper's window (Gaussian, 11 pixels, sigma 1.5) is everybody's default, so they agree to three digits.
# What happens: 0.391 (torchmetrics), 0.498 (pytorch-msssim), 0.535 (scikit-image). scikit-image's default window is a
# box of 7 pixels; with the Gaussian it is pytorch-msssim's 0.498. torchmetrics has the same window, but reflects the
# image by five pixels at each side and averages over the border, too: of 32 x 32 pixels that is half of them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0 pytorch-msssim==1.0.0 scikit-image==0.26.0
"$folder/bin/python" - <<'PYTHON'
import pytorch_msssim
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

y, x = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing="ij")
disc = ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.09).float()
image = torch.stack([x, y, disc])[None]
noisy = (image + 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
one, other = image[0].numpy(), noisy[0].numpy()
gaussian = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
scores = {
    "torchmetrics": structural_similarity_index_measure(noisy, image, data_range=1.0).item(),
    "pytorch-msssim": pytorch_msssim.ssim(image, noisy, data_range=1).item(),
    "scikit-image": structural_similarity(one, other, channel_axis=0, data_range=1),
    "scikit-image, Gaussian": structural_similarity(one, other, channel_axis=0, data_range=1, **gaussian),
}
for name, score in scores.items():
    print(f"{name:24s}{score:.4f}")
assert scores["pytorch-msssim"] - scores["torchmetrics"] > 0.1
assert scores["scikit-image"] - scores["pytorch-msssim"] > 0.03
assert abs(scores["scikit-image, Gaussian"] - scores["pytorch-msssim"]) < 1e-3
PYTHON
# Output seen (torch 2.13.0+cpu):
#   torchmetrics            0.3910
#   pytorch-msssim          0.4980
#   scikit-image            0.5346
#   scikit-image, Gaussian  0.4980
