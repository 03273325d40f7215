"""A dataset: images as bytes, and for each image the captions that are true of it."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np


class DataError(ValueError):
    """A dataset that is missing, damaged or not the one expected; the message says what to do."""


@dataclass(frozen=True)
class Dataset:
    """Images with captions.

    images: uint8 (N, 3, H, W), values 0..255, H == W.
    captions: for each image a non-empty tuple of sentences that are all true of it, the fullest first. Training draws
        one of them afresh each time it shows the image, so a sentence that stands twice is drawn twice as often.
    """

    name: str
    images: np.ndarray
    captions: list[tuple[str, ...]]

    def __post_init__(self):
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise DataError(
                f"{self.name}: images must be uint8 (N, 3, H, W), got {self.images.dtype} {self.images.shape}"
            )
        if self.images.shape[2] != self.images.shape[3]:
            raise DataError(f"{self.name}: images must be square, got {self.images.shape[2:]} pixels")
        if len(self.images) != len(self.captions):
            raise DataError(f"{self.name}: {len(self.images)} images but {len(self.captions)} caption entries")
        if not all(self.captions):
            raise DataError(
                f"{self.name}: image {next(i for i, c in enumerate(self.captions) if not c)} has no caption"
            )

    @cached_property
    def sha256(self) -> str:
        """The hash of all images and captions: a resumed run must find the same."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(repr(self.captions).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.images)
