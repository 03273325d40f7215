"""Training (Ho et al. 2020, Algorithm 1): `Training.one_step` is its lines 2 to 5, `Training.run` repeats them.

The lecture's loop of twelve lines is in notebook 3. Practice adds: one time from each part of 1..T in a batch instead
of free draws, captions, a clipped gradient (in some recipes also orthogonalised), AdamW, averaged weights, half
precision, and the loss in v for all presets but `ddpm`. `batches` draws what a step sees.
"""

import copy
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unet import Tokenizer, UNet
from unet.precision import DTYPES, autocast, resolve

from ..autoencoder import Autoencoder, autoencoder_loss
from ..data.base import Dataset
from ..diffusion import simple_loss
from ..schedule import Schedule
from .batches import Batch, Batches, generator
from .memory import fitting_parts
from .orthogonal import orthogonalise
from .record import Record, means
from .settings import Settings, check_start

LOG_EVERY = 10  # steps between two records; asking a GPU for its loss at every step would stall it
WARMUP = 0.05  # the largest share of a budget over which the learning rate rises


def learning_rate(settings: Settings, step: int, progress: float) -> float:
    """Linear warm-up over `warmup` steps, then constant, then linear to zero over the last `lr_decay` of the budget.

    In a short budget, where `warmup` steps are more than 5 % of it, the warm-up takes those 5 %.
    """
    rise = min(1.0, max((step + 1) / settings.warmup, progress / WARMUP)) if settings.warmup else 1.0
    fall = min(1.0, (1 - progress) / settings.lr_decay) if settings.lr_decay else 1.0
    return settings.learning_rate * rise * fall


@torch.no_grad()
def update_averages(averages: dict[float, dict[str, Tensor]], network: nn.Module, images: int, batch: int) -> None:
    """Exponential moving averages of the weights, {share: {parameter name: tensor}}, after a step over `batch` images.

    A share of 0.05 means a half-life of 5 % of the `images` seen before that step (Karras et al. 2022, F.2), so short
    runs are not ruled by their first steps. Only parameters are averaged: the network has no other state.
    """
    now: list[Tensor] = [p.detach() for p in network.parameters()]
    for share, average in averages.items():
        decay = 0.5 ** (batch / (share * images)) if images else 0.0
        torch._foreach_lerp_(list(average.values()), now, 1 - decay)


