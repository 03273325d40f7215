"""A run on disk: a numbered folder that is never overwritten, explains itself, loads, and resumes exactly."""

import json
import re
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from unet import ControlledUNet, Tokenizer, UNet, UNetConfig
from unet.vocabulary import VOCABULARY

from .. import model
from ..autoencoder import Autoencoder, AutoencoderConfig
from ..data import Dataset, load_data
from ..data.lines import with_drawings
from ..model import Sampler, Trained, generate
from ..schedule import Schedule
from ..utils import files, images
from ..utils.device import device_name, select_device
from ..utils.files import CHECKPOINT
from .loop import Training
from .record import Record
from .settings import NETWORKS, RECIPES, NetworkConfig, Settings, check_start, default_preset

RESUMABLE = ("minutes", "images", "save_every", "report", "data_dir", "precision")


class Plan(NamedTuple):
    """What a run shall be: settings, network, and the checkpoint that it resumes or the model that it starts from."""

    settings: Settings
    config: NetworkConfig
    content: dict | None = None
    start: Trained | None = None
    autoencoder: Autoencoder | None = None


def new(given: dict, network: dict, device: str) -> Plan:
    """A new run: a preset with the given settings and parts of the network. ValueError: what cannot work together."""
    preset = given.get("preset") or default_preset(given.get("data", "shapes"), device)
    if preset not in NETWORKS:
        raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(NETWORKS)}")
    if unknown := sorted(set(network) - {f.name for f in fields(NETWORKS[preset])}):
        raise ValueError(f"the network of {preset} has no {', '.join(unknown)}: leave it out")
    settings = replace(RECIPES[preset], **given | {"preset": preset})
    if settings.init and network:
        raise ValueError(f"--init brings its own network: leave out {', '.join(sorted(network))}")
    start = model.load(settings.init) if settings.init else None
    if start and start.autoencoder and settings.autoencoder:
        raise ValueError(f"--init {settings.init} brings its own autoencoder: leave out --autoencoder")
    if start and isinstance(start.unet, ControlledUNet):
        raise ValueError(f"--init {settings.init} has a ControlNet: take the model that it was trained on")
    if settings.control:
        check_base(settings, start, given)
        settings = replace(settings, T=start.schedule.T, schedule=start.schedule.kind)
    usual = NETWORKS[preset]
    if "size" in network and isinstance(usual, UNetConfig):  # attention is on the same maps: they shrink with the image
        for name in ("cross_sizes", "self_sizes"):
            network = {name: tuple(n * network["size"] // usual.size for n in getattr(usual, name))} | network
    config = replace(usual, **network)
    if isinstance(config, UNetConfig):
        config = start.unet.config if start else config
        if config.predicts == "eps":  # what Ho et al. 2020 train it with
            settings = replace(settings, **{"schedule": "linear", "weighting": "eps"} | given)
        check_start(Schedule(settings.T, settings.schedule), settings.weighting, config.predicts)
    autoencoder = start.autoencoder if start else None
    if settings.autoencoder:
        autoencoder = model.load_autoencoder(settings.autoencoder)
    check_latents(preset, config, autoencoder)
    if "compile" not in given:  # a GPU gains what it takes, a minute or two, in a training of ten minutes or more
        worth = device == "cuda" and (settings.minutes >= 10 or settings.images >= 5_000_000)
        settings = replace(settings, compile=worth)
    return Plan(settings, config, start=start, autoencoder=autoencoder)


def check_latents(preset: str, config: NetworkConfig, autoencoder: Autoencoder | None) -> None:
    """ValueError unless a U-Net takes what the autoencoder gives, or images of three colours without one."""
    if isinstance(config, AutoencoderConfig):
        return
    shape = config.image_channels, config.size, config.size
    if autoencoder and autoencoder.config.latent_shape != shape:
        latent, own = (" x ".join(map(str, each)) for each in (autoencoder.config.latent_shape, shape))
        raise ValueError(f"--autoencoder gives latents of {latent}, the network of {preset} takes {own}: match them")
    if not autoencoder and config.image_channels != 3:
        raise ValueError(f"the network of {preset} takes latents: say of which autoencoder with --autoencoder RUN")


def check_base(settings: Settings, base: Trained | None, given: dict) -> None:
    """ValueError unless a ControlNet can be trained on this model, with these flags."""
    if base is None:
        raise ValueError("--control trains a ControlNet on a model that stays frozen: say which with --init")
    if base.info["data"] != settings.data:
        raise ValueError(f"--init {settings.init} is of {base.info['data']}, --data is {settings.data}: match them")
    if base.autoencoder:
        raise ValueError(f"--init {settings.init} is a model of latents: a ControlNet is trained on one of pixels")
    if kept := sorted({"T", "schedule"} & set(given)):
        raise ValueError(f"--control keeps the frozen model's {' and '.join(kept)}: leave it out")


def resumed(folder: Path, given: dict) -> Plan:
    """The run in a folder, with the settings that are given; else what it was made with, its precision too.

    ValueError: a change of what a run was made with; a budget that is used up; no run, or one of another version; a
    damaged record of it.
    """
    if fixed := sorted(set(given) - set(RESUMABLE)):
        raise ValueError(
            f"--resume keeps the run's own {', '.join(fixed)}: leave it out; only {', '.join(RESUMABLE)} may change"
        )
    path = folder / CHECKPOINT
    content = model.read(path, model.RUN)
    with files.fitting(path):
        if unknown := sorted(set(content["settings"]) - {f.name for f in fields(Settings)}):
            raise files.CheckpointError(
                f"{path} is of another version of the code (it sets {', '.join(unknown)}) and cannot be resumed: "
                f"start a new run from its weights with --init {folder}"
            )
        settings, config = Settings(**content["settings"]), model.config_of(content)
        autoencoder = model.autoencoder_of(path, content) if isinstance(config, UNetConfig) else None
        images, minutes = content["step"] * settings.batch, content["seconds"] / 60
    own = {"precision": content["info"].get("precision", settings.precision)}  # "auto" was measured at its start
    settings = replace(settings, **own | given)
    if 0 < given.get("images", 0) <= images or 0 < given.get("minutes", 0) <= minutes:
        raise ValueError(f"{folder} has seen {images} images in {minutes:.3g} minutes: give more --images or --minutes")
    return Plan(settings, config, content, autoencoder=autoencoder)


@dataclass
class Run:
    """A run in progress: its folder, and what its files are made of."""

    folder: Path
    training: Training
    tokenizer: Tokenizer
    data: Dataset
    began: float
    base: dict | None = None  # of a ControlNet: the name and sha256 of its frozen model
    autoencoder: Autoencoder | None = None  # of a model of latents

    @property
    def info(self) -> dict:
        """How the weights were made: part of every checkpoint."""
        training, settings = self.training, self.training.settings
        return {
            "data": settings.data,
            "data_sha256": self.data.sha256,
            "preset": settings.preset,
            **({"init": settings.init} if settings.init else {}),  # its images and minutes are not counted below
            "images": training.images,
            "minutes": round(training.seconds / 60, 2),
            "ema": settings.ema[0],
            "device": device_name(training.device),
            "precision": training.precision,
            "code": code_version(),
            "torch": str(torch.__version__),  # its own class of string would not load with weights_only
        }

    @property
    def trained(self) -> Trained:
        """The model as it is now, with the averaged weights."""
        training = self.training
        unet = training.averaged(training.settings.ema[0])
        precision, autoencoder = training.precision, self.autoencoder
        return Trained(unet, self.tokenizer, training.schedule, self.info, precision, autoencoder=autoencoder)

    def log(self, record: Record) -> None:
        """Add a line to metrics.jsonl. OSError, naming the file, where it cannot be written."""
        path = self.folder / "metrics.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(record)) + "\n")
        except OSError as error:
            raise OSError(f"cannot write {path}: {error.strerror}") from error

    def save(self) -> None:
        """The checkpoint, replaced as a whole."""
        training = self.training
        config = training.unet.config
        if isinstance(config, AutoencoderConfig):
            about = {"autoencoder_config": asdict(config)}
        else:
            about = model.description(config, self.tokenizer, training.schedule, self.base, self.autoencoder)
        content = about | {"settings": asdict(training.settings), "info": self.info} | training.state()
        files.save(self.folder / CHECKPOINT, content)

    def save_samples(self, sampler: Sampler, scale: float) -> Path:
        """Samples for captions of the dataset, 32 or fewer, in a grid, and the loss curve; returns the grid's path.

        Of an autoencoder: 16 images of the dataset, each with its reconstruction to its right.
        """
        seed = torch.Generator().manual_seed(self.training.settings.seed)
        most = in_proportion(32, self.training.images // 500)
        chosen = torch.randperm(len(self.data), generator=seed)[:most].tolist()
        if isinstance(self.training.unet, Autoencoder):
            grid, captions = self.reconstructions(self.data.images[chosen[:16]])
        else:
            captions, trained = [self.data.captions[i][0] for i in chosen], self.trained
            if self.data.drawings is not None:
                trained = trained.controlled(self.data.drawings[chosen])
            (grid,) = generate(trained, captions, list(range(len(captions))), sampler, scale)
        (self.folder / "samples").mkdir(exist_ok=True)
        images.loss_curve(self.folder / "loss.png", records(self.folder / "metrics.jsonl"))
        return images.grid(self.folder / "samples" / f"{self.training.images:09d}.png", grid, captions)

    def reconstructions(self, originals: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Images uint8 (N, 3, H, W), each followed by what the autoencoder makes of it, with their PSNR as captions."""
        autoencoder = self.training.averaged(self.training.settings.ema[0])
        x = images.from_bytes(originals).to(self.training.device)
        decoded = images.to_bytes(autoencoder.decode(autoencoder.encode(x)))
        psnr = -10 * np.log10(images.squared_error(originals, decoded))
        pairs = np.stack([originals, decoded], axis=1).reshape(-1, *originals.shape[1:])
        return pairs, [caption for value in psnr for caption in ("image", f"{value:.1f} dB")]


def begin(plan: Plan, device: str, place: Path, smaller_batch: bool) -> Run:
    """Everything before the first step: data, network, and at last the run folder.

    place: the folder of a resumed run, or where a new one gets its folder. smaller_batch: may the batch shrink to the
    dataset? ValueError: data that cannot be used, or are not those that the run began with.
    """
    began, own = time.monotonic(), select_device(device)
    settings, config, content, start, autoencoder = plan
    words = content.get("words", ()) if content else start.tokenizer.words if start else ()
    longest = config.words - 1 if isinstance(config, UNetConfig) else None
    source = settings.data, settings.data_dir, "train", autoencoder.config.size if autoencoder else config.size
    data = load_data(*source, words=(*VOCABULARY, *words), longest=longest)
    if settings.control:
        data = with_drawings(data, settings.data_dir, "train")
    if content and content["info"].get("data_sha256", data.sha256) != data.sha256:
        raise ValueError(
            f"the dataset {settings.data} in {settings.data_dir} is not the one that this run began with: "
            "give the old one with --data-dir, or start a new run from its weights with --init"
        )
    if smaller_batch and len(data) < settings.batch:
        settings = replace(settings, batch=len(data))
        print(f"{settings.data} has {len(data)} images here: batch {settings.batch}")
    unet, tokenizer, schedule = model.build(content) if content else assemble(settings, config, start, data)
    shown = data
    if isinstance(config, AutoencoderConfig):  # it reads no captions
        shown = replace(data, captions=[("",)] * len(data))
    if autoencoder:
        autoencoder.to(own)
        if not content:
            autoencoder.measure_scale(images.from_bytes(data.images[:4096]).to(own))
    training = Training(settings, unet.to(own), tokenizer, schedule, shown, autoencoder)
    if content:
        with files.fitting(place / CHECKPOINT):
            training.restore(content)
    base = content.get("base") if content else None
    if settings.control and not base:
        base = {"model": settings.init, "sha256": files.sha256(Path(start.info["path"]))}
    name = Path(settings.data_dir).resolve().name if settings.data == "folder" else settings.preset
    folder = place if content else new_folder(place, name)
    run = Run(folder, training, tokenizer, data, began, base, autoencoder)
    record = {"settings": asdict(settings), "network": asdict(config), "at the start": run.info}
    files.write_json(folder / "config.json", record)
    print(f"{folder}: {settings.preset} on {device_name(own)} in {training.precision}, {len(data)} images")
    return run


def assemble(
    settings: Settings, config: NetworkConfig, start: Trained | None, data: Dataset
) -> tuple[UNet | Autoencoder, Tokenizer, Schedule]:
    """A new run's network, fresh from the seed or with the weights of --init, its tokenizer and schedule.

    The model learns the words of the data's captions. Those without a token in the weights of --init get new ones,
    whose embeddings come from the seed. With --control the model of --init stays as it is, and gets a `ControlNet`.
    """
    torch.manual_seed(settings.seed)
    if isinstance(config, AutoencoderConfig):
        return Autoencoder(config), Tokenizer(known=()), Schedule()
    if settings.control:
        return ControlledUNet(start.unet), start.tokenizer, start.schedule
    own, schedule = start.tokenizer if start else Tokenizer(known=()), Schedule(settings.T, settings.schedule)
    tokenizer = own.extended({caption for captions in data.captions for caption in captions})
    unet = UNet(config, len(tokenizer), schedule.alpha_bar)  # of this run's schedule, not of that of the weights
    if start:
        weights, name = start.unet.state_dict(), "text.words.weight"
        weights[name] = torch.cat([weights[name], unet.text.words.weight[len(own) :]])
        unet.load_state_dict(weights)
    return unet, tokenizer, schedule


def on_paper(plan: Plan) -> UNet | Autoencoder:
    """The plan's network without numbers."""
    with torch.device("meta"):
        if isinstance(plan.config, AutoencoderConfig):
            return Autoencoder(plan.config)
        network = UNet(plan.config, len(Tokenizer()), torch.ones(plan.settings.T + 1)).to("meta")
        return ControlledUNet(network) if plan.settings.control else network


# ---- files -----------------------------------------------------------------------------------------------------------


def new_folder(root: Path, name: str) -> Path:
    """Make and return root/00007-name, one above the highest number there is, or that another run just made."""
    root.mkdir(parents=True, exist_ok=True)
    taken = [int(found[0]) for path in root.iterdir() if (found := re.match(r"\d{5,}(?=-)", path.name))]
    for number in count(max(taken, default=-1) + 1):
        with suppress(FileExistsError):
            (path := root / f"{number:05d}-{name}").mkdir()
            return path


def in_proportion(most: int, earned: int) -> int:
    """How many images a run draws: as many as its training has earned, at least 8, at most `most`."""
    return min(most, max(8, earned))


@cache
def code_version() -> str:
    """The commit of this code at the first call, with "-dirty" after local changes; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def records(path: Path) -> list[dict]:
    """The records of a metrics file by step; where a resumed run went over steps again, the later record counts.

    What is no record, such as a last line without an end, which a killed process leaves, is passed over.
    """
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with suppress(ValueError, TypeError, KeyError):
            record = json.loads(line)
            found[record["step"]] = record
    return [record for _, record in sorted(found.items())]
