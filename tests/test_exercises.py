"""The exercises of the notebooks: their solutions are right, and a typical mistake is refused by its name."""

import inspect
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))

import solutions  # noqa: E402
from checking import CHECKERS, diagnose  # noqa: E402
from exercises import check  # noqa: E402

ELSEWHERE = "(squares * same).sum(dim=(1, 2)) / same.sum(dim=(1, 2))"
V = "a_t.sqrt() * v + (1 - a_t).sqrt() * x_t"
RANGE = "each - each.min() > threshold * (each.max() - each.min())"
CLIPPED = "posterior(((x_t - (1 - now).sqrt() * eps) / now.sqrt()).clamp(-1, 1), x_t, t, alpha_bar)[0]"
GREEDY = """found, i = [], 0
    for word in target:
        same = i < len(source) and source[i] == word
        found, i = [*found, i if same else None], i + same
    return found"""
MISTAKES = [  # exercise, what its solution says, what a student writes instead, and a part of the message
    ("time_embedding", "angles.cos(), angles.sin()", "angles.sin(), angles.cos()", "sines come first"),
    ("time_embedding", "(n - 1)", "n", "the last frequency is not 1/10000"),
    ("time_embedding", "torch.cat([angles.cos(), angles.sin()], dim=1)", "angles.sin()", "half of the width"),
    ("eps_from_v", "+ (1 - a_t)", "- (1 - a_t)", "is subtracted"),
    ("eps_from_v", V, "(1 - a_t).sqrt() * v + a_t.sqrt() * x_t", "are swapped"),
    ("eps_from_v", V, "a_t * v + (1 - a_t) * x_t", "roots are missing"),
    ("eps_from_v", V, "a_t.sqrt() * x_t - (1 - a_t).sqrt() * v", "predicted x_0"),
    ("kl_of_gaussians", "mu_1, var_1, mu_2, var_2):", "mu_2, var_2, mu_1, var_1):", "are swapped"),
    ("kl_of_gaussians", "terms.sum(dim=-1) / 2", "terms.sum(dim=-1)", "1/2 is missing"),
    ("kl_of_gaussians", "terms.sum(dim=-1) / 2", "terms / 2", "not added up"),
    ("kl_of_gaussians", " - 1 +", " +", "- d is missing"),
    ("kl_of_gaussians", "log(var_2 / var_1)", "log(var_1 / var_2)", "upside down"),
    ("posterior", ", (1 - abar_prev) / (1 - abar_t) * beta", ", beta", "the variance is beta_t"),
    (
        "posterior",
        "(1 - abar_prev) / (1 - abar_t) * beta",
        "((1 - abar_prev) / (1 - abar_t) * beta).sqrt()",
        "standard deviation",
    ),
    ("posterior", "alpha.sqrt() * (1 - abar_prev)", "abar_t.sqrt() * (1 - abar_prev)", "where alpha_t should"),
    ("posterior", "coef_x_0 * x_0 + coef_x_t * x_t", "coef_x_t * x_0 + coef_x_0 * x_t", "are swapped"),
    ("posterior", "beta = 1 - alpha", "beta = 1 - abar_t", "it is 1 - alpha_t"),
    ("alpha_bar", "torch.cat([torch.ones(1), (1 - beta).cumprod(0)])", "(1 - beta).cumprod(0)", "[0] = 1 is missing"),
    ("alpha_bar", "torch.ones(1), (1 - beta).cumprod(0)", "(1 - beta).cumprod(0), torch.ones(1)", "stands at the end"),
    ("alpha_bar", ".cumprod(0)", "", "multiply them up"),
    ("alpha_bar", "(1 - beta).cumprod(0)", "1 - beta.cumsum(0)", "added up"),
    ("q_sample", "+ (1 - a)", "- (1 - a)", "noise is subtracted"),
    ("q_sample", "alpha_bar[t]", "(alpha_bar[t] / alpha_bar[t - 1])", "alpha_t is used"),
    ("q_sample", "(1 - a).sqrt()", "(1 - a)", "variance 1 - alpha_bar_t"),
    ("q_sample", ".view(-1, 1, 1, 1)", "", "t runs along the columns"),
    ("q_sample", "alpha_bar[t]", "alpha_bar[t - 1]", "read at t - 1"),
    ("simple_loss", "eps_fn(x_t, t)", "eps_fn(x_0, t)", "the network is given x_0"),
    ("simple_loss", "mean(dim=(1, 2, 3))", "mean()", "one number"),
    ("simple_loss", "mean(dim=(1, 2, 3))", "sum(dim=(1, 2, 3))", "the squares are added up"),
    ("simple_loss", "t) - noise", "t) - x_0", "compared with x_0"),
    ("simple_loss", "q_sample(x_0, t, noise, alpha_bar)", "q_sample(x_0, t, -noise, alpha_bar)", "noise is subtracted"),
    ("ancestral_step", "((1 - before) / (1 - now) * (1 - alpha)).sqrt()", "(1 - alpha).sqrt()", "last step adds noise"),
    ("ancestral_step", "((1 - before) / (1 - now) * (1 - alpha))", "((t > 1) * (1 - alpha))", "sigma_t^2 is beta_t"),
    ("ancestral_step", "(1 - alpha)).sqrt()", "(1 - alpha))", "multiplied by the variance"),
    ("ancestral_step", "mean + sigma", "mean - sigma", "z is subtracted"),
    ("ancestral_step", "/ alpha.sqrt()", "/ now.sqrt()", "where the formula has alpha_t"),
    ("ancestral_step", "(x_t - (1 - alpha) / (1 - now).sqrt() * eps) / alpha.sqrt()", CLIPPED, "is clipped"),
    ("sdedit_start", "grid[S - round(strength * S)]", "grid[round(strength * S)]", "from the noisy end"),
    ("sdedit_start", "grid[S - round", "grid[S - 1 - round", "off by one in the grid"),
    ("sdedit_start", "return t,", "return S - round(strength * S),", "place in the grid"),
    ("sdedit_start", "alpha_bar[t].sqrt() * x_0", "x_0", "not shrunk"),
    ("change_elsewhere", "(x - y) / 2", "(x - y)", "halve the difference"),
    ("change_elsewhere", "squares = ", "same = ~same\n    squares = ", "the wrong pixels count"),
    ("change_elsewhere", ELSEWHERE, "squares[same].mean()", "one number"),
    ("change_elsewhere", "same.sum(dim=(1, 2))", "same[0].numel()", "number of all pixels"),
    ("change_elsewhere", "mean(dim=1)", "sum(dim=1)", "channels are added up"),
    ("change_elsewhere", ELSEWHERE, "squares.mean(dim=(1, 2))", "all pixels"),
    ("timesteps", "range(S, -1, -1)", "range(S + 1)", "the times rise"),
    ("timesteps", "range(S, -1, -1)", "range(S, 0, -1)", "0 is missing"),
    ("timesteps", "range(S, -1, -1)", "range(S - 1, -1, -1)", "T is missing"),
    ("timesteps", "[i * T // S for i in range(S, -1, -1)]", "torch.linspace(T, 0, S).long()", "off by one"),
    ("timesteps", "i * T // S", "i * (T - 1) // S", "starts at T - 1"),
    ("timesteps", "i * T // S", "round(i * T / S)", "are rounded"),
    ("timesteps", "[i * T // S for i in range(S, -1, -1)]", "list(range(T, -1, -(T // S)))", "the step is T // S"),
    ("ddim_step", " - sigma**2", "", "lacks - sigma^2"),
    ("ddim_step", "sigma**2", "sigma", "it is sigma^2"),
    ("ddim_step", "+ sigma * noise", "+ sigma**2 * noise", "multiplied by sigma^2"),
    ("ddim_step", "a_s.sqrt() * x_0", "x_0", "not multiplied by sqrt(a_s)"),
    ("ddim_step", "(x_t - (1", "(x_t + (1", "wrong sign"),
    ("ddim_step", "/ a_t.sqrt()", "/ a_t.sqrt()\n    x_0 = x_0.clamp(-1, 1)", "clipped"),
    ("inversion_step", "a_s, a_t):", "a_t, a_s):", "a_s and a_t are swapped"),
    ("inversion_step", "a_t.sqrt() * x_0", "a_t.sqrt() * x_s", "as if it were the image"),
    ("inversion_step", "(x_s - (1", "(x_s + (1", "wrong sign"),
    ("inversion_step", "/ a_s.sqrt()", "/ a_s.sqrt()\n    x_0 = x_0.clamp(-1, 1)", "clipped"),
    ("invert", "(len(x),), t)", "(len(x),), s)", "called at s"),
    ("invert", "torch.full((len(x),), t)", "t", "wants t as a (B,) tensor"),
    ("invert", "grid[::-1]", "grid", "from noise to image"),
    ("invert", "eps_fn(x,", "eps_fn(x_0,", "not carried on"),
    ("invert", "times = x_0, grid[::-1]", "times = x_0, grid[-2::-1]", "one step is missing"),
    ("attention", " / Q.shape[-1] ** 0.5", "", "not divided by sqrt(d)"),
    ("attention", " ** 0.5", "", "divided by d"),
    ("attention", "dim=-1", "dim=-2", "over the pixels"),
    ("attention", ".softmax(dim=-1)", ".sigmoid()", "do not sum to one"),
    ("attention", "weights @ V, weights", "weights, weights @ V", "the order is wrong"),
    ("average_map", ".mean(dim=(0, 1))", ".sum(dim=(0, 1))", "take their mean"),
    ("average_map", "[:, token]", "[:, token - 1]", "off by one"),
    ("average_map", "torch.stack(steps)", "steps[-1][None]", "only the last step"),
    ("average_map", "bilinear", "nearest", "enlarge bilinearly"),
    ("inject", "target = source", "source = target", "the wrong half"),
    ("inject", "done < share", "done <= share", "off by one"),
    ("inject", " and done < share", "", "late steps are replaced"),
    ("inject", 'kind == "cross" and ', "", "self-attention is replaced"),
    ("inject", "target = source", "target[:] = source", "writes into one of its arguments"),
    ("inject", "torch.cat([source, target])", "target", "one half is returned"),
    ("align_words", "found =", "return [source.index(w) if w in source else None for w in target]", "map of the first"),
    ("align_words", "found =", "return [*range(len(source)), *[None] * (len(target) - len(source))]", "moved by one"),
    ("align_words", "found = [None] * len(target)", GREEDY, "stops at a removed word"),
    ("local_blend", "inside, target, source", "inside, source, target", "sides are swapped"),
    ("local_blend", "(map_source, map_target):", "(map_target,):", "only the target's map"),
    ("local_blend", RANGE, "each > threshold", "is absolute"),
    ("local_blend", RANGE, "each > threshold * each.max()", "share of the maximum"),
    ("frechet_1d", "(var_1.sqrt() - var_2.sqrt())", "(var_1 - var_2)", "taken for standard deviations"),
    ("frechet_1d", "(mu_1 - mu_2) ** 2", "(mu_1 - mu_2).abs()", "not squared"),
    ("frechet_1d", "(var_1.sqrt() - var_2.sqrt()) ** 2", "var_1 + var_2", "- 2 sqrt(var_1 var_2) is missing"),
    ("frechet_1d", "means + spreads", "spreads", "the means are left out"),
    ("frechet_1d", "means + spreads", "means", "the variances are left out"),
    ("frechet_1d", "means + spreads", "(means + spreads).sqrt()", "this is the root"),
    ("guide", "return eps_null", "return eps_caption", "the paper's w"),
    ("guide", "(eps_caption, eps_null, scale)", "(eps_null, eps_caption, scale)", "are swapped"),
    ("guide", "eps_null + scale", "scale", "is missing"),
    ("guide", "(eps_caption - eps_null)", "(eps_null - eps_caption)", "upside down"),
]


def rewritten(name, old, new):
    """A solution with a part of its text replaced, as a student might write it."""
    source = inspect.getsource(getattr(solutions, name))
    assert old in source, (name, old)
    if old == "found =":
        source = source.split(old)[0] + new
    names = dict(vars(solutions))
    exec(source.replace(old, new), names)
    return names[name]


@pytest.mark.parametrize("name", CHECKERS)
def test_the_solution_is_right_and_short(name, capsys):
    solution = getattr(solutions, name)
    assert diagnose(name, solution) is None
    assert check(solution, otherwise=None) is solution
    assert capsys.readouterr().out.startswith(f"{name}: right (")
    assert len(inspect.getsource(solution).splitlines()) <= 10


@pytest.mark.parametrize(("name", "old", "new", "message"), MISTAKES)
def test_a_typical_mistake_is_refused_by_its_name(name, old, new, message):
    assert message in (diagnose(name, rewritten(name, old, new)) or "let through")


def test_every_exercise_has_two_mistakes_or_more():
    counts = Counter(name for name, *_ in MISTAKES)
    assert set(counts) == set(CHECKERS) and min(counts.values()) >= 2


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
