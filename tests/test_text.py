"""Tokenizer, vocabulary and text encoder: words in, words out, and clear errors for what is not known."""

from itertools import product

import pytest
import torch

from ddpm.data.shapes import PALETTE, Shape, variants
from unet import PRESETS, TextEncoder, Tokenizer, UnknownWordError
from unet.vocabulary import GROUPS, SHAPES, SIZES, VOCABULARY


def test_encoding_and_decoding_are_inverse():
    tokenizer = Tokenizer()
    prompts = ["a photo of a small red circle on a blue background", "", "woman", " ".join(VOCABULARY)]
    assert tokenizer.decode(tokenizer.encode(prompts, len(VOCABULARY) + 1)) == prompts


def test_every_word_is_one_token_of_its_own():
    tokenizer = Tokenizer()
    tokens = tokenizer.encode(VOCABULARY, 2)
    assert tokens[:, 0].eq(Tokenizer.START).all()
    assert sorted(tokens[:, 1].tolist()) == list(range(2, len(tokenizer)))


def test_the_vocabulary_has_no_word_twice():
    words = [word for group in GROUPS for word in group]
    assert len(words) == len(set(words)) == len(VOCABULARY) and set(words) == set(VOCABULARY)
    with pytest.raises(ValueError, match="a word twice"):
        Tokenizer(["red", "blue", "red"])


def test_words_survive_capitals_and_punctuation():
    """Whatever `encode` strips or lowers must have been no part of a word of the vocabulary."""
    tokenizer = Tokenizer()
    plain = tokenizer.encode(["a red circle on a blue background"], 16)
    ways = (
        '  A RED circle,\ton a "blue" background. ',
        "“A red circle”: on a blue background!",
        "a red circle , on a blue background",
    )
    for prompt in ways:
        assert torch.equal(tokenizer.encode([prompt], 16), plain)
    assert tokenizer.decode(tokenizer.encode(VOCABULARY, 2)) == list(VOCABULARY)


def test_the_null_prompt_is_the_start_and_nothing_else():
    for prompt in ("", "   ", "."):
        assert Tokenizer().encode([prompt], 4).tolist() == [[Tokenizer.START, *3 * [Tokenizer.PAD]]]


@pytest.mark.parametrize(("word", "near"), [("circel", "circle"), ("Purpel", "purple"), ("backgroud", "background")])
def test_an_unknown_word_is_named_with_its_nearest(word, near):
    with pytest.raises(UnknownWordError) as caught:
        Tokenizer().encode(["a red circle", f"a red {word} on a blue background"], 16)
    message = str(caught.value)
    assert repr(word.lower()) in message and near in message and "\n" not in message


def test_an_unknown_word_without_a_relative_is_said_to_have_none():
    with pytest.raises(UnknownWordError, match="'zzzz'.*no known word is near"):
        Tokenizer().encode(["zzzz"], 16)


def test_a_prompt_may_fill_the_budget_but_not_pass_it():
    tokenizer = Tokenizer()
    assert tokenizer.decode(tokenizer.encode(["a red circle"], 4)) == ["a red circle"]
    with pytest.raises(ValueError, match="has 4 words.* at most 3"):
        tokenizer.encode(["a large red circle"], 4)


def test_every_caption_of_the_shapes_fits_their_preset():
    tokenizer, words = Tokenizer(), PRESETS["shapes"].words
    every = product(SHAPES, PALETTE, PALETTE, SIZES)
    captions = sorted({sentence for attributes in every for sentence in variants(Shape(*attributes))})
    assert tokenizer.decode(tokenizer.encode(captions, words)) == captions


def test_padding_is_masked_and_its_length_does_not_matter():
    torch.manual_seed(0)
    encoder = TextEncoder(len(Tokenizer()), 12, width=8, layers=2, heads=2)
    short, long = (Tokenizer().encode(["a red circle", "", "red"], length) for length in (4, 12))
    with torch.no_grad():
        one, two = encoder(short), encoder(long)
    assert two.mask.sum(1).tolist() == [4, 1, 2]
    assert torch.equal(one.mask, two.mask[:, :4]) and not two.mask[:, 4:].any()
    # layer norm makes states of size 1; float32 rounding of sums over 4 or 12 words
    torch.testing.assert_close(one.states[one.mask], two.states[two.mask], rtol=0, atol=1e-5)


def test_without_layers_a_state_knows_only_its_word_and_place():
    torch.manual_seed(0)
    prompts = Tokenizer().encode(["a red circle", "a blue circle"], 6)
    for layers, leaks in ((0, False), (1, True)):
        with torch.no_grad():
            red, blue = TextEncoder(len(Tokenizer()), 6, width=8, layers=layers, heads=2)(prompts).states
        assert not torch.equal(red[2], blue[2])
        assert torch.equal(red[3], blue[3]) != leaks
