"""Functions of several means: known answers, coverage, missing entries."""

import math

import numpy as np
import pytest

from stages.metrics import Bootstrap, Mean, functional
from stages.randomness import rng

FEW = Bootstrap(resamples=400)


def ratio(means: np.ndarray) -> np.ndarray:
    return means[:, 0] / means[:, 1]


def first(means: np.ndarray) -> np.ndarray:
    return means[:, 0]


def test_one_column_is_its_mean():
    row = rng(0, "rows").normal(3, 1, 200)
    found, mean = functional(row[None], first, FEW), Mean().of(row)
    assert found.value == pytest.approx(mean.value, abs=1e-12)
    assert found.low == pytest.approx(mean.low, abs=0.03)
    assert found.n == 200


def test_a_column_over_itself_is_one_without_spread():
    row = rng(0, "rows").uniform(1, 2, 50)
    found = functional(np.stack([row, row]), ratio, FEW)
    assert found.value == 1
    assert math.isnan(found.low)  # resampling knows no spread


def test_what_columns_share_cancels():
    """The ratio of two columns that move together is far surer than that of two that do not."""
    shared = rng(0, "shared").uniform(1, 3, 400)
    apart = rng(0, "apart").uniform(1, 3, 400)
    together = functional(np.stack([2 * shared + 0.01, shared]), ratio, FEW)
    separate = functional(np.stack([2 * apart + 0.01, shared]), ratio, FEW)
    assert together.high - together.low < (separate.high - separate.low) / 5


def test_intervals_of_a_ratio_cover():
    hits = 0
    for number in range(200):
        random = rng(number, "coverage")
        base = random.normal(4, 1, 80)
        found = functional(np.stack([base + random.normal(2, 1, 80), base]), ratio, FEW)
        hits += found.low <= 1.5 <= found.high
    assert 0.90 <= hits / 200 <= 0.99


def test_clusters_widen_the_interval():
    rows = np.repeat(rng(0, "clusters").normal(0, 1, 30), 10)[None]
    alone, clustered = functional(rows, first, FEW), functional(rows, first, FEW, np.repeat(np.arange(30), 10))
    assert clustered.high - clustered.low > 2 * (alone.high - alone.low)


def test_a_missing_entry_is_missing_from_its_own_mean_only():
    rows = np.array([[1.0, 2.0, 3.0, np.nan], [1.0, 1.0, 1.0, 5.0]])
    found = functional(rows, lambda means: means[:, 0] + means[:, 1], FEW)
    assert (found.value, found.n, found.n_missing) == (4.0, 3, 1)


def test_a_column_without_entries_gives_no_value():
    found = functional(np.array([[np.nan, np.nan], [1.0, 2.0]]), ratio, FEW)
    assert math.isnan(found.value)
    assert found.n == 0


def test_an_end_that_is_not_reached_is_missing():
    rows = rng(0, "rows").normal(0.5, 1, (1, 60))
    beyond = rows.mean() + 0.1
    found = functional(rows, lambda means: np.where(means[:, 0] > beyond, np.inf, means[:, 0]), FEW)
    assert found.low < found.value
    assert math.isnan(found.high)
