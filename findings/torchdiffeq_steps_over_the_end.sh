#!/usr/bin/env bash
# torchdiffeq 0.2.5 as a DDIM sampler: dy / dlambda = eps(y, lambda), for data of N(0, 1/4) whose eps is known exactly.
# Integrated from lambda = 157.4 (noise) to 0.01 (data) the standard deviation must become 0.5.
# Guess: dopri5 with rtol = atol = 1e-3 is good to some percent, and asks for eps between the two ends only.
# What happens: it ends at 0.017, thirty times too small, without a warning. The solver does not stop at the end of the
# interval: it steps over it, calls eps at lambda = -150, and interpolates back. A network would be called at times that
# it does not have. scipy's RK45 cuts its last step at the end (0.40 at the same tolerances).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 scipy==1.17.1 torchdiffeq==0.2.5
"$folder/bin/python" - <<'PYTHON'
import torch
from scipy.integrate import solve_ivp
from torchdiffeq import odeint

NOISE, DATA = 157.4, 0.01
y_T = torch.randn(4096, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * (0.25 + NOISE**2) ** 0.5
called = []


def eps(lam, y):
    called.append(float(lam))
    return lam * y / (0.25 + lam**2)


def report(name, y):
    print(f"{name:24s} standard deviation {y.std():.4f}, {len(called):3d} calls, least lambda {min(called):8.2f}")
    least = min(called)
    called.clear()
    return float(y.std()), least


print(f"right: {(0.25 + DATA**2) ** 0.5:.4f}")
ends = torch.tensor([NOISE, DATA], dtype=torch.float64)
coarse, below = report("torchdiffeq, 1e-3", odeint(eps, y_T, ends, rtol=1e-3, atol=1e-3, method="dopri5")[-1])
fine, _ = report("torchdiffeq, 1e-5", odeint(eps, y_T, ends, rtol=1e-5, atol=1e-5, method="dopri5")[-1])
other, inside = report("scipy RK45, 1e-3", solve_ivp(eps, (NOISE, DATA), y_T.numpy(), rtol=1e-3, atol=1e-3).y[:, -1])
assert coarse < 0.05 and below < -100 and abs(fine - 0.5) < 0.02
assert 0.3 < other < 0.6 and inside > 0.0
PYTHON
# Output seen (torch 2.13.0+cpu):
#   right: 0.5001
#   torchdiffeq, 1e-3        standard deviation 0.0166,  26 calls, least lambda  -149.73
#   torchdiffeq, 1e-5        standard deviation 0.4980, 164 calls, least lambda  -121.26
#   scipy RK45, 1e-3         standard deviation 0.3993,  56 calls, least lambda     0.01
