"""The cost of a network: parameters and arithmetic."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .unet import UNet


def cost(unet: UNet) -> tuple[int, float]:
    """Parameters, and GFLOP of one image's forward pass; training takes about three times as many.

    A multiplication and an addition are two FLOP. Counted are matrix products and convolutions, those of attention too:
    the fused kernel of the CPU would hide them from PyTorch's counter, so here attention runs unfused.
    """
    config, device = unet.config, unet.alpha_bar.device
    x, t = torch.zeros(1, 3, config.size, config.size, device=device), torch.ones(1, dtype=torch.long, device=device)
    tokens = torch.ones(1, config.words, dtype=torch.long, device=device)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        unet(x, t, tokens)
    return sum(p.numel() for p in unet.parameters()), counter.get_total_flops() / 1e9
