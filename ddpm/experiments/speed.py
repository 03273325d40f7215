"""Images per second of our network, in training, sampling and edits, beside diffusers and denoising-diffusion-pytorch.

A DDIM step is a forward pass and the update, without guidance. A P2P step is one of `p2p.edit` at guidance 2: four rows
of the network for each edited image. Same batch, threads and precision for all; repeats take turns, so that other load
on the machine meets everybody; the median and the spread count. The other libraries are compared where they are
installed, and never needed: `pip install diffusers denoising-diffusion-pytorch`.
"""

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

import ddim
import p2p
from unet import PRESETS, Tokenizer, UNet, UNetConfig
from unet.precision import PRECISIONS, autocast, resolve

from ..model import Trained
from ..schedule import Schedule
from ..training import RECIPES
from ..utils import cli
from ..utils.device import best_device, device_name, usable
from ..utils.files import write_json, write_text

EXAMPLE = "python -m ddpm speed --presets cifar10 --batch 16"
OURS, DIFFUSERS, DDP = "ours", "diffusers", "denoising-diffusion-pytorch"
WORKS, PEAK = ("training", "forward", "forward, hook", "DDIM step", "P2P step"), "peak MB, "
CAPTION, EDITED = (f"a photo of a {colour} horse on a green background" for colour in ("white", "brown"))
T, GRID = 1000, [1000, 980]  # the first of 50 steps, in which an edit injects all maps
Work = Callable[[], object]


class Network(NamedTuple):
    """One library's: the module, its prediction for x_t and t, and a DDIM step from the prediction (None: has none)."""

    module: nn.Module
    predict: Callable[[Tensor, Tensor], Tensor]
    step: Callable[[Tensor, Tensor], Tensor] | None


# ---- the networks ----------------------------------------------------------------------------------------------------


def ours(preset: str, batch: int, device: torch.device) -> Network:
    """The U-Net of a preset, under captions."""
    config, tokenizer, schedule = PRESETS[preset], Tokenizer(), schedule_of(preset)
    unet = UNet(config, len(tokenizer), schedule.alpha_bar).to(device)
    tokens = tokenizer.encode([CAPTION] * batch, config.words).to(device)
    return Network(unet, lambda x, t: unet(x, t, tokens), lambda eps, x: ddim.step(schedule, eps, x, *GRID)[0])


def schedule_of(preset: str) -> Schedule:
    """The one that the preset is trained with."""
    return Schedule(T, RECIPES[preset].schedule)


