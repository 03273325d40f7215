"""Images per second of our network, in training and sampling, beside diffusers and denoising-diffusion-pytorch.

Same batch, threads and precision for all; repeats take turns, so that other load on the machine meets everybody; the
median and the spread count. The other libraries are compared where they are installed, and never needed:
`pip install diffusers denoising-diffusion-pytorch`.
"""

import argparse
import importlib
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from tqdm import tqdm

from unet import PRESETS, Tokenizer, UNet, UNetConfig
from unet.precision import PRECISIONS, autocast, resolve

from .. import cli
from ..checkpoints import usable
from ..config import RECIPES
from ..files import write_json, write_text
from ..run_folder import device_name
from ..schedule import Schedule

EXAMPLE = "python -m ddpm speed --presets cifar10 --batch 16"
OURS, DIFFUSERS, DDP = "ours", "diffusers", "denoising-diffusion-pytorch"
WORKS, PEAK = ("training", "forward", "forward, hook"), "peak MB, "
CAPTION = "a photo of a white horse on a green background"
Network = tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]  # the module, and its prediction for x_t and t
Work = Callable[[], object]

# ---- the networks ----------------------------------------------------------------------------------------------------


def ours(preset: str, batch: int, device: torch.device) -> Network:
    """The U-Net of a preset, under captions."""
    config, tokenizer = PRESETS[preset], Tokenizer()
    unet = UNet(config, len(tokenizer), Schedule(1000, RECIPES[preset].schedule).alpha_bar).to(device)
    tokens = tokenizer.encode([CAPTION] * batch, config.words).to(device)
    return unet, lambda x, t: unet(x, t, tokens)


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
    return network, lambda x, t: pixels(network(patches(x, config), t, text).sample, config)


def of_ddp(preset: str, batch: int, device: torch.device) -> Network:
    """Unet of the width whose parameters are nearest in number to ours; without captions, which it does not take."""
    config = PRESETS[preset]
    library = importlib.import_module("denoising_diffusion_pytorch.denoising_diffusion_pytorch")
    aim = parameters(ours(preset, 1, torch.device("cpu"))[0])

    def build(width: int) -> nn.Module:
        return library.Unet(width, dim_mults=config.multipliers, channels=3 * config.stem**2)

    width = min(range(16, 257, 8), key=lambda width: abs(parameters(build(width)) - aim))
    network = build(width).to(device)
    return network, lambda x, t: pixels(network(patches(x, config), t), config)


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
    """A training step and a forward pass."""
    module, predict = network
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    x = torch.randn(batch, 3, config.size, config.size, device=device)
    t = torch.randint(1, 1001, (batch,), device=device)

    def training() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, precision):
            prediction = predict(x, t)
        (prediction.float() - x).square().mean().backward()
        optimizer.step()

    def forward() -> None:
        with torch.no_grad(), autocast(device, precision):
            predict(x, t)

    return {"training": training, "forward": forward}


def with_hook(preset: str, batch: int, device: torch.device, precision: str) -> Work:
    """A forward pass through a hook that changes nothing: on a GPU its explicit attention; on a CPU no difference."""
    config, tokenizer = PRESETS[preset], Tokenizer()
    unet, _ = ours(preset, batch, device)
    tokens = tokenizer.encode([CAPTION] * batch, config.words).to(device)
    x, t = torch.randn(batch, 3, config.size, config.size, device=device), torch.ones(batch, dtype=int, device=device)

    def work() -> None:
        with torch.no_grad(), autocast(device, precision):
            unet(x, t, tokens, lambda weights, site, t: weights)

    return work


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
    cli.add_flags(parser, device=cli.best_device(), out="results")


def run(args: argparse.Namespace) -> None:
    """Measure, write and print the table."""
    device = usable(args.device)
    precision = resolve(args.precision, device)
    settings = {"device": device_name(device), "precision": precision, "batch": args.batch, "repeats": args.repeats}
    record, path = {"settings": settings, "presets": {}}, cli.output(args, "speed", ".json")
    libraries = [library for library in BUILDERS if installed(library)]
    works_each = 2 * len(libraries) + 1
    with tqdm(total=len(args.presets) * works_each * (args.repeats + 1), unit=" steps") as bar:
        for preset in args.presets:
            networks = {library: BUILDERS[library](preset, args.batch, device) for library in libraries}
            config = PRESETS[preset]
            works = {name: works_of(each, args.batch, config, device, precision) for name, each in networks.items()}
            works[OURS]["forward, hook"] = with_hook(preset, args.batch, device, precision)
            cells = compare(works, args.repeats, device, bar)
            record["presets"][preset] = {
                name: {"parameters": parameters(networks[name][0])} | cell for name, cell in cells.items()
            }
    write_json(path, record)
    write_text(path.with_suffix(".txt"), text(record))
    print(text(record))
    for missing in set(BUILDERS) - set(libraries):
        print(f"to compare with {missing}: pip install {missing}")
    print(path)
