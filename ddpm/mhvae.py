"""The Markov hierarchical VAE that a diffusion model is a special case of: T levels of latents, each as large as x_0.

An encoder goes from the data to the prior, q(x_t | x_{t-1}), a decoder goes back, p(x_{t-1} | x_t). Here both
are a `Conditional`, a function (x (..., d), level t in 1..T) -> mean and variance of a Gaussian, so the same ELBO holds
for an encoder that is trained with the decoder and for the fixed, linear, Gaussian one of diffusion.

A path is the list [x_0, x_1, .., x_T], drawn from the encoder. All densities are in nats, summed over the d axes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .bound import reverse
from .diffusion import EpsFn
from .noise import Draw, noise_like
from .schedule import Schedule

Conditional = Callable[[Tensor, int], tuple[Tensor, Tensor]]
LatentPath = list[Tensor]


def log_normal(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log N(x; mean, diag variance), (..., d) -> (...)."""
    return -((x - mean).square() / variance + variance.log() + math.log(2 * math.pi)).sum(-1) / 2


def log_prior(x_T: Tensor) -> Tensor:
    """log p(x_T) = log N(x_T; 0, I)."""
    return log_normal(x_T, torch.zeros_like(x_T), torch.ones_like(x_T))


def draw(mean: Tensor, variance: Tensor, generator: Draw) -> Tensor:
    """A point of N(mean, diag variance), through which gradients flow to both."""
    return mean + variance.sqrt() * noise_like(mean, generator)


def encode(encoder: Conditional, x_0: Tensor, T: int, generator: Draw = None) -> LatentPath:
    """Encode: x_t ~ q(x_t | x_{t-1}) for t = 1..T, from x_0 (..., d). `generator`: see `ddpm.noise`."""
    path = [x_0]
    for t in range(1, T + 1):
        path.append(draw(*encoder(path[-1], t), generator))
    return path


def decode(decoder: Conditional, x_T: Tensor, T: int, generator: Draw = None) -> Iterator[tuple[int, Tensor]]:
    """Decode: yields (t - 1, x_{t-1} ~ p(x_{t-1} | x_t)) for t = T..1, from x_T ~ N(0, I)."""
    x = x_T
    for t in range(T, 0, -1):
        x = draw(*decoder(x, t), generator)
        yield t - 1, x


def elbo(encoder: Conditional, decoder: Conditional, path: LatentPath) -> Tensor:
    """log p(x_0..x_T) - log q(x_1..x_T | x_0) on one path, (...): its mean over paths is at most log p(x_0)."""
    down = sum(log_normal(path[t - 1], *decoder(path[t], t)) for t in range(1, len(path)))
    up = sum(log_normal(path[t], *encoder(path[t - 1], t)) for t in range(1, len(path)))
    return log_prior(path[-1]) + down - up


@dataclass(frozen=True)
class Terms:
    """The ELBO in the lecture's three terms: total = reconstruction - prior - sum of matching. Each (...)."""

    reconstruction: Tensor  # log p(x_0 | x_1)
    prior: Tensor  # log q(x_T | x_0) - log p(x_T), on average the KL divergence of the prior matching term
    matching: list[Tensor]  # log q(x_{t-1} | x_t, x_0) - log p(x_{t-1} | x_t), t = 2..T: denoising matching terms

    @property
    def total(self) -> Tensor:
        """The ELBO."""
        return self.reconstruction - self.prior - sum(self.matching)


def terms(encoder: Conditional, decoder: Conditional, path: LatentPath, marginals: list[Tensor]) -> Terms:
    """The ELBO of a path split into the lecture's terms, given marginals[t - 1] = log q(x_t | x_0), t = 1..T.

    Bayes' rule gives q(x_{t-1} | x_t, x_0) = q(x_t | x_{t-1}) q(x_{t-1} | x_0) / q(x_t | x_0). The marginals cancel in
    the sum, so from t = 2 on an error in them moves weight from one term to another and leaves the total, which is
    `elbo`, as it is.
    """
    matching = []
    for t in range(2, len(path)):
        posterior = log_normal(path[t], *encoder(path[t - 1], t)) + marginals[t - 2] - marginals[t - 1]
        matching.append(posterior - log_normal(path[t - 1], *decoder(path[t], t)))
    return Terms(log_normal(path[0], *decoder(path[1], 1)), marginals[-1] - log_prior(path[-1]), matching)


