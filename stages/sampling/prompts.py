"""Extended: prompts with vectors behind them."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from jaxtyping import Float
from torch import Tensor

Embeddings: TypeAlias = Float[Tensor, "b n width"]
"""Vectors that a text encoder reads as tokens, n for each row."""


class Extended(NamedTuple):
    """A prompt a row, each with n vectors that the text encoder reads as its last tokens."""

    texts: Sequence[str]
    vectors: Embeddings


Prompts: TypeAlias = Sequence[str] | Extended
