import math

import numpy as np
import pytest
from scipy import stats

from stages.metrics import Proportion


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (854, 960)])
def test_agrees_with_the_closed_form(successes, n):
    estimate = Proportion().of(np.arange(n) < successes)
    p, z = successes / n, 1.959963984540054
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert estimate.value == p
    assert (estimate.low, estimate.high) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_agrees_with_scipy():
    reference = stats.binomtest(854, 960).proportion_ci(0.95, method="wilson")
    estimate = Proportion().of(np.arange(960) < 854)
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_covers_as_often_as_it_says():
    """Exact, by summing over all outcomes: it swings around 95 % with the true share, and by little."""
    n = 150
    intervals = [Proportion().of(np.arange(n) < k) for k in range(n + 1)]
    low, high = np.array([i.low for i in intervals]), np.array([i.high for i in intervals])
    shares = np.linspace(0.05, 0.95, 91)
    covered = [stats.binom.pmf(np.arange(n + 1), n, p)[(low <= p) & (p <= high)].sum() for p in shares]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.005)
    assert min(covered) > 0.925


def test_refuses_what_is_neither_true_nor_false():
    with pytest.raises(ValueError, match=r"0, 1 or NaN, but found 0\.5"):
        Proportion().of(np.array([1, 0.5]))
