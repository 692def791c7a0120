"""Collected: all that the scores of one set of pictures need, from rows that are never in one place."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Float32, Int64

from stages.metrics.quality.classes import Classes
from stages.metrics.quality.moments import Moments

P = TypeVar("P", Moments, Classes)
TOGETHER = 1024
"""Rows of a group whose outer products are summed at once: adding a matrix for every few rows would take longer."""


class Collected:
    """Statistics in random groups, and the features of a random few.

    Every row has a rank: its place in a random order of the set that is known beforehand, so that equal seeds and
    prompts of two samplers have equal ranks. Row r is in group r modulo the number of groups; its features are kept
    where r is below `kept`. So the result does not depend on the parts in which rows come, nor on their order, but for
    the rounding of sums in float64.
    """

    def __init__(self, groups: int, kept: int) -> None:
        self.groups, self.limit = groups, kept
        self.classes: list[Classes] = []
        self._moments: list[Moments] = []
        self._waiting: list[list[Float[np.ndarray, "_ d"]]] = [[] for _ in range(groups)]
        self._kept: dict[int, Float32[np.ndarray, " d"]] = {}

    @property
    def n(self) -> int:
        """Return the number of rows."""
        return sum(part.n for part in self.classes)

    @property
    def moments(self) -> list[Moments]:
        """Return the statistics of each group; none before any row."""
        for group in range(self.groups):
            self._count_in(group)
        return self._moments

    @property
    def kept(self) -> Float32[np.ndarray, "n d"]:
        """Return the kept features in order of rank."""
        if not self._kept:
            return np.empty((0, 0), np.float32)
        return np.stack([self._kept[rank] for rank in sorted(self._kept)])

    def add(
        self,
        ranks: Int64[np.ndarray, " n"],
        features: Float[np.ndarray, "n d"],
        probabilities: Float[np.ndarray, "n k"],
    ) -> None:
        """Count rows in."""
        if not len(ranks):
            return
        if not self.classes:
            self._moments = [Moments.empty(features.shape[1])] * self.groups
            self.classes = [Classes.empty(probabilities.shape[1])] * self.groups
        group = ranks % self.groups
        for number in np.unique(group):
            here = group == number
            self.classes[number] += Classes.of(probabilities[here])
            self._waiting[number].append(features[here])
            if sum(map(len, self._waiting[number])) >= TOGETHER:
                self._count_in(number)
        for place in np.flatnonzero(ranks < self.limit):
            self._kept[int(ranks[place])] = features[place].astype(np.float32)

    def _count_in(self, group: int) -> None:
        if self._waiting[group]:
            self._moments[group] += Moments.of(np.concatenate(self._waiting[group]))
            self._waiting[group] = []

    def merge(self, other: "Collected") -> "Collected":
        """Return what the rows of both give."""
        both = Collected(self.groups, self.limit)
        both._moments = _sums(self.moments, other.moments)
        both.classes = _sums(self.classes, other.classes)
        both._kept = self._kept | other._kept
        return both


def _sums(a: Sequence[P], b: Sequence[P]) -> list[P]:
    return [x + y for x, y in zip(a, b, strict=True)] if a and b else list(a or b)
