"""The network: attention in the open, blocks, the U-Net, tokenizer and text encoder."""

from .attention import Attention, Hook, Site, Text
from .cost import cost
from .presets import PRESETS
from .text import TextEncoder, Tokenizer, UnknownWordError
from .unet import UNet, UNetConfig

__all__ = [
    "PRESETS",
    "Attention",
    "Hook",
    "Site",
    "Text",
    "TextEncoder",
    "Tokenizer",
    "UNet",
    "UNetConfig",
    "UnknownWordError",
    "cost",
]
