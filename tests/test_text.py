"""Tokenizer, vocabulary and text encoder: words in, words out, and clear errors for what is not known."""

from itertools import product

import pytest
import torch

from ddpm.data.shapes import PALETTE, Shape, variants
from unet import PRESETS, TextEncoder, Tokenizer, UnknownWordError
from unet.vocabulary import GROUPS, SHAPES, SIZES, VOCABULARY


def test_every_word_is_one_token_of_its_own_and_comes_back():
    tokenizer = Tokenizer()
    tokens = tokenizer.encode(VOCABULARY, 2)
    assert tokens[:, 0].eq(Tokenizer.START).all()
    assert sorted(tokens[:, 1].tolist()) == list(range(2, len(tokenizer)))
    assert tokenizer.decode(tokens) == list(VOCABULARY)
    assert sorted(VOCABULARY) == sorted(word for group in GROUPS for word in group)
    with pytest.raises(ValueError, match="a word twice"):
        Tokenizer(["red", "blue", "red"])


def test_every_caption_of_the_shapes_fits_their_preset_and_comes_back():
    tokenizer, words = Tokenizer(), PRESETS["shapes"].words
    every = product(SHAPES, PALETTE, PALETTE, SIZES)
    captions = sorted({sentence for attributes in every for sentence in variants(Shape(*attributes))})
    assert tokenizer.decode(tokenizer.encode(captions, words)) == captions


def test_words_survive_capitals_and_punctuation():
    tokenizer = Tokenizer()
    plain = tokenizer.encode(["a red circle on a blue background"], 16)
    ways = '  A RED circle,\ton a "blue" background. ', "“A red circle”: on a blue background!"
    for prompt in ways:
        assert torch.equal(tokenizer.encode([prompt], 16), plain)


def test_the_null_prompt_is_the_start_and_nothing_else():
    for prompt in ("", "   ", "."):
        assert Tokenizer().encode([prompt], 4).tolist() == [[Tokenizer.START, *3 * [Tokenizer.PAD]]]


@pytest.mark.parametrize(("word", "near"), [("circel", "circle"), ("Purpel", "purple"), ("zzzz", "no known word")])
def test_an_unknown_word_is_named_with_its_nearest(word, near):
    with pytest.raises(UnknownWordError) as caught:
        Tokenizer().encode(["a red circle", f"a red {word} on a blue background"], 16)
    assert repr(word.lower()) in str(caught.value) and near in str(caught.value)


def test_a_prompt_may_fill_the_budget_but_not_pass_it():
    tokenizer = Tokenizer()
    assert tokenizer.decode(tokenizer.encode(["a red circle"], 4)) == ["a red circle"]
    with pytest.raises(ValueError, match="has 4 words.* at most 3"):
        tokenizer.encode(["a large red circle"], 4)


def test_without_layers_a_state_knows_only_its_word_and_place():
    torch.manual_seed(0)
    prompts = Tokenizer().encode(["a red circle", "a blue circle"], 6)
    for layers, leaks in ((0, False), (1, True)):
        with torch.no_grad():
            red, blue = TextEncoder(len(Tokenizer()), 6, width=8, layers=layers, heads=2)(prompts).states
        assert not torch.equal(red[2], blue[2])
        assert torch.equal(red[3], blue[3]) != leaks
