"""Prompt-to-Prompt: editing an image through its caption, with the attention maps of the source."""

from . import real
from .blend import LocalBlend
from .editing import edit, shared_noise
from .maps import refine, replace, reweight
from .store import AttentionStore
from .words import kind_of, refine_map, swap_map, word_positions
