"""Shares of clustered rows: Wilson's where every row is its own cluster, and wide enough where they are not."""

import numpy as np
import pytest

from stages.metrics import Proportion
from stages.metrics.clustered import clustered_proportion


def test_rows_on_their_own_are_wilsons_but_for_one_row():
    outcomes = (np.arange(200) % 3 == 0).astype(float)
    found, wilson = clustered_proportion(outcomes, np.arange(200)), Proportion().of(outcomes[:199])
    assert found.value == outcomes.mean()
    assert found.low == pytest.approx(wilson.low, abs=2e-3)
    assert found.high == pytest.approx(wilson.high, abs=2e-3)


def test_rows_that_agree_count_once():
    """50 clusters of 8 equal rows carry what 50 rows do, less the one that the mean takes."""
    once = (np.arange(50) % 2).astype(float)
    found = clustered_proportion(np.repeat(once, 8), np.repeat(np.arange(50), 8))
    alone = Proportion().of(once)
    assert found.n == 400
    assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.02)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_variance_leaves_the_clusters(value: float):
    found = clustered_proportion(np.full(400, value), np.repeat(np.arange(50), 8))
    alone = Proportion().of(np.full(50, value))
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


def test_missing_rows_are_counted():
    outcomes = np.array([1.0, np.nan, 0.0, np.nan])
    found = clustered_proportion(outcomes, np.array([0, 0, 1, 1]))
    assert (found.value, found.n, found.n_missing) == (0.5, 2, 2)
    assert np.isnan(clustered_proportion(np.full(3, np.nan), np.arange(3)).value)


def test_the_interval_covers_the_truth():
    """Outcomes of a seed share its chance, drawn from a beta distribution of mean 0.7."""
    draws = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        chance = draws.beta(1.4, 0.6, size=60)
        outcomes = (draws.random((60, 6)) < chance[:, None]).astype(float).ravel()
        found = clustered_proportion(outcomes, np.repeat(np.arange(60), 6))
        inside += found.low <= 0.7 <= found.high
    assert 0.92 < inside / 400 < 0.98
