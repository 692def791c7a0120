"""The mean of a measured number."""

import math
from typing import Literal, NamedTuple

import numpy as np
from typing_extensions import override

from stages.arrays import Outcomes
from stages.metrics.base import Metric, as_numbers
from stages.metrics.estimate import Estimate


class Moments(NamedTuple):
    """The state of a mean: count, mean and sum of squared deviations from it."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0
    n_missing: int = 0


class Mean(Metric[Moments]):
    """The mean in float64, with Student's t interval.

    Parts merge as in Chan, Golub and LeVeque 1983 (doi:10.1080/00031305.1983.10483115), Eq. 2.1, which does not cancel
    as a sum of squares does. The interval holds for independent rows.
    """

    kind: Literal["mean"] = "mean"

    @override
    def empty(self) -> Moments:
        return Moments()

    @override
    def update(self, state: Moments, batch: Outcomes) -> Moments:
        numbers = as_numbers(batch)
        present = numbers[~np.isnan(numbers)]
        n_missing = len(numbers) - len(present)
        if not len(present):
            return state._replace(n_missing=state.n_missing + n_missing)
        mean = float(present.mean())
        return self.merge(state, Moments(len(present), mean, float(np.sum((present - mean) ** 2)), n_missing))

    @override
    def merge(self, a: Moments, b: Moments) -> Moments:
        n, n_missing = a.n + b.n, a.n_missing + b.n_missing
        if a.n == 0 or b.n == 0:
            return (b if a.n == 0 else a)._replace(n_missing=n_missing)
        delta = b.mean - a.mean
        squares = a.squares + b.squares + delta**2 * a.n * b.n / n
        return Moments(n, a.mean + delta * b.n / n, squares, n_missing)

    @override
    def result(self, state: Moments) -> Estimate:
        from scipy import stats

        method = f"Student t {self.confidence:.4g}"
        n, mean, squares, n_missing = state
        if n == 0:
            return Estimate.missing(n_missing, method)
        half = math.nan
        if n > 1:
            half = float(stats.t.ppf((1 + self.confidence) / 2, n - 1)) * math.sqrt(squares / (n - 1) / n)
        return Estimate(value=mean, low=mean - half, high=mean + half, n=n, n_missing=n_missing, method=method)
