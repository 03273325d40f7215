"""The exercises of the notebooks: their solutions are right, and a typical mistake is refused by its name."""

import inspect
import json
import sys
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))

import solutions  # noqa: E402
from checking import CHECKERS, diagnose  # noqa: E402
from exercises import check  # noqa: E402

import p2p  # noqa: E402


def embedding(t, frequencies, dim=1):
    angles = t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=dim)


def kl(mu_1, var_1, mu_2, var_2, start=-1):
    return ((var_2 / var_1).log() + start + var_1 / var_2 + (mu_2 - mu_1) ** 2 / var_2) / 2


def ancestral(eps, x_t, t, noise, alpha_bar, beta=False, power=0.5, sign=1, clip=False):
    now, before = alpha_bar[t], alpha_bar[t - 1]
    x_0 = (x_t - (1 - now).sqrt() * eps) / now.sqrt()
    if clip:
        x_0 = x_0.clamp(-1, 1)
    mean, variance = solutions.posterior(x_0, x_t, t, alpha_bar)
    variance = 1 - now / before if beta else variance
    return mean + sign * variance**power * noise


def last_alone(eps, x_t, t, noise, alpha_bar):  # a branch without return
    if t == 1:
        return solutions.ancestral_step(eps, x_t, t, noise, alpha_bar)


def blend(source, target, masks, union=torch.logical_or):
    return torch.where(union(*masks), target, source)


def above(weights, threshold):
    return weights - weights.min() > threshold * (weights.max() - weights.min())


def inverted(eps_fn, x_0, grid, alpha_bar, at=1, carry=True, table=1):
    x, times = x_0, grid[::-1]
    for pair in zip(times[:-1], times[1:], strict=True):
        eps = eps_fn(x if carry else x_0, torch.full((len(x),), pair[at]))
        x = solutions.inversion_step(eps, x, alpha_bar[pair[1 - table]], alpha_bar[pair[table]])
    return x


def greedy(source, target):
    places, start = [], 0
    for word in target:
        found = word in source[start:]
        places.append(source.index(word, start) if found else None)
        start = places[-1] + 1 if found else start
    return places


def difflib_blocks(source, target):
    places = [None] * len(target)
    for i, j, n in SequenceMatcher(None, source, target, autojunk=False).get_matching_blocks():
        places[j : j + n] = range(i, i + n)
    return places


def stuck(source, target):
    places, i = [], 0
    for word in target:
        same = i < len(source) and source[i] == word
        places, i = [*places, i if same else None], i + same
    return places


def own_noise(x_0, t, noise, alpha_bar):
    return solutions.q_sample(x_0, t, torch.randn_like(x_0), alpha_bar)


def ddim(eps, x_t, a_t, a_s, sigma, noise, roots=(0.5, 0.5, 0.5), along=None, of_noise=None):
    x_0 = (x_t - (1 - a_t) ** roots[0] * eps) / a_t ** roots[1]
    direction = (1 - a_s - sigma**2).clamp(min=0) ** roots[2] * (eps if along is None else along)
    return a_s.sqrt() * x_0 + direction + (sigma if of_noise is None else of_noise) * noise


def written_into(weights, kind, done, share):
    if kind == "cross" and done < share:
        weights[1:] = weights[:1]
    return weights


def halves(weights, kind, done, share, swap=False):
    source, target = weights.chunk(2)
    late = kind != "cross" or done >= share
    return weights if late else torch.cat([target, source if swap else target])


