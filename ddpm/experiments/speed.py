"""Images per second of our network in training, sampling and editing, beside diffusers and denoising-diffusion-pytorch.

Libraries take turns; a rate is the median of repeats. A P2P step has four rows of the network an image (guidance 2).
"""

import argparse
import pkgutil
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from torch import nn
from tqdm import tqdm

import ddim
import p2p
from unet import PRESETS, Tokenizer, UNet, UNetConfig
from unet.precision import PRECISIONS, autocast, resolve

from ..model import Trained
from ..schedule import Schedule
from ..training import RECIPES
from ..training.memory import ROWS_ON_CPU
from ..utils import cli
from ..utils.device import device_name, select_device
from ..utils.files import first_line
from . import common

EXAMPLE = "python -m ddpm speed --presets cifar10 --batch 16"
ENDINGS = (".json", ".txt")
OURS, DIFFUSERS, DDP = "ours", "diffusers", "denoising-diffusion-pytorch"
CLASSES = {DIFFUSERS: "diffusers:UNet2DConditionModel", DDP: "denoising_diffusion_pytorch:Unet"}
CAPTION, EDITED = (f"a photo of a {colour} horse on a green background" for colour in ("white", "brown"))
T, GRID = 1000, [1000, 980]  # the first of 50 steps, in which an edit injects all maps


def imported(library: str) -> type[nn.Module] | str:
    """The U-Net of another library, or why it cannot be imported, whatever the reason: it may need another PyTorch."""
    try:
        return pkgutil.resolve_name(CLASSES[library])
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error)}"


def other_network(library: str, config: UNetConfig, batch: int, device: torch.device) -> tuple[nn.Module, Callable]:
    """A network as large as ours, and its prediction for t and an x_t whose patches are channels already."""
    size, channels = config.map_sizes[0], config.image_channels * config.stem**2
    if library == DDP:
        unet = imported(DDP)(config.channels, dim_mults=config.multipliers, channels=channels).to(device)
        return unet, unet  # it takes no captions
    attends = [size in config.self_sizes + config.cross_sizes for size in config.map_sizes]
    unet = imported(DIFFUSERS)(
        sample_size=size, in_channels=channels, out_channels=channels, norm_num_groups=config.groups,
        block_out_channels=config.widths, layers_per_block=config.blocks, cross_attention_dim=config.text_width,
        attention_head_dim=[config.heads(width) for width in config.widths],  # the number of heads, by its old name
        down_block_types=["CrossAttnDownBlock2D" if yes else "DownBlock2D" for yes in attends],
        up_block_types=["CrossAttnUpBlock2D" if yes else "UpBlock2D" for yes in reversed(attends)],
    ).to(device)  # fmt: skip
    text = torch.randn(batch, config.words, config.text_width, device=device)
    return unet, lambda x, t: unet(x, t, text).sample


def works_of(library: str, preset: str, batch: int, device: torch.device, precision: str) -> dict[str, Callable]:
    """What is timed: name -> a function that does it once."""
    config, schedule, tokenizer = PRESETS[preset], Schedule(T, RECIPES[preset].schedule), Tokenizer()
    x = torch.randn(batch, config.image_channels, config.size, config.size, device=device)
    t = torch.full((batch,), T, device=device)
    if library == OURS:
        unet = UNet(config, len(tokenizer), schedule.alpha_bar).to(device)
        predict = partial(unet, tokens=tokenizer.encode([CAPTION] * batch, config.words).to(device))
    else:
        unet, predict = other_network(library, config, batch, device)
        x = nn.functional.pixel_unshuffle(x, config.stem)
    optimizer = torch.optim.AdamW(unet.parameters(), fused=True)

    def training() -> None:
        optimizer.zero_grad()
        with autocast(device, precision):
            prediction = predict(x, t)
        (prediction.float() - x).square().mean().backward()
        optimizer.step()

    def sampling() -> None:
        with torch.no_grad(), autocast(device, precision):
            ddim.step(schedule, predict(x, t).float(), x, *GRID)

    works = {"training": training, "DDIM step": sampling}
    if library == OURS:
        trained = Trained(unet, tokenizer, schedule, {}, precision)
        works["P2P step"] = lambda: next(p2p.edit(trained, CAPTION, EDITED, x, GRID, scale=2.0))
    return works


def measure(works: dict[tuple, Callable], repeats: int, device: torch.device) -> dict[tuple, float]:
    """The median seconds of each work, which take turns; a first round is not counted."""
    seconds = {name: [] for name in works}
    for _ in tqdm(range(repeats + 1), "rounds"):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "out")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=["cifar10"], help="networks")
    parser.add_argument("--batch", type=cli.positive, default=16, help="images")
    parser.add_argument("--repeats", type=cli.positive, default=10, help="of each work, in turns")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the networks")


def run(args: argparse.Namespace) -> None:
    device, works = select_device(args.device), {}
    if device.type == "cpu" and args.batch > ROWS_ON_CPU:
        raise ValueError(f"--batch is {args.batch}, expected 1 .. {ROWS_ON_CPU}: a CPU takes no more at once")
    path = common.own_record(args, "speed", "a record of ddpm speed", "images/s")
    precision = resolve(args.precision, device)
    missing = {library: why for library in CLASSES if isinstance(why := imported(library), str)}
    for preset, library in product(args.presets, (OURS, *(name for name in CLASSES if name not in missing))):
        found = works_of(library, preset, args.batch, device, precision)
        works |= {(preset, library, name): work for name, work in found.items()}
    rates = {key: args.batch / seconds for key, seconds in measure(works, args.repeats, device).items()}
    lines = [f"{device_name(device)}, {precision}, batch {args.batch}, {args.repeats} repeats"]
    for (preset, library, name), rate in rates.items():
        ours = rates[preset, OURS, name]
        lines.append(f"{preset:14s}{library:29s}{name:10s}{rate:9.1f} images/s, ours {ours / rate:.2f}x")
    lines += [f"not here: {library} ({why}): pip install {library}" for library, why in missing.items()]
    record = {"about": lines[0], "images/s": {" / ".join(key): rate for key, rate in rates.items()}}
    common.write(args, path, record, lambda _: "\n".join(lines) + "\n")
