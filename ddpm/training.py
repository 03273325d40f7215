"""The training loop (Ho et al. 2020, Algorithm 1): a generator for a notebook to watch and a command to wrap in a bar.

Every draw of a step (which captions, flips, times, which noise) comes from (seed, step number) alone and is made for
the whole batch before it is shared among processes. So a run that is resumed, split among processes or cut into parts
sees the same.
"""

import copy
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from unet import Tokenizer, UNet
from unet.precision import autocast, resolve

from .config import Settings
from .data.base import Dataset
from .diffusion import simple_loss
from .ema import Averages
from .images import from_bytes
from .schedule import Schedule

LOG_EVERY = 10  # steps between two records; asking a GPU for its loss at every step would stall it


@dataclass(frozen=True)
class Record:
    """What the loop yields.

    Steps and images so far, the mean loss (of this process's share) and gradient norm since the last record, the
    learning rate, seconds of training, images/s since the last record, and the share of the budget that is used.
    """

    step: int
    images: int
    loss: float
    gradient: float
    learning_rate: float
    seconds: float
    rate: float
    progress: float


@dataclass(frozen=True)
class Batch:
    """Images x_0 (B, 3, H, W) in [-1, 1], tokens (B, L), times t (B,) in 1..T and standard normal noise like x_0."""

    x_0: Tensor
    tokens: Tensor
    t: Tensor
    noise: Tensor

    def part(self, i: int, n: int) -> "Batch":
        """Every n-th row from row i: times are sorted in a batch, so parts must interleave."""
        return Batch(self.x_0[i::n], self.tokens[i::n], self.t[i::n], self.noise[i::n])


class Feed:
    """A data set on the device, cut into batches: `batch(step)` is a pure function of the step."""

    def __init__(self, data: Dataset, tokenizer: Tokenizer, words: int, settings: Settings, device: torch.device):
        if len(data) < settings.batch:
            raise ValueError(
                f"the data set has {len(data)} images, fewer than a batch of {settings.batch}: try a smaller --batch"
            )
        self.settings, self.device = settings, device
        self.images = torch.from_numpy(data.images).to(device)
        unique = sorted({sentence for variants in data.captions for sentence in variants})
        row = {sentence: i for i, sentence in enumerate(unique)}
        self.tokens = tokenizer.encode(unique, words).to(device)
        self.null = tokenizer.encode([""], words).to(device)
        counts = torch.tensor([len(variants) for variants in data.captions])
        self.rows = torch.tensor([row[sentence] for variants in data.captions for sentence in variants], device=device)
        self.count, self.first = counts.to(device), (counts.cumsum(0) - counts).to(device)
        self._orders: dict[int, Tensor] = {}

    def order(self, epoch: int) -> Tensor:
        """The images of an epoch in their order; the last two epochs are kept."""
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            order = torch.randperm(len(self.images), generator=generator(self.settings.seed, "order", epoch))
            self._orders[epoch] = order.to(self.device)  # once an epoch: a copy at every step would make a GPU wait
        return self._orders[epoch]

    def indices(self, step: int) -> Tensor:
        """Which images a step sees, (batch,): the epochs stand one behind the other."""
        first = step * self.settings.batch
        epoch, start = divmod(first, len(self.images))
        chosen = self.order(epoch)[start : start + self.settings.batch]
        if len(chosen) < self.settings.batch:
            chosen = torch.cat([chosen, self.order(epoch + 1)[: self.settings.batch - len(chosen)]])
        return chosen

    def batch(self, step: int) -> Batch:
        """Images, one caption of each, one time each (stratified: one in every B-th part of 1..T), and noise."""
        settings, chosen = self.settings, self.indices(step)
        source = generator(settings.seed, "draws", step, self.device)
        which, drop, flip, jitter = torch.rand(4, settings.batch, generator=source, device=self.device)
        x_0 = from_bytes(self.images[chosen])
        if settings.flip:
            x_0 = torch.where((flip < 0.5)[:, None, None, None], x_0.flip(3), x_0)
        variant = (which * self.count[chosen]).long().clamp(max=self.count[chosen] - 1)
        said = self.tokens[self.rows[self.first[chosen] + variant]]
        tokens = torch.where((drop < settings.drop)[:, None], self.null, said)
        strata = (torch.arange(settings.batch, device=self.device) + jitter) / settings.batch
        t = 1 + (strata * settings.T).long().clamp(max=settings.T - 1)
        return Batch(x_0, tokens, t, torch.randn(x_0.shape, generator=source, device=self.device))


