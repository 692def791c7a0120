import numpy as np
import pytest

from stages.metrics.quality.kernel import kernel_sum, kid
from tests.stages.metrics.quality.draws import normal


def by_loops(a: np.ndarray, b: np.ndarray) -> float:
    def k(x, y):
        return (float(x @ y) / len(x) + 1) ** 3

    def within(x):
        return np.mean([k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j])

    return within(a) + within(b) - 2 * np.mean([k(x, y) for x in a for y in b])


def test_agrees_with_the_sum_over_pairs():
    a, b = normal(43, 0), normal(29, 1, mean=0.5)
    assert kid(a, b).value == pytest.approx(by_loops(a, b), rel=1e-10)


def test_blocks_do_not_matter():
    a, b = normal(1500, 2, d=2), normal(7, 3, d=2)
    assert kernel_sum(a, b) == pytest.approx(np.sum((a @ b.T / 2 + 1) ** 3), rel=1e-10)


def test_it_is_unbiased_and_its_interval_covers():
    """To a fixed reference, of which only the mean of many values tells what is expected at any n."""
    reference = normal(500, 4)
    found = [kid(normal(n, 5 + s, mean=0.3), reference) for n in (60, 200) for s in range(40)]
    few, many = np.split(np.array([e.value for e in found]), 2)
    assert abs(few.mean() - many.mean()) < 3 * np.hypot(few.std(), many.std()) / 40**0.5
    assert sum(e.low <= many.mean() <= e.high for e in found[40:]) >= 34
    assert min(kid(normal(60, 500 + s), reference).value for s in range(10)) < 0


def test_a_shift_is_seen():
    found = kid(normal(500, 5, mean=0.5), normal(800, 6), missing=4)
    assert found.low > 0
    assert (found.n, found.n_missing) == (500, 4)
    assert "jackknife" in found.method


def test_too_few_pictures_have_no_value():
    assert np.isnan(kid(normal(39, 7), normal(800, 8)).value)
