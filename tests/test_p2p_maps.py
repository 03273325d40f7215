"""Prompt-to-Prompt's words and maps: which word answers to which, and replace, refine and reweight as functions."""

import math

import pytest
import torch

import ddpm
import p2p
from ddpm import Noise
from p2p.words import changed, common
from unet import Tokenizer

SOURCE, TARGET = "a photo of a red circle", "a photo of a blue circle"
LENGTH = 8


def maps(n: int = 2, rows: int = 4, seed: int = 0) -> torch.Tensor:
    """Attention weights (n, 3 heads, rows, LENGTH) over the first six tokens."""
    logits = torch.randn(n, 3, rows, LENGTH, generator=torch.Generator().manual_seed(seed))
    logits[..., 6:] = -math.inf
    return logits.softmax(dim=-1)


# ---- words -----------------------------------------------------------------------------------------------------------


def test_word_i_is_token_i_plus_1_wherever_it_occurs():
    assert p2p.word_positions("a photo of a cat", "photo") == [2]
    assert p2p.word_positions("a photo of a cat", "a") == [1, 4]


@pytest.mark.parametrize("prompt", ["a red, small circle.", "a red , small circle", "A photo of a 'red' CIRCLE!"])
def test_words_are_counted_as_the_tokenizer_counts_them(prompt):
    row = Tokenizer().encode([prompt], LENGTH)[0]
    (circle,) = Tokenizer().encode(["circle"], LENGTH)[0, 1:2]
    assert p2p.word_positions(prompt, "circle") == (row == circle).nonzero().flatten().tolist()


def test_a_word_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="'dog' is not in the prompt 'a photo of a cat'"):
        p2p.word_positions("a photo of a cat", "dog")


@pytest.mark.parametrize(
    ("source", "target", "length"),
    [("abcbdab", "bdcaba", 4), ("abc", "abc", 3), ("abc", "xyz", 0), ("", "abc", 0), ("aab", "ab", 2)],
)
def test_common_is_the_longest_rising_sequence_of_equal_words(source, target, length):
    pairs = common(source, target)
    assert len(pairs) == length
    assert all(source[i] == target[j] for i, j in pairs)
    assert all(a < c and b < d for (a, b), (c, d) in zip(pairs, pairs[1:], strict=False))


def test_of_equally_long_common_sequences_that_is_taken_which_skips_the_sources_word_first():
    assert common("ab", "ba") == [(1, 0)]
    assert common("abc", "cba") == [(2, 0)]


def test_between_prompts_of_equal_length_the_swap_map_is_the_identity():
    """Users of the reference implementation have reported this as a bug: word i stands for word i."""
    expected = torch.zeros(LENGTH, LENGTH)
    expected[range(7), range(7)] = 1
    assert torch.equal(p2p.swap_map("a photo of a red circle", "a photo of a blue square", LENGTH), expected)


@pytest.mark.parametrize(
    ("source", "target", "tail"),
    [
        ("a red cat on a road", "a dog on a road", 3),
        ("a cat on a road", "a small brown old dog on a road", 3),
        ("a dark red cat on road", "the dog on road", 2),
    ],
)
def test_after_an_uneven_swap_every_later_word_is_aligned(source, target, tail):
    """The reference implementation writes mapper[j, j] after the first uneven swap."""
    for one, other in ((source, target), (target, source)):
        matrix = p2p.swap_map(one, other, 10)
        m, n = len(one.split()), len(other.split())
        for back in range(tail):
            row = torch.zeros(10)
            row[m - back] = 1
            assert torch.equal(matrix[:, n - back], row)


def test_a_swap_moves_all_of_the_sources_attention():
    """Every source word's row sums to one, so maps that sum to one still do."""
    for source, target in (("a cat on a road", "a small brown dog on a road"), ("a small old cat", "a dog")):
        matrix = p2p.swap_map(source, target, 10)
        assert torch.allclose(matrix.sum(dim=1)[: len(source.split()) + 1], torch.ones(()))
        assert (matrix.sum(dim=0)[: len(target.split()) + 1] > 0).all()


def test_a_swap_of_one_word_by_several_splits_its_map_evenly_and_the_reverse_adds_them_up():
    there = p2p.swap_map("a cat", "a small brown dog", 6)
    assert torch.equal(there[2], torch.tensor([0, 0, 1 / 3, 1 / 3, 1 / 3, 0]))
    back = p2p.swap_map("a small brown dog", "a cat", 6)
    assert torch.equal(back[:, 2], torch.tensor([0, 0, 1.0, 1, 1, 0]))
    assert torch.allclose((there @ back).diag()[:3], torch.ones(3))


