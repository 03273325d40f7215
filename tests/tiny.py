"""Shared by several tests: a network that trains in milliseconds, images for it, a model as a file, a run in memory."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

import ddpm
from ddpm import Schedule, Trained
from ddpm.autoencoder import Autoencoder, AutoencoderConfig
from ddpm.data import Dataset
from ddpm.training import Settings, Training
from ddpm.utils import files
from unet import Tokenizer, UNet, UNetConfig

CONFIG = UNetConfig(
    size=8, channels=8, multipliers=(1, 2), self_sizes=(4,), cross_sizes=(8, 4), head_channels=8, groups=4, words=8,
    text_width=8, text_layers=1, text_heads=2,
)  # fmt: skip
PREDICTS_V = replace(CONFIG, predicts="v")
SIXTEEN = replace(CONFIG, size=16, words=16, self_sizes=(8,), cross_sizes=(16, 8))  # takes the shapes
AUTOENCODER = AutoencoderConfig(size=16, stem=2, channels=8, multipliers=(1, 2), blocks=1, groups=4)
PROMPTS = ["a red circle", "a photo of a small blue square"]


def awake(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every parameter pushed away from where it starts: a new network's zero layers would hide what is before them."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=source)
    return network


def make_unet(config: UNetConfig = CONFIG, T: int = 1000, kind: str = "linear", seed: int = 0) -> UNet:
    """An untrained network whose every layer does something, ready for sampling."""
    torch.manual_seed(seed)
    return awake(UNet(config, len(Tokenizer()), Schedule(T, kind).alpha_bar), seed).eval()


def make_trained() -> Trained:
    """An untrained model of the shapes, T = 20, that predicts v."""
    schedule = Schedule(20, "cosine")
    return Trained(make_unet(replace(SIXTEEN, predicts="v"), 20, "cosine"), Tokenizer(), schedule, {"data": "shapes"})


def make_data(n: int, size: int = 8, seed: int = 0) -> Dataset:
    """n images of noise; image i has i % 3 + 1 captions."""
    images = np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), dtype=np.uint8)
    sentences = ("a red circle", "a blue square", "a small cross on a white background")
    return Dataset("noise", images, [sentences[: i % 3 + 1] for i in range(n)])


def make_training(settings: Settings, config: UNetConfig = PREDICTS_V, n: int = 24) -> Training:
    """A run at its first step; the same arguments give the same run."""
    unet = make_unet(config, settings.T, settings.schedule).train()
    return Training(settings, unet, Tokenizer(), Schedule(settings.T, settings.schedule), make_data(n, config.size))


def save_model(
    path: Path, config: UNetConfig = SIXTEEN, T: int = 20, data: str = "shapes", kind: str = "cosine"
) -> Path:
    """A checkpoint file of an untrained network; returns the path."""
    schedule = Schedule(T, kind)
    content = ddpm.model.description(config, Tokenizer(), schedule) | {"info": {"ema": 0.05, "data": data}}
    files.save(path, content | {"ema": {0.05: dict(make_unet(config, T, kind).named_parameters())}})
    return path


def save_autoencoder(path: Path) -> Path:
    """The checkpoint of an untrained autoencoder; returns the path."""
    average = dict(awake(Autoencoder(AUTOENCODER)).named_parameters())
    about = {"autoencoder_config": asdict(AUTOENCODER), "info": {"ema": 0.05, "data": "shapes"}}
    files.save(path, about | {"ema": {0.05: average}})
    return path
