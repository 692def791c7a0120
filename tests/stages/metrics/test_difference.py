"""The difference of two independent estimates, against statsmodels' Newcombe interval."""

import numpy as np
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from stages.metrics import Proportion
from stages.metrics.difference import difference


def share(successes: int, n: int):
    return Proportion().of((np.arange(n) < successes).astype(float))


@pytest.mark.parametrize(("a", "n", "b", "m"), [(56, 70, 48, 80), (0, 10, 0, 20), (10, 10, 0, 20), (3, 50, 40, 60)])
def test_of_two_shares_it_is_newcombes_interval(a: int, n: int, b: int, m: int):
    found = difference(share(b, m), share(a, n))
    low, high = confint_proportions_2indep(a, n, b, m, method="newcomb", compare="diff")
    assert found.value == pytest.approx(a / n - b / m)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_what_is_missing_stays_missing():
    nothing = Proportion().of(np.full(3, np.nan))
    found = difference(nothing, share(1, 4))
    assert np.isnan(found.value)
    assert (found.n, found.n_missing) == (4, 3)
