"""The exercises of the notebooks: their solutions are right, and a typical mistake is refused by its name."""

import inspect
import sys
from collections.abc import Callable
from difflib import SequenceMatcher

import pytest
import torch
from test_notebooks import NOTEBOOKS, ROOT, exercises

sys.path.insert(0, str(ROOT / "notebooks"))

import solutions  # noqa: E402
from checking import CHECKERS, diagnose  # noqa: E402
from exercises import check  # noqa: E402

import p2p  # noqa: E402

# What a class answers, and words that the message has. A mistake is a change of the solution, "old -> new" wherever
# the old text stands, or an expression in place of the whole, in which `right` is the solution.
MISTAKES = """
time_embedding
    [angles.cos(), angles.sin()] -> [angles.sin(), angles.cos()] | sines come first
    / (n - 1) -> / n | 1/10000
    (-torch -> (torch | has a minus
    torch.cat([angles.cos(), angles.sin()], dim=1) -> angles.sin() | half of the width
    right(t, width).unflatten(1, (2, -1)).mT.flatten(1) | alternate
    width // 2 -> width | too wide
    right(t, width).numpy() | is a ndarray, expected a tensor
    dim=1 -> dim=0 | below the cosines
eps_from_v
    v + -> v - | is subtracted
    (1 - a_t).sqrt() * v + a_t.sqrt() * x_t | are swapped
    .sqrt() -> | roots are missing
    a_t.sqrt() * x_t - (1 - a_t).sqrt() * v | predicted x_0
    (x_t - a_t.sqrt() * v) / (1 - a_t).sqrt() | -0.75 times v, expected 0.6; 1.25 times x_t
kl_of_gaussians
    right(mu_2, var_2, mu_1, var_1) | are swapped
    2 * right(mu_1, var_1, mu_2, var_2) | 1/2 is missing
    terms.sum(dim=-1) -> terms | not added up
    = torch.log( -> = 0.5 * torch.log( | 0.25 times log(var_2 / var_1)
    - 1 + -> + 1 + | 0.5 times d
    var_1 / var_2 + -> var_2 / var_1 + | 0.5 times var_2 / var_1
    (mu_2 - mu_1) ** 2 -> (mu_2 - mu_1).abs() | 0.5 times |mu_2 - mu_1| / var_2
    dim=-1 -> dim=0 | over the batch
posterior
    (1 - abar_prev) / (1 - abar_t) * beta -> beta | the variance is beta_t
    (1 - abar_prev) / (1 - abar_t) * beta -> ((1 - abar_prev) / (1 - abar_t) * beta).sqrt() | standard deviation
    right(x_t, x_0, t, alpha_bar) | are swapped
    right(x_0, x_t, t, alpha_bar)[::-1] | order is wrong
    beta = 1 - alpha -> beta = 1 - abar_t | it is 1 - alpha_t
    alpha = abar_t / abar_prev -> alpha = abar_t | in beta_t too
    abar_prev.sqrt() * beta -> abar_t.sqrt() * beta | root of alpha_bar_(t-1)
    alpha.sqrt() * (1 - abar_prev) / (1 - abar_t) -> alpha.sqrt() * (1 - abar_t) / (1 - abar_prev) | factor of x_t
alpha_bar
    (1 - beta).cumprod(0) | [0] = 1 is missing
    torch.cat([(1 - beta).cumprod(0), torch.ones(1)]) | stands at the end
    .cumprod(0) -> | multiply them up
    (1 - beta).cumprod -> beta.cumprod | the betas are multiplied
    (1 - beta).cumprod(0) -> 1 - beta.cumsum(0) | added up
    (1 - beta).cumprod -> (1 - beta).sqrt().cumprod | roots
    .cumprod(0) -> .cumprod(0)[:-1] | last factor is missing
    (1 - beta).cumprod -> (1 - beta).flip(0).cumprod | from the last step
    (1 - beta).cumprod(0) -> 1 - (1 - beta).cumprod(0) | variances of the noise
    cumprod -> cumsum | alpha_t are added up
    right(beta).tolist() | is a list, expected a tensor
q_sample
    alpha_bar[t] -> (alpha_bar / alpha_bar.roll(1))[t] | alpha_t is used
    .sqrt() -> | the roots are
    .view(-1, 1, 1, 1) -> | t runs along the columns
    [t] -> [t - 1] | read at t - 1
    * noise -> * torch.randn_like(noise) | random numbers of its own
    (1 - a).sqrt() -> (1 - a.sqrt()) | 0.2 times the noise at t = 1, expected 0.6
    a.sqrt() * x_0 -> a * x_0 | 0.64 times x_0 at t = 1, expected 0.8
    [t] -> [t[:1]] | first t is used for all
    [t] -> [t + 1] | index 4 is out of bounds
simple_loss
    eps_fn(x_t, t) -> eps_fn(x_0, t) | the network is given x_0
    dim=(1, 2, 3) -> | one number
    .mean( -> .sum( | added up
    - noise) -> - x_0) | compared with x_0
    .square() -> .abs() | not squared
    .square().mean(dim=(1, 2, 3)) -> .mean(dim=(1, 2, 3)).square() | square first
    .mean(dim=(1, 2, 3)) -> .mean(dim=(1, 2, 3)).sqrt() | the root of the mean
    .mean(dim=(1, 2, 3)) -> .mean(dim=(1, 2, 3)) / 2 | 0.5 times the right answer
    - noise) -> - x_t) | compared with x_t
    eps_fn(x_t -> eps_fn(noise | the network is given the noise
ancestral_step
    (1 - before) / (1 - now) * (1 - alpha) -> 1 - alpha | last step adds noise
    (1 - alpha)).sqrt() -> (1 - alpha)) | multiplied by the variance
    mean + -> mean - | -0.496 times z
    mean + sigma * noise -> mean | no noise is added
    alpha = now / before -> alpha = now | in beta_t too
    (1 - alpha) / (1 - now).sqrt() -> (1 - alpha).sqrt() | divided by sqrt(1 - alpha_t)
    (x_t - (1 - alpha) / (1 - now).sqrt() * eps) / -> x_t - (1 - alpha) / (1 - now).sqrt() * eps / | x_t too
    (x_t - -> (x_t + | predicted noise is added
    return -> if t == 1: return | every branch
sdedit_start
    S - round(strength * S) -> round(strength * S) | from the noisy end
    return t, -> return S - round(strength * S), | place in the grid
    alpha_bar[t].sqrt() * x_0 + (1 - alpha_bar[t]).sqrt() * noise -> x_0 | not noised
    grid[S - round(strength * S)] -> int(strength * grid[0]) | share of T
    return t, -> return | expected 2 values
    round( -> int( | cut off
change_elsewhere
    / 2) -> ) | halve the difference
    right(x, y, ~same) | the wrong pixels
    dim=(1, 2) -> | one number
    / same.sum(dim=(1, 2)) -> / 4 | number of all pixels
    mean(dim=1) -> sum(dim=1) | channels are added up
    .square().mean(dim=1) -> .mean(dim=1).square() | square first
timesteps
    range(S, -1, -1) -> range(S + 1) | the times rise
    -1, -1) -> 0, -1) | 0 is missing
    range(S, -> range(S - 1, | T is missing
    i * T // S -> i * (T // S) | this is i (T // S)
    i * T // S -> round(i * T / S) | are rounded
    // -> / | no whole numbers
    i * T // S -> float(i * T // S) | holds a float
    right(T - 1, S) | starts at T - 1
    torch.tensor(right(T, S)) | is a Tensor, expected a list
    i * T // S -> int(i * (T / S)) | rounded first
ddim_step
    (x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt() -> (x_t - (1 - a_t) * eps) / a_t | roots of the predicted x_0
    (1 - a_t).sqrt() -> (1 - a_t) | the noise has sqrt(1 - a_t)
    / a_t.sqrt() -> / a_t | divided by sqrt(a_t)
    .clamp(min=0).sqrt() -> | direction lacks its root
    .clamp(min=0).sqrt() * eps -> .sqrt() * x_t | not x_t
    .clamp(min=0).sqrt() * eps -> .sqrt() * noise | not z
    right(eps, x_t, a_s, a_t, sigma, noise) | are swapped
    (x_t - (1 - a_t).sqrt() * eps) / -> x_t - (1 - a_t).sqrt() * eps / | x_t too
    (x_t - -> (x_t + | wrong sign
    + direction -> - direction | -0.554 times eps
    sigma * noise -> sigma**2 * noise | it takes sigma
    + sigma * noise -> | 0 times z
    - sigma**2 -> | lacks - sigma^2
inversion_step
    right(eps, x_s, a_t, a_s) | a_s and a_t are swapped
    a_t.sqrt() * x_0 -> a_t.sqrt() * x_s | as if it were the image
    x_s | x_t = x_s
    + (1 - a_t) -> - (1 - a_t) | noise is subtracted
    (1 - a_t) -> (1 - a_s) | the noise keeps
    (1 - a_s) -> (1 - a_t) | takes sqrt(1 - a_t)
    a_t.sqrt() * -> a_s.sqrt() * | keeps sqrt(a_s)
    a_t.sqrt() * x_0 + (1 - a_t).sqrt() -> a_t * x_0 + (1 - a_t) | roots of the new x_t
    / a_s.sqrt() -> | not divided
invert
    torch.full((len(x),), t) -> torch.full((len(x),), s) | called at s
    torch.full((len(x),), t) -> t | wants t as a (B,) tensor
    grid[::-1] -> grid | from noise to image
    eps_fn(x, -> eps_fn(x_0, | not carried on
    grid[::-1] -> grid[:0:-1] | one step is missing
    alpha_bar[s], alpha_bar[t] -> alpha_bar[t], alpha_bar[s] | a_s and a_t are swapped
attention
    / Q.shape[-1] ** 0.5 -> | not divided by sqrt(d)
    ** 0.5 -> | divided by d
    dim=-1 -> dim=-2 | over the pixels
    .softmax(dim=-1) -> .sigmoid() | do not sum to one
    right(Q, K, V)[::-1] | the order is wrong
    @ V -> @ K | that of K
average_map
    .mean( -> .sum( | take their mean
    token] -> token - 1] | token before
    token] -> token + 1] | token after
    stack(steps) -> stack(steps[-1:]) | only the last step
    .mean(dim=(0, 1)) -> .amax(1).mean(0) | largest over the heads
    [0, 0] -> [0, 0].T | rows and columns
    bilinear -> nearest | enlarge bilinearly
inject
    target = source -> source = target | the wrong half
    target = source -> source, target = target, source | halves are swapped
    < share -> <= share | off by one
    and done < share -> | late steps are replaced
    kind == "cross" and -> | self-attention is replaced
    torch.cat([source, target]) -> target | one half is returned
    target = source -> pass | nothing is replaced
    target = source -> target[:] = source | writes into one of its arguments
align_words
    [source.index(w) if w in source else None for w in target] | map of the first
    [i if i < len(source) and source[i] == w else None for i, w in enumerate(target)] | moved by one
    [*range(len(source))] + [None] * (len(target) - len(source)) | match words, not places
    min(best[i + 1][j], [None -> min([None] * 99, [None | stops at a removed word
    [-1 if i is None else i for i in right(source, target)] | None, not -1
    [i if i is None else i + 1 for i in right(source, target)] | start token
    [None] * len(target) | words find their place, but 5 can
    greedy(source, target) | first place that is left
    neighbours(source, target) | longest run of neighbours
local_blend
    inside, target, source -> inside, source, target | sides are swapped
    (map_source, map_target) -> (map_target,) | only the target's map
    (map_source, map_target) -> (map_source,) | only the source's map
    each - each.min() > threshold * (each.max() - each.min()) -> each > threshold | is absolute
    each - each.min() > threshold * (each.max() - each.min()) -> each > threshold * each.max() | share of the maximum
    each - each.min() > -> each > | least value
    inside | ( -> inside ^ ( | not both
    > threshold -> > (1 - threshold) | share of 1 - threshold
    each - each.min() > threshold * (each.max() - each.min()) -> each > each.quantile(threshold) | share of the pixels
    target | nothing is put back
frechet_1d
    .sqrt() -> | taken for standard deviations
    (mu_1 - mu_2) ** 2, -> abs(mu_1 - mu_2), | not squared
    (var_1.sqrt() - var_2.sqrt()) ** 2 -> var_1 + var_2 | - 2 sqrt(var_1 var_2) is missing
    means + spreads -> means | the variances are left out
    means + spreads -> means + var_1 - var_2 | variances are subtracted
    means + spreads -> means + spreads.sqrt() | roots is not squared
    means + spreads -> spreads | the means are left out
    means + spreads -> (means + spreads).sqrt() | this is the root
guide
    return eps_null -> return eps_caption | the paper's w
    right(eps_null, eps_caption, scale) | are swapped
    (eps_caption - eps_null) -> (eps_null - eps_caption) | upside down
    (eps_null + scale * eps_caption) / (1 + scale) | 0.75 times eps_caption
    right(eps_caption, eps_null, scale).clamp(-1, 1) | clipped
    scale * eps_null + eps_caption - eps_null | 2 times eps_null
latent
    (log_var / 2).exp() -> log_var.exp() | by the variance
    (log_var / 2).exp() -> log_var | taken for the standard deviation
    / scale -> | the scale is missing
    / scale -> * scale | multiplied by the scale
    mean / scale + (log_var / 2).exp() * noise | only the mean
    (log_var / 2) -> (-log_var / 2) | upside down
    mean + (log_var / 2).exp() * noise / scale | 1 times the mean, expected 0.4
    * noise -> | 0.4 times exp(log_var / 2), expected 0
    (log_var / 2).exp() -> log_var.exp() / 2 | 0.2 times exp(log_var) times the noise
    (log_var / 2).exp() -> log_var.sqrt() | root of a negative number
add_control
    "oc,bchw->bohw" -> "co,bchw->bohw" | transposed
    strength * out -> out | 1 times W times the copy's map, expected 0.5; 1 times b
    kept + strength * copied | without the convolution
    weight, copied) -> weight, kept) | 0.5 times W times the kept map, expected 0
    kept + strength * out -> out | 0 times the kept map
    weight, copied -> weight.diag().diag(), copied | for each channel alone
"""


