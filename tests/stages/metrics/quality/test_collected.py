import numpy as np
import pytest

from stages.metrics.quality.classes import together
from stages.metrics.quality.collected import Collected
from stages.metrics.quality.moments import merged
from stages.randomness import rng
from tests.stages.metrics.quality.draws import normal

ROWS = 70
RANKS = rng(0, "test ranks").permutation(ROWS)
FEATURES = normal(ROWS, 0).astype(np.float32)
CLASSES = rng(1, "classes").dirichlet(np.ones(4), ROWS).astype(np.float32)


def collected(*parts: np.ndarray) -> Collected:
    found = Collected(groups=4, kept=10)
    for rows in parts:
        found.add(RANKS[rows], FEATURES[rows], CLASSES[rows])
    return found


def same(a: Collected, b: Collected) -> None:
    assert a.n == b.n
    np.testing.assert_array_equal(a.kept, b.kept)
    for one, other in zip(a.moments, b.moments, strict=True):
        np.testing.assert_allclose(one.outer, other.outer, rtol=1e-12, atol=1e-12)
    for one, other in zip(a.classes, b.classes, strict=True):
        np.testing.assert_allclose(one.total, other.total, rtol=1e-12)
        assert one.information == pytest.approx(other.information, rel=1e-12)


@pytest.mark.parametrize("cuts", [[], [1], [30, 31], [0, 10, 10, 69, 70]], ids=str)
def test_the_parts_in_which_rows_come_do_not_matter(cuts: list[int]):
    whole, order = collected(np.arange(ROWS)), rng(2, "order").permutation(ROWS)
    same(collected(*np.split(order, cuts)), whole)
    first, second = collected(order[:23]), collected(order[23:])
    same(first.merge(second), whole)
    same(whole.merge(collected()), whole)


def test_a_row_is_in_the_group_of_its_rank_and_low_ranks_are_kept():
    found = collected(np.arange(ROWS))
    assert [part.n for part in found.moments] == [18, 18, 17, 17]
    np.testing.assert_array_equal(found.kept, FEATURES[np.argsort(RANKS)[:10]])
    np.testing.assert_allclose(merged(found.moments).mean, FEATURES.mean(axis=0), rtol=1e-5, atol=1e-7)
    assert together(found.classes).n == ROWS


def test_nothing_gives_nothing():
    assert collected().n == 0
    assert len(collected().kept) == 0
