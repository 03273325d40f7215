"""The settings of a training run, in one record: `train.py` makes its flags from it, a checkpoint keeps it."""

from dataclasses import dataclass, replace

from unet import PRESETS, UNetConfig
from unet.config import check_ranges, option
from unet.precision import PRECISIONS

from ..autoencoder import AutoencoderConfig
from ..diffusion import WEIGHTINGS, check_choice
from ..schedule import KINDS, MOST_SIGNAL, Schedule

LEAST_SIGNAL = 1e-6  # alpha_bar_T from which a prediction of eps still gives x_0: its errors count 1000 times


@dataclass(frozen=True)
class Settings:
    """How a run trains; the network has its own record, `unet.UNetConfig`. ValueError: a value outside its range."""

    data: str = option("shapes", "dataset: shapes, scenes, cifar10, celeba, or folder")
    data_dir: str = option("data", "where the dataset is, or is downloaded to (shapes needs none)")
    preset: str = option("", "network and settings by name; by default the one for this dataset and device")
    init: str = option("", "start from these weights (a model's name, a run folder or a file) with a fresh optimizer")
    control: bool = option(False, "train a ControlNet that reads line drawings on the model of --init, which is frozen")
    autoencoder: str = option("", "train on the latents of this autoencoder (its run folder, or a model that has it)")
    minutes: float = option(0.0, "stop after this many minutes of training (0: no limit)", 0, 10**7)
    images: int = option(0, "stop after this many images (0: no limit)", 0, 10**12)
    batch: int = option(64, "images per step; smaller by itself where there are fewer", 1, 10**6)
    learning_rate: float = option(2e-4, "Adam's, after the warm-up", 1e-9, 1000)
    warmup: int = option(500, "steps over which the learning rate rises from zero", 0, 10**9)
    lr_decay: float = option(0.4, "last share of the budget, over which the learning rate falls to zero", 0, 1)
    weight_decay: float = option(0.0, "AdamW's", 0, 1000)
    orthogonal: bool = option(False, "orthogonalise the gradients of all weight matrices (Jordan et al. 2024)")
    grad_clip: float = option(1.0, "largest norm of the gradient", 1e-9, 10**9)
    T: int = option(1000, "steps of the diffusion process", 1, 100_000)
    schedule: str = option("linear", "linear or cosine; a network that predicts eps needs linear")
    weighting: str = option(
        "eps", "the loss's weighting of times: eps (Ho et al. 2020), or v (Salimans & Ho 2022) where v is predicted"
    )
    caption_dropout: float = option(0.1, "share of the captions replaced by the empty prompt, for guidance", 0, 1)
    flip: bool = option(True, "mirror each image with probability 1/2")
    ema: tuple[float, ...] = option(
        (0.05, 0.01, 0.1), "half-lives of the averaged weights, as shares of the images seen; sampling uses the first",
        1e-6, 0.999,
    )  # fmt: skip
    seed: int = option(0, "the run's randomness: weights, order, captions, times, noise", 0, 2**63 - 1)
    precision: str = option("float32", "of the network: float32, bfloat16, float16, or auto, the fastest here")
    compile: bool = option(False, "torch.compile the network: slow to start, faster afterwards; on a GPU in long runs")
    save_every: float = option(2.0, "minutes between checkpoints", 0, 10**7)
    report: int = option(
        200, "images to score at the end of a run on shapes, by default fewer of a short one (0: none)", 0, 100_000
    )

    def __post_init__(self):
        check_ranges(self)
        if not self.ema or len(set(self.ema)) < len(self.ema):
            raise ValueError(f"ema is {self.ema}: expected one or more shares, each once")
        check_choice("schedule", self.schedule, KINDS)
        check_choice("weighting", self.weighting, WEIGHTINGS)
        check_choice("precision", self.precision, PRECISIONS)


SMALL = Settings(warmup=300, schedule="cosine", weighting="v", precision="auto")
ORTHOGONAL = replace(SMALL, batch=32, learning_rate=1.5e-3, lr_decay=0.7, orthogonal=True)
HALF_BATCH = replace(ORTHOGONAL, batch=16, learning_rate=2e-3, lr_decay=0.8)
LARGE = replace(SMALL, batch=256, learning_rate=1e-3, warmup=500, caption_dropout=0.2, minutes=10.0)

NetworkConfig = UNetConfig | AutoencoderConfig
NETWORKS: dict[str, NetworkConfig] = PRESETS | {"autoencoder64": AutoencoderConfig()}
RECIPES: dict[str, Settings] = {
    "shapes": replace(HALF_BATCH, data="shapes", images=75_008, warmup=100, flip=False),
    "scenes": replace(ORTHOGONAL, data="scenes", images=145_000),
    "scenes-control": replace(
        SMALL, data="scenes", init="scenes", control=True, images=160_000, learning_rate=1e-3, caption_dropout=0.2
    ),
    "scenes64": replace(ORTHOGONAL, data="scenes", images=210_000),
    "autoencoder64": replace(HALF_BATCH, data="scenes", images=260_000),
    "cifar10-cpu": replace(ORTHOGONAL, data="cifar10", images=5_000_000),
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


def check_start(schedule: Schedule, weighting: str, predicts: str) -> None:
    """ValueError unless a model can sample from noise: x_T shows no image, and x_0 is found from it.

    A network that predicts eps finds x_0 with all its errors times 1 / sqrt(alpha_bar_T): Ho Eq. (15).
    """
    end = schedule.alpha_bar[-1].item()
    named = f"the {schedule.kind} schedule of T = {schedule.T} ends at alpha_bar = {end:.2g}"
    if end > MOST_SIGNAL:
        raise ValueError(
            f"{named}, so x_T still shows {end**0.5:.0%} of the image and is no noise to start from: "
            "expected --T 1000, or --schedule cosine with --predicts v"
        )
    if predicts == "eps" and (end < LEAST_SIGNAL or weighting == "v"):
        why = f"{named}, which" if end < LEAST_SIGNAL else "weighting v divides by alpha_bar, which"
        raise ValueError(
            f"{why} multiplies the errors of a network that predicts eps: "
            "expected --schedule linear, --weighting eps and --T 1000, or --predicts v"
        )


def without_effect(settings: Settings, config: NetworkConfig) -> dict[str, str]:
    """Fields of both records that change nothing in such a run -> why."""
    if isinstance(config, AutoencoderConfig):
        names = ("init", "autoencoder", "control", "T", "schedule", "weighting", "caption_dropout", "report")
        return dict.fromkeys(names, "an autoencoder has no times and no captions, and starts from the seed")
    idle = {} if settings.data == "shapes" else {"report": "only shapes are scored"}
    if not config.cross_sizes:
        names = ("words", "text_width", "text_layers", "text_heads", "caption_dropout")
        idle |= dict.fromkeys(names, "without --cross-sizes no layer reads the caption")
        if not config.self_sizes:
            idle["head_channels"] = "no layer attends to anything"
    return idle
