"""DDPM: the forward process, its posterior, the loss and ancestral sampling (Ho, Jain & Abbeel 2020).

No network is needed here: it is an `EpsFn`, any function (x_t (B,C,H,W), t (B,) long in 1..T) -> eps (B,C,H,W).
In every formula images and noise are (B, ...), t is an int or a (B,) long tensor, and coefficients are float64 until
they meet the image. ValueError: an int t out of range (a tensor is trusted: to look at it would make a GPU wait), a
choice that there is not, noise that is missing.
"""

from collections.abc import Callable, Iterator

import torch

from .noise import Draw, noise_like
from .schedule import Schedule, cast

EpsFn = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Time = int | torch.Tensor
VARIANCES = ("posterior", "beta")
WEIGHTINGS = ("eps", "v")


def q_sample(schedule: Schedule, x_0: torch.Tensor, t: Time, noise: torch.Tensor) -> torch.Tensor:
    """x_t ~ q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I) from standard normal noise: Ho Eq. (4).

    t in 0..T -> x_t.
    """
    signal, noise_std = schedule.scales(t, x_0)
    return signal * x_0 + noise_std * noise


def predict_x0(schedule: Schedule, x_t: torch.Tensor, t: Time, eps: torch.Tensor) -> torch.Tensor:
    """Predicted x_0 from x_t and its noise eps, t in 0..T: Ho Eq. (15), which is Eq. (4) solved for x_0."""
    signal, noise_std = schedule.scales(t, x_t)
    return (x_t - noise_std * eps) / signal


def predict_eps(schedule: Schedule, x_t: torch.Tensor, t: Time, x_0: torch.Tensor) -> torch.Tensor:
    """The noise in x_t, given x_0, t in 1..T: Ho Eq. (4) solved for the noise."""
    signal, noise_std = schedule.scales(t, x_t)
    return (x_t - signal * x_0) / noise_std


def posterior(schedule: Schedule, x_0: torch.Tensor, x_t: torch.Tensor, t: Time) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (B, ...) and variance (() or (B, 1, ...)) of q(x_{t-1} | x_t, x_0), t in 1..T: Ho Eq. (6) and (7).

    mean     = sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t) x_0
             + sqrt(alpha_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) x_t
    variance = (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) beta_t
    """
    beta, alpha = schedule.at("beta", t, x_t), schedule.at("alpha", t, x_t)
    abar_t, abar_prev = schedule.at("alpha_bar", t, x_t), schedule.at("alpha_bar", t - 1, x_t)
    coef_x_0 = abar_prev.sqrt() * beta / (1 - abar_t)
    coef_x_t = alpha.sqrt() * (1 - abar_prev) / (1 - abar_t)
    coef_x_0, coef_x_t = cast(x_t, coef_x_0, coef_x_t)
    return coef_x_0 * x_0 + coef_x_t * x_t, posterior_variance(schedule, x_t, t)


def posterior_variance(schedule: Schedule, x_t: torch.Tensor, t: Time) -> torch.Tensor:
    """The variance of `posterior`, () or (B, 1, ...), to multiply x_t, t in 1..T: Ho Eq. (7)."""
    abar_t, abar_prev = schedule.at("alpha_bar", t, x_t), schedule.at("alpha_bar", t - 1, x_t)
    return cast(x_t, (1 - abar_prev) / (1 - abar_t) * schedule.at("beta", t, x_t))[0]


def reverse_variance(schedule: Schedule, x_t: torch.Tensor, t: Time, variance: str = "posterior") -> torch.Tensor:
    """sigma_t^2 of p(x_{t-1} | x_t): the two choices of Ho section 3.2.

    "posterior" is Eq. (7)'s, right when the data are one point; "beta" is beta_t, right when the data are N(0, I).
    t in 1..T; () or (B, 1, ...), to multiply x_t.
    """
    check_choice("variance", variance, VARIANCES)
    if variance == "beta":
        return cast(x_t, schedule.at("beta", t, x_t))[0]
    return posterior_variance(schedule, x_t, t)


def simple_loss(
    eps_fn: EpsFn, schedule: Schedule, x_0: torch.Tensor, t: torch.Tensor, noise: torch.Tensor, weighting: str = "eps"
) -> torch.Tensor:
    """One loss per image, (B,): the mean squared error of the predicted noise, Ho Eq. (14). t is (B,) long in 1..T.

    weighting "v" divides it by alpha_bar_t. That is the squared error of v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar)
    x_0 (Salimans & Ho 2022, appendix D), because eps_hat - eps = sqrt(alpha_bar) (v_hat - v): the noisiest
    times, where eps says little about the image, count as much as the others.
    """
    check_choice("weighting", weighting, WEIGHTINGS)
    error = eps_fn(q_sample(schedule, x_0, t, noise), t) - noise
    loss = error.square().flatten(1).mean(1)
    if weighting == "v":
        loss = loss / schedule.at("alpha_bar", t, loss).to(loss.dtype)
    return loss


def predict(eps: EpsFn, x_t: torch.Tensor, t: int) -> torch.Tensor:
    """Call the network: eps(x_t, t) with the same int t in 1..T for every image of the batch."""
    return eps(x_t, torch.full((len(x_t),), t, dtype=torch.long, device=x_t.device))


def step(
    schedule: Schedule,
    eps: torch.Tensor,
    x_t: torch.Tensor,
    t: int,
    noise: torch.Tensor | None = None,
    variance: str = "posterior",
    clip: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of ancestral sampling -> x_{t-1}, predicted x_0: Ho Algorithm 2, lines 3 and 4. t in 1..T.

    `eps` is the network's output at (x_t, t), `noise` is standard normal. The mean is the posterior's at the predicted
    x_0 (the left form of Ho Eq. (11); without clipping also its right one, with eps). `clip` keeps the predicted x_0 in
    [-1, 1]. The step to t = 0 adds no noise.
    """
    x_0 = predict_x0(schedule, x_t, t, eps)
    if clip:
        x_0 = x_0.clamp(-1, 1)
    mean, _ = posterior(schedule, x_0, x_t, t)
    if t == 1:
        return mean, x_0
    if noise is None:
        raise ValueError(f"the step from t = {t} to {t - 1} adds noise, but none was given")
    return mean + reverse_variance(schedule, x_t, t, variance).sqrt() * noise, x_0


@torch.no_grad()
def sample(
    eps: EpsFn,
    schedule: Schedule,
    x_T: torch.Tensor,
    variance: str = "posterior",
    clip: bool = True,
    generator: Draw = None,
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Ancestral sampling, Ho Algorithm 2: yields (t, x_t, predicted x_0) after each of the T steps, t = T-1 .. 0.

    `x_T` (B, ...) is standard normal; `variance` is "posterior" or "beta"; `generator` see `ddpm.noise`. The network
    is called once per step, never at t = 0; the last step adds no noise.
    """
    check_choice("variance", variance, VARIANCES)
    x = x_T
    for t in range(schedule.T, 0, -1):
        noise = noise_like(x, generator) if t > 1 else None
        x, x_0 = step(schedule, predict(eps, x, t), x, t, noise, variance, clip)
        yield t - 1, x, x_0


def last(trajectory: Iterator[tuple[int, torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The final x of a trajectory (t, x_t, predicted x_0). ValueError: it has no state, or none left."""
    x = None
    for _, x, _ in trajectory:
        pass
    if x is None:
        raise ValueError("the trajectory has no state left: a generator runs once, make a new one")
    return x


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """ValueError unless value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(choices)}")
