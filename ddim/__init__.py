"""DDIM: the family q_sigma, time grids, sampling with few steps, inversion, editing, interpolation and distances."""

from . import classifier, features
from .distance import frechet_distance, kernel_distance, moments
from .editing import edit_exact, edit_inverted, edit_naive
from .exact import invert_exact, sample_exact
from .family import q_sigma, sigma, step
from .grids import timesteps
from .interpolation import slerp
from .sampling import invert, sample, sample_2m

__all__ = [
    "classifier",
    "edit_exact",
    "edit_inverted",
    "edit_naive",
    "features",
    "frechet_distance",
    "invert",
    "invert_exact",
    "kernel_distance",
    "moments",
    "q_sigma",
    "sample",
    "sample_2m",
    "sample_exact",
    "sigma",
    "slerp",
    "step",
    "timesteps",
]
