"""DDPM: schedule, forward process, posterior, loss, ancestral sampling, guidance and the variational bound."""

from .analytic import GaussianEps, MixtureEps
from .bound import bits_per_dim, gaussian_kl
from .checkpoints import CheckpointError, load
from .diffusion import EpsFn, last, posterior, predict_eps, predict_x0, q_sample, sample, simple_loss, step
from .guidance import guide, guided
from .model import Trained, generate, to_bytes
from .noise import Noise, noise_like
from .schedule import Schedule

__all__ = [
    "CheckpointError",
    "EpsFn",
    "GaussianEps",
    "MixtureEps",
    "Noise",
    "Schedule",
    "Trained",
    "bits_per_dim",
    "gaussian_kl",
    "generate",
    "guide",
    "guided",
    "last",
    "load",
    "noise_like",
    "posterior",
    "predict_eps",
    "predict_x0",
    "q_sample",
    "sample",
    "simple_loss",
    "step",
    "to_bytes",
]
