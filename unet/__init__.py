"""The network: attention in the open, blocks, the U-Net, tokenizer and text encoder."""

from .attention import Attention, Hook, Site, Text
from .config import UNetConfig
from .control import ControlledUNet, ControlNet
from .cost import cost
from .presets import PRESETS
from .text import TextEncoder, Tokenizer, UnknownWordError
from .unet import UNet