def estimated_marginals(encoder: Conditional, path: LatentPath) -> list[Tensor]:
    """log q(x_t | x_0) of K paths that start at the same points, each x_t (K, B, d) -> T tensors (K, B).

    q(x_t | x_0) is the mean of q(x_t | x_{t-1}) over the x_{t-1} that the encoder draws, here those of the K paths
    (exact for t = 1). The sum of `terms` does not need it.
    """
    marginals = [log_normal(path[1], *encoder(path[0], 1))]
    for t in range(2, len(path)):
        mean, variance = (part.unsqueeze(0) for part in encoder(path[t - 1], t))
        density = log_normal(path[t].unsqueeze(1), mean, variance)  # (K, K, B): every x_t from every x_{t-1}
        marginals.append(density.logsumexp(1) - math.log(density.shape[1]))
    return marginals


# ---- an encoder and a decoder with parameters ------------------------------------------------------------------------


class GaussianNetwork(nn.Module):
    """A trainable `Conditional`: (x (..., d), t in 1..T) -> mean x + shift(x, t) and variance (..., d)."""

    def __init__(self, d: int, T: int, width: int = 64):
        super().__init__()
        self.inp, self.level = nn.Linear(d, width), nn.Embedding(T + 1, width)
        self.hidden = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.out = nn.Linear(width, 2 * d)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # a new network adds noise of variance 1 to x

    def forward(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        h = self.hidden(self.inp(x) + self.level.weight[t])
        shift, log_variance = self.out(h).chunk(2, dim=-1)
        return x + shift, log_variance.exp()


def train(
    encoder: Conditional,
    decoder: Conditional,
    data: Callable[[int], Tensor],
    T: int,
    steps: int = 1000,
    batch: int = 256,
    learning_rate: float = 0.01,
    generator: Draw = None,
) -> Iterator[tuple[int, float]]:
    """Maximise the mean ELBO over the parameters of both: yields (step, ELBO of its batch in nats).

    `data(n)` draws x_0 (n, d). Adam; the learning rate falls to zero along a cosine.
    """
    parameters = [p for part in (encoder, decoder) if isinstance(part, nn.Module) for p in part.parameters()]
    optimizer = torch.optim.Adam(parameters, learning_rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(1, steps + 1):
        mean_elbo = elbo(encoder, decoder, encode(encoder, data(batch), T, generator)).mean()
        optimizer.zero_grad()
        (-mean_elbo).backward()
        optimizer.step()
        scheduler.step()
        yield step, mean_elbo.item()


# ---- the special case ----------------------------------------------------------------------------------------------


def diffusion_encoder(schedule: Schedule) -> Conditional:
    """The fixed encoder of diffusion: q(x_t | x_{t-1}) = N(sqrt(alpha_t) x_{t-1}, beta_t I), Ho Eq. (2)."""
    return lambda x, t: (schedule.alpha[t].sqrt().to(x) * x, schedule.beta[t].to(x))


def diffusion_decoder(eps: EpsFn, schedule: Schedule, variance: str = "posterior") -> Conditional:
    """p(x_{t-1} | x_t) of a diffusion model, as `ddpm.bits_per_dim` uses it, nothing clipped."""

    def decoder(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        times = torch.full((len(x),), t, dtype=torch.long, device=x.device)
        return reverse(eps, schedule, x, times, variance, clip=False)

    return decoder


def diffusion_marginals(schedule: Schedule, path: LatentPath) -> list[Tensor]:
    """log q(x_t | x_0) = log N(x_t; sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I) for t = 1..T: Ho Eq. (4)."""
    alpha_bar = schedule.alpha_bar.to(path[0])
    return [log_normal(x, alpha_bar[t].sqrt() * path[0], 1 - alpha_bar[t]) for t, x in enumerate(path) if t]
