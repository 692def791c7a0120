"""ScoreNormalisation: a score less what its query scores against anything at all."""

import re

import numpy as np
from jaxtyping import Float32
from pydantic import Field, model_validator

from stages.base import Spec

TEXT = re.compile(r"(?P<weight>\d+(?:\.\d+)?)\[(?P<first>\d+),(?P<last>\d+)\]")
ROWS = 1024
"""Queries compared at once, so that memory does not grow with them."""


class ScoreNormalisation(Spec):
    """s'(q, r) = s(q, r) - weight * mean of the query's scores of rank `first` to `last` in a background set.

    Pizzi et al. 2022 (arXiv:2202.10261), score normalisation; written "1.0[0,2]" there. A background is a set of
    pictures without copies of the queries. Any search by inner product does it, on vectors of one dimension more, whose
    norm is not one.
    """

    weight: float = Field(1.0, ge=0, description="Share of the background's mean that is taken off; 0 changes nothing.")
    first: int = Field(0, ge=0, description="Rank of the first background score that counts; 0 is the highest.")
    last: int = Field(2, ge=0, description="Rank of the last one, included.")

    @model_validator(mode="after")
    def _check(self) -> "ScoreNormalisation":
        if self.last < self.first:
            raise ValueError(f"score normalisation expects first <= last, but found [{self.first},{self.last}]")
        return self

    @classmethod
    def parse(cls, text: str) -> "ScoreNormalisation":
        """Return the normalisation written as weight[first,last], such as 1.0[0,2]."""
        if (match := TEXT.fullmatch(text.replace(" ", ""))) is None:
            raise ValueError(f"score normalisation: expected weight[first,last], such as 1.0[0,2], but found {text!r}")
        return cls(weight=float(match["weight"]), first=int(match["first"]), last=int(match["last"]))

    def __str__(self) -> str:
        return f"{self.weight}[{self.first},{self.last}]"

    def bias(self, queries: Float32[np.ndarray, "q d"], background: Float32[np.ndarray, "m d"]) -> np.ndarray:
        """Return what is taken off the scores of each query, float32 [q]."""
        if len(background) <= self.last:
            raise ValueError(
                f"score normalisation {self} expects a background of more than {self.last} vectors, "
                f"but found {len(background)}"
            )
        blocks = [queries[start : start + ROWS] @ background.T for start in range(0, len(queries), ROWS)]
        means = [-np.partition(-scores, self.last)[:, : self.last + 1] for scores in blocks]
        return self.weight * np.concatenate([np.zeros(0, np.float32), *map(self._mean, means)])

    def _mean(self, highest: np.ndarray) -> np.ndarray:
        return np.sort(highest, axis=1)[:, : self.last + 1 - self.first].mean(axis=1)

    def queries(
        self, queries: Float32[np.ndarray, "q d"], background: Float32[np.ndarray, "m d"]
    ) -> Float32[np.ndarray, "q d_plus_1"]:
        """Return the vectors to search with: [q, -bias]."""
        return np.column_stack([queries, -self.bias(queries, background)]).astype(np.float32)

    def references(self, references: Float32[np.ndarray, "r d"]) -> Float32[np.ndarray, "r d_plus_1"]:
        """Return the vectors to search in: [r, 1]."""
        return np.pad(references, ((0, 0), (0, 1)), constant_values=1)
