#!/usr/bin/env bash
# torch 2.13.0: a - b exported for ONNX with the same tensor as the example of both inputs.
# Guess: an example says shape and dtype, and its values do not matter; the graph computes a - b.
# What happens: the graph computes b - b. Both inputs are still declared, the first is never read, the answer to every
# input is 0, and nothing is said. torch.export.export alone does the same. A copy of the tensor as second example helps.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
"$folder/bin/python" -W ignore - 2> /dev/null <<'PYTHON'
import numpy as np
import onnxruntime
import torch


class Difference(torch.nn.Module):
    def forward(self, a, b):
        return a - b


def five_minus_one(*example):
    names = {"input_names": ["a", "b"], "output_names": ["difference"]}
    model = torch.onnx.export(Difference(), example, dynamo=True, verbose=False, **names).model_proto
    assert [each.name for each in model.graph.input] == ["a", "b"]
    numbers = {"a": np.full(1, 5, np.float32), "b": np.full(1, 1, np.float32)}
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, numbers)[0].item()


x = torch.ones(1)
once, twice = five_minus_one(x, x.clone()), five_minus_one(x, x)
alone = torch.export.export(Difference(), (x, x)).module()(torch.full((1,), 5.0), torch.ones(1)).item()
print(f"5 - 1 = {once:g} (two tensors as examples), {twice:g} (one tensor twice), {alone:g} (one twice, torch.export alone)")
assert (once, twice, alone) == (4, 0, 0)
PYTHON
# Output seen (torch 2.13.0+cpu):
#   5 - 1 = 4 (two tensors as examples), 0 (one tensor twice), 0 (one twice, torch.export alone)
