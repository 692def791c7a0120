import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.metrics.quality.moments import Moments, merged
from tests.stages.metrics.quality.draws import normal


def test_mean_and_covariance_are_numpys():
    x = normal(50, 0, mean=2.0) @ np.arange(36).reshape(6, 6)
    found = Moments.of(x)
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(x, rowvar=False), rtol=1e-9)
    assert (found.covariance == found.covariance.T).all()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=6))
def test_any_split_merges_to_one_pass(cuts: list[int]):
    x = normal(40, 1, mean=1.0)
    parts = [Moments.of(part) for part in np.split(x, sorted(cuts))]
    whole, found = Moments.of(x), merged(parts)
    assert found.n == 40
    np.testing.assert_allclose(found.total, whole.total, rtol=1e-12)
    np.testing.assert_allclose(found.outer, whole.outer, rtol=1e-12, atol=1e-12)


def test_whole_numbers_merge_bit_for_bit():
    x = np.arange(60.0).reshape(20, 3)
    whole, found = Moments.of(x), merged([Moments.of(x[13:]), Moments.empty(3), Moments.of(x[:13])])
    np.testing.assert_array_equal(found.outer, whole.outer)
    np.testing.assert_array_equal((whole - Moments.of(x[13:])).total, Moments.of(x[:13]).total)


def test_single_precision_is_summed_in_double():
    x = np.full((100_000, 1), 0.1, np.float32)
    assert Moments.of(x).total[0] == pytest.approx(100_000 * float(np.float32(0.1)), rel=1e-12)
