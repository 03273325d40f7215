"""Prompt-to-Prompt's words and maps: which word answers to which, and replace, refine and reweight as functions."""

import math

import pytest
import torch

import p2p
from p2p.words import changed, common
from unet import Tokenizer

SOURCE, TARGET = "a photo of a red circle", "a photo of a blue circle"
LENGTH = 8


def maps(n: int = 2, rows: int = 4, seed: int = 0) -> torch.Tensor:
    """Attention weights (n, 3 heads, rows, LENGTH) over the first six tokens."""
    logits = torch.randn(n, 3, rows, LENGTH, generator=torch.Generator().manual_seed(seed))
    logits[..., 6:] = -math.inf
    return logits.softmax(dim=-1)


def mapping(source: str, target: str, kind=p2p.swap_map, n: int = 2) -> torch.Tensor:
    return kind(source, target, LENGTH).expand(n, -1, -1)


# ---- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["a red, small circle.", "A photo of a 'red' CIRCLE on a circle!"])
def test_words_are_counted_as_the_tokenizer_counts_them(prompt):
    row = Tokenizer().encode([prompt], 16)[0]
    (circle,) = Tokenizer().encode(["circle"], 16)[0, 1:2]
    assert p2p.word_positions(prompt, "circle") == (row == circle).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("source", "target", "length"),
    [("abcbdab", "bdcaba", 4), ("abc", "abc", 3), ("abc", "xyz", 0), ("", "abc", 0), ("aab", "ab", 2)],
)
def test_common_is_the_longest_rising_sequence_of_equal_words(source, target, length):
    pairs = common(source, target)
    assert len(pairs) == length
    assert all(source[i] == target[j] for i, j in pairs)
    assert all(a < c and b < d for (a, b), (c, d) in zip(pairs, pairs[1:], strict=False))
    assert common("abc", "cba") == [(2, 0)]  # of equally long ones that which skips the source's words first


def test_between_prompts_of_equal_length_the_swap_map_is_the_identity():
    """Users of the reference implementation have reported this as a bug: word i stands for word i."""
    expected = torch.zeros(LENGTH, LENGTH)
    expected[range(7), range(7)] = 1
    assert torch.equal(p2p.swap_map(SOURCE, "a photo of a blue square", LENGTH), expected)
    assert torch.equal(p2p.swap_map("a dog of a cat a", "a cat of a dog a", LENGTH), expected)


def test_an_uneven_swap_splits_or_adds_up_maps_and_aligns_every_later_word():
    """The reference implementation writes mapper[j, j] after the first uneven swap."""
    there = torch.zeros(10, 10)
    there[[0, 1, 3, 4, 5], [0, 1, 5, 6, 7]] = 1  # START a | cat | on a road
    there[2, 2:5] = 1 / 3  # cat -> small brown dog
    assert torch.equal(p2p.swap_map("a cat on a road", "a small brown dog on a road", 10), there)
    assert torch.equal(p2p.swap_map("a small brown dog on a road", "a cat on a road", 10), (there.T > 0).float())
    last = p2p.swap_map("a small old cat", "a dog", 6)  # at the end of the prompt
    assert last.sum(dim=1)[:5].tolist() == [1] * 5 and last[:, 2].tolist() == [0, 0, 1, 1, 1, 0]


def test_refine_map_aligns_shared_words_and_leaves_the_columns_of_new_ones_zero():
    matrix = p2p.refine_map("a photo of a circle", "a photo of a small circle", LENGTH)
    assert [(i, j) for i, j in matrix.nonzero().tolist()] == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 6)]
    assert torch.equal(p2p.refine_map("a photo of a small circle", "a photo of a circle", LENGTH), matrix.T)


def test_the_words_that_differ_and_the_kind_of_edit():
    assert changed("a red cat on a road".split(), "a red dog on a road".split()) == (["cat"], ["dog"])
    assert changed("a small cat".split(), "a cat".split()) == (["small"], [])
    assert changed("a cat a dog".split(), "a dog a cat".split()) == (["cat", "dog"], ["dog", "cat"])
    assert p2p.kind_of(SOURCE, TARGET) == "replace" and p2p.kind_of(SOURCE, "a circle") == "refine"


# ---- maps ------------------------------------------------------------------------------------------------------------


def test_replaced_maps_sum_to_one_over_real_words_and_the_identity_changes_no_bit():
    moved = p2p.replace(maps(), mapping("a b c d e", "a x y z c d e"))
    assert torch.allclose(moved.sum(dim=-1), torch.ones(())) and (moved >= 0).all()
    assert torch.equal(p2p.replace(maps(), torch.eye(LENGTH).expand(2, -1, -1)), maps())


def test_refine_takes_shared_words_from_the_source_and_new_ones_from_the_target():
    source, target = maps(seed=1), maps(seed=2)
    mixed = p2p.refine(source, target, mapping("a b c d e", "a new b c d e", p2p.refine_map))
    for j, i in ((0, 0), (1, 1), (3, 2), (4, 3), (5, 4), (6, 5)):
        assert torch.equal(mixed[..., j], source[..., i])
    assert torch.equal(mixed[..., 2], target[..., 2])


def test_the_attention_to_a_removed_word_is_shared_out_by_the_targets_own_maps():
    source, target = maps(seed=1), maps(seed=2)
    target = torch.where(torch.arange(LENGTH) < 5, target, 0)  # the target is a word shorter
    target = target / target.sum(dim=-1, keepdim=True)
    mixed = p2p.refine(source, target, mapping("a b gone c d", "a b c d", p2p.refine_map))
    assert torch.allclose(mixed.sum(dim=-1), torch.ones(()))
    for j, i in ((0, 0), (1, 1), (2, 2), (3, 4), (4, 5)):
        assert torch.allclose(mixed[..., j], source[..., i] + source[..., 3] * target[..., j])


def test_reweight_scales_one_word_and_weight_1_changes_no_bit():
    factors = torch.ones(2, LENGTH)
    assert torch.equal(p2p.reweight(maps(), factors), maps())
    factors[0, 3] = -2
    scaled = p2p.reweight(maps(), factors)
    assert torch.equal(scaled[0, ..., 3], -2 * maps()[0, ..., 3])
    assert torch.equal(scaled[1], maps()[1])


def test_no_edit_of_maps_writes_in_place():
    """The reference implementation edits the stored map through a view."""
    source, target = maps(seed=1), maps(seed=2)
    p2p.reweight(p2p.refine(source, target, mapping("a b c", "a b d c", p2p.refine_map)), 2 * torch.ones(2, LENGTH))
    p2p.reweight(source, 2 * torch.ones(2, LENGTH))
    assert torch.equal(source, maps(seed=1)) and torch.equal(target, maps(seed=2))
