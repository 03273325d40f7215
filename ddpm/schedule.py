"""The noise schedule: how much of the image is left at time t.

Time runs t = 0 (data) to t = T (noise); every table has T + 1 entries and alpha_bar[0] == 1, so no formula
needs a special first or last step. `alpha_bar` is the one name for what DDPM writes with a bar and DDIM without.
"""

import math

import torch

KINDS = ("linear", "cosine")
COSINE_OFFSET = 0.008  # s of Nichol & Dhariwal 2021, Eq. (17)
COSINE_BETA_MAX = 0.999  # the same paper: keeps the last step from dividing by zero
MOST_SIGNAL = 0.01  # alpha_bar at which samples may start from noise: a tenth of the image's contrast is left


class Schedule:
    """The tables of q(x_t | x_{t-1}) = N(sqrt(alpha_t) x_{t-1}, beta_t I), alpha_t = 1 - beta_t: Ho et al. Eq. (2).

    `T` is the number of steps (at least 1), `kind` is "linear" or "cosine":

    - "linear": beta_1 .. beta_T evenly from 1e-4 to 0.02 (Ho et al. 2020, section 4). The end points stay the same
      for every T, so they suit T = 1000; below 456 steps x_T still shows the image, and training refuses that.
    - "cosine": alpha_bar_t = f(t) / f(0), f(t) = cos^2(pi/2 (t/T + s) / (1 + s)), betas at most 0.999
      (Nichol & Dhariwal 2021, Eq. 17). It means the same for every T.

    `beta`, `alpha`, `alpha_bar` and `snr` are (T + 1,) float64 tensors, indexed by t. At t = 0: beta = 0,
    alpha = alpha_bar = 1 and snr = inf. A T below 1 or an unknown kind raises ValueError.
    """

    def __init__(self, T: int = 1000, kind: str = "linear"):
        if not isinstance(T, int) or T < 1:
            raise ValueError(f"T is {T!r}, but a schedule needs a whole number of steps, at least 1")
        if kind not in KINDS:
            raise ValueError(f"schedule kind is {kind!r}, expected one of {', '.join(KINDS)}")
        self.T, self.kind = T, kind
        betas = linear_betas(T) if kind == "linear" else cosine_betas(T)
        self.beta = torch.cat([torch.zeros(1, dtype=torch.float64), betas])
        self.alpha = 1 - self.beta
        self.alpha_bar = self.alpha.cumprod(0)
        self.snr = self.alpha_bar / (1 - self.alpha_bar)
        self._copies = {}  # (table name, device) -> the table on that device, so that a GPU loop never waits for it

    def at(self, name: str, t: int | torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Entry t of a table in float64, on x's device, shaped to multiply x (B, ...).

        `name` is "beta", "alpha", "alpha_bar" or "snr". An int t gives a 0-dimensional tensor, a (B,) long t gives
        (B, 1, ..., 1). Coefficients are computed from it in float64 and cast to x's dtype at the end, see `cast`.
        Another number than 0..T raises ValueError; a tensor is trusted, since looking at it would make a GPU wait.
        """
        if not isinstance(t, torch.Tensor):
            if not 0 <= t <= self.T or t != int(t):
                raise ValueError(f"t is {t}, expected a time in 0..{self.T}")
            return getattr(self, name)[int(t)]
        key = name, x.device
        if key not in self._copies:
            self._copies[key] = getattr(self, name).to(x.device)
        return self._copies[key][t.to(x.device)].view(-1, *[1] * (x.dim() - 1))

    def scales(self, t: int | torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The factors of x_0 and of the noise in x_t: sqrt(alpha_bar_t), sqrt(1 - alpha_bar_t) in x's dtype."""
        alpha_bar = self.at("alpha_bar", t, x)
        return alpha_bar.sqrt().to(x.dtype), (1 - alpha_bar).sqrt().to(x.dtype)

    def __repr__(self) -> str:
        return f"Schedule(T={self.T}, kind={self.kind!r})"


def cast(x: torch.Tensor, *coefficients: torch.Tensor) -> list[torch.Tensor]:
    """Float64 coefficients in x's dtype, so that a float32 image stays float32."""
    return [coefficient.to(x.dtype) for coefficient in coefficients]


def linear_betas(T: int) -> torch.Tensor:
    """beta_1 .. beta_T, (T,) float64 (Ho et al. 2020, section 4)."""
    return torch.linspace(1e-4, 0.02, T, dtype=torch.float64)


def cosine_betas(T: int) -> torch.Tensor:
    """beta_1 .. beta_T, (T,) float64 (Nichol & Dhariwal 2021, Eq. 17)."""
    time = torch.arange(T + 1, dtype=torch.float64) / T
    f = torch.cos((time + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=COSINE_BETA_MAX)
