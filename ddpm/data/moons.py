"""Two moons in the plane, a dataset of known density: a mixture of Gaussians along two half circles."""

import math

import torch

SPREAD = 0.1  # standard deviation around the half circles, which have radius 1
COMPONENTS = 64  # on each half circle


class Moons:
    """`sample` and `log_prob` of the moons, scaled to mean 0 and variance 1 along each axis, float32."""

    def __init__(self):
        angle = math.pi * (torch.arange(COMPONENTS) + 0.5) / COMPONENTS
        upper = torch.stack([angle.cos(), angle.sin()], 1)
        lower = torch.tensor([1.0, 0.5]) - upper
        centres = torch.cat([upper, lower])
        scale = (centres.var(0, correction=0) + SPREAD**2).sqrt()
        self.centres = (centres - centres.mean(0)) / scale  # (2 COMPONENTS, 2)
        self.spread = SPREAD / scale  # (2,)

    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """n points (n, 2)."""
        chosen = torch.randint(len(self.centres), (n,), generator=generator)
        return self.centres[chosen] + self.spread * torch.randn(n, 2, generator=generator)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        """The log density in nats, (..., 2) -> (...): no model's ELBO can exceed its mean over the data."""
        densities = torch.distributions.Normal(self.centres, self.spread).log_prob(x.unsqueeze(-2)).sum(-1)
        return densities.logsumexp(-1) - math.log(len(self.centres))
