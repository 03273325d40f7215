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
