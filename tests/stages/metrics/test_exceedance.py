import math

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from stages.metrics import exceedance
from stages.randomness import rng


def test_it_is_the_share_strictly_beyond_each_threshold_with_wilsons_interval():
    scores, thresholds = rng(1, "scores").normal(size=300), np.array([-9.0, 0.0, 0.6, 9.0])
    for side, sign in (("above", 1), ("below", -1)):
        for threshold, found in zip(thresholds, exceedance(scores, thresholds, side), strict=True):
            count = sum(sign * score > sign * threshold for score in scores)
            assert (found.value, found.n, found.n_missing) == (count / 300, 300, 0)
            assert (found.low, found.high) == pytest.approx(proportion_confint(count, 300, method="wilson"))


def test_a_score_at_the_threshold_is_beyond_it_on_neither_side():
    scores = np.array([0.5, 0.6, 0.7])
    assert [exceedance(scores, np.array([0.6]), side)[0].value for side in ("above", "below")] == [1 / 3, 1 / 3]


def test_a_missing_score_is_neither():
    (found,) = exceedance(np.array([0.1, math.nan, 0.9]), np.array([0.6]))
    assert (found.value, found.n, found.n_missing) == (0.5, 2, 1)


def test_it_falls_with_the_threshold():
    found = exceedance(rng(2, "scores").normal(size=50), np.linspace(-3, 3, 40))
    assert (np.diff([estimate.value for estimate in found]) <= 0).all()
