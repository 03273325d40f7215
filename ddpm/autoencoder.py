"""The autoencoder of latent diffusion (Rombach et al. 2022, Section 3.1): an image as a small map, and back.

Diffusion runs on the map, the latent, as it runs on pixels. The encoder gives a normal distribution for each number of
the latent; a small KL divergence from the standard normal keeps them near zero. The paper's loss has two more terms, a
perceptual and an adversarial one, and its diffusion is trained on draws from that distribution, not on its mean.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unet.blocks import Down, ResBlock, Up
from unet.config import check_ranges, option

AT_ONCE = 64  # images or latents that go through the network together


@dataclass(frozen=True)
class AutoencoderConfig:
    """The architecture of an autoencoder. ValueError: numbers outside their range, or that do not fit together."""

    size: int = option(64, "side of the square images, in pixels", 1, 1024)
    stem: int = option(2, "side of the pixel blocks that become channels: maps begin at size / stem", 1, 64)
    channels: int = option(32, "channels of the first map", 4, 4096)
    multipliers: tuple[int, ...] = option((1, 2), "as in the U-Net; the latent has the last map's size", 1, 64)
    blocks: int = option(2, "residual blocks of a stage, in the encoder and in the decoder", 1, 16)
    groups: int = option(2, "groups of each GroupNorm; they must divide all channels", 1, 4096)
    latent_channels: int = option(4, "channels of an autoencoder's latent", 1, 64)
    kl_weight: float = option(2e-4, "weight of the KL divergence in an autoencoder's loss", 0, 1000)

    def __post_init__(self):
        check_ranges(self)
        if not self.multipliers:
            raise ValueError("multipliers is (): expected one number or more")
        if self.channels % self.groups:
            raise ValueError(f"{self.channels} channels: expected a multiple of groups {self.groups}")
        if self.size % self.factor:
            raise ValueError(f"size {self.size} must be a multiple of {self.factor}, one number of the latent")

    @property
    def factor(self) -> int:
        """The pixels that one number of a channel of the latent stands for, along a side."""
        return self.stem * 2 ** (len(self.multipliers) - 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a latent."""
        return self.latent_channels, self.size // self.factor, self.size // self.factor


class Autoencoder(nn.Module):
    """Images x (B, 3, H, W) in [-1, 1] to latents x_0 (B, *latent_shape) of standard deviation 1, and back."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        widths, pixels = [config.channels * m for m in config.multipliers], 3 * config.stem**2
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(config.stem),
            nn.Conv2d(pixels, widths[0], 3, padding=1),
            *self._stages(widths, Down),
            *self._output(widths[-1], 2 * config.latent_channels),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1),
            *self._stages(widths[::-1], Up),
            *self._output(widths[0], pixels),
            nn.PixelShuffle(config.stem),
        )
        self.register_buffer("scale", torch.ones(()))  # of the encoder's latents, their standard deviation
        self.to(memory_format=torch.channels_last)

    def _stages(self, widths: list[int], resize: type[nn.Module]) -> list[nn.Module]:
        """Residual blocks of each width, the map's size changed between two widths."""
        layers, c = [], widths[0]
        for stage, width in enumerate(widths):
            if stage > 0:
                layers.append(resize(c))
            for _ in range(self.config.blocks):
                layers.append(ResBlock(c, width, self.config.groups))
                c = width
        return layers

    def _output(self, width: int, channels: int) -> list[nn.Module]:
        return [nn.GroupNorm(self.config.groups, width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)]

    @property
    def trainable(self) -> nn.Module:
        """What training changes: all of it."""
        return self

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images -> mean and logarithm of the variance of q(z | x), before the division by `scale`, float32."""
        mean, log_var = self.encoder(x.contiguous(memory_format=torch.channels_last)).float().chunk(2, dim=1)
        return mean, log_var.clamp(-30, 20)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images -> what the decoder makes of a draw z ~ q(z | x), float32, and mean and log_var of q: for training."""
        mean, log_var = self.posterior(x)
        z = mean + (log_var / 2).exp() * torch.randn_like(mean)
        return self.decoder(z).float(), mean, log_var

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Images -> latents x_0: the mean of q(z | x), divided by `scale`."""
        return torch.cat([self.posterior(part)[0] / self.scale for part in x.split(AT_ONCE)])

    @torch.no_grad()
    def decode(self, x_0: Tensor) -> Tensor:
        """Latents x_0 -> images; what lies outside of [-1, 1] is left to whoever shows them."""
        z = (x_0.float() * self.scale).contiguous(memory_format=torch.channels_last)
        return torch.cat([self.decoder(part).float() for part in z.split(AT_ONCE)])

    def measure_scale(self, x: Tensor) -> None:
        """Set `scale` so that the latents of these images have standard deviation 1 (Rombach et al. 2022, G)."""
        self.scale *= self.encode(x).std()


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, 1)) of each number, in nats (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var)


def autoencoder_loss(x: Tensor, reconstruction: Tensor, mean: Tensor, log_var: Tensor, kl_weight: float) -> Tensor:
    """The mean squared error + kl_weight times the mean KL divergence."""
    return (reconstruction - x).square().mean() + kl_weight * kl_to_standard_normal(mean, log_var).mean()
