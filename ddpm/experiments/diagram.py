"""Draw a network as a diagram: its layers, sizes, channels and skip connections, and where time and text enter."""

import argparse
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import nn

from unet import UNet
from unet.blocks import Down, Up
from unet.unet import Layer

from ..model import load
from ..utils import cli
from ..utils.images import save_figure, subplots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXAMPLE = "python -m ddpm diagram --model shapes"
ENDINGS = (".png",)
COLOURS = {"residual": "#cfe0f3", "self": "#fbd3a8", "cross": "#c3e3bd", "conv": "#ffffff"}
FLOW, BANDS = "#333333", ("#efefef", "#dadada")
# time and text: colour of the line, its distance from a column's middle, and how far below the network it starts
ENTERS = {"residual": ("#7b3fa3", 2.35, 0.55), "cross": ("#23802f", 2.6, 1.1)}
LEFT, CENTRE, RIGHT = 2.9, 6.0, 9.1
HIGH, GAP = 0.34, 0.3  # height of a bar, gap below a block
Rows = list[tuple["Block | None", "Block"]]


class Block(NamedTuple):
    """Layers that run one after the other: bars (kind, label), and the size and the channels of the map they give.

    takes: the channels of the skip connection that is put beside the block's input, 0 for none.
    """

    bars: list[tuple[str, str]]
    size: int
    channels: int
    takes: int = 0


# ---- the module, read ----------------------------------------------------------------------------------------------


def block_of(layer: nn.Module, size: int, takes: int = 0) -> Block:
    """A layer of the U-Net that gives a map of size x size; the parts of a `Layer` in the order in which they run."""
    if isinstance(layer, Layer):
        conv = layer.res.conv_1
        bars = [("residual", f"residual block  {conv.in_channels} → {conv.out_channels}")]
        for attention in (layer.self_attention, layer.cross_attention):
            if attention is not None:
                heads = f"{attention.heads} head" + "s" * (attention.heads > 1)
                bars.append((attention.site.kind, f"{attention.site.kind}-attention, {heads}"))
    elif isinstance(layer, Down | Up):
        change, conv = ("halve" if isinstance(layer, Down) else "double"), layer.conv
        bars = [("conv", f"{change} the map to {size} x {size}")]
    else:
        conv = layer
        bars = [("conv", f"convolution  {conv.in_channels} → {conv.out_channels}")]
    return Block(bars, size, conv.out_channels, takes)


def blocks_of(unet: UNet) -> tuple[list[Block], list[Block], list[Block]]:
    """The blocks of the way down, of the middle and of the way up, in the order in which they run."""
    size = unet.config.map_sizes[0]
    down, up = [block_of(unet.first, size)], []
    for layer in unet.down:
        size = size // 2 if isinstance(layer, Down) else size
        down.append(block_of(layer, size))
    middle = [block_of(layer, size) for layer in unet.middle]
    skips = [block.channels for block in down]
    for layer in unet.up:
        size = 2 * size if isinstance(layer, Up) else size
        up.append(block_of(layer, size, skips.pop() if isinstance(layer, Layer) else 0))
    return down, middle, [*up, block_of(unet.last, size)]


def rows_of(unet: UNet) -> Rows:
    """The blocks from top to bottom, (way down or nothing, way up), the middle last.

    A block of the way up stands beside the one whose map it takes, so every skip connection is horizontal.
    """
    down, middle, up = blocks_of(unet)
    left, half = iter(down), len(middle) // 2
    rows = [(next(left) if block.takes else None, block) for block in reversed(up)]
    return rows + list(zip(middle[:half], reversed(middle[half:]), strict=True))


# ---- the diagram ---------------------------------------------------------------------------------------------------


def arrow(axis: "Axes", start: tuple[float, float], end: tuple[float, float], colour: str = FLOW, **style) -> None:
    """An arrow from one point to another."""
    style = dict(arrowstyle="-|>", color=colour, lw=1.1, shrinkA=0, shrinkB=0, mutation_scale=9) | style
    axis.annotate("", end, start, arrowprops=style, zorder=2)


def draw_bars(axis: "Axes", block: Block, x: float, low: float, largest: int, bottom: float) -> None:
    """A block's bars, from top to bottom in the left column and upwards in the right one; time and text enter."""
    out, wide = (1 if x > CENTRE else -1), 2.2 + 1.6 * block.size / largest
    for i, (kind, label) in enumerate(block.bars if x > CENTRE else block.bars[::-1]):
        y = low + i * HIGH
        axis.bar(x, HIGH, wide, bottom=y, facecolor=COLOURS[kind], edgecolor=FLOW, lw=0.6)
        axis.text(x, y + HIGH / 2, label, ha="center", va="center", fontsize=8)
        if kind in ENTERS:
            colour, away, below = ENTERS[kind]
            line, y = x + out * away, y + HIGH / 2
            axis.plot([line, line], [bottom - below, y], color=colour, lw=1.1)
            arrow(axis, (line, y), (x + out * wide / 2, y), colour)


