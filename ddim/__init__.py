"""DDIM: the family q_sigma, sampling with few steps, inversion, editing, interpolation and Frechet distance."""

from ddpm.evaluation.frechet import frechet_distance, kernel_distance

from .bdia import invert_exact, sample_exact
from .dpm_solver import sample_2m
from .editing import edit_exact, edit_inverted, edit_naive
from .interpolation import slerp
from .inversion import invert
from .sampler import q_sigma, sample, sample_hat, sigma, step, step_hat, timesteps
