"""Solutions of the exercises of `exercises.py`, in the order of the notebooks, each at most ten lines."""

import torch
import torch.nn.functional as F


def time_embedding(t, width):
    n = width // 2
    frequencies = 10000.0 ** (-torch.arange(n) / (n - 1))
    angles = t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def eps_from_v(v, x_t, a_t):
    return a_t.sqrt() * v + (1 - a_t).sqrt() * x_t


def kl_of_gaussians(mu_1, var_1, mu_2, var_2):
    terms = torch.log(var_2 / var_1) - 1 + var_1 / var_2 + (mu_2 - mu_1) ** 2 / var_2
    return terms.sum(dim=-1) / 2


def posterior(x_0, x_t, t, alpha_bar):
    abar_t, abar_prev = alpha_bar[t], alpha_bar[t - 1]
    alpha = abar_t / abar_prev
    beta = 1 - alpha
    coef_x_0 = abar_prev.sqrt() * beta / (1 - abar_t)
    coef_x_t = alpha.sqrt() * (1 - abar_prev) / (1 - abar_t)
    return coef_x_0 * x_0 + coef_x_t * x_t, (1 - abar_prev) / (1 - abar_t) * beta


def alpha_bar(beta):
    return torch.cat([torch.ones(1), (1 - beta).cumprod(0)])


def q_sample(x_0, t, noise, alpha_bar):
    a = alpha_bar[t].view(-1, 1, 1, 1)
    return a.sqrt() * x_0 + (1 - a).sqrt() * noise


def simple_loss(eps_fn, x_0, t, noise, alpha_bar):
    x_t = q_sample(x_0, t, noise, alpha_bar)
    return (eps_fn(x_t, t) - noise).square().mean(dim=(1, 2, 3))


def ancestral_step(eps, x_t, t, noise, alpha_bar):
    now, before = alpha_bar[t], alpha_bar[t - 1]
    alpha = now / before
    mean = (x_t - (1 - alpha) / (1 - now).sqrt() * eps) / alpha.sqrt()
    sigma = ((1 - before) / (1 - now) * (1 - alpha)).sqrt()  # 0 at t = 1
    return mean + sigma * noise


def sdedit_start(x_0, strength, grid, noise, alpha_bar):
    S = len(grid) - 1
    t = grid[S - round(strength * S)]
    return t, alpha_bar[t].sqrt() * x_0 + (1 - alpha_bar[t]).sqrt() * noise


def change_elsewhere(x, y, same):
    squares = ((x - y) / 2).square().mean(dim=1)
    return (squares * same).sum(dim=(1, 2)) / same.sum(dim=(1, 2))


def timesteps(T, S):
    return [i * T // S for i in range(S, -1, -1)]


def ddim_step(eps, x_t, a_t, a_s, sigma, noise):
    x_0 = (x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt()
    direction = (1 - a_s - sigma**2).clamp(min=0).sqrt() * eps
    return a_s.sqrt() * x_0 + direction + sigma * noise


def inversion_step(eps, x_s, a_s, a_t):
    x_0 = (x_s - (1 - a_s).sqrt() * eps) / a_s.sqrt()
    return a_t.sqrt() * x_0 + (1 - a_t).sqrt() * eps


def invert(eps_fn, x_0, grid, alpha_bar):
    x, times = x_0, grid[::-1]
    for s, t in zip(times[:-1], times[1:], strict=True):
        eps = eps_fn(x, torch.full((len(x),), t))
        x = inversion_step(eps, x, alpha_bar[s], alpha_bar[t])
    return x


def attention(Q, K, V):
    weights = (Q @ K.mT / Q.shape[-1] ** 0.5).softmax(dim=-1)
    return weights @ V, weights


def average_map(steps, token, size):
    mean = torch.stack(steps).mean(dim=(0, 1))[:, token]
    side = round(len(mean) ** 0.5)
    return F.interpolate(mean.view(1, 1, side, side), size=(size, size), mode="bilinear")[0, 0]


def inject(weights, kind, done, share):
    source, target = weights.chunk(2)
    if kind == "cross" and done < share:
        target = source
    return torch.cat([source, target])


def align_words(source, target):
    m, n = len(source), len(target)
    best = [[[None] * (n - j) for j in range(n + 1)] for _ in range(m + 1)]  # best[i][j]: of source[i:], target[j:]
    for i in reversed(range(m)):
        for j in reversed(range(n)):
            if source[i] == target[j]:
                best[i][j] = [i, *best[i + 1][j + 1]]
            else:  # the one with fewer new words: without source[i], or with target[j] as a new word
                best[i][j] = min(best[i + 1][j], [None, *best[i][j + 1]], key=lambda places: places.count(None))
    return best[0][0]


def local_blend(source, target, map_source, map_target, threshold):
    inside = torch.zeros_like(map_source, dtype=torch.bool)
    for each in (map_source, map_target):
        inside = inside | (each - each.min() > threshold * (each.max() - each.min()))
    return torch.where(inside, target, source)


def frechet_1d(mu_1, var_1, mu_2, var_2):
    means, spreads = (mu_1 - mu_2) ** 2, (var_1.sqrt() - var_2.sqrt()) ** 2
    return means + spreads


def guide(eps_caption, eps_null, scale):
    return eps_null + scale * (eps_caption - eps_null)


def latent(mean, log_var, noise, scale):
    return (mean + (log_var / 2).exp() * noise) / scale


def add_control(kept, copied, weight, bias, strength):
    out = torch.einsum("oc,bchw->bohw", weight, copied) + bias[:, None, None]
    return kept + strength * out
