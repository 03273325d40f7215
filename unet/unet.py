"""The network of the project: a U-Net that reads a noisy image, its time and a caption, and predicts the noise."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Attention, Hook, Site, SiteHook, Text
from .blocks import Down, ResBlock, TimeEmbedding, Up
from .config import UNetConfig
from .text import TextEncoder


class Layer(nn.Module):
    """A residual block, then self- and cross-attention where the configuration asks for them at this map size."""

    def __init__(self, config: UNetConfig, c_in: int, c_out: int, size: int, stage: str, name: str):
        super().__init__()
        heads = config.heads(c_out)
        self.res = ResBlock(c_in, c_out, config.groups, config.dropout, time_width=4 * config.channels)
        self.self_attention = self.cross_attention = None
        if size in config.self_sizes:
            site = Site(f"{name}.self", "self", stage, size)
            self.self_attention = Attention(c_out, site, heads, config.groups)
        if size in config.cross_sizes:
            site = Site(f"{name}.cross", "cross", stage, size)
            self.cross_attention = Attention(c_out, site, heads, config.groups, config.text_width)

    def forward(self, x: Tensor, time: Tensor, text: Text, hook: SiteHook | None) -> Tensor:
        x = self.res(x, time)
        if self.self_attention is not None:
            x = self.self_attention(x, hook=hook)
        if self.cross_attention is not None:
            x = self.cross_attention(x, text, hook)
        return x


class UNet(nn.Module):
    """eps(x_t, t, caption).

    config: a `UNetConfig`. vocab_size: the tokenizer's length. alpha_bar: (T + 1,) table of the schedule with
    alpha_bar[0] equal to 1; it turns v into eps.
    """

    def __init__(self, config: UNetConfig, vocab_size: int, alpha_bar: Tensor):
        super().__init__()
        self.config = config
        self.register_buffer("alpha_bar", alpha_bar.double().clone(), persistent=False)
        self.text = TextEncoder(vocab_size, config.words, config.text_width, config.text_layers, config.text_heads)
        self.time = TimeEmbedding(config.channels)
        widths = list(config.widths)
        self.first = nn.Conv2d(config.image_channels * config.stem**2, config.channels, 3, padding=1)
        self.down, self.skip_channels = self._way_down(widths)
        self.middle = nn.ModuleList(
            Layer(config, widths[-1], widths[-1], config.map_sizes[-1], "middle", f"middle.{i}") for i in range(2)
        )
        self.up = self._way_up(widths, self.skip_channels)
        self.norm = nn.GroupNorm(config.groups, widths[0])
        self.last = nn.Conv2d(widths[0], config.image_channels * config.stem**2, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.text.requires_grad_(bool(config.cross_sizes))  # without cross-attention nothing reads the caption
        self.to(memory_format=torch.channels_last)

    def _way_down(self, widths: list[int]) -> tuple[nn.ModuleList, list[int]]:
        """The layers of the way down, and the channels of every map that a skip connection takes to the way up."""
        layers, skips, c = nn.ModuleList(), [self.config.channels], self.config.channels
        for stage, (width, size) in enumerate(zip(widths, self.config.map_sizes, strict=True)):
            if stage > 0:
                layers.append(Down(c))
                skips.append(c)
            for block in range(self.config.blocks):
                layers.append(Layer(self.config, c, width, size, "down", f"down.{stage}.{block}"))
                c = width
                skips.append(c)
        return layers, skips

    def _way_up(self, widths: list[int], skips: list[int]) -> nn.ModuleList:
        """The layers of the way up; every one that is not an `Up` takes one skip connection beside its input."""
        layers, skips, c = nn.ModuleList(), list(skips), widths[-1]
        for stage in reversed(range(len(widths))):
            for block in range(self.config.blocks + 1):
                size = self.config.map_sizes[stage]
                layers.append(Layer(self.config, c + skips.pop(), widths[stage], size, "up", f"up.{stage}.{block}"))
                c = widths[stage]
            if stage > 0:
                layers.append(Up(c))
        assert not skips
        return layers

    @property
    def sites(self) -> list[Site]:
        """The sites of all attention layers, in the order in which a hook sees them."""
        return [layer.site for layer in self.modules() if isinstance(layer, Attention)]

    @property
    def trainable(self) -> nn.Module:
        """What training changes and a checkpoint keeps: the whole network, of a `ControlledUNet` its copy."""
        return self

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        tokens: Tensor | Text,
        hook: Hook | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """x (B, C, size, size) noisy images, t (B,) long in 1..T, tokens (B, words) long -> eps like x, float32.

        tokens may also be the `Text` that `self.text(tokens)` gave: a sampler encodes a prompt once.
        hook: see `unet.attention.Hook`; it fires once for each of `self.sites`. residuals: see `unet.control`.
        """
        text = tokens if isinstance(tokens, Text) else self.text(tokens)
        time = self.time(t)
        at_t = None if hook is None else lambda weights, site: hook(weights, site, t)
        out = self._body(x.contiguous(memory_format=torch.channels_last), time, text, at_t, residuals)
        out = out.to(x.dtype)
        if self.config.predicts == "eps":
            return out
        alpha_bar = self.alpha_bar[t][:, None, None, None]
        # v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0 (Salimans & Ho 2022), and x_t holds x_0: solved for eps
        return alpha_bar.sqrt().to(x.dtype) * out + (1 - alpha_bar).sqrt().to(x.dtype) * x

    def _body(
        self, x: Tensor, time: Tensor, text: Text, hook: SiteHook | None, residuals: Sequence[Tensor] | None
    ) -> Tensor:
        x = self.first(F.pixel_unshuffle(x, self.config.stem))  # (B, channels, size / stem, size / stem)
        skips = [x]
        for layer in self.down:
            x = layer(x, time, text, hook) if isinstance(layer, Layer) else layer(x)
            skips.append(x)
        for layer in self.middle:
            x = layer(x, time, text, hook)
        if residuals is not None:  # one for each skip connection, then one for the middle
            *skips, x = (kept + residual for kept, residual in zip([*skips, x], residuals, strict=True))
        for layer in self.up:
            # (B, c, h, w) and the skip connection (B, c', h, w), concatenated along the channels
            x = layer(torch.cat([x, skips.pop()], dim=1), time, text, hook) if isinstance(layer, Layer) else layer(x)
        assert not skips
        if x.dtype == torch.float32:
            return self._output(x)
        with torch.autocast(x.device.type, enabled=False):  # rounding of the output itself would be an error of eps
            return self._output(x.float())

    def _output(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.last(F.silu(self.norm(x))), self.config.stem)  # (B, C, size, size)
