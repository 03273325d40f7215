"""What a training step sees: a batch of images, captions, times and noise, as a pure function of (seed, step).

The whole batch is drawn before it is cut into parts, so a run that is resumed sees the same batches.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unet import Tokenizer

from ..autoencoder import Autoencoder
from ..data.base import Dataset
from ..utils.images import from_bytes
from .settings import Settings


class Batch(NamedTuple):
    """Images x_0 (B, 3, H, W) in [-1, 1], tokens (B, L), times t (B,) in 1..T and standard normal noise like x_0.

    condition: of a ControlNet, (B, 1, H, W) in [0, 1], a line drawing of each image.
    """

    x_0: Tensor
    tokens: Tensor
    t: Tensor
    noise: Tensor
    condition: Tensor | None = None

    def part(self, i: int, n: int) -> "Batch":
        """Every n-th row from row i: times are sorted in a batch, so parts must interleave."""
        return Batch(*(None if rows is None else rows[i::n] for rows in self))


class Batches:
    """A dataset on the device, cut into batches: `batches[step]` is a pure function of the step.

    max_tokens: length of an encoded caption. Image i has `caption_count[i]` captions, which are the rows
    `caption_rows[caption_start[i]:]` of `tokens`. ValueError: fewer images than a batch; a caption that is too long.
    """

    def __init__(
        self,
        data: Dataset,
        tokenizer: Tokenizer,
        max_tokens: int,
        settings: Settings,
        device: torch.device,
        autoencoder: Autoencoder | None = None,
    ):
        if len(data) < settings.batch:
            raise ValueError(
                f"the dataset has {len(data)} images, fewer than a batch of {settings.batch}: try a smaller --batch"
            )
        self.settings, self.device = settings, device
        self.images = torch.from_numpy(data.images).to(device)
        self.latents = None  # (2, N, C, H, W): of the images, and of the mirrored images
        if autoencoder is not None:
            mirrored = [self.images.flip(3)] if settings.flip else []
            self.latents = torch.stack([latents_of(autoencoder, images) for images in [self.images, *mirrored]])
        self.drawings = None if data.drawings is None else torch.from_numpy(data.drawings).to(device)
        captions = sorted({caption for captions in data.captions for caption in captions})
        row = {caption: i for i, caption in enumerate(captions)}
        self.tokens = tokenizer.encode(captions, max_tokens).to(device)
        self.null = tokenizer.encode([""], max_tokens).to(device)
        self.caption_rows = torch.tensor([row[c] for captions in data.captions for c in captions], device=device)
        count = torch.tensor([len(captions) for captions in data.captions])
        self.caption_count, self.caption_start = count.to(device), (count.cumsum(0) - count).to(device)
        self._orders: dict[int, Tensor] = {}

    def order(self, epoch: int) -> Tensor:
        """The images of an epoch in their order; the last two epochs are kept."""
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            order = torch.randperm(len(self.images), generator=generator(self.settings.seed, "order", epoch))
            self._orders[epoch] = order.to(self.device)  # once an epoch: a copy at every step would make a GPU wait
        return self._orders[epoch]

    def indices(self, step: int) -> Tensor:
        """The images of a step, (batch,): one epoch follows the other without a gap."""
        size = self.settings.batch
        epoch, start = divmod(step * size, len(self.images))
        indices = self.order(epoch)[start : start + size]
        if len(indices) < size:
            indices = torch.cat([indices, self.order(epoch + 1)[: size - len(indices)]])
        return indices

    def __getitem__(self, step: int) -> Batch:
        """Images, one caption of each, one time each (stratified: one in every B-th part of 1..T), and noise."""
        settings, i = self.settings, self.indices(step)
        source = generator(settings.seed, "draws", step, self.device)
        u_caption, u_dropout, u_flip, u_time = torch.rand(4, settings.batch, generator=source, device=self.device)

        x_0, condition = from_bytes(self.images[i]) if self.latents is None else self.latents[0, i], None
        if self.drawings is not None:
            condition = self.drawings[i].float() / 255
        if settings.flip:
            mirrored = (u_flip < 0.5)[:, None, None, None]
            x_0 = torch.where(mirrored, x_0.flip(3) if self.latents is None else self.latents[1, i], x_0)
            condition = condition if condition is None else torch.where(mirrored, condition.flip(3), condition)

        variant = (u_caption * self.caption_count[i]).long().clamp(max=self.caption_count[i] - 1)
        tokens = self.tokens[self.caption_rows[self.caption_start[i] + variant]]
        tokens = torch.where((u_dropout < settings.caption_dropout)[:, None], self.null, tokens)

        strata = (torch.arange(settings.batch, device=self.device) + u_time) / settings.batch
        t = 1 + (strata * settings.T).long().clamp(max=settings.T - 1)
        noise = torch.randn(x_0.shape, generator=source, device=self.device)
        return Batch(x_0, tokens, t, noise, condition)


def latents_of(autoencoder: Autoencoder, images: Tensor) -> Tensor:
    """Images uint8 (N, 3, H, W) -> their latents, encoded once, behind a bar."""
    parts = tqdm(images.split(256), "encoding", unit=" batches", leave=False, disable=None)
    return torch.cat([autoencoder.encode(from_bytes(part)) for part in parts])


def generator(seed: int, purpose: str, number: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for each (seed, purpose, number)."""
    entropy = np.random.SeedSequence([seed, *purpose.encode(), number]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(entropy >> np.uint64(1)))