def draw_rows(axis: "Axes", rows: Rows, edges: list[float]) -> None:
    """All blocks, the arrows from one to the next, and the skip connections."""
    above = {LEFT: HIGH, RIGHT: HIGH}  # the lower end of the block above
    for row, edge in zip(rows, edges[1:], strict=True):
        low = edge + GAP
        for x, block in zip((LEFT, RIGHT), row, strict=True):
            if block is None:
                continue
            draw_bars(axis, block, x, low, rows[0][1].size, edges[-1])
            ends = (x, above[x]), (x, low + HIGH * len(block.bars))
            arrow(axis, *(ends if x == LEFT else ends[::-1]))
            above[x] = low
        if skip := row[1].takes:
            y = edge + GAP / 2
            arrow(axis, (LEFT, y), (RIGHT, y), linestyle=(0, (4, 2)))
            axis.plot(LEFT, y, ".", color=FLOW)
            axis.text(CENTRE, y + 0.03, f"skip connection, {skip} channels", ha="center", va="bottom", fontsize=8)
    turn = edges[-1] + GAP / 2
    axis.plot([LEFT, LEFT, RIGHT], [above[LEFT], turn, turn], color=FLOW, lw=1.1)
    arrow(axis, (RIGHT, turn), (RIGHT, above[RIGHT]))


def draw(unet: UNet, noisy: np.ndarray | None = None, predicted: np.ndarray | None = None) -> "Figure":
    """The diagram of a U-Net, read off the module, whatever its configuration.

    Left the way down, right the way up, below the middle. noisy, predicted: images uint8 (3, H, W) to put at the input
    and the output.
    """
    config, rows, edges = unet.config, rows_of(unet), [0.0]
    for row in rows:
        edges.append(edges[-1] - HIGH * max(len(block.bars) for block in row if block) - GAP)
    low, high = edges[-1] - 1.4, 1.1 if noisy is None and predicted is None else 2.6
    figure, axis = subplots(9, 0.66 * (high - low))
    axis.axis("off")
    draw_rows(axis, rows, edges)
    # a grey band for each map size and for the middle
    middle = len(rows) - len(unet.middle) // 2
    bands = groupby(range(len(rows)), lambda i: ("middle," if i >= middle else "maps of", rows[i][1].size))
    for shade, ((name, size), members) in enumerate(bands):
        members = list(members)
        first, last = members[0], members[-1]
        axis.axhspan(edges[last + 1] + 0.06, edges[first] + 0.06, color=BANDS[shade % 2], zorder=0, lw=0)
        band = dict(ha="center", va="top", fontsize=12, color="#666666")
        axis.text(CENTRE, edges[first] + 0.03, f"{name} {size} x {size}", **band)
    # time and text below the network
    time = f"time t  →  sinusoids, two linear layers  →  {4 * config.channels} numbers"
    states = f"{config.words} states of {config.text_width} numbers"
    text = f"caption  →  {config.words} tokens  →  text encoder  →  {states}"
    for label, (colour, away, below) in zip((time, text), ENTERS.values(), strict=True):
        axis.plot([LEFT - away, RIGHT + away], [edges[-1] - below] * 2, color=colour, lw=1.1)
        box = dict(facecolor="white", edgecolor=colour, boxstyle="round,pad=0.4")
        axis.text(CENTRE, edges[-1] - below, label, ha="center", va="center", fontsize=8.5, color=colour, bbox=box)
    # what goes in and what comes out
    folded = f", as {unet.first.in_channels} x {rows[0][1].size} x {rows[0][1].size}" if config.stem > 1 else ""
    out = "predicted noise" if config.predicts == "eps" else "v, which gives the predicted noise"
    for x, name, image in ((LEFT, "noisy image", noisy), (RIGHT, out, predicted)):
        what = f"{name}\n{config.image_channels} x {config.size} x {config.size}{folded}"
        axis.text(x, HIGH + 0.06, what, ha="center", va="bottom", fontsize=9)
        if image is not None:
            place = (x - 0.62, x + 0.62, 1.1, 2.5)
            axis.imshow(image.transpose(1, 2, 0), extent=place, aspect="auto", interpolation="nearest")
    axis.set(xlim=(0, 12), ylim=(low, high))
    return figure


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "out", model="shapes")


def run(args: argparse.Namespace) -> None:
    unet, path = load(args.model).unet, cli.output(args, f"diagram-{cli.name_of(args.model)}", ".png")
    print(save_figure(draw(unet), path))
