"""Training: Algorithm 1 and what a run needs around it."""

from .loop import Training
from .record import Record
from .settings import RECIPES, Settings

__all__ = ["RECIPES", "Record", "Settings", "Training"]
