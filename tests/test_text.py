"""Tokenizer, vocabulary and text encoder: words in, words out, and clear errors for what is not known."""

from pathlib import Path

import pytest
import torch

from unet import TextEncoder, Tokenizer, UnknownWordError, text, vocabulary
from unet.vocabulary import GROUPS, VOCABULARY


def test_every_word_is_one_token_of_its_own_and_comes_back():
    tokenizer = Tokenizer()
    tokens = tokenizer.encode(VOCABULARY, 2)
    assert tokens[:, 0].eq(Tokenizer.START).all()
    assert sorted(tokens[:, 1].tolist()) == list(range(2, len(tokenizer)))
    assert tokenizer.decode(tokens) == list(VOCABULARY)
    assert sorted(VOCABULARY) == sorted(word for group in GROUPS for word in group)


def test_words_survive_capitals_and_punctuation():
    tokenizer = Tokenizer((*VOCABULARY, "café"))
    plain = tokenizer.encode(["a red circle on a blue background", "a café"], 16)
    ways = '  A RED circle,\ton a "blue" background. ', "“A red circle”: (on a) ‘blue’ «background»!"
    for prompt, cafe in zip(ways, ("a Cafe\u0301.", "A CAF\u00c9"), strict=True):  # one character, or two
        assert torch.equal(tokenizer.encode([prompt, cafe], 16), plain)


def test_a_vocabulary_is_read_as_prompts_are():
    """Whatever somebody writes into the module's groups, prompts can have."""
    source = Path(vocabulary.__file__).read_text(encoding="utf-8")
    place = source.index("PUNCTUATION =")
    names = {}
    added = "GROUPS += (('Corgi', 'no.', 'polar bear', 'cafe\u0301', 'Red'),)\n"
    exec(source[:place] + added + source[place:], names)
    assert names["VOCABULARY"] == (*VOCABULARY, "corgi", "polar", "bear", "caf\u00e9")


def test_the_null_prompt_is_the_start_and_nothing_else():
    for prompt in ("", "   ", "."):
        assert Tokenizer().encode([prompt], 4).tolist() == [[Tokenizer.START, *3 * [Tokenizer.PAD]]]


def test_an_unknown_word_is_named_with_the_words_that_the_model_knows_the_nearest_first():
    shapes = Tokenizer(VOCABULARY, known=("a", "red", "small", "circle", "square"))
    for prompt, words, first in (
        ("a red Circel", "word 'circel'", "circle, "),
        ("a smiling red woman, a woman", "words 'smiling', 'woman'", "small, "),
        ("a small zzzz", "word 'zzzz'", "red, small, circle, square, a"),
    ):
        with pytest.raises(UnknownWordError) as caught:
            shapes.encode(["a circle", prompt], 16)
        start = f"unknown {words} in the prompt {prompt!r}: this model knows, nearest first, {first}"
        assert str(caught.value).startswith(start) and "\n" not in str(caught.value)


def test_a_model_learns_the_words_of_new_captions_and_its_own_keep_their_tokens(monkeypatch):
    old = Tokenizer(("zebra", "red", "a"), known=("red", "a"))
    monkeypatch.setattr(text, "VOCABULARY", ("a", "corgi", "red", "dog", "cat"))
    new = old.extended(["A red zebra.", "a dog, a Corgi"])
    assert new.words == ("zebra", "red", "a", "corgi", "dog") and new.known == new.words
    assert torch.equal(new.encode(["a red", "red"], 4), old.encode(["a red", "red"], 4))
    assert old.extended(["red a"]).words == old.words and old.known == ("red", "a")
    assert Tokenizer(known=()).extended(["a red circle"]).known == ("a", "red", "circle")
    with pytest.raises(UnknownWordError, match="in the captions: poodle, gnu; correct them, or add them to unet/voc"):
        old.extended(["a poodle", "a red gnu"])


def test_without_layers_a_state_knows_only_its_word_and_place():
    torch.manual_seed(0)
    prompts = Tokenizer().encode(["a red circle", "a blue circle"], 6)
    for layers, leaks in ((0, False), (1, True)):
        with torch.no_grad():
            red, blue = TextEncoder(len(Tokenizer()), 6, width=8, layers=layers, heads=2)(prompts).states
        assert not torch.equal(red[2], blue[2])
        assert torch.equal(red[3], blue[3]) != leaks
