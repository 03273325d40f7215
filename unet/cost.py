"""The cost of a network, and of each of its modules: parameters and arithmetic."""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .control import ControlledUNet
from .unet import UNet


def costs(network: nn.Module) -> dict[str, tuple[int, float]]:
    """Parameters, and GFLOP of one image's forward pass, of each module by its name; "" is the whole network.

    A multiplication and an addition are two FLOP. Counted are matrix products and convolutions, those of attention too:
    the fused kernel of the CPU would hide them from PyTorch's counter, so here attention runs unfused. network: a UNet,
    or one that takes images alone.
    """
    config, device = network.config, next(network.parameters()).device
    channels = config.image_channels if isinstance(network, UNet) else 3
    x = torch.zeros(1, channels, config.size, config.size, device=device)
    inputs, drawing = [x], {}
    if isinstance(network, UNet):  # the time and the tokens, too
        inputs += [torch.ones(shape, dtype=torch.long, device=device) for shape in ((1,), (1, config.words))]
    if isinstance(network, ControlledUNet):
        drawing = {"condition": x[:, :1]}
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(*inputs, **drawing)
    flop = {name: sum(operations.values()) for name, operations in counter.get_flop_counts().items()}
    whole = type(network).__name__  # the counter puts the class before each name
    return {
        name: (sum(p.numel() for p in module.parameters()), flop.get(f"{whole}.{name}" if name else whole, 0) / 1e9)
        for name, module in network.named_modules()
    }


def cost(network: nn.Module) -> tuple[int, float]:
    """Parameters, and GFLOP of one image's forward pass; training takes about three times as many."""
    return costs(network)[""]
