"""Between two noises: DDIM section 5.3 and its appendix D.5 (Shoemake 1985)."""

import torch


def slerp(x: torch.Tensor, y: torch.Tensor, weight: float | torch.Tensor) -> torch.Tensor:
    """Spherical interpolation from x (weight 0) to y (weight 1), image by image; all (B, ...), weight a float or (B,).

    A straight line between two noises passes through vectors that are too short to be noise; the arc does not.
    Where x and y point the same way, or exactly opposite ways and no arc is singled out, it is the straight line.
    """
    shape = (-1, *[1] * (x.dim() - 1))
    weight = torch.as_tensor(weight, dtype=x.dtype, device=x.device).view(shape)
    cosine = torch.nn.functional.cosine_similarity(x.flatten(1), y.flatten(1)).clamp(-1, 1).view(shape)
    angle = cosine.acos()
    straight = angle.sin() < 1e-4  # far from the square root of the rounding error, where the quotients lose all digits
    divisor = torch.where(straight, 1, angle.sin())
    of_x = torch.where(straight, 1 - weight, ((1 - weight) * angle).sin() / divisor)
    of_y = torch.where(straight, weight, (weight * angle).sin() / divisor)
    return of_x * x + of_y * y
