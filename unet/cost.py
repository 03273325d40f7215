"""The cost of a network, and of each of its modules: parameters and arithmetic."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .control import ControlledUNet
from .unet import UNet


def costs(unet: UNet) -> dict[str, tuple[int, float]]:
    """Parameters, and GFLOP of one image's forward pass, of each module by its name; "" is the whole network.

    A multiplication and an addition are two FLOP. Counted are matrix products and convolutions, those of attention too:
    the fused kernel of the CPU would hide them from PyTorch's counter, so here attention runs unfused.
    """
    config, device = unet.config, unet.alpha_bar.device
    x, t = torch.zeros(1, 3, config.size, config.size, device=device), torch.ones(1, dtype=torch.long, device=device)
    tokens = torch.ones(1, config.words, dtype=torch.long, device=device)
    drawing = {"condition": x[:, :1]} if isinstance(unet, ControlledUNet) else {}
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        unet(x, t, tokens, **drawing)
    flop = {name: sum(operations.values()) for name, operations in counter.get_flop_counts().items()}
    whole = type(unet).__name__  # the counter puts the class before each name
    return {
        name: (sum(p.numel() for p in module.parameters()), flop.get(f"{whole}.{name}" if name else whole, 0) / 1e9)
        for name, module in unet.named_modules()
    }


def cost(unet: UNet) -> tuple[int, float]:
    """Parameters, and GFLOP of one image's forward pass; training takes about three times as many."""
    return costs(unet)[""]
