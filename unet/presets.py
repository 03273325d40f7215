"""The networks of this repository by name."""

from dataclasses import replace

from .config import UNetConfig

# 16 channels a group: with fewer, GroupNorm is ten times slower on a CPU (channels_last maps, bfloat16).
# `ddpm` keeps the 32 groups of Ho et al. 2020.
DDPM = UNetConfig(
    channels=128, multipliers=(1, 2, 2, 2), blocks=2, self_sizes=(16,), cross_sizes=(16, 8), head_channels=64,
    groups=32, dropout=0.1, text_width=128, text_layers=2, text_heads=4,
)  # fmt: skip
SHAPES = UNetConfig(
    size=16, channels=64, multipliers=(1, 1, 1), self_sizes=(8, 4), cross_sizes=(16, 8, 4), groups=4, words=16,
    predicts="v",
)  # fmt: skip
LIGHT = UNetConfig(
    channels=64, multipliers=(1, 2, 3), groups=4, text_width=128, text_layers=2, text_heads=4, predicts="v"
)
COMPACT = UNetConfig(stem=2, channels=64, multipliers=(1, 2, 2), groups=4, predicts="v")

PRESETS: dict[str, UNetConfig] = {
    "shapes": SHAPES,
    # the network of Ho et al. 2020 for CIFAR-10, with cross-attention to our text, heads of 64 channels in place of
    # one head, a time that scales as well as shifts, and without self-attention at 4 x 4
    "ddpm": DDPM,
    # a fifth of its arithmetic: minutes on a GPU, seconds for a few samples on a CPU, 18 MB in half precision; without
    # dropout, which helps only where every image is seen hundreds of times
    "cifar10": LIGHT,
    "celeba64": replace(LIGHT, size=64, stem=2),
    # a stem of 2 x 2 pixels, so that two CPU cores see a thousand images in seconds
    "scenes": COMPACT,
    "scenes64": replace(COMPACT, size=16, stem=1, image_channels=4),  # the same maps, of latents
    "scenes-control": COMPACT,  # the same network, frozen, and a ControlNet on it
    "cifar10-cpu": COMPACT,
    "celeba64-cpu": replace(COMPACT, size=64, stem=4, channels=96, groups=6),
}  # fmt: skip
