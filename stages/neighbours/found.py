"""Found: the nearest references of each query, in parts that can be merged."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, Int64

from stages.models.descriptors.spec import Metric

Vectors: TypeAlias = Float32[np.ndarray, "n d"]
"""Vectors in rows; of unit norm where they are compared by their cosine."""

Numbers: TypeAlias = Int64[np.ndarray, " n"]
"""Item numbers of references, or rows of queries."""

Scores: TypeAlias = Float32[np.ndarray, "q k"]
Items: TypeAlias = Int64[np.ndarray, "q k"]
Costs: TypeAlias = Float32[np.ndarray, " n"]

CACHED_NUMBERS = 2**16
"""Numbers of each side that are summed at once."""


@dataclass(frozen=True)
class Found:
    """The k nearest references of each query, best first; equal scores in order of their item numbers.

    Cosine: a larger score is better. l2: the score is the Euclidean distance, a smaller one is better. Where there are
    fewer than k references, the last items are -1.
    """

    scores: Scores
    items: Items
    metric: Metric

    def merge(self, other: "Found") -> "Found":
        """Return the k nearest of both. Law: associative, and any order of the parts gives the same bits."""
        costs = np.hstack([cost(self.scores, self.metric), cost(other.scores, self.metric)])
        items = np.hstack([self.items, other.items])
        order = np.lexsort((items, costs), axis=1)[:, : self.items.shape[1]]
        kept = np.take_along_axis(costs, order, 1), np.take_along_axis(items, order, 1)
        return Found(cost(kept[0], self.metric), kept[1], self.metric)


class Best:
    """The k best of what each query has met so far."""

    def __init__(self, queries: int, k: int) -> None:
        self.k = k
        self.costs = np.full((queries, k), np.inf, np.float32)
        self.items = np.full((queries, k), -1, np.int64)

    def add(self, rows: Numbers, costs: Costs, items: Numbers) -> None:
        """Take in pairs of a query and an item, in any order."""
        met, place = np.unique(rows, return_inverse=True)
        owner = np.concatenate([np.repeat(np.arange(len(met)), self.k), place])
        costs = np.concatenate([self.costs[met].ravel(), costs])
        items = np.concatenate([self.items[met].ravel(), items])
        order = np.lexsort((items, costs, owner))
        owner = owner[order]
        kept = order[np.arange(len(owner)) - np.searchsorted(owner, owner) < self.k]
        self.costs[met] = costs[kept].reshape(-1, self.k)
        self.items[met] = items[kept].reshape(-1, self.k)

    def found(self, metric: Metric) -> Found:
        """Return what was kept."""
        return Found(cost(self.costs, metric), self.items, metric)


def cost(scores: np.ndarray, metric: Metric) -> np.ndarray:
    """Return the scores so that smaller is better; also the way back."""
    return -scores if metric == "cosine" else scores


def pair_scores(queries: Vectors, references: Vectors, metric: Metric) -> Costs:
    """Return the score of each query with the reference in the same row.

    Summed in float64 in an order that depends on the dimension alone, then rounded: the same bits in any batch. The
    distance is the norm of the difference, so that near-duplicates suffer no cancellation.
    """
    found = np.empty(len(queries), np.float32)
    step = max(1, CACHED_NUMBERS // queries.shape[1])
    for rows in (slice(start, start + step) for start in range(0, len(queries), step)):
        a, b = queries[rows].astype(np.float64), references[rows].astype(np.float64)
        found[rows] = np.sum(a * b, axis=1) if metric == "cosine" else np.sqrt(np.sum((a - b) ** 2, axis=1))
    return found