def greedy(source, target):
    """Each word takes the first place that is left: never the longest alignment where a later word comes early."""
    places, start = [], 0
    for word in target:
        found = word in source[start:]
        places.append(source.index(word, start) if found else None)
        start = places[-1] + 1 if found else start
    return places


def neighbours(source, target):
    """The alignment of difflib, which begins with the longest run of equal neighbours."""
    places = [None] * len(target)
    for i, j, n in SequenceMatcher(None, source, target, autojunk=False).get_matching_blocks():
        places[j : j + n] = range(i, i + n)
    return places


def wrong_answers(name: str) -> list[tuple[str, Callable]]:
    """(words of the message, function) for each mistake of an exercise in the table above."""
    lines = MISTAKES.partition(f"\n{name}\n")[2].splitlines()
    rows = lines[: next((i for i, line in enumerate(lines) if not line.startswith(" ")), None)]
    source, found = inspect.getsource(getattr(solutions, name)), []
    for row in rows:
        mistake, _, words = row.strip().rpartition(" | ")
        old, arrow, new = mistake.partition(" ->")
        assert not arrow or old in source, row
        text = source.replace(old, new.strip()) if arrow else f"{source.splitlines()[0]}\n    return {mistake}"
        names = vars(solutions) | {"right": getattr(solutions, name), "greedy": greedy, "neighbours": neighbours}
        exec(text, names)
        found.append((words, names[name]))
    return found


