"""From a caption to vectors that an image can attend to: a tokenizer of whole words and a tiny transformer."""

import difflib
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from .attention import Text, attend
from .vocabulary import GRAMMAR, NOUNS, VOCABULARY


class UnknownWordError(ValueError):
    """A prompt has a word outside the vocabulary; the message names it, known words and what to do."""


def split_words(prompt: str) -> list[str]:
    """The words of a prompt in lower case, without full stops, commas, quotation marks and the like."""
    return [word for word in (raw.strip(".,;:!?\"'“”").lower() for raw in prompt.split()) if word]


def content_words(prompt: str) -> list[str]:
    """The words of a prompt that name something, each once."""
    return list(dict.fromkeys(word for word in split_words(prompt) if word not in GRAMMAR))


class Tokenizer:
    """One word, one token, from a closed vocabulary.

    Token 0 fills up short prompts and is never attended to; token 1 starts every prompt, so that the empty prompt (the
    null prompt of classifier-free guidance) has something to attend to. Word i of a prompt is token i + 1 of its row.
    """

    PAD, START = 0, 1

    def __init__(self, words: Sequence[str] = VOCABULARY):
        self.words = tuple(words)
        self._ids = {word: i + 2 for i, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            raise ValueError("the vocabulary has a word twice: every word needs one token")

    def __len__(self) -> int:
        """The number of tokens: the words, the padding and the start."""
        return len(self.words) + 2

    def encode(self, prompts: Sequence[str], length: int) -> Tensor:
        """Prompts -> tokens (B, length) long.

        Raises UnknownWordError for a word outside the vocabulary, ValueError for a prompt longer than length - 1 words.
        """
        rows = torch.full((len(prompts), length), self.PAD, dtype=torch.long)
        for row, prompt in zip(rows, prompts, strict=True):
            ids = [self.START, *(self._id(word, prompt) for word in split_words(prompt))]
            if len(ids) > length:
                n, most = len(ids) - 1, length - 1
                raise ValueError(f"the prompt {prompt!r} has {n} words, but this model reads at most {most}")
            row[: len(ids)] = torch.tensor(ids)
        return rows

    def decode(self, tokens: Tensor) -> list[str]:
        """Tokens (B, L) -> prompts in lower case, without start and padding."""
        return [" ".join(self.words[i - 2] for i in row if i > self.START) for row in tokens.tolist()]

    def _id(self, word: str, prompt: str) -> int:
        if word not in self._ids:
            near = difflib.get_close_matches(word, self.words, n=3, cutoff=0.5)
            hint = f"the nearest known words are {', '.join(near)}" if near else "no known word is near it"
            nouns = ", ".join(noun for noun in NOUNS if noun in self._ids)
            raise UnknownWordError(
                f"unknown word {word!r} in the prompt {prompt!r}: {hint}; the nouns that the model knows are {nouns}; "
                "add words to unet/vocabulary.py before a training"
            )
        return self._ids[word]


class TextBlock(nn.Module):
    """A pre-norm transformer block on states (B, L, width): self-attention, then a position-wise MLP."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        q, k, v = rearrange(self.to_qkv(self.norm_1(states)), "b l (three h d) -> three b h l d", three=3, h=self.heads)
        y = attend(q, k, v, rearrange(mask, "b l -> b 1 1 l"))
        states = states + self.out(rearrange(y, "b h l d -> b l (h d)"))
        return states + self.mlp(self.norm_2(states))


class TextEncoder(nn.Module):
    """Tokens (B, L) long -> `Text` with states (B, L, width): token and position embeddings, `layers` blocks.

    With layers = 0 a state knows only its own word and place; each layer adds information from the other words.
    """

    def __init__(self, tokens: int, length: int, width: int, layers: int, heads: int):
        super().__init__()
        self.length = length
        self.words = nn.Embedding(tokens, width)
        self.places = nn.Parameter(torch.randn(length, width))
        self.blocks = nn.ModuleList(TextBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Text:
        mask = tokens != Tokenizer.PAD
        states = self.words(tokens) + self.places[: tokens.shape[1]]
        for block in self.blocks:
            states = block(states, mask)
        return Text(self.norm(states), mask)
