"""The classifier score, which is the Inception score where the classifier is Inception: how sure, and how varied."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from jaxtyping import Float, Float64
from scipy.special import xlogy

from stages.metrics.estimate import Estimate
from stages.metrics.quality.jackknife import jackknife


@dataclass(frozen=True, eq=False)
class Classes:
    """How many rows, the sum of their class probabilities, and of p log p over rows and classes. Parts add up."""

    n: int
    total: Float64[np.ndarray, " k"]
    information: float

    @classmethod
    def empty(cls, classes: int) -> "Classes":
        """Return the statistics of no row."""
        return cls(0, np.zeros(classes), 0.0)

    @classmethod
    def of(cls, probabilities: Float[np.ndarray, "n k"]) -> "Classes":
        """Return the statistics of rows without a NaN."""
        p = probabilities.astype(np.float64)
        return cls(len(p), p.sum(axis=0), float(xlogy(p, p).sum()))

    def __add__(self, other: "Classes") -> "Classes":
        return Classes(self.n + other.n, self.total + other.total, self.information + other.information)

    def __sub__(self, other: "Classes") -> "Classes":
        return Classes(self.n - other.n, self.total - other.total, self.information - other.information)

    @property
    def score(self) -> float:
        """Return exp E KL(p(y|x) || p(y)); NaN without a row: Salimans et al. 2016 (arXiv:1606.03498), section 4."""
        if not self.n:
            return math.nan
        marginal = self.total / self.n
        return math.exp(self.information / self.n - float(xlogy(marginal, marginal).sum()))


def together(parts: Iterable[Classes]) -> Classes:
    """Return the statistics of all rows of the parts, of which there is at least one."""
    return reduce(Classes.__add__, parts)


def classifier_score(groups: Sequence[Classes], missing: int = 0) -> Estimate:
    """Return the score of the pictures in random groups; published ones are means over ten parts, which are lower."""
    whole = together(groups)
    return jackknife(whole.score, [(whole - part).score for part in groups], (whole.n, missing))
