#!/usr/bin/env bash
# diffusers 0.42.1: DEIS and UniPC with as many steps as the model has times, and the exact eps of data of N(0, 1/4).
# Guess: 1,000 steps of 1,000 are the safest choice there is; the standard deviation comes nearest to 0.5.
# What happens: NaN. 1,000 of the 1,001 rounded points of linspace(0, 999) are taken, so the time 500 stands there
# twice; the second order divides by the step between the two, which is 0. 999 steps are right to 0.1 %.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 diffusers==0.42.1
"$folder/bin/python" - <<'PYTHON'
import torch
from diffusers import DEISMultistepScheduler, UniPCMultistepScheduler


def deviation(scheduler, S):
    """The sampler is linear here: it takes 1 to the standard deviation of its samples."""
    scheduler.set_timesteps(S)
    x = torch.ones(1, 1, 1, 1)
    for t in scheduler.timesteps:
        alpha_bar = scheduler.alphas_cumprod[t]
        x = scheduler.step((1 - alpha_bar).sqrt() * x / (alpha_bar / 4 + 1 - alpha_bar), t, x).prev_sample
    return x.item()


print(f"torch {torch.__version__}; right: 0.5")
for kind in (DEISMultistepScheduler, UniPCMultistepScheduler):
    scheduler = kind()
    found = {S: deviation(scheduler, S) for S in (999, 1000)}
    twice = [t for t, s in zip(scheduler.timesteps[:-1].tolist(), scheduler.timesteps[1:].tolist()) if t == s]
    print(f"{kind.__name__:24s} 999 steps {found[999]:.4f}, 1000 steps {found[1000]}, twice: t = {twice}")
    assert abs(found[999] - 0.5) < 0.001 and found[1000] != found[1000] and twice == [500]
PYTHON
# Output seen:
#   torch 2.13.0+cpu; right: 0.5
#   DEISMultistepScheduler   999 steps 0.5003, 1000 steps nan, twice: t = [500]
#   UniPCMultistepScheduler  999 steps 0.4998, 1000 steps nan, twice: t = [500]