WRONG = {  # exercise -> what a class answers, and words that the message has
    "time_embedding": [
        (lambda t, width: solutions.time_embedding(t, width).roll(width // 2, 1), "sines come first"),
        (lambda t, width: embedding(t, 1e4 ** (-torch.arange(width // 2) / (width // 2))), "1/10000"),
        (lambda t, width: (t[:, None] * 1e4 ** (-torch.arange(width // 2) / (width // 2 - 1))).sin(),
            "half of the width"),
        (lambda t, width: solutions.time_embedding(t, width).view(-1, 2, width // 2).mT.flatten(1), "alternate"),
        (lambda t, width: embedding(t, 1e4 ** (torch.arange(width // 2) / (width // 2 - 1))), "has a minus"),
    ],
    "eps_from_v": [
        (lambda v, x_t, a_t: a_t.sqrt() * v - (1 - a_t).sqrt() * x_t, "is subtracted"),
        (lambda v, x_t, a_t: (1 - a_t).sqrt() * v + a_t.sqrt() * x_t, "are swapped"),
        (lambda v, x_t, a_t: a_t * v + (1 - a_t) * x_t, "roots are missing"),
        (lambda v, x_t, a_t: a_t.sqrt() * x_t - (1 - a_t).sqrt() * v, "predicted x_0"),
        (lambda v, x_t, a_t: a_t.sqrt() * v, "only the first term"),
    ],
    "kl_of_gaussians": [
        (lambda mu_1, var_1, mu_2, var_2: kl(mu_2, var_2, mu_1, var_1).sum(-1), "are swapped"),
        (lambda *given: 2 * kl(*given).sum(-1), "1/2 is missing"),
        (lambda *given: kl(*given), "not added up"),
        (lambda *given: kl(*given, start=0).sum(-1), "- d is missing"),
        (lambda *given: kl(*given).mean(-1), "averaged"),
        (lambda m, v, n, w: kl(m, v, m, w).sum(-1), "means is missing"),
        (lambda m, v, n, w: kl(m, v, n, w).sum(-1) - (w / v).log().sum(-1), "upside down"),
    ],
    "posterior": [
        (lambda x_0, x_t, t, a: (solutions.posterior(x_0, x_t, t, a)[0], 1 - a[t] / a[t - 1]),
            "the variance is beta_t"),
        (lambda *given: (solutions.posterior(*given)[0], solutions.posterior(*given)[1] ** 0.5), "standard deviation"),
        (lambda x_0, x_t, t, a: solutions.posterior(x_t, x_0, t, a), "are swapped"),
        (lambda *given: solutions.posterior(*given)[0], "expected 2 values"),
        (lambda *given: solutions.posterior(*given)[::-1], "order is wrong"),
        (lambda x_0, x_t, t, a: (x_0 * (1 - a[t]) * a[t - 1] ** 0.5 / (1 - a[t]) + (a[t] / a[t - 1]) ** 0.5
            * (1 - a[t - 1]) / (1 - a[t]) * x_t, 0), "it is 1 - alpha_t"),
    ],
    "alpha_bar": [
        (lambda beta: (1 - beta).cumprod(0), "[0] = 1 is missing"),
        (lambda beta: torch.cat([(1 - beta).cumprod(0), torch.ones(1)]), "stands at the end"),
        (lambda beta: torch.cat([torch.ones(1), 1 - beta]), "multiply them up"),
        (lambda beta: torch.cat([torch.ones(1), beta.cumprod(0)]), "the betas are multiplied"),
        (lambda beta: torch.cat([torch.ones(1), 1 - beta.cumsum(0)]), "added up"),
        (lambda beta: (1 - beta).prod(), "this is one number"),
    ],
    "q_sample": [
        (lambda x_0, t, noise, a: solutions.q_sample(x_0, t, -noise, a), "noise is subtracted"),
        (lambda x_0, t, noise, a: solutions.q_sample(x_0, t, noise, a / torch.cat([a[:1], a[:-1]])), "alpha_t is used"),
        (lambda x_0, t, noise, a: a[t].view(-1, 1, 1, 1) * x_0 + (1 - a[t]).view(-1, 1, 1, 1) * noise, "the roots are"),
        (lambda x_0, t, noise, a: a[t].sqrt() * x_0 + (1 - a[t]).sqrt() * noise, "t runs along the columns"),
        (lambda x_0, t, noise, a: solutions.q_sample(x_0, t - 1, noise, a), "read at t - 1"),
        (own_noise, "random numbers of its own"),
    ],
    "simple_loss": [
        (lambda f, x_0, t, noise, a: (f(x_0, t) - noise).square().mean((1, 2, 3)), "the network is given x_0"),
        (lambda *given: solutions.simple_loss(*given).mean(), "one number"),
        (lambda f, x_0, t, noise, a: noise[0].numel() * solutions.simple_loss(f, x_0, t, noise, a), "added up"),
        (lambda f, x_0, t, noise, a: (f(solutions.q_sample(x_0, t, noise, a), t) - x_0).square().mean((1, 2, 3)),
            "compared with x_0"),
        (lambda f, x_0, t, noise, a: (f(solutions.q_sample(x_0, t, noise, a), t) - noise).abs().mean((1, 2, 3)),
            "not squared"),
        (lambda f, x_0, t, noise, a: solutions.simple_loss(f, x_0, t, torch.randn_like(noise), a), "random numbers"),
    ],
    "ancestral_step": [
        (lambda *given: ancestral(*given, beta=True), "last step adds noise"),
        (lambda *given: ancestral(*given, power=1), "multiplied by the variance"),
        (lambda *given: ancestral(*given, sign=-1), "z is subtracted"),
        (lambda *given: ancestral(*given, sign=0), "no noise is added"),
        (lambda *given: ancestral(*given, clip=True), "is clipped"),
        (lambda eps, *given: ancestral(-eps, *given), "predicted noise is added"),
        (lambda *given: ancestral(*given, power=0), "not multiplied by sigma"),
        (last_alone, "every branch"),
    ],
    "sdedit_start": [
        (lambda x_0, s, grid, noise, a: solutions.sdedit_start(x_0, 1 - s, grid, noise, a), "from the noisy end"),
        (lambda x_0, s, grid, noise, a: (round(s * 4), solutions.sdedit_start(x_0, s, grid, noise, a)[1]),
            "place in the grid"),
        (lambda x_0, s, grid, noise, a: (solutions.sdedit_start(x_0, s, grid, noise, a)[0], x_0), "not noised"),
        (lambda x_0, s, grid, noise, a: solutions.sdedit_start(x_0, s, grid, -noise, a), "noise is subtracted"),
        (lambda x_0, s, grid, noise, a: solutions.sdedit_start(x_0, s, [40, 30, 20, 10, 0], noise, a), "share of T"),
        (lambda *given: solutions.sdedit_start(*given)[1], "expected 2 values"),
        (lambda *given: solutions.sdedit_start(*given)[::-1], "the order is wrong"),
        (lambda x_0, s, *rest: solutions.sdedit_start(x_0, int(s * 4) / 4, *rest), "cut off"),
    ],
    "change_elsewhere": [
        (lambda x, y, same: 4 * solutions.change_elsewhere(x, y, same), "halve the difference"),
        (lambda x, y, same: solutions.change_elsewhere(x, y, ~same), "the wrong pixels"),
        (lambda x, y, same: ((x - y) / 2).square().mean(1)[same].mean(), "one number"),
        (lambda x, y, same: solutions.change_elsewhere(x, y, same) * same.sum((1, 2)) / 4, "number of all pixels"),
        (lambda x, y, same: 3 * solutions.change_elsewhere(x, y, same), "channels are added up"),
        (lambda x, y, same: ((x - y) / 2).square().mean((1, 2, 3)), "all pixels count"),
        (lambda x, y, same: solutions.change_elsewhere(x.mean(1, True), y.mean(1, True), same), "square first"),
    ],
    "timesteps": [
        (lambda T, S: solutions.timesteps(T, S)[::-1], "the times rise"),
        (lambda T, S: solutions.timesteps(T, S)[:-1], "0 is missing"),
        (lambda T, S: solutions.timesteps(T, S)[1:], "T is missing"),
        (lambda T, S: [i * (T // S) for i in range(S, -1, -1)], "this is i (T // S)"),
        (lambda T, S: list(range(T, -1, -(T // S))), "the step is T // S"),
        (lambda T, S: [round(i * T / S) for i in range(S, -1, -1)], "are rounded"),
        (lambda T, S: [i * T / S for i in range(S, -1, -1)], "no whole numbers"),
        (lambda T, S: [float(t) for t in solutions.timesteps(T, S)], "holds a float"),
        (lambda T, S: solutions.timesteps(T - 1, S), "starts at T - 1"),
        (lambda T, S: torch.tensor(solutions.timesteps(T, S)), "is a Tensor, expected a list"),
        (lambda T, S: np.array(solutions.timesteps(T, S)), "is a ndarray, expected a list"),
        (lambda T, S: [None, *solutions.timesteps(T, S)], "has None in it"),
    ],
    "ddim_step": [
        (lambda *given: ddim(*given, roots=(1, 1, 0.5)), "roots of the predicted x_0"),
        (lambda *given: ddim(*given, roots=(1, 0.5, 0.5)), "the noise has sqrt(1 - a_t)"),
        (lambda *given: ddim(*given, roots=(0.5, 1, 0.5)), "divided by sqrt(a_t)"),
        (lambda *given: ddim(*given, roots=(0.5, 0.5, 1)), "direction lacks its root"),
        (lambda *given: ddim(*given, along=given[1]), "not x_t"),
        (lambda *given: ddim(*given, along=given[5]), "not z"),
        (lambda eps, x_t, a_t, a_s, *rest: ddim(eps, x_t, a_s, a_t, *rest), "are swapped"),
        (lambda *given: ddim(*given[:5], torch.randn_like(given[5])), "random numbers"),
        (lambda eps, *given: ddim(-eps, *given, along=eps), "wrong sign"),
        (lambda eps, *given: ddim(eps, *given, along=-eps), "direction is subtracted"),
        (lambda *given: ddim(*given, of_noise=given[4] ** 2), "it takes sigma"),
        (lambda *given: ddim(*given, of_noise=0), "random noise is missing"),
    ],
    "inversion_step": [
        (lambda eps, x_s, a_s, a_t: solutions.inversion_step(eps, x_s, a_t, a_s), "a_s and a_t are swapped"),
        (lambda eps, x_s, a_s, a_t: a_t.sqrt() * x_s + (1 - a_t).sqrt() * eps, "as if it were the image"),
        (lambda eps, x_s, a_s, a_t: x_s, "x_t = x_s"),
        (lambda *given: solutions.inversion_step(*given) - 2 * (1 - given[3]).sqrt() * given[0], "noise is subtracted"),
        (lambda eps, x_s, a_s, a_t: solutions.inversion_step(eps, x_s, a_s, a_t)
            + ((1 - a_s).sqrt() - (1 - a_t).sqrt()) * eps, "the noise keeps"),
        (lambda eps, x_s, a_s, a_t: a_t.sqrt() * (x_s - (1 - a_s).sqrt() * eps) + (1 - a_t).sqrt() * eps,
            "not divided"),
        (lambda eps, x_s, a_s, a_t: a_t * (x_s - (1 - a_s) * eps) / a_s + (1 - a_t) * eps, "roots are missing"),
    ],
    "invert": [
        (lambda *given: inverted(*given, at=0), "called at s"),
        (lambda f, *given: solutions.invert(lambda x, t: f(x, int(t[0])), *given), "wants t as a (B,) tensor"),
        (lambda f, x_0, grid, a: solutions.invert(f, x_0, grid[::-1], a), "from noise to image"),
        (lambda *given: inverted(*given, carry=False), "not carried on"),
        (lambda f, x_0, grid, a: solutions.invert(f, x_0, grid[1:], a), "one step is missing"),
        (lambda *given: inverted(*given, table=0), "a_s and a_t are swapped"),
    ],
    "attention": [
        (lambda Q, K, V: solutions.attention(2 * Q, K, V), "not divided by sqrt(d)"),
        (lambda Q, K, V: solutions.attention(Q / 2, K, V), "divided by d"),
        (lambda Q, K, V: (Q, (Q @ K.mT / 2).softmax(-2)), "over the pixels"),
        (lambda Q, K, V: (Q, (Q @ K.mT / 2).sigmoid()), "do not sum to one"),
        (lambda Q, K, V: solutions.attention(Q, K, V)[::-1], "the order is wrong"),
        (lambda Q, K, V: solutions.attention(Q, K, K), "that of K"),
    ],
    "average_map": [
        (lambda steps, token, size: 2 * solutions.average_map(steps, token, size), "take their mean"),
        (lambda steps, token, size: solutions.average_map(steps, token - 1, size), "token before"),
        (lambda steps, token, size: solutions.average_map(steps, token + 1, size), "token after"),
        (lambda steps, token, size: solutions.average_map(steps[-1:], token, size), "only the last step"),
        (lambda steps, token, size: solutions.average_map(steps, token, size).T, "rows and columns"),
        (lambda steps, token, size: solutions.average_map(steps, token, 2).repeat_interleave(size // 2, 0)
            .repeat_interleave(size // 2, 1), "enlarge bilinearly"),
    ],
    "inject": [
        (lambda w, kind, done, share: halves(w, kind, done, share), "the wrong half"),
        (lambda w, kind, done, share: halves(w, kind, done, share, swap=True), "halves are swapped"),
        (lambda w, kind, done, share: solutions.inject(w, kind, done - 1e-6, share), "off by one"),
        (lambda w, kind, done, share: solutions.inject(w, kind, 0, share), "late steps are replaced"),
        (lambda w, kind, done, share: solutions.inject(w, "cross", done, share), "self-attention is replaced"),
        (lambda *given: solutions.inject(*given).chunk(2)[1], "one half is returned"),
        (lambda w, kind, done, share: w, "nothing is replaced"),
        (written_into, "writes into one of its arguments"),
        (lambda w, kind, done, share: solutions.inject(w, kind, done, share) if done < share else None, "every branch"),
    ],
    "align_words": [
        (lambda source, target: [source.index(w) if w in source else None for w in target], "map of the first"),
        (lambda source, target: [i if i < len(source) and source[i] == w else None for i, w in enumerate(target)],
            "moved by one"),
        (lambda source, target: [*range(len(source))] + [None] * (len(target) - len(source)),
            "match words, not places"),
        (stuck, "stops at a removed word"),
        (greedy, "first place that is left"),
        (difflib_blocks, "longest run of neighbours"),
        (lambda source, target: [-1 if i is None else i for i in solutions.align_words(source, target)],
            "None, not -1"),
        (lambda source, target: [i if i is None else i + 1 for i in solutions.align_words(source, target)],
            "start token"),
        (lambda source, target: [None] * len(target), "words find their place, but 5 can"),
    ],
    "local_blend": [
        (lambda source, target, *rest: solutions.local_blend(target, source, *rest), "sides are swapped"),
        (lambda s, t, old, new, share: solutions.local_blend(s, t, new, new, share), "only the target's map"),
        (lambda s, t, old, new, share: solutions.local_blend(s, t, old, old, share), "only the source's map"),
        (lambda s, t, *maps: blend(s, t, [above(m, maps[2]) for m in maps[:2]], torch.logical_and), "intersected"),
        (lambda s, t, *maps: blend(s, t, [m > maps[2] for m in maps[:2]]), "is absolute"),
        (lambda s, t, *maps: blend(s, t, [m > maps[2] * m.max() for m in maps[:2]]), "share of the maximum"),
        (lambda s, t, *maps: blend(s, t, [m > maps[2] * (m.max() - m.min()) for m in maps[:2]]), "least value"),
        (lambda s, t, old, new, share: solutions.local_blend(s, t, old + new, old + new, share), "maps are added"),
        (lambda s, t, *maps: solutions.local_blend(s, t, *[torch.maximum(*maps[:2])] * 2, maps[2]), "larger values"),
        (lambda s, t, *maps: blend(s, t, [m > maps[2] * m.max() for m in maps[:2]], torch.logical_and), "off by"),
        (lambda s, t, *maps: t, "nothing is put back"),
        (lambda s, t, *maps: blend(s, t, [above(m, 1 - maps[2]) for m in maps[:2]]), "share of 1 - threshold"),
    ],
    "frechet_1d": [
        (lambda m, v, n, w: (m - n) ** 2 + (v - w) ** 2, "taken for standard deviations"),
        (lambda m, v, n, w: abs(m - n) + (v**0.5 - w**0.5) ** 2, "not squared"),
        (lambda m, v, n, w: (m - n) ** 2 + v + w, "- 2 sqrt(var_1 var_2) is missing"),
        (lambda m, v, n, w: (m - n) ** 2, "the variances are left out"),
        (lambda m, v, n, w: (v**0.5 - w**0.5) ** 2, "the means are left out"),
        (lambda *given: solutions.frechet_1d(*given) ** 0.5, "this is the root"),
    ],
    "guide": [
        (lambda caption, null, scale: caption + scale * (caption - null), "the paper's w"),
        (lambda caption, null, scale: solutions.guide(null, caption, scale), "are swapped"),
        (lambda caption, null, scale: scale * (caption - null), "is missing"),
        (lambda caption, null, scale: null + scale * (null - caption), "upside down"),
        (lambda caption, null, scale: null + scale * caption, "only added"),
        (lambda caption, null, scale: caption, "scale is not used"),
    ],
}


@pytest.mark.parametrize("name", CHECKERS)
def test_the_solution_is_right_and_short(name, capsys):
    solution = getattr(solutions, name)
    assert diagnose(name, solution) is None
    assert check(solution, otherwise=None) is solution
    assert capsys.readouterr().out.startswith(f"{name}: right (")
    assert len(inspect.getsource(solution).splitlines()) <= 10


@pytest.mark.parametrize("name", CHECKERS)
def test_the_wrong_answers_of_a_class_are_refused_by_name(name):
    found = [(words, diagnose(name, function)) for function, words in WRONG[name]]
    assert len(found) >= 5 and not [pair for pair in found if pair[0] not in (pair[1] or "right")]


@pytest.mark.parametrize("name", CHECKERS)
def test_what_is_not_written_yet_or_stops_is_refused_in_one_line(name, capsys):
    def stub(*arguments):
        return None

    def broken(*arguments):
        raise RuntimeError("first line\nsecond line")

    for function, message in ((stub, "not written yet"), (broken, "RuntimeError: first line"), (lambda *_: "x", "")):
        function.__name__ = name
        assert check(function, otherwise=max) is max
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith(f"{name}: ") and message in line and "repository's own" in line


def test_the_answers_by_hand_are_those_of_the_table():
    """The numbers in the checkers' table: 3-4-5 and 7-24-25 triangles, and the alpha_t between its entries."""
    table = sys.modules["exercises"].TABLE
    assert torch.allclose(table.sqrt(), torch.tensor([1, 0.8, 0.6, 0.28], dtype=torch.float64))
    assert torch.allclose((1 - table).sqrt(), torch.tensor([0, 0.6, 0.8, 0.96], dtype=torch.float64))
    assert torch.allclose(table[2] / table[1], torch.tensor(0.75**2, dtype=torch.float64))


def test_the_notebooks_have_each_exercise_once_with_the_solutions_signature():
    stubs = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if "exercise" in cell["metadata"].get("tags", ()):
                names = {}
                exec("".join(cell["source"]), names)
                (name,) = names.keys() - {"__builtins__"}
                assert name not in stubs and "# your code" in "".join(cell["source"])
                stubs[name] = inspect.signature(names[name])
    assert stubs == {name: inspect.signature(getattr(solutions, name)) for name in CHECKERS}


def test_the_solution_of_align_words_is_the_map_that_the_repository_uses():
    for pair in torch.randint(4, (200, 2, 7), generator=torch.Generator().manual_seed(1)).tolist():
        source, target = (["abcd"[i] for i in words] for words in pair)
        rows = p2p.refine_map(source, target, 8)[1:, 1:].T
        assert solutions.align_words(source, target) == [row.argmax().item() if row.any() else None for row in rows]
