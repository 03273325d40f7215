"""The training loop (Ho et al. 2020, Algorithm 1): a generator, watched by a notebook or wrapped in a bar by a command.

`Training.one_step` is Algorithm 1 with what practice adds: one time from each part of 1..T in a batch instead of free
draws, a clipped gradient, AdamW, averaged weights, and the loss in v for all presets but `ddpm`. `ddpm.batches` draws
what a step sees, `ddpm.distributed` knows about processes.
"""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unet import Tokenizer, UNet
from unet.precision import autocast, resolve

from ..data.base import Dataset
from ..diffusion import simple_loss
from ..schedule import Schedule
from . import memory, processes
from .batches import Batch, Batches, generator
from .ema import Averages
from .settings import Settings

LOG_EVERY = 10  # steps between two records; asking a GPU for its loss at every step would stall it
WARMUP = 0.05  # the largest share of a budget over which the learning rate rises


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


def learning_rate(settings: Settings, step: int, progress: float) -> float:
    """Linear warm-up over `warmup` steps, then constant, then linear to zero over the last `lr_decay` of the budget.

    In a short budget, where `warmup` steps are more than 5 % of it, the warm-up takes those 5 %.
    """
    rise = min(1.0, max((step + 1) / settings.warmup, progress / WARMUP)) if settings.warmup else 1.0
    fall = min(1.0, (1 - progress) / settings.lr_decay) if settings.lr_decay else 1.0
    return settings.learning_rate * rise * fall