class Training:
    """A run in memory: network, averages, optimizer, step. `run` trains; `state` and `restore` save and resume.

    unet: the network that is trained, which may also be an autoencoder: only `loss` knows the difference.
    autoencoder: encodes the images, once; the network is trained on the latents.
    interrupted: set it to end `run` early, after the step that is being made. parts: in how many parts a batch goes
    through the network, as many as memory asks for. ValueError: images too large for the GPU; what `check_start` and
    `Batches` raise.
    """

    def __init__(
        self,
        settings: Settings,
        unet: UNet | Autoencoder,
        tokenizer: Tokenizer,
        schedule: Schedule,
        data: Dataset,
        autoencoder: Autoencoder | None = None,
    ):
        self.settings, self.unet, self.schedule = settings, unet, schedule
        self.device = next(unet.parameters()).device
        if isinstance(unet, UNet):
            check_start(schedule, settings.weighting, unet.config.predicts)
        self.precision = resolve(settings.precision, self.device)
        # float16 has no gradients below 6e-8: the loss is scaled up, and a step whose gradients overflow is skipped
        self.scaler = torch.amp.GradScaler(self.device.type, 2.0**12, enabled=self.precision == "float16")
        words = unet.config.words if isinstance(unet, UNet) else 2
        self.batches = Batches(data, tokenizer, words, settings, self.device, autoencoder)
        trained = unet.trainable  # of a ControlNet the copy alone
        self.averages = {s: {name: p.detach().clone() for name, p in trained.named_parameters()} for s in settings.ema}
        self.optimizer = torch.optim.AdamW(trained.parameters(), weight_decay=settings.weight_decay, fused=True)
        self.matrices = [m.weight for m in trained.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        self.step, self.seconds, self.interrupted, self.stopped = 0, 0.0, 0, 0
        self.network = torch.compile(unet, dynamic=False) if settings.compile else unet
        self.parts = fitting_parts(self)

    # ---- Algorithm 1 -------------------------------------------------------------------------------------------------

    def run(self) -> Iterator[Record]:
        """Line 1: repeat until the budget is used up. Yields a `Record` every LOG_EVERY steps and at the end.

        FloatingPointError, with the step: a loss or a gradient that is not finite. The weights are spoiled then, but no
        record follows, so they are not saved.
        """
        while self.progress() < 1 and not self.stopped:
            began, results = time.perf_counter(), []
            for _ in range(LOG_EVERY):
                lr = learning_rate(self.settings, self.step, self.progress())
                results.append(self.one_step(lr))
                if self.progress() >= 1 or self.interrupted:
                    break
            loss, norm = means(results, self.step, self.scaler.is_enabled())  # waits for a GPU to end all steps
            spent = time.perf_counter() - began
            self.seconds, self.stopped = self.seconds + spent, self.interrupted
            speed = len(results) * self.settings.batch / spent
            yield Record(self.step, self.images, loss, norm, lr, self.seconds, speed, self.progress())

    def one_step(self, learning_rate: float) -> tuple[Tensor, Tensor]:
        """Lines 2 to 5, and the update -> the loss, the gradient's norm before clipping."""
        batch = self.batches[self.step]  # 2: x_0 and a caption of it  3: t  4: noise; a function of (seed, step)
        torch.manual_seed(generator(self.settings.seed, "dropout 0", self.step).initial_seed())
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for i in range(self.parts):  # as many rows of the batch at once as memory holds
            loss = self.loss(batch.part(i, self.parts)) / self.parts
            self.scaler.scale(loss).backward()  # 5: the gradient of || noise - eps(x_t, t) ||^2
            total += loss.detach()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.unet.trainable.parameters(), self.settings.grad_clip)
        self.optimizer.param_groups[0]["lr"] = learning_rate
        if self.settings.orthogonal:
            gradients = [weight.grad for weight in self.matrices if weight.grad is not None]
            orthogonalise(gradients, DTYPES[self.precision])
        self.scaler.step(self.optimizer)  # skipped where a float16 gradient overflowed
        self.scaler.update()
        update_averages(self.averages, self.unet.trainable, self.images, self.settings.batch)
        self.step += 1
        return total, norm

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch: Ho et al. 2020, Eq. 14, or its v-weighted form; an autoencoder has its own."""
        if isinstance(self.unet, Autoencoder):
            with autocast(self.device, self.precision):
                outputs = self.network(batch.x_0)
            return autoencoder_loss(batch.x_0, *outputs, self.unet.config.kl_weight)

        def eps(x_t: Tensor, t: Tensor) -> Tensor:
            with autocast(self.device, self.precision):
                if batch.condition is None:
                    return self.network(x_t, t, batch.tokens)
                return self.network(x_t, t, batch.tokens, condition=batch.condition)

        return simple_loss(eps, self.schedule, batch.x_0, batch.t, batch.noise, self.settings.weighting).mean()

    # ---- around it ---------------------------------------------------------------------------------------------------

    @property
    def images(self) -> int:
        """Images seen so far."""
        return self.step * self.settings.batch

    def progress(self) -> float:
        """The share of the budget that is used up, 0..1. Images count at every step, the clock is read at records."""
        by_time = self.seconds / (60 * self.settings.minutes) if self.settings.minutes else 0.0
        by_images = self.images / self.settings.images if self.settings.images else 0.0
        return min(1.0, max(by_time, by_images))

    def averaged(self, share: float) -> UNet | Autoencoder:
        """A copy of the network with one of the averages for weights, ready for use."""
        unet = copy.deepcopy(self.unet).eval().requires_grad_(False)
        trained = unet.trainable
        trained.load_state_dict(trained.state_dict() | self.averages[share])  # an autoencoder also has its scale
        return unet

    def state(self) -> dict:
        """Everything that `restore` needs to resume exactly: weights, averages, optimizer, step and time used."""
        return {
            "unet": self.unet.trainable.state_dict(),
            "ema": self.averages,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }

    def restore(self, state: dict) -> None:
        """Continue from a saved state."""
        self.unet.trainable.load_state_dict(state["unet"])
        for share, average in self.averages.items():
            for name, tensor in average.items():
                tensor.copy_(state["ema"][share][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled() and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.step, self.seconds = state["step"], state["seconds"]
