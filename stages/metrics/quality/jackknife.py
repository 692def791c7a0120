"""The jackknife over random groups of rows, for numbers that are no mean."""

import math
from collections.abc import Sequence

import numpy as np

from stages.metrics.estimate import Estimate


def jackknife(value: float, without: Sequence[float], rows: tuple[int, int], confidence: float = 0.95) -> Estimate:
    """Return a number with Student's interval, from what it is without each group.

    Efron and Tibshirani 1993, chapter 11. `rows` are those that it rests on and those that are missing. It is the
    interval of the number at this n: a bias that falls with n stays.
    """
    from scipy import stats

    groups, (n, missing) = len(without), rows
    method = f"jackknife {confidence:.4g} over {groups} groups"
    left_out = np.array(without)
    if not math.isfinite(value):
        return Estimate.missing(missing, method, n)
    error = math.sqrt((groups - 1) / groups * np.sum((left_out - left_out.mean()) ** 2))
    half = float(stats.t.ppf((1 + confidence) / 2, groups - 1)) * error
    low, high = (value + side if math.isfinite(side) else math.nan for side in (-half, half))
    return Estimate(value=value, low=low, high=high, n=n, n_missing=missing, method=method)
