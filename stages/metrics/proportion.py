"""The share of rows for which something is true."""

from typing import Literal, NamedTuple

import numpy as np
from typing_extensions import override

from stages.arrays import Outcomes
from stages.metrics.base import Metric, as_binary
from stages.metrics.estimate import Estimate


class Counts(NamedTuple):
    """The state of a proportion."""

    successes: int = 0
    n: int = 0
    n_missing: int = 0


class Proportion(Metric[Counts]):
    """The share of true outcomes, with the score interval of Wilson 1927 (doi:10.1080/01621459.1927.10502953).

    It holds for independent rows; where rows share a prompt or a seed, its interval is too narrow.
    """

    kind: Literal["proportion"] = "proportion"

    @override
    def empty(self) -> Counts:
        return Counts()

    @override
    def update(self, state: Counts, batch: Outcomes) -> Counts:
        outcomes = as_binary(batch)
        n_missing = int(np.isnan(outcomes).sum())
        return self.merge(state, Counts(int(np.nansum(outcomes)), len(outcomes) - n_missing, n_missing))

    @override
    def merge(self, a: Counts, b: Counts) -> Counts:
        return Counts(a.successes + b.successes, a.n + b.n, a.n_missing + b.n_missing)

    @override
    def result(self, state: Counts) -> Estimate:
        from statsmodels.stats.proportion import proportion_confint

        method = f"Wilson {self.confidence:.4g}"
        successes, n, n_missing = state
        if n == 0:
            return Estimate.missing(n_missing, method)
        low, high = proportion_confint(successes, n, alpha=1 - self.confidence, method="wilson")
        return Estimate(value=successes / n, low=low, high=high, n=n, n_missing=n_missing, method=method)
