import numpy as np
import pytest

from stages.perturbations import SpatialRoll
from stages.randomness import rng


def test_moves_down_and_to_the_right(latent):
    out = SpatialRoll(rows_px=2, columns_px=3)(latent, rng(1, "perturbation"))
    np.testing.assert_array_equal(out[:, 2:, 3:], latent[:, :-2, :-3])


@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (-11, 15), (0, -1)])
def test_is_a_permutation_that_its_opposite_undoes(latent, rows, columns):
    out = SpatialRoll(rows_px=rows, columns_px=columns)(latent, rng(1, "perturbation"))
    np.testing.assert_array_equal(np.sort(out.reshape(4, -1)), np.sort(latent.reshape(4, -1)))
    back = SpatialRoll(rows_px=-rows, columns_px=-columns)(out, rng(1, "perturbation"))
    assert back.tobytes() == latent.tobytes()


@pytest.mark.parametrize(("rows", "columns"), [(12, 0), (0, -16)])
def test_refuses_a_full_turn(latent, rows, columns):
    with pytest.raises(ValueError, match="fewer rows than 12 and fewer columns than 16"):
        SpatialRoll(rows_px=rows, columns_px=columns)(latent, rng(1, "perturbation"))
