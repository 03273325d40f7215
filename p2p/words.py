"""The alignment of two prompts: which word of the target corresponds to which word of the source.

A prompt is a sentence, or the list of its words. Its row in the network is START, then the words: word i is token
i + 1. Alignments are matrices (L, L): source maps (..., L) times the matrix are the source's maps in the order of the
target's words. The column of a new word is zero: it has no map in the source. ValueError: a word that is not in its
prompt, a prompt of more than length - 1 words, another number of prompts or values than images.
"""

from collections.abc import Mapping, Sequence
from numbers import Real

import torch

from unet.text import split_words

Words = list[str]
Prompt = str | Words


def split(prompt: Prompt) -> Words:
    """The words of a prompt as the tokenizer counts them; a list of words is returned as it is."""
    return split_words(prompt) if isinstance(prompt, str) else prompt


def word_positions(prompt: Prompt, word: str) -> list[int]:
    """The tokens of a word in a prompt's row, one for each time it occurs."""
    words, wanted = split(prompt), split_words(word)
    positions = [i + 1 for i, each in enumerate(words) if [each] == wanted]
    if not positions:
        raise ValueError(f"the word {word!r} is not in the prompt {' '.join(words)!r}: choose one of its words")
    return positions


def common(source: Words, target: Words) -> list[tuple[int, int]]:
    """The longest common subsequence as pairs (i, j) with source[i] == target[j], both rising.

    Of several equally long ones, that which skips a word of the source before one of the target.
    """
    best = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]  # best[i][j]: length for source[i:], target[j:]
    for i in reversed(range(len(source))):
        for j in reversed(range(len(target))):
            same = source[i] == target[j]
            best[i][j] = best[i + 1][j + 1] + 1 if same else max(best[i + 1][j], best[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(source) and j < len(target):
        if source[i] == target[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def refine_map(source: Prompt, target: Prompt, length: int) -> torch.Tensor:
    """(length, length): words that both prompts share, in order, take their map; the target's other words are new.

    For words that are added or taken away. length: tokens of a row, START included.
    """
    source, target = (fitting(prompt, length) for prompt in (source, target))
    matrix = torch.zeros(length, length)
    for i, j in [(0, 0), *((i + 1, j + 1) for i, j in common(source, target))]:
        matrix[i, j] = 1
    return matrix


def swap_map(source: Prompt, target: Prompt, length: int) -> torch.Tensor:
    """(length, length): each target word takes the map of the word in its place.

    Between prompts of equal length this is the identity: one token is one word, so word i stands for word i. Between
    others the shared words take their maps, and where k words of the target stand in the place of m of the source, each
    of the k takes the sum of the m maps divided by k. Words inserted between shared ones are new, as in `refine_map`.
    """
    source, target = (fitting(prompt, length) for prompt in (source, target))
    if len(source) == len(target):
        return torch.eye(length) * (torch.arange(length) <= len(source))
    matrix = refine_map(source, target, length)
    before = (0, 0)
    for i, j in [*((i + 1, j + 1) for i, j in common(source, target)), (len(source) + 1, len(target) + 1)]:
        if j > before[1] + 1:
            matrix[before[0] + 1 : i, before[1] + 1 : j] = 1 / (j - before[1] - 1)
        before = i, j
    return matrix


def fitting(prompt: Prompt, length: int) -> Words:
    """The words of a prompt. ValueError unless they fit into a row of `length` tokens, START included."""
    words = split(prompt)
    if len(words) >= length:
        raise ValueError(f"{' '.join(words)!r} has {len(words)} words, but a row of {length} tokens takes {length - 1}")
    return words


def alignment(source: Words, target: Words, length: int, kind: str | None = None) -> torch.Tensor:
    """(length, length): `swap_map` for the kind "replace", `refine_map` for "refine"; by default `kind_of` the pair."""
    maps = {"replace": swap_map, "refine": refine_map}
    if kind is not None and kind not in maps:
        raise ValueError(f"kind is {kind!r}: expected one of {', '.join(maps)}")
    return maps[kind or kind_of(source, target)](source, target, length)


def changed(source: Words, target: Words) -> tuple[Words, Words]:
    """The words of the source that the target replaces or removes, and the words that are new in the target."""
    shared = common(source, target)
    if len(source) == len(target):
        shared = [(i, i) for i, (a, b) in enumerate(zip(source, target, strict=True)) if a == b]
    rows, columns = {i for i, _ in shared}, {j for _, j in shared}
    removed = [word for i, word in enumerate(source) if i not in rows]
    return removed, [word for j, word in enumerate(target) if j not in columns]


def kind_of(source: Prompt, target: Prompt) -> str:
    """The kind of edit between two prompts: "replace" when they have equally many words, else "refine"."""
    return "replace" if len(split(source)) == len(split(target)) else "refine"


# ---- one value for all prompts, or one for each ----------------------------------------------------------------------


def as_words(prompts: str | list[str], n: int) -> list[Words]:
    """The words of n prompts, from one for all or one for each. ValueError: a prompt without a word."""
    prompts = [prompts] * n if isinstance(prompts, str) else list(prompts)
    if len(prompts) != n:
        raise ValueError(f"{len(prompts)} prompts for {n} images: expected one for each, or a single one")
    words = [split_words(prompt) for prompt in prompts]
    if [] in words:
        raise ValueError(f"the prompt {prompts[words.index([])]!r} has no word: an edit needs one or more")
    return words


def per_word(
    name: str,
    values: Mapping[str, float] | Sequence[Mapping[str, float]] | None,
    prompts: list[Words],
    length: int,
    default: float,
    low: float,
    high: float,
) -> torch.Tensor:
    """(n, length): a value for each token of n prompts, `default` where values (word -> value) has none.

    values: one mapping for all prompts, one for each, or None. ValueError: a value outside low .. high.
    """
    values = [values or {}] * len(prompts) if values is None or isinstance(values, Mapping) else values
    if len(values) != len(prompts):
        raise ValueError(f"{len(values)} mappings for {len(prompts)} pairs: expected one for each, or a single one")
    rows = torch.full((len(prompts), length), float(in_range(name, default, low, high)))
    for row, words, mapping in zip(rows, prompts, values, strict=True):
        for word, value in mapping.items():
            row[word_positions(words, word)] = float(in_range(f"{name} of {word!r}", value, low, high))
    return rows


def in_range(name: str, value: float, low: float, high: float) -> float:
    """The value. ValueError unless it is a number in low .. high."""
    if not isinstance(value, Real) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}: expected {low:g} .. {high:g}")
    return value