def of_diffusers(preset: str, batch: int, device: torch.device) -> Network:
    """UNet2DConditionModel of the same widths, blocks, attention sizes and width of text, with feed-forward layers."""
    config, library = PRESETS[preset], importlib.import_module(DIFFUSERS)
    attends = [size in config.self_sizes + config.cross_sizes for size in config.map_sizes]
    down = ["CrossAttnDownBlock2D" if yes else "DownBlock2D" for yes in attends]
    network = library.UNet2DConditionModel(
        sample_size=config.size // config.stem,
        in_channels=3 * config.stem**2,
        out_channels=3 * config.stem**2,
        block_out_channels=config.widths,
        layers_per_block=config.blocks,
        down_block_types=down,
        up_block_types=["CrossAttnUpBlock2D" if yes else "UpBlock2D" for yes in reversed(attends)],
        cross_attention_dim=config.text_width,
        attention_head_dim=[config.heads(width) for width in config.widths],  # the number of heads, by its old name
        norm_num_groups=config.groups,
    ).to(device)
    text = torch.randn(batch, config.words, config.text_width, device=device)
    betas = schedule_of(preset).beta[1:].numpy()
    scheduler = library.DDIMScheduler(T, trained_betas=betas, clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(T // (GRID[0] - GRID[1]))

    def predict(x: Tensor, t: Tensor) -> Tensor:
        return pixels(network(patches(x, config), t, text).sample, config)

    return Network(network, predict, lambda eps, x: scheduler.step(eps, int(scheduler.timesteps[0]), x).prev_sample)


def of_ddp(preset: str, batch: int, device: torch.device) -> Network:
    """Unet of the width whose parameters are nearest in number to ours; it takes no captions."""
    config = PRESETS[preset]
    library = importlib.import_module("denoising_diffusion_pytorch.denoising_diffusion_pytorch")
    aim = parameters(ours(preset, 1, torch.device("cpu")).module)

    def build(width: int) -> nn.Module:
        return library.Unet(width, dim_mults=config.multipliers, channels=3 * config.stem**2)

    width = min(range(16, 257, 8), key=lambda width: abs(parameters(build(width)) - aim))
    network = build(width).to(device)
    return Network(network, lambda x, t: pixels(network(patches(x, config), t), config), None)


BUILDERS = {OURS: ours, DIFFUSERS: of_diffusers, DDP: of_ddp}


def parameters(network: nn.Module) -> int:
    """Their number."""
    return sum(p.numel() for p in network.parameters())


def patches(x: Tensor, config: UNetConfig) -> Tensor:
    """The stem of our network: blocks of pixels become channels."""
    return nn.functional.pixel_unshuffle(x, config.stem)


def pixels(x: Tensor, config: UNetConfig) -> Tensor:
    """The stem backwards."""
    return nn.functional.pixel_shuffle(x, config.stem)


def installed(library: str) -> bool:
    """Can it be imported?"""
    return library == OURS or importlib.util.find_spec(library.replace("-", "_")) is not None


# ---- measure ---------------------------------------------------------------------------------------------------------


def works_of(network: Network, batch: int, config: UNetConfig, device: torch.device, precision: str) -> dict[str, Work]:
    """A training step, a forward pass, and a DDIM step."""
    optimizer = torch.optim.AdamW(network.module.parameters(), fused=True)
    x, t = start(batch, config, device), torch.randint(1, T + 1, (batch,), device=device)

    def training() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, precision):
            prediction = network.predict(x, t)
        (prediction.float() - x).square().mean().backward()
        optimizer.step()

    def forward() -> Tensor:
        with torch.no_grad(), autocast(device, precision):
            return network.predict(x, t)

    works: dict[str, Work] = {"training": training, "forward": forward}
    return works | ({"DDIM step": lambda: network.step(forward().float(), x)} if network.step else {})


def works_with_a_hook(unet: UNet, preset: str, batch: int, device: torch.device, precision: str) -> dict[str, Work]:
    """A forward pass with a hook that changes nothing (on a GPU: explicit attention), and a step of an edit."""
    trained = Trained(unet, Tokenizer(), schedule_of(preset), {}, precision)
    x, t = start(batch, unet.config, device), torch.full((batch,), GRID[0], device=device)
    eps = trained.eps([CAPTION] * batch, hook=lambda weights, site, t: weights)
    return {
        "forward, hook": lambda: eps(x, t),
        "P2P step": lambda: next(p2p.edit(trained, CAPTION, EDITED, x, GRID, scale=2.0)),
    }


def start(batch: int, config: UNetConfig, device: torch.device) -> Tensor:
    """Noise (batch, 3, H, W)."""
    return torch.randn(batch, 3, config.size, config.size, device=device)


def seconds(work: Work, device: torch.device) -> float:
    """What one call takes."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def compare(works: dict[str, dict[str, Work]], repeats: int, device: torch.device, bar: tqdm) -> dict[str, dict]:
    """library -> work -> seconds of each repeat, in turns after one call to warm up; and a GPU's peak memory in MB."""
    found = {library: {name: [] for name in each} for library, each in works.items()}
    for repeat in range(-1, repeats):
        for library, each in works.items():
            for name, work in each.items():
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(device)
                spent = seconds(work, device)
                bar.update()
                if repeat >= 0:
                    found[library][name].append(spent)
                elif device.type == "cuda":
                    found[library][PEAK + name] = torch.cuda.max_memory_allocated(device) / 1e6
    return found


# ---- as text ---------------------------------------------------------------------------------------------------------


def text(record: dict) -> str:
    """Images per second, half of their range, how many times as fast ours is, and a GPU's peak memory."""
    settings = record["settings"]
    head = f"{'preset':14s}{'library':30s}{'parameters':>12s}  {'work':16s}{'images/s':>10s}{'+-':>6s}{'ours':>8s}"
    lines = [", ".join(f"{name} {value}" for name, value in settings.items()), head]
    for preset, libraries in record["presets"].items():
        for library, cell in libraries.items():
            for name in (name for name in WORKS if name in cell):
                rates = [settings["batch"] / s for s in cell[name]]
                rate, own = statistics.median(rates), libraries[OURS][name.partition(",")[0]]
                spread, ratio = (max(rates) - min(rates)) / 2 / rate, settings["batch"] / statistics.median(own) / rate
                peak = f"{cell[PEAK + name]:9.0f} MB" if PEAK + name in cell else ""
                lines.append(
                    f"{preset:14s}{library:30s}{cell['parameters'] / 1e6:10.2f} M  {name:16s}{rate:10.1f}"
                    f"{100 * spread:4.0f} %{ratio:7.2f}x{peak}"
                )
    return "\n".join(lines) + "\n"


# ---- command ---------------------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m ddpm speed`."""
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=["cifar10"], help="networks")
    parser.add_argument("--batch", type=cli.positive, default=16, help="images")
    parser.add_argument("--repeats", type=cli.positive, default=10, help="of each work, in turns")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the networks")
    cli.add_flags(parser, device=best_device(), out="results")


def run(args: argparse.Namespace) -> None:
    """Measure, write and print the table."""
    device = usable(args.device)
    precision = resolve(args.precision, device)
    settings = {"device": device_name(device), "precision": precision, "batch": args.batch, "repeats": args.repeats}
    record, path = {"settings": settings, "presets": {}}, cli.output(args, "speed", ".json")
    libraries = [library for library in BUILDERS if installed(library)]
    with tqdm(unit=" steps") as bar:
        for preset in args.presets:
            networks = {library: BUILDERS[library](preset, args.batch, device) for library in libraries}
            config = PRESETS[preset]
            works = {name: works_of(each, args.batch, config, device, precision) for name, each in networks.items()}
            works[OURS] |= works_with_a_hook(networks[OURS].module, preset, args.batch, device, precision)
            bar.total = len(args.presets) * sum(map(len, works.values())) * (args.repeats + 1)
            cells = compare(works, args.repeats, device, bar)
            record["presets"][preset] = {
                name: {"parameters": parameters(networks[name].module)} | cell for name, cell in cells.items()
            }
    write_json(path, record)
    write_text(path.with_suffix(".txt"), text(record))
    print(text(record))
    for missing in set(BUILDERS) - set(libraries):
        print(f"to compare with {missing}: pip install {missing}")
    print(path)
