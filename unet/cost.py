"""What a network costs: parameters and arithmetic."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from .unet import UNet


def cost(unet: UNet) -> tuple[int, float]:
    """Parameters, and GFLOP (a multiplication and an addition are two) of one picture's way forward; training takes about three times."""
    device = unet.alpha_bar.device
    x, t = torch.zeros(1, 3, unet.config.size, unet.config.size, device=device), torch.ones(1, dtype=torch.long, device=device)
    tokens = torch.ones(1, unet.config.words, dtype=torch.long, device=device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(x, t, tokens)
    return sum(p.numel() for p in unet.parameters()), counter.get_total_flops() / 1e9
