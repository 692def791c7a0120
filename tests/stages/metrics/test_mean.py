import math

import numpy as np
import pytest
from scipy import stats

from stages.metrics import Mean
from stages.randomness import rng


def test_agrees_with_scipy():
    rows = rng(0, "rows").gamma(2.0, size=37)
    reference = stats.ttest_1samp(rows, 0).confidence_interval(0.95)
    estimate = Mean().of(rows)
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high), rel=1e-12)


def test_covers_as_often_as_it_says():
    estimates = [Mean().of(rows) for rows in rng(0, "coverage").normal(3, 2, size=(2000, 12))]
    assert 0.93 < np.mean([e.low <= 3 <= e.high for e in estimates]) < 0.97


def test_one_row_has_no_interval():
    estimate = Mean().of(np.array([0.3]))
    assert estimate.value == 0.3
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


def test_does_not_cancel():
    """A sum of squares would lose every digit of the spread here."""
    rows = 1e9 + np.array([1.0, 2.0, 3.0])
    estimate = Mean().of(rows)
    assert estimate.high - estimate.low == pytest.approx(2 * stats.t.ppf(0.975, 2) / math.sqrt(3), rel=1e-6)
