"""A trained model: prompts, guidance and a hook in, an `EpsFn` for the samplers out; models as files."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unet import ControlledUNet, Hook, Tokenizer, UNet, UNetConfig
from unet.attention import Text
from unet.precision import DTYPES, autocast

from .autoencoder import Autoencoder, AutoencoderConfig
from .diffusion import EpsFn, check_choice, last
from .guidance import guided
from .noise import Noise
from .schedule import Schedule
from .utils import files
from .utils.device import cannot_compile, select_device
from .utils.files import CHECKPOINT, CheckpointError, fitting
from .utils.images import to_bytes


@dataclass(frozen=True)
class Trained:
    """A trained model: `unet`, `tokenizer`, `schedule`, and `info` (dataset, words of its captions, images seen, ...).

    precision: of the arithmetic in the network, a key of `unet.precision.DTYPES`; weights and results are float32
    either way. compiled: the network as `torch.compile` made it, for calls without a hook. condition, strength: of a
    ControlNet, see `controlled`. autoencoder: of a model of latents, None for one of pixels.
    """

    unet: UNet
    tokenizer: Tokenizer
    schedule: Schedule
    info: dict[str, Any]
    precision: str = "float32"
    compiled: Callable | None = None
    condition: Tensor | None = None
    strength: float = 1.0
    autoencoder: Autoencoder | None = None

    def for_many_images(self, precision: str = "auto", compiled: bool = True) -> "Trained":
        """The same model for sampling at a GPU's full speed: in float16, compiled (a minute at the first call).

        "auto" is float16, which rounds eight times finer than bfloat16; on a CPU float32, and nothing is compiled.
        Not for inversions, whose steps up and down must cancel, nor for the bound: they stay in float32.
        """
        on_gpu = self.device.type == "cuda"
        precision = ("float16" if on_gpu else "float32") if precision == "auto" else precision
        check_choice("precision", precision, tuple(DTYPES))
        compiled = on_gpu and compiled and not cannot_compile("cuda")
        network = torch.compile(self.unet, dynamic=False) if compiled else None
        return replace(self, precision=precision, compiled=network)

    def controlled(self, drawings: np.ndarray | Tensor, strength: float = 1.0) -> "Trained":
        """The same model with a ControlNet's condition: every eps that it gives from now on follows the drawings.

        drawings: (B, 1, H, W), one for each image of a batch or a single one for all, uint8 0..255 or floats in [0, 1],
        where 0 is blank and the largest a line. strength: factor of what the ControlNet adds, 0 for nothing.
        ValueError: a model without a ControlNet, drawings of another size, a strength that is not finite.
        """
        if not isinstance(self.unet, ControlledUNet):
            raise ValueError("this model has no ControlNet and takes no drawing: expected one such as scenes-control")
        condition = torch.tensor(drawings) if isinstance(drawings, np.ndarray) else drawings
        condition = condition.float() / (1 if condition.is_floating_point() else 255)
        size = self.unet.config.size
        if condition.ndim != 4 or condition.shape[1:] != (1, size, size):
            raise ValueError(f"the drawings have the shape {tuple(condition.shape)}: expected (B, 1, {size}, {size})")
        if not math.isfinite(strength):
            raise ValueError(f"the strength of control is {strength}: expected a finite number, 1 is what was trained")
        return replace(self, condition=condition.to(self.device), strength=strength)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.unet.alpha_bar.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what the method runs on, x_0 to x_T: the model's images, or their latents."""
        config = self.unet.config
        return config.image_channels, config.size, config.size

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, H, W) of the model's images."""
        size = self.autoencoder.config.size if self.autoencoder else self.unet.config.size
        return 3, size, size

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] -> x_0 on the model's device: their latents, of pixels the images themselves.

        ValueError: images of another size, or bytes.
        """
        if images.shape[1:] != self.image_shape or not images.is_floating_point():
            given, wanted = f"{tuple(images.shape)} {images.dtype}", ", ".join(map(str, self.image_shape))
            raise ValueError(f"the images have the shape {given}: expected (B, {wanted}), floats in [-1, 1]")
        images = images.to(self.device)
        return self.autoencoder.encode(images) if self.autoencoder else images

    def decode(self, x_0: Tensor) -> Tensor:
        """x_0 or a prediction of it -> images (B, 3, H, W), not clipped; for a model of pixels x_0 itself."""
        return self.autoencoder.decode(x_0) if self.autoencoder else x_0

    def images(self, x_0: Tensor) -> np.ndarray:
        """x_0, or a noisy x_t, as images to look at: decoded, clipped, uint8 (B, 3, H, W)."""
        return to_bytes(self.decode(x_0))

    @property
    def card(self) -> dict[str, Any]:
        """`info` without the place of the file and the known words: what a result states about its model."""
        return {name: value for name, value in self.info.items() if name not in ("path", "words")}

    @torch.no_grad()
    def tokens(self, prompts: list[str]) -> Tensor:
        """Prompts -> tokens (B, words) on the model's device. UnknownWordError; ValueError for a prompt too long."""
        return self.tokenizer.encode(prompts, self.unet.config.words).to(self.device)

    def eps(
        self,
        prompts: list[str] | None,
        scale: float = 1.0,
        hook: Hook | None = None,
        null: EpsFn | None = None,
    ) -> EpsFn:
        """The model as an EpsFn: (x_t (B,C,H,W) of its `shape`, t (B,) long in 1..T) -> eps like x_t, float32.

        prompts: one for each image of the batch, or a single one for all; None is the unconditional model. scale:
        guidance (Ho & Salimans 2022), 1 for none. hook: sees the attention of the conditional call, once for each site.
        null: the unconditional model of guidance, by default the prediction for the empty prompt. A drawing of
        `controlled` steers both models of guidance. ValueError: no list of prompts, an unknown word, a scale that is
        not finite; of eps itself, x_t of another shape or no floats, prompts or drawings of another number.
        """
        if isinstance(prompts, str):
            raise ValueError(f"prompts is the string {prompts!r}: expected a list of prompts, such as [{prompts!r}]")
        if not math.isfinite(scale):
            raise ValueError(f"scale is {scale}: expected a finite number, 1 for no guidance")
        conditional = self._bound([""] if prompts is None else list(prompts), hook)
        if prompts is None or scale == 1:
            return conditional
        return guided(conditional, null or self._bound([""], None), scale)

    def _bound(self, prompts: list[str], hook: Hook | None) -> EpsFn:
        if not prompts:
            raise ValueError("no prompt given: expected one for each image, or None for the unconditional model")
        with torch.no_grad():
            text = self.unet.text(self.tokens(prompts))

        def eps(x_t: Tensor, t: Tensor) -> Tensor:
            if x_t.shape[1:] != self.shape or not x_t.is_floating_point():
                given, wanted = f"{tuple(x_t.shape)} {x_t.dtype}", f"(B, {', '.join(map(str, self.shape))})"
                raise ValueError(f"x_t has shape {given}, expected {wanted}, floats: trained.encode(images in [-1, 1])")
            states, mask = (for_each(part, x_t, "prompts") for part in text)
            control = {}
            if self.condition is not None:
                control = {"condition": for_each(self.condition, x_t, "drawings"), "strength": self.strength}
            network = self.compiled if self.compiled is not None and hook is None else self.unet
            with torch.no_grad(), autocast(self.device, self.precision):
                return network(x_t, t, Text(states, mask), hook, **control)

        return eps


