"""Moments: the sufficient statistics of a Gaussian, in float64, in parts that merge."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from jaxtyping import Float, Float64


@dataclass(frozen=True, eq=False)
class Moments:
    """How many rows, their sum, and the sum of their outer products.

    Law: however the rows are split, adding the parts gives the statistics of one pass. In float64 the covariance
    loses about as many digits as the mean square exceeds the variance has: few, for features of a network.
    """

    n: int
    total: Float64[np.ndarray, " d"]
    outer: Float64[np.ndarray, "d d"]

    @classmethod
    def empty(cls, dimension: int) -> "Moments":
        """Return the statistics of no row."""
        return cls(0, np.zeros(dimension), np.zeros((dimension, dimension)))

    @classmethod
    def of(cls, rows: Float[np.ndarray, "n d"]) -> "Moments":
        """Return the statistics of rows without a NaN."""
        numbers = rows.astype(np.float64)
        return cls(len(numbers), numbers.sum(axis=0), numbers.T @ numbers)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.n + other.n, self.total + other.total, self.outer + other.outer)

    def __sub__(self, other: "Moments") -> "Moments":
        """Return the statistics without some of the rows that are in them."""
        return Moments(self.n - other.n, self.total - other.total, self.outer - other.outer)

    @property
    def dimension(self) -> int:
        """Return the number of features."""
        return len(self.total)

    @property
    def mean(self) -> Float64[np.ndarray, " d"]:
        """Return the mean; at least one row."""
        return self.total / self.n

    @property
    def covariance(self) -> Float64[np.ndarray, "d d"]:
        """Return the unbiased covariance; at least two rows."""
        spread = self.outer - np.outer(self.total, self.mean)
        return (spread + spread.T) / (2 * (self.n - 1))


def merged(parts: Iterable[Moments]) -> Moments:
    """Return the statistics of all rows of the parts, of which there is at least one."""
    return reduce(Moments.__add__, parts)