class Training:
    """A run in memory: network, averages, optimizer, step. `run` trains; `state` and `restore` save and resume.

    ValueError: a batch that the processes cannot share; what `Batches` raises.
    """

    def __init__(self, settings: Settings, unet: UNet, tokenizer: Tokenizer, schedule: Schedule, data: Dataset):
        self.settings, self.unet, self.schedule = settings, unet, schedule
        self.device = next(unet.parameters()).device
        self.rank, self.world = processes.rank(), processes.world()
        self.precision = processes.agreed(resolve(settings.precision, self.device))
        # float16 has no gradients below 6e-8: the loss is scaled up, and a step whose gradients overflow is skipped
        self.scaler = torch.amp.GradScaler(self.device.type, 2.0**12, enabled=self.precision == "float16")
        if settings.batch % self.world:
            raise ValueError(f"batch {settings.batch} cannot be shared among {self.world} processes: take a multiple")
        self.batches = Batches(data, tokenizer, unet.config.words, settings, self.device)
        self.averages = Averages(unet, settings.ema)
        self.optimizer = torch.optim.AdamW(unet.parameters(), weight_decay=settings.weight_decay, fused=True)
        self.step, self.seconds, self.time_used = 0, 0.0, 0.0
        self.network, self.parts = unet, 1  # in which a step's batch goes through the network
        if self.device.type != "cpu":  # measured before it is compiled: each size of batch takes another compilation
            self.parts = int(processes.largest(memory.parts_of_batch(self), self.device))
        self.network = processes.shared(torch.compile(unet, dynamic=False) if settings.compile else unet)

    @property
    def images(self) -> int:
        """Images seen so far."""
        return self.step * self.settings.batch

    def progress(self) -> float:
        """Share of the budget that is used up, 0..1; the same on every process; they agree on the time now and then."""
        if self.settings.minutes and (self.world == 1 or self.step % LOG_EVERY == 0):
            self.time_used = processes.largest(self.seconds / (60 * self.settings.minutes), self.device)
        by_images = self.images / self.settings.images if self.settings.images else 0.0
        return min(1.0, max(self.time_used, by_images))

    def run(self) -> Iterator[Record]:
        """Train until the budget is used up; yields a `Record` every LOG_EVERY steps and at the end.

        FloatingPointError, with the step: a loss or a gradient that is not finite. The weights are spoiled then, but no
        record follows, so they are not saved.
        """
        losses: list[Tensor] = []
        gradients: list[Tensor] = []
        if self.settings.compile:
            self.compile()
        progress, logged, began = self.progress(), self.seconds, time.perf_counter()
        while progress < 1:
            lr = learning_rate(self.settings, self.step, progress)
            loss, gradient = self.one_step(lr)
            losses.append(loss)
            gradients.append(gradient)
            began = self.count_seconds(began)
            progress = self.progress()
            if len(losses) == LOG_EVERY or progress >= 1:
                loss, norm = self.means(losses, gradients)
                began = self.count_seconds(began)  # reading the losses waits for the GPU
                progress = self.progress()
                speed = len(losses) * self.settings.batch / (self.seconds - logged)
                yield Record(self.step, self.images, loss, norm, lr, self.seconds, speed, progress)
                losses, gradients, logged, began = [], [], self.seconds, time.perf_counter()

    def compile(self) -> None:
        """Compile the network before the clock starts, by a pass whose gradients the first step drops."""
        self.backward(self.batches[self.step].part(self.rank, self.world))

    def count_seconds(self, began: float) -> float:
        """Add the time since `began` to the seconds of training; returns the time it is now."""
        now = time.perf_counter()
        self.seconds += now - began
        return now

    def means(self, losses: list[Tensor], gradients: list[Tensor]) -> tuple[float, float]:
        """The mean loss and gradient norm of the last steps. FloatingPointError for the first that is not finite.

        A finite loss may have an infinite gradient, which spoils the weights at once, so both are looked at. With a
        scaled loss it does not, for that step is skipped; it does not count in the mean norm.
        """
        rows = torch.stack([torch.stack(losses), torch.stack(gradients)], dim=1).tolist()
        for step, row in enumerate(rows, self.step - len(rows) + 1):
            for name, value in zip(("loss", "gradient"), row, strict=True):
                if not math.isfinite(value) and not (name == "gradient" and self.scaler.is_enabled()):
                    raise FloatingPointError(
                        f"the {name} of step {step} is {value}: the last checkpoint is still good; "
                        "try a lower --learning-rate, a longer --warmup or --precision float32"
                    )
        norms = [norm for _, norm in rows if math.isfinite(norm)]
        return sum(loss for loss, _ in rows) / len(rows), sum(norms) / max(1, len(norms))

    def one_step(self, learning_rate: float) -> tuple[Tensor, Tensor]:
        """One step of Algorithm 1 -> its loss (of this process's share) and the gradient's norm before clipping."""
        batch = self.batches[self.step].part(self.rank, self.world)  # lines 2 to 4: x_0 and its caption, t, noise
        torch.manual_seed(generator(self.settings.seed, f"dropout {self.rank}", self.step).initial_seed())
        loss = self.backward(batch)  # line 5: the gradient of (eps(x_t, t) - noise)^2
        self.scaler.unscale_(self.optimizer)
        gradient = torch.nn.utils.clip_grad_norm_(self.unet.parameters(), self.settings.grad_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.averages.update(self.unet, self.images, self.settings.batch)
        self.step += 1
        return loss, gradient

    def backward(self, batch: Batch) -> Tensor:
        """The loss of a batch; its gradients become those of the weights, one part of it after the other."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for i in range(self.parts):
            loss = self.loss(*batch.part(i, self.parts)) / self.parts
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def loss(self, x_0: Tensor, tokens: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The mean loss of a batch (Ho et al. 2020, Eq. 14, or its v-weighted form)."""

        def eps(x_t: Tensor, t: Tensor) -> Tensor:
            with autocast(self.device, self.precision):
                return self.network(x_t, t, tokens)

        return simple_loss(eps, self.schedule, x_0, t, noise, self.settings.weighting).mean()

    def averaged(self, share: float) -> UNet:
        """A copy of the network with one of the averages for weights, ready for sampling."""
        unet = copy.deepcopy(self.unet).eval().requires_grad_(False)
        unet.load_state_dict(self.averages.of[share])
        return unet

    def state(self) -> dict:
        """Everything that `restore` needs to resume exactly: weights, averages, optimizer, step and time used."""
        return {
            "unet": self.unet.state_dict(),
            "ema": self.averages.of,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }

    def restore(self, state: dict) -> None:
        """Continue from a saved state."""
        self.unet.load_state_dict(state["unet"])
        for share, average in self.averages.of.items():
            for name, tensor in average.items():
                tensor.copy_(state["ema"][share][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled() and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.step, self.seconds = state["step"], state["seconds"]
