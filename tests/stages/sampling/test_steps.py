"""Statistics of step lengths, against what they are by definition."""

import numpy as np

from stages.sampling.steps import gini, made_within, shares

EVEN, JUMP = np.ones((1, 20)), np.array([[5.0, 0, 0, 0, 0]])


def test_shares_of_the_way_sum_to_one():
    steps = np.random.default_rng(0).random((4, 7)).astype(np.float32)
    np.testing.assert_allclose(shares(steps).sum(axis=1), 1)
    assert np.isnan(shares(np.zeros((1, 3)))).all()
    assert np.isnan(shares(np.full((1, 3), np.nan))).all()


def test_even_steps_make_a_tenth_of_the_way_in_a_tenth_of_the_steps():
    for count in (3, 10, 20, 27):
        np.testing.assert_allclose(made_within(np.ones((1, count)), 0.1), 0.1)
    np.testing.assert_allclose(made_within(EVEN, 1.0), 1.0)
    np.testing.assert_allclose(made_within(np.array([[3.0, 1, 1, 1, 1, 1, 1, 1]]), 0.1), 0.8 * 3 / 10)


def test_gini_is_half_the_mean_difference_over_the_mean():
    steps = np.random.default_rng(0).random((3, 9))
    pairs = np.abs(steps[:, :, None] - steps[:, None]).mean(axis=(1, 2))
    np.testing.assert_allclose(gini(steps), pairs / (2 * steps.mean(axis=1)))
    np.testing.assert_allclose(gini(EVEN), 0, atol=1e-12)
    np.testing.assert_allclose(gini(JUMP), 0.8)
