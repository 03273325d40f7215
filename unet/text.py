"""From a caption to vectors that an image can attend to: a tokenizer of whole words and a tiny transformer."""

import difflib
from collections.abc import Iterable, Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from .attention import Text, attend
from .vocabulary import GRAMMAR, VOCABULARY, split_words

MOST_NAMED = 40  # known words in an error


class UnknownWordError(ValueError):
    """A prompt has a word that the model does not know; the message names it and the words that it knows."""


class Tokenizer:
    """One word, one token, from a closed vocabulary.

    Token 0 fills up short prompts and is never attended to; token 1 starts every prompt, so that the empty prompt (the
    null prompt of classifier-free guidance) has something to attend to. Word i of a prompt is token i + 1 of its row.

    words: all that have a token, in this order. known: those that prompts may use, by default all; a trained model
    knows the words of its training captions. ValueError: a word twice; a known word without a token, or one that no
    prompt is split into (see `split_words`).
    """

    PAD, START = 0, 1

    def __init__(self, words: Sequence[str] = VOCABULARY, known: Iterable[str] | None = None):
        self.words = tuple(words)
        tokens = {word: i + 2 for i, word in enumerate(self.words)}
        if len(tokens) != len(self.words):
            raise ValueError("the vocabulary has a word twice: every word needs one token")
        known = dict.fromkeys(self.words if known is None else known)
        if odd := [word for word in known if word not in tokens or split_words(word) != [word]]:
            raise ValueError(f"no prompt can name {odd[0]!r}: expected words with a token, in lower case, one each")
        self._ids = {word: token for word, token in tokens.items() if word in known}
        self.known = tuple(self._ids)

    def __len__(self) -> int:
        """The number of tokens: the words, the padding and the start."""
        return len(self.words) + 2

    def extended(self, captions: Iterable[str]) -> "Tokenizer":
        """The tokenizer after training on these captions: it also knows their words.

        A word of `VOCABULARY` without a token gets one after all others. UnknownWordError: words that are in neither.
        """
        new = dict.fromkeys(word for caption in captions for word in split_words(caption))
        if unknown := [word for word in new if word not in (*self.words, *VOCABULARY)]:
            raise UnknownWordError(
                f"unknown words in the captions: {', '.join(unknown)}; correct them, or add them to unet/vocabulary.py"
            )
        tokens = (*self.words, *(word for word in VOCABULARY if word in new and word not in self.words))
        return Tokenizer(tokens, (*self.known, *new))

    def encode(self, prompts: Sequence[str], length: int) -> Tensor:
        """Prompts -> tokens (B, length) long.

        Raises UnknownWordError for a word that is not known, ValueError for a prompt longer than length - 1 words.
        """
        rows = torch.full((len(prompts), length), self.PAD, dtype=torch.long)
        for row, prompt in zip(rows, prompts, strict=True):
            words = split_words(prompt)
            if unknown := [word for word in dict.fromkeys(words) if word not in self._ids]:
                raise UnknownWordError(self._refusal(unknown, prompt))
            if len(words) >= length:
                raise ValueError(
                    f"the prompt {prompt!r} has {len(words)} words, but this model reads at most {length - 1}"
                )
            row[: len(words) + 1] = torch.tensor([self.START, *(self._ids[word] for word in words)])
        return rows

    def decode(self, tokens: Tensor) -> list[str]:
        """Tokens (B, L) -> prompts in lower case, without start and padding."""
        return [" ".join(self.words[i - 2] for i in row if i > self.START) for row in tokens.tolist()]

    def _refusal(self, unknown: list[str], prompt: str) -> str:
        """What is wrong with a prompt, in one line."""

        def nearness(word: str) -> tuple[float, bool]:
            return max(difflib.SequenceMatcher(None, word, other).ratio() for other in unknown), word not in GRAMMAR

        nearest = ", ".join(sorted(self.known, key=nearness, reverse=True)[:MOST_NAMED])
        more = len(self.known) - MOST_NAMED
        return (
            f"unknown word{'s' * (len(unknown) > 1)} {', '.join(map(repr, unknown))} in the prompt {prompt!r}: "
            f"this model knows, nearest first, {nearest}{f' and {more} more' * (more > 0)}"
        )


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

    With layers = 0 a state depends on its own word and position only; attention in each layer adds the other words.
    """

    def __init__(self, vocab_size: int, max_tokens: int, width: int, layers: int, heads: int):
        super().__init__()
        self.words = nn.Embedding(vocab_size, width)
        self.places = nn.Parameter(torch.randn(max_tokens, width))
        self.blocks = nn.ModuleList(TextBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Text:
        mask = tokens != Tokenizer.PAD
        states = self.words(tokens) + self.places[: tokens.shape[1]]
        for block in self.blocks:
            states = block(states, mask)
        return Text(self.norm(states), mask)
