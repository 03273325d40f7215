"""DDPM: schedule, forward process, posterior, loss, ancestral sampling, guidance and the variational bound."""

from .analytic import GaussianEps, MixtureEps
from .bound import bits_per_dim, gaussian_kl
from .diffusion import EpsFn, last, posterior, predict_eps, predict_x0, q_sample, sample, simple_loss, step
from .guidance import guide, guided
from .model import CheckpointError, Trained, generate, load, to_bytes
from .noise import Noise, noise_like
from .schedule import Schedule
from .utils import images
from .utils.device import best_device
from .utils.images import from_bytes, squared_error, strip

__all__ = [
    "CheckpointError",
    "EpsFn",
    "GaussianEps",
    "MixtureEps",
    "Noise",
    "Schedule",
    "Trained",
    "best_device",
    "bits_per_dim",
    "from_bytes",
    "gaussian_kl",
    "generate",
    "guide",
    "guided",
    "images",
    "last",
    "load",
    "noise_like",
    "posterior",
    "predict_eps",
    "predict_x0",
    "q_sample",
    "sample",
    "simple_loss",
    "squared_error",
    "step",
    "strip",
    "to_bytes",
]
