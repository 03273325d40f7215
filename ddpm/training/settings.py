"""The settings of a training run, in one record: `train.py` makes its flags from it, a checkpoint keeps it."""

from dataclasses import dataclass, field, replace
from typing import Any

from unet.precision import PRECISIONS

from ..diffusion import WEIGHTINGS, check_choice
from ..noise import check_seed
from ..schedule import KINDS


def option(default: Any, text: str) -> Any:
    """A field with a help text."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """How a run trains; the network has its own record, `unet.UNetConfig`."""

    data: str = option("shapes", "dataset: shapes, scenes, cifar10, celeba, or folder")
    data_dir: str = option("data", "where the dataset is, or is downloaded to (shapes needs none)")
    preset: str = option("", "network and settings by name; empty: the one for this dataset and device")
    init: str = option("", "start from these weights (a model's name, a run folder or a file) with a fresh optimizer")
    minutes: float = option(0.0, "stop after this many minutes of training (0: no limit)")
    images: int = option(0, "stop after this many images (0: no limit)")
    batch: int = option(64, "images per step, over all processes")
    learning_rate: float = option(2e-4, "Adam's, after the warm-up")
    warmup: int = option(500, "steps over which the learning rate rises from zero")
    lr_decay: float = option(0.4, "last share of the budget, over which the learning rate falls to zero")
    weight_decay: float = option(0.0, "AdamW's")
    grad_clip: float = option(1.0, "largest norm of the gradient")
    T: int = option(1000, "steps of the diffusion process")
    schedule: str = option("linear", "linear or cosine")
    weighting: str = option("eps", "the loss's weighting of times: eps (Ho et al. 2020) or v (Salimans & Ho 2022)")
    caption_dropout: float = option(0.1, "share of the captions replaced by the empty prompt, for guidance")
    flip: bool = option(True, "mirror each image with probability 1/2")
    ema: tuple[float, ...] = option(
        (0.05, 0.01, 0.1), "half-lives of the averaged weights, as shares of the images seen; sampling uses the first"
    )
    seed: int = option(0, "the run's randomness: weights, order, captions, times, noise")
    precision: str = option("float32", "of the network: float32, bfloat16, float16, or auto, the fastest here")
    compile: bool = option(False, "torch.compile the network: slow to start, faster afterwards")
    save_every: float = option(2.0, "minutes between checkpoints")
    report: int = option(200, "images to score at the end of a run on shapes (0: none)")

    def __post_init__(self):
        for name in ("minutes", "images", "warmup", "weight_decay", "report"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 0 or more")
        for name in ("batch", "learning_rate", "grad_clip", "T", "save_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected more than 0")
        check_seed(self.seed)
        for name in ("lr_decay", "caption_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 0 to 1")
        if not self.ema or not all(0 < share < 1 for share in self.ema):
            raise ValueError(f"ema is {self.ema}: expected one or more shares between 0 and 1")
        check_choice("schedule", self.schedule, KINDS)
        check_choice("weighting", self.weighting, WEIGHTINGS)
        check_choice("precision", self.precision, PRECISIONS)


SMALL = Settings(warmup=300, schedule="cosine", weighting="v", precision="auto")
LARGE = replace(SMALL, batch=256, learning_rate=1e-3, warmup=500, caption_dropout=0.2, minutes=10.0)

RECIPES: dict[str, Settings] = {
    "shapes": replace(
        SMALL, data="shapes", images=150_016, batch=32, learning_rate=2e-3, warmup=100, lr_decay=0.8, flip=False
    ),
    "scenes": replace(SMALL, data="scenes", images=600_000, learning_rate=1e-3),
    "cifar10-cpu": replace(SMALL, data="cifar10", images=5_000_000, learning_rate=1e-3),
    "celeba64-cpu": replace(SMALL, data="celeba", images=2_000_000, learning_rate=6e-4),
    "cifar10": replace(LARGE, data="cifar10"),
    "celeba64": replace(LARGE, data="celeba"),
    # Ho et al. 2020, appendix B; their average has a half-life of 6931 steps, 0.9 % of 800,000
    "ddpm": Settings(
        data="cifar10", batch=128, images=800_000 * 128, warmup=5000, lr_decay=0.0, ema=(0.009, 0.05), precision="auto"
    ),
}


def default_preset(data: str, device: str) -> str:
    """The preset for a dataset: of the size that its device can train. Raises ValueError for an unknown dataset."""
    photographs = ("cifar10-cpu", "cifar10")
    choices = {"shapes": ("shapes", "shapes"), "scenes": ("scenes", "scenes")}
    choices |= {"cifar10": photographs, "celeba": ("celeba64-cpu", "celeba64"), "folder": photographs}
    if data not in choices:
        raise ValueError(f"unknown dataset {data!r}: expected {', '.join(choices)}")
    return choices[data][device.startswith("cuda")]
