"""The parts of a U-Net: time embedding, residual block, and the change of the map's size."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoids(t: Tensor, width: int) -> Tensor:
    """t (B,) -> (B, width): cosines and sines at width/2 frequencies from 1 to 1/10000 (Ho et al. 2020, code)."""
    frequencies = torch.exp(torch.arange(width // 2, device=t.device) * (-math.log(10000.0) / (width // 2 - 1)))
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class TimeEmbedding(nn.Module):
    """t (B,) long -> (B, 4 * channels): sinusoids through two linear layers."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        width = 4 * channels
        self.mlp = nn.Sequential(nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(sinusoids(t, self.channels))


class ResBlock(nn.Module):
    """x (B, c_in, H, W), time (B, width) -> (B, c_out, H, W).

    The time scales and shifts the second normalisation (Dhariwal & Nichol 2021, "adaptive group normalisation"), if
    the block has a time_width; the last convolution starts at zero, so a new block passes its input on (Ho et al. 2020,
    code).
    """

    def __init__(self, c_in: int, c_out: int, groups: int, dropout: float = 0.0, time_width: int = 0):
        super().__init__()
        self.norm_1, self.norm_2 = nn.GroupNorm(groups, c_in), nn.GroupNorm(groups, c_out)
        self.conv_1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.conv_2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.scale_shift = nn.Linear(time_width, 2 * c_out) if time_width else None
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        nn.init.zeros_(self.conv_2.weight)
        nn.init.zeros_(self.conv_2.bias)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        h = self.norm_2(self.conv_1(F.silu(self.norm_1(x))))
        if self.scale_shift is not None:
            scale, shift = self.scale_shift(time)[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return self.skip(x) + self.conv_2(self.dropout(F.silu(h)))


class Down(nn.Module):
    """Halves the map: a convolution with stride 2."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Up(nn.Module):
    """Doubles the map: every pixel becomes 2 x 2, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
