"""References: vectors in parts, numbered through."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from stages.models.descriptors.spec import Metric
from stages.neighbours.found import Numbers, Vectors


class Part(NamedTuple):
    """Consecutive items."""

    number: int
    first: int
    rows: int


class References(ABC):
    """Vectors in parts. Items are numbered from the first part to the last, whichever of them are here."""

    metric: Metric
    dimension: int
    dtype: str
    """Of the stored vectors: float16 or float32."""
    parts: tuple[Part, ...]

    @abstractmethod
    def vectors(self, part: Part) -> np.ndarray:
        """Return the vectors of a part, as they are stored [rows d]."""

    @property
    def count(self) -> int:
        """Return the number of items here."""
        return sum(part.rows for part in self.parts)

    def blocks(self, rows: int) -> Iterator[tuple[int, Vectors]]:
        """Yield some rows at a time as float32, each with the number of its first item.

        A part is open only while it is read, so the process never holds more than one.
        """
        for part in self.parts:
            stored = self.vectors(part)
            for start in range(0, part.rows, rows):
                yield part.first + start, np.array(stored[start : start + rows], np.float32)

    def gather(self, items: Numbers) -> Vectors:
        """Return the vectors of these items."""
        found = np.empty((len(items), self.dimension), np.float32)
        for part in self.parts:
            inside = np.flatnonzero((items >= part.first) & (items < part.first + part.rows))
            if len(inside):
                order = inside[np.argsort(items[inside])]  # a file is best read forwards
                found[order] = self.vectors(part)[items[order] - part.first]
        return found

    def numbers(self) -> Numbers:
        """Return the numbers of the items here, in order."""
        return np.concatenate([np.arange(part.first, part.first + part.rows) for part in self.parts])


class InMemory(References):
    """Vectors that lie in memory."""

    def __init__(self, vectors: np.ndarray, metric: Metric) -> None:
        if not len(vectors):
            raise ValueError("neighbours: expected at least one reference, found none")
        if vectors.dtype not in (np.float16, np.float32):
            raise ValueError(f"neighbours: expected references of float16 or float32, found {vectors.dtype}")
        self.metric, self.dimension, self.dtype = metric, int(vectors.shape[1]), str(vectors.dtype)
        self.parts = (Part(0, 0, len(vectors)),)
        self._vectors = vectors

    @override
    def vectors(self, part: Part) -> np.ndarray:
        return self._vectors