def generator(seed: int, purpose: str, number: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for each (seed, purpose, number)."""
    entropy = np.random.SeedSequence([seed, *purpose.encode(), number]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(entropy >> np.uint64(1)))


def learning_rate(settings: Settings, step: int, progress: float) -> float:
    """Linear warm-up over `warmup` steps, then constant, then linear to zero over the last `decay` of the budget."""
    rise = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    fall = min(1.0, (1 - progress) / settings.decay) if settings.decay else 1.0
    return settings.learning_rate * rise * fall


class Training:
    """A run in memory: network, averages, optimizer, place. `run` trains; `state` and `restore` save and resume."""

    def __init__(self, settings: Settings, unet: UNet, tokenizer: Tokenizer, schedule: Schedule, data: Dataset):
        self.settings, self.schedule = settings, schedule
        self.device = next(unet.parameters()).device
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.precision = self.agreed(resolve(settings.precision, self.device))
        if settings.batch % (settings.accumulate * self.world):
            raise ValueError(
                f"batch {settings.batch} cannot be shared among {self.world} processes x {settings.accumulate} parts"
            )
        self.unet, self.feed = unet, Feed(data, tokenizer, unet.config.words, settings, self.device)
        self.averages = Averages(unet, settings.ema)
        self.optimizer = torch.optim.AdamW(unet.parameters(), weight_decay=settings.weight_decay, fused=True)
        network = torch.compile(unet) if settings.compile else unet
        self.network = torch.nn.parallel.DistributedDataParallel(network) if self.world > 1 else network
        self.step, self.seconds = 0, 0.0

    def agreed(self, precision: str) -> str:
        """The first process's choice."""
        choice = [precision]
        if self.world > 1:
            dist.broadcast_object_list(choice)
        return choice[0]

    @property
    def images(self) -> int:
        """Images seen so far."""
        return self.step * self.settings.batch

    def progress(self) -> float:
        """Share of the budget that is used up, 0..1; the same on every process."""
        by_time = self.seconds / (60 * self.settings.minutes) if self.settings.minutes else 0.0
        by_images = self.images / self.settings.images if self.settings.images else 0.0
        if self.world > 1 and self.settings.minutes:
            slowest = torch.tensor(by_time, device=self.device)
            dist.all_reduce(slowest, dist.ReduceOp.MAX)
            by_time = slowest.item()
        return min(1.0, max(by_time, by_images))

    def run(self) -> Iterator[Record]:
        """Train until the budget is used up; yields a `Record` every few steps and at the end.

        Raises FloatingPointError, with the step, when a loss or a gradient is not finite. The weights are spoiled then,
        but no record follows, so nobody saves them.
        """
        losses: list[Tensor] = []
        gradients: list[Tensor] = []
        progress, logged, began = self.progress(), self.seconds, time.perf_counter()
        while progress < 1:
            rate = learning_rate(self.settings, self.step, progress)
            loss, gradient = self.one_step(rate)
            losses.append(loss)
            gradients.append(gradient)
            began = self.count_seconds(began)
            progress = self.progress()
            if len(losses) == LOG_EVERY or progress >= 1:
                loss, norm = self.means(losses, gradients)
                began = self.count_seconds(began)  # what a GPU still had to do when it was asked
                progress = self.progress()
                speed = len(losses) * self.settings.batch / (self.seconds - logged)
                yield Record(self.step, self.images, loss, norm, rate, self.seconds, speed, progress)
                losses, gradients, logged, began = [], [], self.seconds, time.perf_counter()

    def count_seconds(self, began: float) -> float:
        """Add the time since `began` to the seconds of training; returns the time it is now."""
        now = time.perf_counter()
        self.seconds += now - began
        return now

    def means(self, losses: list[Tensor], gradients: list[Tensor]) -> tuple[float, float]:
        """The means of the last steps' losses and gradient norms. FloatingPointError for the first that is not finite.

        A finite loss may have an infinite gradient, which spoils the weights at once, so both are looked at.
        """
        rows = torch.stack([torch.stack(losses), torch.stack(gradients)], dim=1).tolist()
        for step, row in enumerate(rows, self.step - len(rows) + 1):
            for name, value in zip(("loss", "gradient"), row, strict=True):
                if not math.isfinite(value):
                    raise FloatingPointError(
                        f"the {name} of step {step} is {value}: the last checkpoint is still good; "
                        "try a lower --learning-rate, a longer --warmup or --precision float32"
                    )
        loss, norm = (sum(column) / len(rows) for column in zip(*rows, strict=True))
        return loss, norm

    def one_step(self, rate: float) -> tuple[Tensor, Tensor]:
        """One optimizer step -> its loss (this process's share) and the gradient's norm before clipping."""
        settings = self.settings
        torch.manual_seed(int(generator(settings.seed, f"dropout {self.rank}", self.step).initial_seed()))
        batch = self.feed.batch(self.step).part(self.rank, self.world)
        total = torch.zeros((), device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        for i in range(settings.accumulate):
            last = i == settings.accumulate - 1
            with nullcontext() if last or self.world == 1 else self.network.no_sync():
                loss = self.loss(batch.part(i, settings.accumulate)) / settings.accumulate
                loss.backward()
            total += loss.detach()
        gradient = torch.nn.utils.clip_grad_norm_(self.unet.parameters(), settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.averages.update(self.unet, self.images, settings.batch)
        self.step += 1
        return total, gradient

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch (Ho et al. 2020, Eq. 14, or its v-weighted form)."""

        def eps(x_t: Tensor, t: Tensor) -> Tensor:
            with autocast(self.device, self.precision):
                return self.network(x_t, t, batch.tokens)

        return simple_loss(eps, self.schedule, batch.x_0, batch.t, batch.noise, self.settings.weighting).mean()

    def averaged(self, share: float) -> UNet:
        """A copy of the network with one of the averages for weights, ready for sampling."""
        unet = copy.deepcopy(self.unet).eval().requires_grad_(False)
        unet.load_state_dict(self.averages.of[share])
        return unet

    def state(self) -> dict:
        """Everything that `restore` needs to go on exactly: weights, averages, optimizer, step and time used."""
        return {
            "unet": self.unet.state_dict(),
            "ema": self.averages.of,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }

    def restore(self, state: dict) -> None:
        """Take up a saved state."""
        self.unet.load_state_dict(state["unet"])
        for share, average in self.averages.of.items():
            for name, tensor in average.items():
                tensor.copy_(state["ema"][share][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
