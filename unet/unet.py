"""The network of the project: a U-Net that reads a noisy image, its time and a caption, and predicts the noise."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Attention, Hook, Site, SiteHook, Text
from .blocks import Down, ResBlock, TimeEmbedding, Up
from .text import TextEncoder


def option(default: Any, text: str, least: float | None = None, most: float | None = None) -> Any:
    """A field of a configuration record: its default, its help text, and the range of its numbers, if it has one."""
    return field(default=default, metadata={"help": text, "least": least, "most": most})


def check_ranges(record: Any) -> None:
    """ValueError for the first field of a record with a number, alone or in a tuple, that is outside its range."""
    for f in fields(record):
        value, least, most = getattr(record, f.name), f.metadata["least"], f.metadata["most"]
        numbers, like = (v if isinstance(v, list | tuple) else [v] for v in (value, f.default))
        kind = int if isinstance(like[0], int) else int | float
        if least is not None and not all(isinstance(number, kind) and least <= number <= most for number in numbers):
            raise ValueError(f"{f.name} is {value!r}: expected {least:,} to {most:,}")


@dataclass(frozen=True)
class UNetConfig:
    """The architecture of a U-Net: its fields say what they are in their help texts, which `train.py --help` prints.

    Map sizes are in pixels, after the stem. ValueError: numbers outside their range, or that do not fit together.
    """

    size: int = option(32, "side of the square images, in pixels", 1, 1024)
    stem: int = option(1, "side of the pixel blocks that become channels: maps begin at size / stem", 1, 64)
    image_channels: int = option(3, "channels of an image: 3 colours, or those of a latent", 1, 64)
    channels: int = option(64, "channels of the first map", 4, 4096)
    multipliers: tuple[int, ...] = option(
        (1, 2), "one for each stage of the way down, which has channels x multiplier channels; maps halve between them",
        1, 64,
    )  # fmt: skip
    blocks: int = option(1, "residual blocks of a stage on the way down; one more on the way up", 1, 16)
    self_sizes: tuple[int, ...] = option((8,), "map sizes at which pixels attend to pixels")
    cross_sizes: tuple[int, ...] = option((16, 8), "map sizes at which pixels attend to the words of the caption")
    head_channels: int = option(32, "channels of one attention head", 1, 4096)
    groups: int = option(16, "groups of each GroupNorm; they must divide all channels", 1, 4096)
    dropout: float = option(0.0, "probability that a value inside a residual block is set to zero in training", 0, 0.99)
    words: int = option(24, "tokens that a caption may have, its start included", 2, 1024)
    text_width: int = option(64, "width of the text encoder's states", 1, 4096)
    text_layers: int = option(1, "its transformer blocks; with 0 a word knows nothing of the others", 0, 64)
    text_heads: int = option(2, "its attention heads; they must divide its width", 1, 4096)
    predicts: str = option(
        "eps", "what the last layer gives: eps (Ho et al. 2020) or v (Salimans & Ho 2022); the U-Net returns eps"
    )

    def __post_init__(self):
        check_ranges(self)
        if not self.multipliers:
            raise ValueError("multipliers is (): expected one number or more")
        if self.predicts not in ("eps", "v"):
            raise ValueError(f"predicts is {self.predicts!r}: expected 'eps' or 'v'")
        if self.channels % 2 or self.channels % self.groups:
            raise ValueError(f"{self.channels} channels: expected an even number, a multiple of groups {self.groups}")
        if self.text_width % self.text_heads:
            raise ValueError(f"text_width {self.text_width} must be a multiple of text_heads {self.text_heads}")
        smallest = self.stem * 2 ** (len(self.multipliers) - 1)
        if self.size % smallest:
            stages = f"stem {self.stem}, {len(self.multipliers)} stages"
            raise ValueError(f"size {self.size} must be a multiple of {smallest} ({stages})")
        for name in ("self_sizes", "cross_sizes"):
            sizes = getattr(self, name)
            if missing := sorted(set(sizes) - set(self.map_sizes)):
                raise ValueError(f"{name} has {missing}, but this network's maps have sizes {list(self.map_sizes)}")
            for width, size in zip(self.widths, self.map_sizes, strict=True):
                if size in sizes and width % self.heads(width):
                    heads = f"head_channels {self.head_channels} makes {self.heads(width)} heads"
                    raise ValueError(f"{heads}, which cannot share {width} channels")

    @property
    def widths(self) -> tuple[int, ...]:
        """The channels of each stage."""
        return tuple(self.channels * m for m in self.multipliers)

    def heads(self, width: int) -> int:
        """The attention heads of a layer with `width` channels."""
        return max(1, width // self.head_channels)

    @property
    def map_sizes(self) -> tuple[int, ...]:
        """The map sizes from the first stage to the last."""
        return tuple(self.size // self.stem // 2**i for i in range(len(self.multipliers)))


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
