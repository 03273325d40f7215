"""The exercises in which you write the method: `check(your_function, otherwise=the_repository's)` in a notebook.

A checker runs your function on small inputs whose answer is known without this repository's code: numbers worked out
by hand, Bayes' rule, a round trip, a closed form of a Gaussian, PyTorch's own functions. Where the answer differs, it
is compared with what typical mistakes give, so that the message can name the mistake. In the order of the notebooks.
"""

from itertools import combinations, pairwise

import torch
import torch.nn.functional as F
from checking import Wrong, agree, check, close, draws, exercise, parts
from torch import Tensor

import ddpm

__all__ = ["check"]

# alpha_bar with short roots: sqrt(alpha_bar) is 1, 0.8, 0.6, 0.28 and sqrt(1 - alpha_bar) is 0, 0.6, 0.8, 0.96
TABLE = torch.tensor([1.0, 0.64, 0.36, 0.0784], dtype=torch.float64)


def bayes(x_0: Tensor, x_t: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """q(x_{t-1} | x_t, x_0) by Bayes' rule: the precisions of q(x_{t-1} | x_0) and of q(x_t | x_{t-1}) add up."""
    alpha, before = TABLE[t] / TABLE[t - 1], TABLE[t - 1]
    if t == 1:
        return x_0, torch.zeros_like(alpha)
    prior, likelihood = 1 / (1 - before), alpha / (1 - alpha)
    mean = (prior * before.sqrt() * x_0 + likelihood * x_t / alpha.sqrt()) / (prior + likelihood)
    return mean, 1 / (prior + likelihood)


@exercise("cosines, sines, frequencies, shape")
def time_embedding(f):
    def angles(x):
        if x.shape == (4, 6):
            found = torch.atan2(x[1, 3:], x[1, :3]).tolist()
            raise Wrong("at t = 1 the angles are {:.4f}, {:.4f}, {:.4f}, expected 1, 1/100, 1/10000".format(*found))

    t = torch.tensor([0, 1, 50, 1000])
    cos, sin = (wave(t[:, None] * torch.tensor([1, 1e-2, 1e-4]).double()) for wave in (torch.cos, torch.sin))
    rising = t[:, None] * 10000.0 ** (torch.arange(3).double() / 2)
    agree("the embedding", f(t, 6), torch.cat([cos, sin], 1), {
        "the sines come first: the formula has the cosines first": torch.cat([sin, cos], 1),
        "cosines and sines alternate: all cosines come first, then all sines": torch.stack([cos, sin], 2).flatten(1),
        "the exponent has a minus: the frequencies fall from 1 to 1/10000": torch.cat([rising.cos(), rising.sin()], 1),
        "only cosines or only sines are there: half of the width is for each": lambda x: x.shape == cos.shape,
        "it is too wide: half of `width` is cosines, half is sines": lambda x: x.shape == (4, 12),
        "the sines stand below the cosines, not beside them: join them along dim 1": torch.cat([cos, sin], 0),
        "the frequencies are wrong": angles,
    })


@exercise("both terms, roots, sign; against x_0 and the noise that v is made of")
def eps_from_v(f):
    (x_0, noise), now = draws(2, 2, 3, 2, 2), TABLE[2]
    x_t, v = 0.6 * x_0 + 0.8 * noise, 0.6 * noise - 0.8 * x_0
    agree("the noise", f(v, x_t, now), noise, {
        "this is the predicted x_0: the noise is sqrt(alpha_bar_t) v + sqrt(1 - alpha_bar_t) x_t": x_0,
        "this is minus the predicted x_0: the two coefficients are swapped, and a sign": -x_0,
        "the second term is subtracted: it is added": 0.6 * v - 0.8 * x_t,
        "the two coefficients are swapped": 0.8 * v + 0.6 * x_t,
        "the roots are missing": 0.36 * v + 0.64 * x_t,
    }, {"v": v, "x_t": x_t})


@exercise("all terms, direction, sum over the dimensions, shape")
def kl_of_gaussians(f):
    (mu_1, mu_2), (var_1, var_2) = draws(2, 20, 3), draws(2, 20, 3, seed=1).exp()

    def kl(mu_1, var_1, mu_2, var_2):
        p, q = (torch.distributions.Normal(mu, var.sqrt()) for mu, var in ((mu_1, var_1), (mu_2, var_2)))
        return torch.distributions.kl_divergence(p, q)

    each, log, apart = kl(mu_1, var_1, mu_2, var_2), (var_2 / var_1).log(), (mu_2 - mu_1) ** 2
    terms = {"log(var_2 / var_1)": log, "d": log**0, "var_1 / var_2": var_1 / var_2, "var_2 / var_1": var_2 / var_1,
             "(mu_2 - mu_1)^2 / var_2": apart / var_2, "(mu_2 - mu_1)^2 / var_1": apart / var_1,
             "(mu_2 - mu_1)^2": apart, "|mu_2 - mu_1| / var_2": apart.sqrt() / var_2}
    agree("the divergence", f(mu_1, var_1, mu_2, var_2), each.sum(-1), {
        "the dimensions are not added up: sum over the last axis": each,
        "the dimensions are averaged: the divergence is their sum": each.mean(-1),
        "the two Gaussians are swapped: the divergence is not symmetric": kl(mu_2, var_2, mu_1, var_1).sum(-1),
        "the factor 1/2 is missing": 2 * each.sum(-1),
        "the variances are taken for standard deviations": kl(mu_1, var_1**2, mu_2, var_2**2).sum(-1),
        "the sum runs over the batch: sum over the last axis, the dimensions": each.sum(0),
        "this is one number: each of the batch has its own divergence": lambda x: x.dim() == 0,
    }, {name: term.sum(-1) for name, term in terms.items()})


@exercise("mean, variance, last step; against Bayes' rule")
def posterior(f):
    x_0, x_t = draws(2, 3, 2, 1, 1)
    (mean, variance), (right, spread) = parts(f(x_0, x_t, 2, TABLE), "mean", "variance"), bayes(x_0, x_t, 2)
    agree("the mean", mean, right, {
        "the order is wrong: the mean comes first, then the variance": spread,
        "the coefficients of x_0 and x_t are swapped": bayes(x_t, x_0, 2)[0],
        "alpha_bar_t stands where alpha_t should": (0.8 * 0.4375 * x_0 + 0.6 * 0.36 * x_t) / 0.64,
        "the roots of alpha_bar_(t-1) and alpha_t are missing": (0.64 * 0.4375 * x_0 + 0.5625 * 0.36 * x_t) / 0.64,
        "beta_t is taken as 1 - alpha_bar_t: it is 1 - alpha_t": 0.8 * x_0 + 0.75 * 0.36 / 0.64 * x_t,
        "alpha_bar_t stands for alpha_t, in beta_t too: alpha_t = alpha_bar_t / alpha_bar_(t-1)": (
            0.8 * x_0 + 0.6 * 0.36 / 0.64 * x_t),
        "the division by 1 - alpha_bar_t is missing": 0.8 * 0.4375 * x_0 + 0.75 * 0.36 * x_t,
        "the factor of x_0 has alpha_bar_t: it is the root of alpha_bar_(t-1)": (
            0.6 * 0.4375 * x_0 + 0.75 * 0.36 * x_t) / 0.64,
        "1 - alpha_bar_(t-1) and 1 - alpha_bar_t are swapped in the factor of x_t": (
            0.8 * 0.4375 / 0.64 * x_0 + 0.75 * 0.64 / 0.36 * x_t),
    })
    agree("the variance", torch.as_tensor(variance).squeeze(), spread, {
        "the variance is beta_t: that of q(x_t | x_(t-1)), the posterior's is smaller": 0.4375,
        "the second value is the standard deviation, expected the variance": spread.sqrt(),
        "the variance is 1 - alpha_bar_(t-1): that of q(x_(t-1) | x_0)": 0.36,
    })
    mean, variance = f(x_0, x_t, 1, TABLE)
    agree("the mean at t = 1", mean, x_0)
    agree("the variance at t = 1", torch.as_tensor(variance).squeeze(), 0.0)


@exercise("product, alpha_bar[0] = 1, length")
def alpha_bar(f):
    def ends(*numbers):  # with or without the 1 at the start
        return lambda x: close(x[-len(numbers) :], torch.tensor(numbers, dtype=torch.float64))

    agree("alpha_bar", f(torch.tensor([0.36, 0.4375, 0.5], dtype=torch.float64)), torch.tensor([1, 0.64, 0.36, 0.18]), {
        "this is one number: alpha_bar has T + 1, one for each t": lambda x: x.dim() == 0,
        "alpha_bar[0] = 1 is missing: T betas give T + 1 values": [0.64, 0.36, 0.18],
        "the 1 stands at the end: it belongs to t = 0, the data": [0.64, 0.36, 0.18, 1],
        "these are the alpha_t: multiply them up": ends(0.64, 0.5625, 0.5),
        "the betas are multiplied, not the alpha_t = 1 - beta_t": ends(0.07875),
        "the betas are added up: the factors 1 - beta_t are multiplied": ends(-0.2975),
        "the alpha_t are added up: multiply them": ends(0.64, 1.2025, 1.7025),
        "these are the roots sqrt(alpha_bar_t)": ends(0.8, 0.6, 0.18**0.5),
        "these are 1 - alpha_bar_t, the variances of the noise": ends(0.36, 0.64, 0.82),
        "the last factor is missing: alpha_bar[T] has all of alpha_1 to alpha_T": ends(0.64, 0.36),
        "the product runs from the last step to the first: alpha_bar[1] is alpha_1": ends(0.5, 0.28125, 0.18),
        "alpha_bar[0] is 0: at t = 0 nothing is noise yet, so it is 1": lambda x: x[0] == 0,
    })


def forward(x_0: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, dict, dict]:
    """x_t of TABLE, for x_0 (B, C, H, B), as wide as the batch; what typical mistakes give in its place; its terms."""

    def mix(of_image, of_noise, shape=(-1, 1, 1, 1)):
        return of_image.view(shape) * x_0 + of_noise.view(shape) * noise

    now, before, rows = TABLE[t], TABLE[t - 1], torch.eye(len(t))[..., None, None, None]
    signal, spread, alpha = now.sqrt(), (1 - now).sqrt(), now / before
    terms = {f"x_0 at t = {i}": row * x_0 for i, row in zip(t, rows, strict=True)}
    terms |= {f"the noise at t = {i}": row * noise for i, row in zip(t, rows, strict=True)}
    return mix(signal, spread), {
        "alpha_t is used where the formula has alpha_bar_t": mix(alpha.sqrt(), (1 - alpha).sqrt()),
        "the roots are missing: the noise takes the root of its variance": mix(now, 1 - now),
        "the two coefficients are swapped": mix(spread, signal),
        "the first t is used for all images: each has its own": mix(signal[:1], spread[:1]),
        "the table is read at t - 1: its entry t belongs to time t": mix(before.sqrt(), (1 - before).sqrt()),
        "t runs along the columns: the coefficients of image i need the shape (B, 1, 1, 1)": mix(signal, spread, -1),
    }, terms


@exercise("mean, variance, shapes, t = 0")
def q_sample(f):
    (x_0, noise), t = draws(2, 3, 2, 2, 3), torch.tensor([1, 2, 3])
    agree("x_t", f(x_0, t, noise, TABLE), *forward(x_0, t, noise))
    agree("x_t at t = 0", f(x_0, 0 * t, noise, TABLE), x_0)


@exercise("what the network is given, squared error, mean of each image")
def simple_loss(f):
    (x_0, noise, guess), t, seen = draws(3, 3, 2, 2, 3), torch.tensor([1, 2, 3]), []
    loss = f(lambda x, t: seen.append((x, t)) or guess, x_0, t, noise, TABLE)
    if not seen:
        raise Wrong("eps_fn is never called: the network predicts the noise in x_t")
    x_t, mistakes, terms = forward(x_0, t, noise)
    agree("x_t", seen[0][0], x_t, {
        "the network is given x_0: it sees x_t only": x_0, "the network is given the noise: it sees x_t only": noise,
    } | mistakes, terms)
    agree("the time that the network is given", seen[0][1], t)
    each = (guess - noise).flatten(1)
    agree("the loss", loss, each.square().mean(1), {
        "the loss is one number: each image has its own, the mean over its own values": each.square().mean(),
        "the squares are added up: the loss is their mean": each.square().sum(1),
        "the error is not squared": each.abs().mean(1),
        "the mean error is squared: square first": each.mean(1).square(),
        "this is the root of the mean: the loss has none": each.square().mean(1).sqrt(),
        "the mean runs over the batch: over channels, rows and columns": each.square().mean(0).view(2, 2, 3),
        "the prediction is added to the noise: take their difference": (guess + noise).square().flatten(1).mean(1),
        "the prediction is compared with x_0: it is a noise": (guess - x_0).square().flatten(1).mean(1),
        "the prediction is compared with x_t: it is a noise": (guess - x_t).square().flatten(1).mean(1),
    })


@exercise("mean, sigma, last step without noise, no clipping; against Bayes' rule")
def ancestral_step(f):
    x_0, eps, noise = draws(3, 3, 2, 1, 1) * torch.tensor([2.0, 1.0, 1.0]).view(3, 1, 1, 1, 1)
    for t in (1, 2):
        now, alpha = TABLE[t], TABLE[t] / TABLE[t - 1]
        x_t, weight = now.sqrt() * x_0 + (1 - now).sqrt() * eps, (1 - alpha) / (1 - now).sqrt()
        (mean, variance), clipped = bayes(x_0, x_t, t), bayes(x_0.clamp(-1, 1), x_t, t)[0]
        z, beta = variance.sqrt() * noise, "sigma_t^2 is beta_t: this exercise asks for the posterior's variance"
        agree(f"x_(t-1) at t = {t}", f(eps, x_t, t, noise, TABLE), mean + z, {
            "the last step adds noise: at t = 1 sigma is 0" if t == 1 else beta: mean + (1 - alpha).sqrt() * noise,
            "z is multiplied by the variance: it takes its root, the standard deviation": mean + variance * noise,
            "no noise is added: only the last step, t = 1, has none": mean,
            "the predicted x_0 is clipped to [-1, 1]: the formula does not clip": clipped + z,
            "the predicted noise is added: it is subtracted": (x_t + weight * eps) / alpha.sqrt() + z,
            "alpha_bar_t is used where the formula has alpha_t": (x_t - weight * eps) / now.sqrt() + z,
            "eps is divided by 1 - alpha_bar_t: its root": (x_t - (1 - alpha) / (1 - now) * eps) / alpha.sqrt() + z,
            "the mean is divided by alpha_t: it is its root": (x_t - weight * eps) / alpha + z,
            "only eps is divided by sqrt(alpha_t): x_t too": x_t - weight * eps / alpha.sqrt() + z,
            "eps is divided by sqrt(1 - alpha_t): it is sqrt(1 - alpha_bar_t)": (
                x_t - (1 - alpha).sqrt() * eps) / alpha.sqrt() + z,
            "alpha_bar_t stands for alpha_t, in beta_t too: alpha_t = alpha_bar_t / alpha_bar_(t-1)": (
                x_t - (1 - now).sqrt() * eps) / now.sqrt() + (1 - TABLE[t - 1]).sqrt() * noise,
        }, {"x_t": x_t, "eps": eps, "z": noise})


@exercise("the time, x_t, strengths 0 and 1")
def sdedit_start(f):
    (x_0, noise), grid = draws(2, 2, 3, 1, 1), [40, 30, 12, 5, 0]
    table = torch.cos(torch.arange(41, dtype=torch.float64) / 40 * 1.5) ** 2
    for n, time, strength in ((1, 5, 0.25), (2, 12, 0.5), (4, 40, 1.0), (0, 0, 0.0), (3, 30, 0.7)):
        t, x_t = parts(f(x_0, strength, grid, noise, table), "t", "x_t")
        agree(f"t of strength {strength}", t, time, {
            "the order is wrong: t comes first, then x_t": lambda t: t.dim() > 0,
            "strength times steps is cut off: it is rounded": lambda t, s=strength: s == 0.7 and t == 12,
            "strength is counted from the noisy end: a small strength starts near the image": grid[n],
            "the first value is a place in the grid: expected the time there": lambda t, n=n: t in (n, 4 - n),
            "strength is a share of T: it is a share of the grid's steps": 10 * n,
            "off by one in the grid": lambda t, n=n: t in (grid[max(3 - n, 0)], grid[min(5 - n, 4)]),
        })
        signal, spread = table[time].sqrt(), (1 - table[time]).sqrt()
        agree(f"x_t of strength {strength}", x_t, signal * x_0 + spread * noise, {
            "the image is not noised: x_t = x_0": x_0,
            "the image is not shrunk: it is multiplied by sqrt(alpha_bar_t)": x_0 + spread * noise,
            "the noise is subtracted: it is added": signal * x_0 - spread * noise,
            "the noise is multiplied by the variance: it takes the root": signal * x_0 + spread**2 * noise,
            "the roots are missing": signal**2 * x_0 + spread**2 * noise,
            "the two coefficients are swapped": spread * x_0 + signal * noise,
            "no noise is added": signal * x_0,
        })


@exercise("the pixels that count, the scale, one number for each image")
def change_elsewhere(f):
    difference = torch.tensor([[[[0.6, 0.2], [-0.4, 1.0]]] * 3, [[[0.8, -0.2], [0.0, 0.4]]] * 3], dtype=torch.float64)
    difference = difference * torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1)  # of other sign in the second channel
    x, same = draws(2, 3, 2, 2), torch.tensor([[[True, False], [True, False]], [[False, True], [True, True]]])
    # halved and squared: 0.09, 0.01, 0.04, 0.25 and 0.16, 0.01, 0, 0.04
    agree("the change", f(x, x + difference, same), torch.tensor([0.13 / 2, 0.05 / 3]), {
        "the scale is that of [-1, 1]: halve the difference": [0.52 / 2, 0.2 / 3],
        "all pixels count: only those where `same` is true do": [0.39 / 4, 0.21 / 4],
        "the wrong pixels count: those where `same` is true do": [0.26 / 2, 0.16],
        "it is divided by the number of all pixels: divide by the number of those that count": [0.13 / 4, 0.05 / 4],
        "the squares are added up: take their mean over the pixels": [0.13, 0.05],
        "the channels are added up: take their mean": [0.39 / 2, 0.05],
        "the mean over the channels is squared: square first": [0.13 / 18, 0.05 / 27],
        "the difference is not squared": [0.25, 0.1],
        "this is one number: each image has its own": lambda x: x.dim() == 0,
        "this is the root: the change is the mean of the squares": [0.065**0.5, (0.05 / 3) ** 0.5],
    })


