"""Randomness as an argument: where the samplers' noise comes from.

Every function that draws takes `generator`, one of

- a `Noise`: one seed per image, so that image i of seed i has the same noise in any batch size (the image itself is
  the same up to rounding);
- a `torch.Generator`: one stream for the whole batch (take the one that drew x_T: another of the same seed would draw
  x_T a second time);
- a function x -> noise of x's shape: your own noise;
- None: PyTorch's global generator (`torch.manual_seed`).

Noise in half precision is drawn in float32 and rounded: what PyTorch draws in bfloat16 differs between its versions.
"""

from collections.abc import Callable, Iterable

import torch


class Noise:
    """One random stream per image.

        noise = Noise(range(8))
        x_T = noise.start((3, 32, 32))
        for t, x, x_0 in ddpm.sample(eps, schedule, x_T, generator=noise): ...

    `seeds` are ints in 0 .. 2^63 - 1, one for each image of the batch (ValueError: others, or none). The streams live
    on the CPU and draw in float32, so that a seed means the same image on every device and in every dtype: the same
    numbers to 2e-6, for PyTorch's normal numbers depend on the processor's vector instructions (AVX2 or none, say).
    """

    def __init__(self, seeds: Iterable[int]):
        seeds = list(seeds) if isinstance(seeds, Iterable) else []  # a number: is it one seed, or how many?
        if wrong := [seed for seed in seeds if not 0 <= int(seed) < 2**63 or int(seed) != seed]:
            raise ValueError(f"a seed is {wrong[0]}, expected a whole number in 0 .. 2^63 - 1")
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        if not self.generators:
            raise ValueError("no seeds given, expected one for each image, such as range(8)")

    def start(self, shape: tuple[int, ...], device: str | torch.device = "cpu") -> torch.Tensor:
        """x_T ~ N(0, I), (B, *shape), `shape` being that of one image: usually (C, H, W)."""
        pinned = torch.device(device).type == "cuda"  # memory that a GPU can fetch while the CPU goes on
        x = torch.empty(len(self.generators), *shape, pin_memory=pinned)
        for row, generator in zip(x, self.generators, strict=True):
            torch.randn(*shape, generator=generator, out=row)
        return x.to(device, non_blocking=pinned)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The next noise, shaped like x (B, ...). ValueError unless B is the number of seeds."""
        if len(x) != len(self.generators):
            raise ValueError(f"the batch holds {len(x)} images, but the noise has {len(self.generators)} seeds")
        return self.start(x.shape[1:], x.device).to(x.dtype)


Draw = Noise | torch.Generator | Callable[[torch.Tensor], torch.Tensor] | None


def noise_like(x: torch.Tensor, generator: Draw = None) -> torch.Tensor:
    """Standard normal noise of x's shape, dtype and device from any of the four sources above."""
    dtype = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    if generator is None:
        return torch.randn_like(x, dtype=dtype).to(x.dtype)
    if isinstance(generator, torch.Generator):
        return torch.randn(x.shape, generator=generator, device=generator.device, dtype=dtype).to(x)
    if not callable(generator):
        raise ValueError(f"generator is {generator!r}, expected such as ddpm.Noise(seeds), one seed for each image")
    return generator(x)