def for_each(rows: Tensor, x: Tensor, name: str) -> Tensor:
    """Rows (B, ...), or a single one (1, ...) for all, as rows for the batch x (B, ...). ValueError: another number."""
    if len(rows) not in (1, len(x)):
        raise ValueError(f"{len(rows)} {name} for {len(x)} images: expected one for each, or a single one")
    return rows.expand(len(x), *rows.shape[1:])


LARGEST_BATCH = {"cpu": 64, "cuda": 512}
Sampler = Callable[[EpsFn, Schedule, Tensor, Noise], Iterator[tuple[int, Tensor, Tensor]]]
"""sampler(eps, schedule, x_T, noise) yields (t, x_t, predicted x_0); the last x_t is the image."""


def in_batches(n: int, device: torch.device) -> list[slice]:
    """0..n-1 in portions of `LARGEST_BATCH`, the last one smaller."""
    most = LARGEST_BATCH[device.type]
    return [slice(first, min(first + most, n)) for first in range(0, n, most)]


def generate(
    trained: Trained, prompts: list[str], seeds: list[int], sampler: Sampler, scale: float = 1.0
) -> Iterator[np.ndarray]:
    """One image for each prompt and seed, in batches of uint8 (<= 64 on a CPU, <= 512 on a GPU, 3, H, W).

    The image of a seed is the same in any batch, up to rounding. A compiled network gets batches of one size, and so is
    compiled once. ValueError: images that are not finite, not as many seeds as prompts.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(seeds)} seeds for {len(prompts)} prompts: expected one for each image")
    most = LARGEST_BATCH[trained.device.type]
    for part in in_batches(len(prompts), trained.device):
        rows = list(range(part.start, part.stop))
        padding = most - len(rows) if trained.compiled is not None and part.start else 0
        padded = rows + rows[-1:] * padding
        noise = Noise(seeds[i] for i in padded)
        x_T = noise.start(trained.shape, trained.device)
        x = last(sampler(trained.eps([prompts[i] for i in padded], scale), trained.schedule, x_T, noise))[: len(rows)]
        if not x.isfinite().all():
            raise ValueError(f"at guidance {scale:g} the samples are not finite: take a smaller one")
        yield trained.images(x)


# ---- models as files -------------------------------------------------------------------------------------------------

SHIPPED = Path(__file__).parent / "weights"
AUTOENCODER = ("autoencoder_config", "ema", "info")  # what the checkpoint of an autoencoder has
MODEL = ("unet_config", "words", "schedule", "ema", "info")  # and that of a model; most also have `known`
RUN = ("settings", "unet", "optimizer", "step", "seconds")  # beside them, one that training can resume


def load(name: str | Path, ema: float | None = None, device: str | torch.device = "cpu") -> Trained:
    """A trained model from a shipped model's name, a run folder or a file.

    ema: which of a run's averages to take, by the share of its half-life; None takes the run's own choice. Shipped
    files hold one. Raises CheckpointError for what is missing, damaged or changed since it was shipped, and for an
    average that is not there; ValueError for a device that PyTorch cannot use here.
    """
    device, path = select_device(device), find(str(name))
    content = read(path)
    with fitting(path):
        share, average = choose_average(path, content, ema)
        unet, tokenizer, schedule = build(content)
        load_weights(path, unet.trainable, average)
        autoencoder = autoencoder_of(path, content)
    unet.eval().requires_grad_(False)
    info = content["info"] | {"ema": share, "path": str(path), "words": tokenizer.known}
    autoencoder = autoencoder and autoencoder.to(device)
    return Trained(unet.to(device), tokenizer, schedule, info, autoencoder=autoencoder)


def load_autoencoder(name: str | Path) -> Autoencoder:
    """The autoencoder of a run folder or file, or of a model of latents. CheckpointError: there is none in it."""
    path = find(str(name))
    with fitting(path):
        autoencoder = autoencoder_of(path, read(path, ("ema", "info")))
    if autoencoder is None:
        raise CheckpointError(f"{path} has no autoencoder: train one with train.py --preset autoencoder64")
    return autoencoder


def find(name: str) -> Path:
    """The file that a shipped model's name, a run folder or a path stands for; a shipped file's sha256 is checked."""
    manifest = files.manifest(SHIPPED)
    if name in manifest:
        return files.shipped(SHIPPED, name)
    path = Path(os.path.expanduser(name))
    if (path / CHECKPOINT).exists():
        return path / CHECKPOINT
    if path.is_file():
        return path
    raise CheckpointError(
        f"no model {name!r}: expected a shipped model ({', '.join(manifest) or 'none yet'}), "
        f"a run folder with {CHECKPOINT}, or a file"
    )


def read(path: Path, keys: tuple[str, ...] = MODEL) -> dict:
    """A checkpoint's content; keys: what it must hold, `MODEL`, `AUTOENCODER` or `RUN` (of either).

    Raises CheckpointError, naming the file, and what `files.read` raises.
    """
    content = files.read(path)
    is_autoencoder = isinstance(content, dict) and "autoencoder_config" in content
    if is_autoencoder and keys == MODEL:
        raise CheckpointError(f"{path} is an autoencoder: train a model on its latents with train.py --autoencoder")
    if keys == RUN:
        keys = (*(AUTOENCODER if is_autoencoder else MODEL), *RUN)
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if not missing and not (isinstance(content["info"], dict) and "data" in content["info"]):
        missing = ["dataset in its info"]
    if missing:
        hint = "; its weights can still be a start: --init" if missing[0] in RUN else ""
        raise CheckpointError(f"{path} is no {'run to resume' if hint else 'checkpoint'}: it has no {missing[0]}{hint}")
    return content


def description(
    config: UNetConfig,
    tokenizer: Tokenizer,
    schedule: Schedule,
    base: dict | None = None,
    autoencoder: Autoencoder | None = None,
) -> dict:
    """What a checkpoint says beside its weights, so that the model is rebuilt without a flag.

    base: name and sha256 of the frozen model of a ControlNet, whose checkpoint has the weights of the copy alone.
    autoencoder: of a model of latents, stored with it.
    """
    latents = autoencoder and {"config": asdict(autoencoder.config), "weights": autoencoder.state_dict()}
    return {
        **({"base": base} if base else {}),
        **({"autoencoder": latents} if latents else {}),
        "unet_config": asdict(config),
        "words": tokenizer.words,
        "known": tokenizer.known,
        "schedule": {"T": schedule.T, "kind": schedule.kind},
    }


def known_words(content: dict) -> Sequence[str] | None:
    """The words that a checkpoint's model learned. The manifest has those of four shipped files that lack them."""
    shipped = {entry.get("data"): entry.get("words", "").split() for entry in files.manifest(SHIPPED).values()}
    return content.get("known") or shipped.get(content["info"]["data"])