@pytest.mark.parametrize("name", CHECKERS)
def test_the_solution_is_right_and_short(name, capsys):
    solution = getattr(solutions, name)
    assert diagnose(name, solution) is None
    assert check(solution, otherwise=None) is solution
    assert capsys.readouterr().out.startswith(f"{name}: right (")
    assert len(inspect.getsource(solution).splitlines()) <= 10


@pytest.mark.parametrize("name", CHECKERS)
def test_the_wrong_answers_of_a_class_are_refused_by_name(name):
    found = [(words, diagnose(name, function)) for words, function in wrong_answers(name)]
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


def test_the_notebooks_have_each_exercise_once_with_the_solutions_signature():
    stubs = {}
    for path in NOTEBOOKS:
        for name, (stub, *_) in exercises(path).items():
            exec(stub, names := {})
            assert name not in stubs and "# your code" in stub
            stubs[name] = inspect.signature(names[name])
    assert stubs == {name: inspect.signature(getattr(solutions, name)) for name in CHECKERS}


def test_the_solution_of_align_words_is_the_map_that_the_repository_uses():
    for pair in torch.randint(4, (200, 2, 7), generator=torch.Generator().manual_seed(1)).tolist():
        source, target = (["abcd"[i] for i in words] for words in pair)
        rows = p2p.refine_map(source, target, 8)[1:, 1:].T
        assert solutions.align_words(source, target) == [row.argmax().item() if row.any() else None for row in rows]
