import math

import numpy as np

from stages.metrics import holm


def test_known_answer():
    """By hand: sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never falling."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_a_test_that_was_not_made_does_not_count():
    adjusted = holm(np.array([0.01, math.nan, 0.04]))
    np.testing.assert_allclose(adjusted, [0.02, math.nan, 0.04])


def test_never_above_one_and_empty_stays_empty():
    assert holm(np.array([0.9, 0.8])).max() == 1
    assert len(holm(np.array([]))) == 0
    assert np.isnan(holm(np.full(2, math.nan))).all()
