#!/usr/bin/env bash
# PyTorch 2.13: torch.optim.Muon on a float64 matrix, with the coefficients of Newton and Schulz' own iteration, which
# converges to the orthogonal factor of the gradient, and 40 steps of it in place of 5.
# Guess: the update is orthogonal to float64's precision; the same iteration written in float64 is, to 1e-15.
# What happens: every entry of the update is a bfloat16 number, and its singular values differ by 3e-3: the iteration
# casts to bfloat16 whatever the parameters are, and no option changes it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/bin/python" - <<'PYTHON'
import torch

a, b, c, steps = 1.875, -1.25, 0.375, 40  # the quintic Newton-Schulz iteration: singular values of (0, 1] go to 1
gradient = torch.randn(48, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

weights = torch.nn.Parameter(torch.zeros_like(gradient))
weights.grad = gradient.clone()
how = {"ns_coefficients": (a, b, c), "ns_steps": steps, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
torch.optim.Muon([weights], lr=1.0, **how).step()
update = -weights.detach()

x = gradient / gradient.norm()
for _ in range(steps):
    gram = x @ x.T
    x = a * x + (b * gram + c * gram @ gram) @ x


def error(matrix):
    """How far the singular values are from one value for all of them."""
    values = torch.linalg.svdvals(matrix)
    return (values / values.mean() - 1).abs().max().item()


rounded = (update == update.bfloat16().double()).all().item()
print(f"torch {torch.__version__}, {update.dtype}: update of bfloat16 numbers only: {rounded}")
print(f"error of the singular values: Muon {error(update):.1e}, the iteration in float64 {error(x):.1e}")
assert rounded and error(update) > 1e-4 and error(x) < 1e-12
PYTHON
# Output seen:
#   torch 2.13.0+cpu, torch.float64: update of bfloat16 numbers only: True
#   error of the singular values: Muon 3.0e-03, the iteration in float64 5.6e-16
