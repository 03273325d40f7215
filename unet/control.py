"""ControlNet (Zhang et al. 2023, "Adding Conditional Control to Text-to-Image Diffusion Models", 2302.05543).

A trained U-Net is frozen. A copy of its way down and of its middle reads the noisy image together with a condition, a
line drawing, and is trained. Its maps are added to the skip connections and to the middle of the frozen network. All
that is added goes through convolutions whose weights start at zero, so training begins with the frozen network exactly.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Hook, Text
from .unet import Layer, UNet


def zero(convolution: nn.Conv2d) -> nn.Conv2d:
    """The convolution with weights and bias zero: "zero convolution", section 3.1.

    It learns all the same: the gradient of its weights is its input times the gradient of its output, and neither is 0.
    """
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    return convolution


class ControlNet(nn.Module):
    """The trainable copy of a U-Net's way down and middle, with the layers that read the condition.

    Time embedding and text encoder are not copied: the copy is given what those of the frozen network say.
    """

    def __init__(self, unet: UNet):
        super().__init__()
        config = unet.config
        self.stem = config.stem
        self.first, self.down, self.middle = (copy.deepcopy(part) for part in (unet.first, unet.down, unet.middle))
        self.requires_grad_(True)
        self.read = nn.Sequential(
            nn.Conv2d(config.stem**2, config.channels, 3, padding=1), nn.SiLU(),
            nn.Conv2d(config.channels, config.channels, 3, padding=1), nn.SiLU(),
            zero(nn.Conv2d(config.channels, config.channels, 3, padding=1)),
        )  # fmt: skip
        widths = [*unet.skip_channels, config.widths[-1]]  # of the skip connections, then of the middle
        self.out = nn.ModuleList(zero(nn.Conv2d(width, width, 1)) for width in widths)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, time: Tensor, text: Text, condition: Tensor) -> list[Tensor]:
        """x (B, C, size, size), condition (B, 1, size, size) -> a residual for each skip connection, and the middle.

        Each has the shape of the map of the frozen network that it is added to.
        """
        x = self.first(F.pixel_unshuffle(x, self.stem)) + self.read(F.pixel_unshuffle(condition, self.stem))
        maps = [x]
        for layer in self.down:
            x = layer(x, time, text, None) if isinstance(layer, Layer) else layer(x)
            maps.append(x)
        for layer in self.middle:
            x = layer(x, time, text, None)
        return [convolution(each) for convolution, each in zip(self.out, [*maps, x], strict=True)]


class ControlledUNet(UNet):
    """A frozen U-Net and the `ControlNet` that steers it: eps(x_t, t, caption, condition).

    base: a trained U-Net. It stays as it is: its weights are copied, and frozen here too.
    """

    def __init__(self, base: UNet):
        super().__init__(base.config, base.text.words.num_embeddings, base.alpha_bar)
        self.load_state_dict(base.state_dict())
        self.requires_grad_(False)
        self.control = ControlNet(self)
        self.to(base.alpha_bar.device)

    @property
    def trainable(self) -> nn.Module:
        """The copy and its zero convolutions."""
        return self.control

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        tokens: Tensor | Text,
        hook: Hook | None = None,
        condition: Tensor | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        """As the U-Net's, of the same shapes.

        condition: (B, 1, size, size) in [0, 1]; None gives the frozen network alone. strength: factor of the
        residuals, 0 for the frozen network. A hook sees the attention of the frozen network, not the copy's.
        """
        text = tokens if isinstance(tokens, Text) else self.text(tokens)
        if condition is None:
            return super().forward(x, t, text, hook)
        residuals = self.control(x, self.time(t), text, condition)
        return super().forward(x, t, text, hook, [strength * residual for residual in residuals])
