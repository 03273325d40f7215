"""The architecture of the U-Net as a record, and how the records of settings state their flags and ranges."""

from dataclasses import dataclass, field, fields
from typing import Any


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
