"""Vectors of a token table: where a search starts, what it measures by, and how far from real tokens its end lies."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from tuning.sage.prompts.language import forms
from tuning.sage.tokens.found import Token, TokenSearchSpec

if TYPE_CHECKING:
    from stages.models.token_space import TokenSpace

LEAST_LETTERS = 3
"""Of a token that counts as a word: shorter ones are mostly letters and endings."""


class VectorTests(NamedTuple):
    """How a vector compares with those of the token table."""

    norm: float
    norm_percentile: float
    """Percentage of tokens whose vector is no longer, 0 to 100."""
    table_norm: float
    """Median norm of the table's vectors."""
    entry: float
    """Largest |entry|."""
    entry_rms: float
    """The same over the root mean square of the table's entries."""
    cosine: float
    """To the token whose direction is nearest; NaN of the zero vector."""


def vector_tests(space: "TokenSpace", vector: Token) -> VectorTests:
    """Return how a vector compares with those of the token table."""
    x, norms, entry = torch.from_numpy(vector[0]), _table(space).norm(dim=1), float(abs(vector).max())
    norm = float(x.norm())
    return VectorTests(
        norm=norm,
        norm_percentile=100 * float((norms <= norm).double().mean()),
        table_norm=float(norms.median()),
        entry=entry,
        entry_rms=entry / unit(space, "rms"),
        cosine=float(_cosines(space, x).max()) if norm else math.nan,
    )


def nearest(space: "TokenSpace", vector: Token, count: int = 3) -> list[str]:
    """Return the tokens whose directions are nearest to that of a vector, the nearest first."""
    order = _cosines(space, torch.from_numpy(vector[0])).argsort(descending=True)[:count]
    names = space.tokenizer.convert_ids_to_tokens([int(number) for number in order])
    return [name.removesuffix("</w>") for name in names]


def unit(space: "TokenSpace", scale: Literal["absolute", "rms"]) -> float:
    """Return the unit in which box and step are measured."""
    return float(_table(space).square().mean().sqrt()) if scale == "rms" else 1.0


def start(spec: TokenSearchSpec, space: "TokenSpace") -> Token:
    """Return the vector that a search starts from; raises ValueError for one outside the box."""
    table = _table(space)
    vector = {"zero": torch.zeros_like(table[0]), "mean": table.mean(0)}.get(spec.start)
    vector = of_word(space, spec.start) if vector is None else vector
    largest, by = float(vector.abs().max()), unit(space, spec.scale)
    if largest > spec.box * by:
        raise ValueError(
            f"token search: expected a start in the box of {spec.box:g}, found an entry of {largest / by:.4g} in the "
            f"start {spec.start!r}; start from 'zero', or widen the box"
        )
    return vector[None].numpy()


def of_word(space: "TokenSpace", word: str) -> Float[Tensor, " width"]:
    """Return one vector for a word: its token's, or the mean of those of several."""
    return tokens_of(space, word).mean(0)


def tokens_of(space: "TokenSpace", word: str) -> Float[Tensor, "n width"]:
    """Return the vectors of the tokens of a word; raises ValueError for one that has none."""
    if not (tokens := space.tokens(word)):
        raise ValueError(f"token embeddings: expected a word, found {word!r}, which has no token")
    return _table(space)[tokens]


def words(space: "TokenSpace", labels: Sequence[str]) -> list[str]:
    """Return every token that ends a word, endings of longer words among them, but for the nouns of a label set.

    Raises ValueError where there is none.
    """
    from stages.models.word_marks import marks_of

    marks, nouns = marks_of(space.tokenizer, len(space.table)), {form for label in labels for form in forms(label)}
    whole = [text for number, text in enumerate(marks.letters) if marks.ends(number) and len(text) >= LEAST_LETTERS]
    if not (found := [text for text in whole if text.lower() not in nouns]):
        raise ValueError(f"token embeddings: expected tokens of {LEAST_LETTERS} letters that end words, found none")
    return found


def _table(space: "TokenSpace") -> Float[Tensor, "vocabulary width"]:
    return space.table.float().cpu()


def _cosines(space: "TokenSpace", vector: Float[Tensor, " width"]) -> Float[Tensor, " vocabulary"]:
    return normalize(_table(space), dim=1) @ normalize(vector, dim=0)