@exercise("a list of S + 1 whole numbers, from T down to 0")
def timesteps(f):
    for T, S, grid in ((10, 4, [10, 7, 5, 2, 0]), (1000, 3, [1000, 666, 333, 0]), (9, 1, [9, 0])):
        answer, what, places = f(T, S), f"the grid of T = {T}, S = {S}", range(S, -1, -1)
        if not isinstance(answer, list):
            raise Wrong(f"{what} is a {type(answer).__name__}, expected a list of ints: tensors have .tolist()")
        agree(what, answer, grid, {
            "the times rise: they go down from T to 0": grid[::-1],
            "T is missing: the first step starts at T": grid[1:],
            "0 is missing: the last step ends at the image, t = 0": grid[:-1],
            "the grid starts at T - 1: here times run from 0 (data) to T (noise)": lambda x, T=T: T - 1 in x[:1],
            "off by one, these are S times and S - 1 steps: S steps have S + 1 times": lambda x, S=S: len(x) == S,
            "this is i (T // S): take the floor of each i T / S": [i * (T // S) for i in places],
            "the step is T // S, but S may not divide T: take the floor of each i T / S": [*range(T, -1, -(T // S))],
            "the times are no whole numbers: take the floor": [i * T / S for i in places],
            "the times are rounded: the formula takes the floor": lambda x: len(x) == 5 and x[-1] == 0 and 8 in x,
        })
        if not all(isinstance(t, int) for t in answer):
            raise Wrong(f"{what} holds a {type(answer[0]).__name__}, expected ints: the times are places in a table")
    for T, S in ((1000, 19), (1000, 26), (1000, 30)):  # i (T / S) and linspace fall short of some times
        agree(f"the grid of T = {T}, S = {S}", f(T, S), [i * T // S for i in range(S, -1, -1)], {
            "T / S is rounded first, and some times are one too small: multiply before you divide, i * T // S": (
                lambda x, S=S: len(x) == S + 1),
        })


@exercise("three terms, signs, no clipping, sigma = 0, last step")
def ddim_step(f):
    x_0, eps, noise = draws(3, 3, 2, 1, 1) * torch.tensor([2.0, 1.0, 1.0]).view(3, 1, 1, 1, 1)
    a_t, a_s, sigma = TABLE[2], TABLE[1], torch.tensor(0.6 * 5 / 13, dtype=torch.float64)
    x_t = 0.6 * x_0 + 0.8 * eps

    def terms(of_x_0=0.8, of_eps=0.6 * 12 / 13, of_noise=0.6 * 5 / 13, x_0=x_0):  # 12^2 + 5^2 = 13^2
        return of_x_0 * x_0 + of_eps * eps + of_noise * noise

    agree("x_s", f(eps, x_t, a_t, a_s, sigma, noise), terms(), {
        "the direction's root lacks - sigma^2: sqrt(1 - a_s - sigma^2)": terms(of_eps=0.6),
        "the direction's root has sigma: it is sigma^2": terms(of_eps=(0.36 - sigma).sqrt()),
        "the direction's root has a_t: it is 1 - a_s - sigma^2": terms(of_eps=(0.64 - sigma**2).sqrt()),
        "the random noise is multiplied by sigma^2: it takes sigma, the standard deviation": terms(of_noise=sigma**2),
        "the predicted x_0 has the wrong a: divide by sqrt(a_t), multiply by sqrt(a_s)": terms(of_x_0=0.6),
        "the direction's root has + sigma^2: it is 1 - a_s - sigma^2": terms(of_eps=(0.36 + sigma**2).sqrt()),
        "the predicted x_0 is clipped to [-1, 1]: the formula does not clip": terms(x_0=x_0.clamp(-1, 1)),
        "the predicted x_0 has the wrong sign: the noise is subtracted from x_t": terms(x_0=(x_t + 0.8 * eps) / 0.6),
        "the predicted x_0 is not divided by sqrt(a_t)": terms(x_0=x_t - 0.8 * eps),
        "the roots of the predicted x_0 are missing": terms(x_0=(x_t - 0.64 * eps) / 0.36),
        "the predicted x_0 lacks a root: the noise has sqrt(1 - a_t)": terms(x_0=(x_t - 0.64 * eps) / 0.6),
        "the predicted x_0 lacks a root: it is divided by sqrt(a_t)": terms(x_0=(x_t - 0.8 * eps) / 0.36),
        "the predicted x_0 divides the noise alone by sqrt(a_t): x_t too": terms(x_0=x_t - 0.8 / 0.6 * eps),
        "sigma is subtracted outside of the direction's root: sqrt(1 - a_s - sigma^2)": terms(of_eps=0.6 - sigma),
        "the direction lacks its root: sqrt(1 - a_s - sigma^2)": terms(of_eps=0.36 - sigma**2),
        "the direction is eps, the predicted noise, not x_t": terms(of_eps=0) + 0.6 * 12 / 13 * x_t,
        "the direction is eps, the predicted noise, not z": terms(of_eps=0) + 0.6 * 12 / 13 * noise,
        "a_t and a_s are swapped": terms(0.6, (0.64 - sigma**2).sqrt(), x_0=(x_t - 0.6 * eps) / 0.8),
    }, {"the predicted x_0": x_0, "eps": eps, "z": noise})
    agree("x_s at sigma = 0", f(eps, x_t, a_t, a_s, 0 * sigma, noise), terms(of_eps=0.6, of_noise=0))
    agree("x_s of the last step", f(eps, x_t, a_t, TABLE[0], 0 * sigma, noise), x_0)


@exercise("both coefficients, no clipping, first step; the DDIM step undoes it")
def inversion_step(f):
    x_0, eps = draws(2, 3, 2, 1, 1) * torch.tensor([2.0, 1.0]).view(2, 1, 1, 1, 1)
    x_s = 0.8 * x_0 + 0.6 * eps
    agree("x_t", f(eps, x_s, TABLE[1], TABLE[2]), 0.6 * x_0 + 0.8 * eps, {
        "a_s and a_t are swapped: x_s, where you are, belongs to a_s": 0.8 * (x_s - 0.8 * eps) / 0.6 + 0.6 * eps,
        "x_t = x_s comes out: the predicted x_0 takes a_s, the new x_t takes a_t": x_s,
        "x_s is noised as if it were the image: work out the predicted x_0 first": 0.6 * x_s + 0.8 * eps,
        "the predicted x_0 has the wrong sign: subtract the noise": 0.6 * (x_s + 0.6 * eps) / 0.8 + 0.8 * eps,
        "the predicted x_0 is not divided by sqrt(a_s)": 0.6 * (x_s - 0.6 * eps) + 0.8 * eps,
        "the roots are missing": 0.36 * (x_s - 0.36 * eps) / 0.64 + 0.64 * eps,
        "the noise keeps sqrt(1 - a_s): in x_t it has sqrt(1 - a_t)": 0.6 * x_0 + 0.6 * eps,
        "the predicted x_0 is not multiplied by sqrt(a_t)": x_0 + 0.8 * eps,
        "the predicted x_0 keeps sqrt(a_s): in x_t it has sqrt(a_t)": 0.8 * x_0 + 0.8 * eps,
        "the predicted x_0 takes sqrt(1 - a_t): x_s, where you are, has sqrt(1 - a_s)": (
            0.6 * (x_s - 0.8 * eps) / 0.8 + 0.8 * eps),
        "the roots of the new x_t are missing": 0.36 * x_0 + 0.64 * eps,
        "the noise is subtracted in the new x_t: it is added": 0.6 * x_0 - 0.8 * eps,
        "the predicted x_0 is clipped to [-1, 1]: then the step cannot be undone": 0.6 * x_0.clamp(-1, 1) + 0.8 * eps,
    })
    agree("x_t of the first step", f(eps, x_0, TABLE[0], TABLE[1]), x_s)


@exercise("order and times of the calls, x_T, the closed form of a Gaussian")
def invert(f):
    (x_0, eps), calls = draws(2, 2, 3, 1, 1), []
    x_T, first = f(lambda x, t: calls.append((x, t)) or eps, x_0, [3, 1, 0], TABLE), 0.8 * x_0 + 0.6 * eps
    if not calls or not all(isinstance(t, Tensor) and t.shape == (2,) for _, t in calls):
        raise Wrong("eps_fn(x, t) wants t as a (B,) tensor: torch.full((len(x),), t)")
    agree("the list of times at which the network is called", [int(t[0]) for _, t in calls], [1, 3], {
        "the network is called at s, where the step starts: call it at t, its end (it never learnt t = 0)": [0, 1],
        "the loop runs from noise to image: inversion walks the grid from 0 up to T": lambda t: t[0] > t[-1],
        "one step is missing: every pair of neighbours in the grid is a step": lambda t: len(t) == 1,
    })
    agree("the first x that the network is given", calls[0][0], x_0)
    agree("the second x that the network is given", calls[1][0], first, {
        "x is not carried on to the next step": x_0,
        "a_s and a_t are swapped: x, where you are, belongs to a_s": (x_0 - 0.6 * eps) / 0.8,
    })
    agree("x_T", x_T, 0.28 * x_0 + 0.96 * eps, {"the result is not the last x": first})
    schedule = ddpm.Schedule(1000, "cosine")
    exact = ddpm.GaussianEps(schedule, 0.5, 4.0)
    x_T = f(exact, x_0, list(range(1000, -1, -5)), schedule.alpha_bar)
    agree("x_T of Gaussian data (its closed form is known)", x_T, exact.flow(x_0, 0, 1000), tolerance=0.05)


@exercise("scores, softmax over the words, rows that sum to one, output")
def attention(f):
    (Q, K, V), eye = (draws(1, 2, n, 4, seed=n + i) for i, n in enumerate((5, 3, 3))), torch.eye(3).double()
    out, weights = parts(f(Q, K, V), "output", "weights")
    truth = F.scaled_dot_product_attention(Q, K, eye.expand(1, 2, 3, 3))  # values that show the weights
    scores = Q @ K.mT
    agree("the weights", weights, truth, {
        "the order is wrong: the output comes first, then the weights": truth @ V,
        "the scores are not divided by sqrt(d)": scores.softmax(-1),
        "the scores are divided by d: it is sqrt(d)": (scores / 4).softmax(-1),
        "the softmax runs over the pixels: each pixel's weights of all words sum to one": (scores / 2).softmax(-2),
        "the rows do not sum to one": lambda w: w.shape == truth.shape and not close(w.sum(-1), truth.sum(-1)),
    })
    agree("the output", out, truth @ V, {"the output is that of K: the weights average the values V": truth @ K})


@exercise("mean over steps and heads, the word's column, resizing")
def average_map(f):
    steps = list(draws(3, 2, 4, 3).softmax(-1))
    before, right, after = torch.stack(steps).mean((0, 1)).T.reshape(3, 2, 2)
    agree("the map", f(steps, 1, 2), right, {
        "steps or heads are added up: take their mean": lambda x: any(close(x, n * right) for n in (2, 3, 6)),
        "only the last step counts: take the mean over all": steps[-1].mean(0)[:, 1].view(2, 2),
        "the largest over the heads is taken: take their mean": torch.stack(steps).amax(1).mean(0)[:, 1].view(2, 2),
        "the map is stretched to 0..1: it is a mean of weights": (right - right.min()) / (right.max() - right.min()),
        "off by one: this is the map of the token before": before,
        "off by one: this is the map of the token after": after,
        "rows and columns of the map are swapped": right.T,
    })

    def enlarged(*rows):  # a row of 2 pixels as a row of 4
        return (resize := torch.tensor(rows, dtype=torch.float64)) @ right @ resize.T

    agree("the enlarged map", f(steps, 1, 4), enlarged((1, 0), (0.75, 0.25), (0.25, 0.75), (0, 1)), {
        "the pixels are repeated: enlarge bilinearly": enlarged((1, 0), (1, 0), (0, 1), (0, 1)),
        "align_corners=True moves the map: leave it False": enlarged((1, 0), (2 / 3, 1 / 3), (1 / 3, 2 / 3), (0, 1)),
    })


@exercise("the right half, early steps only, cross-attention only")
def inject(f):
    source, target = draws(2, 2, 2, 4, 3).softmax(-1)
    both, edited = torch.cat([source, target]), torch.cat([source, source])
    agree("the weights of an early step", f(both, "cross", 0.25, 0.5), edited, {
        "the wrong half is replaced: the first half, the sources, stays": torch.cat([target, target]),
        "the halves are swapped: the first half, the sources, stays": torch.cat([target, source]),
        "nothing is replaced in an early step": both,
        "one half is returned: sources and targets leave the hook together": lambda w: w.shape == source.shape,
    })
    for kind, done, mistake in (
        ("cross", 0.75, "late steps are replaced too: from done = share on the target keeps its own maps"),
        ("cross", 0.5, "off by one: at done = share that share of the steps is over"),
        ("self", 0.25, "self-attention is replaced too: here only the kind 'cross' is"),
    ):
        agree(f"the weights at kind {kind!r}, done {done}", f(both, kind, done, 0.5), both, {mistake: edited})


def longest(source: tuple, target: tuple) -> int:
    """How many words can find their place, by trying all: the most words that both have in the same order."""
    pairs = ((set(combinations(source, n)), set(combinations(target, n))) for n in range(len(target), 0, -1))
    return next((len(next(iter(both))) for one, other in pairs if (both := one & other)), 0)


@exercise("words added, removed, moved, that occur twice; as many places as possible")
def align_words(f):
    def refuse(source, target, mistakes=()):
        answer = f(list(source), list(target))
        pair = f"{' '.join(source)!r} -> {' '.join(target)!r}"
        if not isinstance(answer, list) or len(answer) != len(target):
            raise Wrong(f"{pair} gives {answer}, expected a list with one entry for each of the {len(target)} words")
        for message, wrong in dict(mistakes).items():
            if answer == wrong:
                raise Wrong(f"{pair}: {message}")
        places = [i for i in answer if i is not None]
        if not all(isinstance(i, int) and 0 <= i < len(source) for i in places):
            raise Wrong(f"{pair} gives {answer}, expected places from 0 to {len(source) - 1}, and None for a new word")
        if any(i is not None and source[i] != word for i, word in zip(answer, target, strict=True)):
            raise Wrong(f"{pair} gives {answer}: a word takes the map of another one")
        if any(i >= j for i, j in pairwise(places)):
            raise Wrong(f"{pair} gives {answer}: the places have to rise, words match in order and once")
        if len(places) < (most := longest(source, target)):
            raise Wrong(f"{pair} gives {answer}: {len(places)} words find their place, but {most} can")

    refuse("a cat on a couch".split(), "a black cat on a couch".split(), {
        "words behind the new one have moved by one: match words, not places": [0, None, None, None, None, None],
        "words behind the new one take the map of their place: match words, not places": [0, 1, 2, 3, 4, None],
        "the second 'a' takes the map of the first: words match in order": [0, None, 1, 2, 0, 4],
        "the start token is counted: number the words from 0": [1, None, 2, 3, 4, 5],
        "a new word is None, not -1": [0, -1, 1, 2, 3, 4],
    })
    stuck = "it stops at a removed word: the words behind it still match"
    refuse("a big cat here".split(), "a cat here".split(), {stuck: [0, None, None]})
    greedy = "each word takes the first place that is left, and 'couch' takes the last: 6 words find theirs without it"
    refuse("a big cat on a couch".split(), "couch a big cat on a couch".split(), {greedy: [5] + [None] * 6})
    block = "the longest run of neighbours ('a cat') comes first (so does difflib): 3 words find their place without it"
    refuse("a cat in snow at night".split(), "snow falls at cold night on a cat".split(), {block: [None] * 6 + [0, 1]})
    letters = torch.randint(3, (300, 2, 6), generator=torch.Generator().manual_seed(0)).tolist()
    for source, target in letters:
        refuse(["abc"[i] for i in source], ["abc"[i] for i in target])


@exercise("the union of two masks, each a share of its map's range, the right side")
def local_blend(f):
    source, target = draws(2, 3, 16, 16)
    old, new = 0.1 + 0.5 * torch.rand(2, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 2

    def masked(inside):
        return torch.where(torch.as_tensor(inside), target, source)

    def above(weights, share=0.3):
        return weights - weights.min() > share * (weights.max() - weights.min())

    agree("the blended x", f(source, target, old, new, 0.3), masked(above(old) | above(new)), {
        "the sides are swapped: the target inside the mask, the source outside": masked(~(above(old) | above(new))),
        "only the target's map makes the mask: the old object must go too": masked(above(new)),
        "only the source's map makes the mask: the new object needs its own pixels": masked(above(old)),
        "the masks are intersected: take their union": masked(above(old) & above(new)),
        "the threshold is absolute: it is a share of each map's range": masked((old > 0.3) | (new > 0.3)),
        "the threshold is a share of the maximum: it is one of the range, least to largest": masked(
            (old > 0.3 * old.max()) | (new > 0.3 * new.max())
        ),
        "the least value is left out: the share of the range is counted from it": masked(
            (old > 0.3 * (old.max() - old.min())) | (new > 0.3 * (new.max() - new.min()))
        ),
        "the two maps are added before the threshold: each has its own mask": masked(above(old + new)),
        "the maps' larger values make one mask: each map has its own range": masked(above(torch.maximum(old, new))),
        "the range is that of both maps together: each has its own": masked(above(torch.stack([old, new])).any(0)),
        "a share of 1 - threshold is taken: the mask begins at `threshold`": masked(above(old, 0.7) | above(new, 0.7)),
        "the pixels below the threshold make the mask: those above do": masked(~above(old) | ~above(new)),
        "one of the two masks only, not both (^): take their union": masked(above(old) ^ above(new)),
        "the masks are added, where both are it is 2: take their union": source + (target - source) * (
            above(old).double() + above(new)),
        "a share of the pixels is taken: the mask begins at a share of the map's range": masked(
            (old > old.quantile(0.3)) | (new > new.quantile(0.3))),
        "nothing is put back: outside of the mask the source": target,
        "this is the mask: return x_t": lambda x: x.shape == old.shape,
    })
    source, target = draws(2, 3, 1, 4)
    maps = torch.tensor([[[0.5, 0.2, 0.0, 0.1]], [[0.08, 0.12, 0.2, 0.08]]], dtype=torch.float64)
    agree("the blended x of four pixels", f(source, target, *maps, 0.3), masked([True, True, True, False]))


@exercise("both terms, squares, roots; four pairs of Gaussians worked out by hand")
def frechet_1d(f):
    cases = ((1, 4, 6, 36, 25 + 16), (-1, 0.25, 0.5, 6.25, 2.25 + 4), (2, 1, 2, 0, 0 + 1), (5, 16, 5, 16, 0))
    for *given, truth in cases:
        mu_1, var_1, mu_2, var_2 = (torch.tensor(number, dtype=torch.float64) for number in given)
        means, spreads, product = (mu_1 - mu_2) ** 2, (var_1.sqrt() - var_2.sqrt()) ** 2, (var_1 * var_2).sqrt()
        pair = f"N({mu_1:g}, {var_1:g}) and N({mu_2:g}, {var_2:g})"
        agree(f"the distance of {pair}", f(mu_1, var_1, mu_2, var_2), truth, {
            "the means are left out: their squared difference is the first term": spreads,
            "the variances are left out: the second term is the squared difference of their roots": means,
            "the variances are taken for standard deviations: take their roots": means + (var_1 - var_2) ** 2,
            "the difference of the means is not squared, and negative": mu_1 - mu_2 + spreads,
            "the difference of the means is not squared": (mu_1 - mu_2).abs() + spreads,
            "- 2 sqrt(var_1 var_2) is missing": means + var_1 + var_2,
            "the variances are subtracted: it is the squared difference of their roots": means + var_1 - var_2,
            "the difference of the roots is not squared": means + spreads.sqrt(),
            "the factor 2 is missing: it is - 2 sqrt(var_1 var_2)": means + var_1 + var_2 - product,
            "the root is missing: it is - 2 sqrt(var_1 var_2)": means + var_1 + var_2 - 2 * var_1 * var_2,
            "this is the root: the Frechet distance of the tables is the squared one": (means + spreads).sqrt(),
        })


@exercise("scales 0, 1 and 3, the order of the two predictions")
def guide(f):
    null, step = draws(2, 2, 3, 1, 1)
    caption = null + step
    agree("the prediction of scale 3", f(caption, null, 3.0), null + 3 * step, {
        "the two predictions are swapped: it starts at the null prompt's": caption - 3 * step,
        "it starts at the caption's prediction: this is the paper's w, one less than our scale": caption + 3 * step,
        "the difference is upside down: caption minus null prompt": null - 3 * step,
        "the values are clipped: the formula does not clip": (null + 3 * step).clamp(-1, 1),
    }, {"eps_caption": caption, "eps_null": null})
    agree("the prediction of scale 1", f(caption, null, 1.0), caption)
    agree("the prediction of scale 0", f(caption, null, 0.0), null)


@exercise("the draw, half of the logarithm, the division by the scale of both")
def latent(f):
    mean, log_var, noise = draws(2, 4, 2, 2), draws(2, 4, 2, 2, seed=1), draws(2, 4, 2, 2, seed=2)
    deviation, scale = log_var.exp().sqrt(), torch.tensor(2.5, dtype=torch.float64)
    agree("the latent", f(mean, log_var, noise, scale), (mean + deviation * noise) / scale, {
        "the noise is multiplied by the variance: half of log_var gives the standard deviation": (
            mean + deviation**2 * noise) / scale,
        "log_var is taken for the standard deviation: it is exp(log_var / 2)": (mean + log_var * noise) / scale,
        "the scale is missing: the U-Net wants latents of standard deviation 1": mean + deviation * noise,
        "it is multiplied by the scale: divide by it": (mean + deviation * noise) * scale,
        "only the mean is divided by the scale: the noise is a part of the latent": mean / scale + deviation * noise,
        "the deviation is upside down: exp(log_var / 2), not exp(-log_var / 2)": (mean + noise / deviation) / scale,
    }, {"the mean": mean, "exp(log_var / 2) times the noise": deviation * noise, "exp(log_var / 2)": deviation,
        "the noise": noise, "exp(log_var) times the noise": deviation**2 * noise,
        "log_var times the noise": log_var * noise})


@exercise("weight, bias, strength; with zero weights nothing changes")
def add_control(f):
    kept, copied, (weight, bias) = draws(2, 3, 2, 2), draws(2, 3, 2, 2, seed=1), draws(2, 3, 3, seed=2)
    bias = bias[0]
    out = F.conv2d(copied, weight[:, :, None, None], bias)
    agree("the map", f(kept, copied, weight, bias, 0.5), kept + 0.5 * out, {
        "the bias is not multiplied by the strength: at strength 0 nothing may be left of the copy": (
            kept + 0.5 * out + 0.5 * bias[:, None, None]),
        "weight is transposed: row o of it makes channel o": (
            kept + 0.5 * F.conv2d(copied, weight.T[:, :, None, None], bias)),
        "the copy's map is added without the convolution: training would not begin with the frozen network": (
            kept + 0.5 * copied),
        "the weight is used for each channel alone: it mixes the channels": (
            kept + 0.5 * (weight.diagonal().view(3, 1, 1) * copied + bias.view(3, 1, 1))),
    }, {"the kept map": kept, "W times the copy's map": out - bias.view(3, 1, 1), "b": bias.view(3, 1, 1),
        "the copy's map": copied, "W times the kept map": F.conv2d(kept, weight[:, :, None, None])})
    agree("the map with zero weights", f(kept, copied, 0 * weight, 0 * bias, 1.0), kept)
