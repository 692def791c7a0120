"""Marks: how the tokens of a vocabulary make words, by where it marks their ends or their beginnings."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor
from transformers import PreTrainedTokenizerBase

BEGINNINGS, END = ("Ġ", "▁"), "</w>"
"""What stands before a word in GPT-2's vocabulary and in SentencePiece's, and behind one in CLIP's."""
LETTERS = re.compile("[A-Za-z]+")
CONTROL = range(0x100, 0x122)
"""How a vocabulary of bytes writes those that are no printed character: space, line breaks and the like."""


class Marks(NamedTuple):
    """How the tokens of a vocabulary make words of letters."""

    letters: tuple[str, ...]
    """The letters of each token, without its mark; empty where it has other characters."""
    first: Bool[Tensor, " v"]
    """Tokens that a word may begin with."""
    later: Bool[Tensor, " v"]
    """Tokens that may follow within a word."""
    last: Bool[Tensor, " v"]
    """Tokens that end a word; none where beginnings are marked."""
    outside: Bool[Tensor, " v"]
    """Tokens before which a word is whole; all where ends are marked, since then it says so itself."""

    @property
    def at_end(self) -> bool:
        """Whether ends of words are marked."""
        return bool(self.last.any())

    def ends(self, token: int) -> bool:
        """Return whether a token ends a word."""
        return bool(self.last[token])

    def beginnings(self, tokens: Sequence[int]) -> list[int]:
        """Return where words begin in the tokens of a text."""
        inner = range(1, len(tokens))
        if self.at_end:
            return [0, *(place for place in inner if self.last[tokens[place - 1]])]
        return [0, *(place for place in inner if self.outside[tokens[place]])]


def marks_of(tokenizer: PreTrainedTokenizerBase, size: int) -> Marks:
    """Return the marks of a vocabulary of `size` numbers; raises ValueError for one that marks neither end."""
    names = list(tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer))))))
    names += [""] * (size - len(names))  # numbers that no token has
    if any(name.endswith(END) for name in names):
        return _of_ends(names)
    if any(name.startswith(BEGINNINGS) for name in names):
        return _of_beginnings(names)
    raise ValueError(
        f"expected tokens that mark where words begin ({', '.join(BEGINNINGS)}) or end ({END}), but none do"
    )


def _of_ends(names: Sequence[str]) -> Marks:
    letters = tuple(_letters(name.removesuffix(END)) for name in names)
    words = torch.tensor([bool(text) for text in letters])
    return Marks(letters, words, words, torch.tensor([name.endswith(END) for name in names]), torch.ones_like(words))


def _of_beginnings(names: Sequence[str]) -> Marks:
    begins = torch.tensor([name.startswith(BEGINNINGS) for name in names])
    letters = tuple(_letters(name[1:] if name.startswith(BEGINNINGS) else name) for name in names)
    words = torch.tensor([bool(text) for text in letters])
    going_on = torch.tensor([name[:1].isalpha() and ord(name[0]) not in CONTROL for name in names])
    return Marks(letters, words & begins, words & ~begins, torch.zeros_like(begins), begins | ~going_on)


def _letters(text: str) -> str:
    return text if LETTERS.fullmatch(text) else ""
