import numpy as np
import pytest

from stages.metrics.quality.manifold import inside, precision_recall, radii
from tests.stages.metrics.quality.draws import normal


def test_radii_are_those_of_the_third_neighbour():
    points = np.array([[0.0], [1.0], [3.0], [7.0], [8.0]])
    np.testing.assert_allclose(radii(points, 3), [49, 36, 16, 36, 49])


def test_copies_count_as_neighbours():
    np.testing.assert_allclose(radii(np.zeros((5, 2)), 3), np.zeros(5))


def test_inside_is_in_at_least_one_ball():
    manifold = np.array([[0.0], [1.0], [2.0], [10.0]])
    points = np.array([[-0.9], [1.5], [17.9], [18.5], [100.0]])
    assert inside(points, manifold, 1).tolist() == [True, True, True, False, False]


def test_equal_sets_are_whole():
    x = normal(60, 0)
    found = precision_recall(x, x)
    assert (found.precision.value, found.recall.value) == (1, 1)
    assert found.precision.low < 1


def test_a_narrow_set_is_precise_and_covers_little():
    found = precision_recall(normal(400, 1, std=0.3), normal(600, 2), missing=5)
    assert found.precision.low > 0.9
    assert found.recall.high < 0.5
    assert (found.recall.n, found.recall.n_missing) == (400, 5)
    wide = precision_recall(normal(400, 1, std=3.0), normal(600, 2))
    assert wide.precision.value < found.precision.value
    assert wide.recall.value > found.recall.value


def test_sets_that_lie_apart_share_nothing():
    found = precision_recall(normal(50, 3, mean=100), normal(50, 4))
    assert (found.precision.value, found.recall.value) == (0, 0)


@pytest.mark.parametrize("rows", [0, 3])
def test_too_few_pictures_have_no_value(rows):
    found = precision_recall(normal(rows, 5), normal(50, 6))
    assert np.isnan(found.precision.value)
    assert np.isnan(found.recall.value)
