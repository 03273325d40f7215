"""How an exercise is checked: a function is run, its answer compared with the truth and with typical mistakes.

The exercises themselves are in `exercises.py`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

CHECKERS: dict[str, tuple[Callable, str]] = {}


class Wrong(Exception):
    """What is wrong with an answer, in one line."""


def exercise(covers: str) -> Callable:
    """Registers a checker under its name; `covers` is what it has looked at when it finds nothing wrong."""
    return lambda checker: CHECKERS.setdefault(checker.__name__, (checker, covers))[0]


def check(function: Callable, otherwise: Callable) -> Callable:
    """Prints one line: right, or what is wrong. Returns the function if it is right, else `otherwise`."""
    name, wrong = function.__name__, diagnose(function.__name__, function)
    if wrong is None:
        print(f"{name}: right ({CHECKERS[name][1]})")
        return function
    print(f"{name}: {wrong}. The next cell goes on with the repository's own function.")
    return otherwise


def diagnose(name: str, function: Callable) -> str | None:
    """What is wrong with an exercise's function, or None. KeyError: no exercise of that name."""
    checker, _ = CHECKERS[name]
    try:
        checker(guarded(function))
    except Wrong as wrong:
        return str(wrong)
    except Exception as error:
        return f"it stops with {type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}"
    return None


def guarded(function: Callable) -> Callable:
    """The function, refused where it returns nothing, draws random numbers or writes into its arguments."""
    code = getattr(function, "__code__", None)
    stub = code is not None and code.co_code == (lambda: None).__code__.co_code

    def call(*arguments):
        before = [each.clone() if isinstance(each, Tensor) else each for each in arguments]
        state = torch.get_rng_state()
        answer = function(*arguments)
        if stub or answer is ...:
            raise Wrong("it returns None, so it is not written yet: put your lines in place of `# your code`")
        if answer is None:
            raise Wrong("it returns None: every branch of it has to end with `return` and the answer")
        if not torch.equal(state, torch.get_rng_state()):
            raise Wrong("it draws random numbers of its own: all that it needs is in its arguments")
        if any(isinstance(a, Tensor) and not torch.equal(a, b) for a, b in zip(before, arguments, strict=True)):
            raise Wrong("it writes into one of its arguments (+= or a slice): make a new tensor instead")
        return answer

    return call


def close(a: Tensor, b: Tensor, tolerance: float = 1e-4) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)


def factors(answer: Tensor, truth: Tensor, terms: dict[str, Tensor]) -> str:
    """Which multiples of the terms differ, by least squares; empty where the answer is no sum of multiples of them."""
    basis = torch.stack([term.expand_as(truth).flatten() for term in terms.values()], dim=1).double()
    found, right = (torch.linalg.lstsq(basis, x.reshape(-1, 1)).solution[:, 0] for x in (answer, truth))
    rows = zip(terms, found.tolist(), right.tolist(), strict=True) if close(basis @ found, answer.flatten()) else ()
    return "; ".join(
        f"{round(a, 3) + 0:g} times {name}, expected {round(b, 3) + 0:g}" for name, a, b in rows if abs(a - b) > 9e-4
    )


def agree(what: str, answer, truth, mistakes: dict | None = None, terms: dict | None = None, tolerance=1e-4) -> None:
    """Wrong unless the answer is the truth.

    mistakes: message -> what that mistake gives, or a test of the answer. terms: name -> tensor; where the answer is a
    sum of multiples of them, the message has those that differ.
    """
    if isinstance(answer, list | tuple) and any(each is None for each in answer):
        raise Wrong(f"{what} has None in it, expected numbers only: {answer}")
    if isinstance(truth, Tensor) and truth.dim() > 0 and not isinstance(answer, Tensor):
        raise Wrong(f"{what} is a {type(answer).__name__}, expected a tensor")
    try:
        answer, truth = (torch.as_tensor(each, dtype=torch.float64) for each in (answer, truth))
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{what} is a {type(answer).__name__}, expected a tensor or numbers") from None
    if close(answer, truth, tolerance):
        return
    for message, wrong in (mistakes or {}).items():
        if wrong(answer) if callable(wrong) else close(answer, torch.as_tensor(wrong, dtype=torch.float64)):
            raise Wrong(message)
    if answer.shape != truth.shape:
        raise Wrong(f"{what} has the shape {tuple(answer.shape)}, expected {tuple(truth.shape)}")
    if not answer.isfinite().all():
        raise Wrong(f"{what} is not finite: is there a division by 0, or the root of a negative number?")
    if answer.numel() > 1 and (different := factors(answer, truth, terms or {"the right answer": truth})):
        raise Wrong(f"{what} has {different}")
    raise Wrong(f"{what} is off by up to {(answer - truth).abs().max():.3g}: compare each term with the formula")


def parts(answer, *names: str) -> tuple:
    """The named parts of an answer that is a tuple."""
    if not isinstance(answer, tuple | list) or len(answer) != len(names):
        raise Wrong(f"it returns a {type(answer).__name__}, expected {len(names)} values: {', '.join(names)}")
    return tuple(answer)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