def test_refine_map_aligns_shared_words_and_leaves_the_columns_of_new_ones_zero():
    matrix = p2p.refine_map("a photo of a circle", "a photo of a small circle", LENGTH)
    assert [(i, j) for i, j in matrix.nonzero().tolist()] == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 6)]
    back = p2p.refine_map("a photo of a small circle", "a photo of a circle", LENGTH)
    assert torch.equal(back, matrix.T)


@pytest.mark.parametrize("mapping", [p2p.swap_map, p2p.refine_map])
def test_a_prompt_that_does_not_fit_into_the_row_is_refused(mapping):
    """START takes one of the tokens."""
    assert mapping("a b c", "a b", 4).shape == (4, 4)
    for prompts in (("a b c", "a b"), ("a b", "a b c"), ("a b c", "a b c")):
        with pytest.raises(ValueError, match="'a b c' has 3 words, but a row of 3 tokens takes 2"):
            mapping(*prompts, 3)


def test_the_kind_of_edit_follows_from_the_lengths():
    assert p2p.kind_of(SOURCE, TARGET) == "replace"
    assert p2p.kind_of(SOURCE, "a photo of a circle") == p2p.kind_of("a circle", SOURCE) == "refine"


def test_changed_names_the_words_that_differ():
    assert changed("a red cat on a road", "a red dog on a road") == (["cat"], ["dog"])
    assert changed("a cat", "a small cat") == ([], ["small"])
    assert changed("a small cat", "a cat") == (["small"], [])
    assert changed("a cat a dog", "a dog a cat") == (["cat", "dog"], ["dog", "cat"])


# ---- maps ------------------------------------------------------------------------------------------------------------


def mapping(source: str, target: str, kind=p2p.swap_map, n: int = 2) -> torch.Tensor:
    return kind(source, target, LENGTH).expand(n, -1, -1)


def test_replaced_maps_still_sum_to_one_over_real_words():
    moved = p2p.replace(maps(), mapping("a b c d e", "a x y z c d e"))
    assert torch.allclose(moved.sum(dim=-1), torch.ones(()))
    assert (moved >= 0).all()


def test_replacing_by_the_identity_changes_no_bit():
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
    left = source[..., 3:4]
    for j, i in ((0, 0), (1, 1), (2, 2), (3, 4), (4, 5)):
        assert torch.allclose(mixed[..., j], source[..., i] + left[..., 0] * target[..., j])



def test_reweight_scales_one_word_and_weight_1_changes_no_bit():
    factors = torch.ones(2, LENGTH)
    assert torch.equal(p2p.reweight(maps(), factors), maps())
    factors[0, 3] = -2
    scaled = p2p.reweight(maps(), factors)
    assert torch.equal(scaled[0, ..., 3], -2 * maps()[0, ..., 3])
    assert torch.equal(scaled[1], maps()[1])


def test_edits_of_maps_compose_in_any_order():
    """A word's factor follows the word: scaling before or after the words change places is the same."""
    source, matrix = maps(), mapping("a b c d e", "a b x c d e", p2p.refine_map)
    before, after = torch.ones(2, LENGTH), torch.ones(2, LENGTH)
    before[:, 4], after[:, 5] = 3, 3
    target = maps(seed=2)
    one = p2p.refine(p2p.reweight(source, before), target, matrix)
    other = p2p.reweight(p2p.refine(source, target, matrix), after)
    assert torch.equal(one, other)


def test_no_edit_of_maps_writes_in_place():
    """The reference implementation edits the stored map through a view."""
    source, target = maps(seed=1), maps(seed=2)
    kept = source.clone(), target.clone()
    p2p.refine(source, target, mapping("a b c", "a b d c", p2p.refine_map))
    p2p.reweight(source, 2 * torch.ones(2, LENGTH))
    assert torch.equal(source, kept[0]) and torch.equal(target, kept[1])


def test_maps_in_half_precision_agree():
    source, target, matrix = maps(seed=1), maps(seed=2), mapping("a b c d e", "a x y c d e")
    full = p2p.refine(source, target, matrix)
    half = p2p.refine(source.bfloat16(), target.bfloat16(), matrix)
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().max() < 2**-7  # bfloat16 keeps 8 bits of a number up to one


def test_maps_of_the_trained_network_agree_in_half_precision():
    """In the mean to the rounding of bfloat16's 8 bits. (Single weights differ more, where two words nearly tie.)"""
    trained, prompt = ddpm.load("shapes"), "a photo of a large red circle on a blue background"
    x_t, t, means = Noise([0]).start(trained.shape), torch.tensor([500]), []
    for half in (False, True):
        store = p2p.AttentionStore([prompt])
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            trained.eps([prompt], 1.0, store)(x_t, t)
        means.append([store.mean(site) for site in store.sites])
    assert len(means[0]) == len(means[1]) > 10
    assert max((full - half).abs().mean() for full, half in zip(*means, strict=True)) < 2**-8