def config_of(content: dict) -> UNetConfig | AutoencoderConfig:
    """The configuration of the network that a checkpoint is of."""
    if "autoencoder_config" in content:
        return AutoencoderConfig(**content["autoencoder_config"])
    return UNetConfig(**content["unet_config"])


def build(content: dict) -> tuple[UNet | Autoencoder, Tokenizer, Schedule]:
    """The untrained network, tokenizer and schedule that a checkpoint describes; an autoencoder needs neither."""
    config = config_of(content)
    if isinstance(config, AutoencoderConfig):
        return Autoencoder(config), Tokenizer(known=()), Schedule()
    tokenizer, schedule = Tokenizer(content["words"], known_words(content)), Schedule(**content["schedule"])
    if base := content.get("base"):
        path = find(base["model"])
        if files.sha256(path) != base["sha256"]:
            raise CheckpointError(f"{path} is not the model that the ControlNet was trained on: bring that one back")
        return ControlledUNet(load(path).unet), tokenizer, schedule
    return UNet(config, len(tokenizer), schedule.alpha_bar), tokenizer, schedule


def autoencoder_of(path: Path, content: dict) -> Autoencoder | None:
    """The trained autoencoder in the checkpoint of an autoencoder's run, or of a model of latents; None without one."""
    if "autoencoder_config" in content:  # its scale is measured when a model is trained on its latents
        config, weights = config_of(content), choose_average(path, content)[1] | {"scale": torch.ones(())}
    elif "autoencoder" in content:
        config, weights = AutoencoderConfig(**content["autoencoder"]["config"]), content["autoencoder"]["weights"]
    else:
        return None
    autoencoder = Autoencoder(config)
    load_weights(path, autoencoder, weights)
    return autoencoder.eval().requires_grad_(False)


def choose_average(path: Path, content: dict, ema: float | None = None) -> tuple[float, dict]:
    """The share of the average to take, and its weights; None takes the run's own. CheckpointError: not there."""
    share, averages = content["info"].get("ema") if ema is None else ema, content["ema"]
    if share not in averages:
        raise CheckpointError(f"{path}: it has no average {share}; there are {', '.join(map(str, averages))}")
    return share, averages[share]


def load_weights(path: Path, network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Weights of the file into the network, in float32. CheckpointError: they are not finite."""
    if broken := [name for name, values in weights.items() if not values.isfinite().all()]:
        raise CheckpointError(f"{path} is broken: its {broken[0]} is not finite; take another model, or train again")
    network.load_state_dict({name: values.float() for name, values in weights.items()})
