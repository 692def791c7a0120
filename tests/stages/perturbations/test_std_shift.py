import numpy as np
import pytest

from stages.perturbations import MixedShift, StdShift, UniformMeanShift
from stages.randomness import rng


@pytest.mark.parametrize("shrink", [-0.3, -0.1, 0.1, 0.3, 1.0])
def test_std_shift_scales_the_standard_deviation_exactly(shrink, large):
    out = StdShift(shrink=shrink)(large, rng(1, "perturbation"))
    assert out.std(dtype=np.float64) == pytest.approx((1 - shrink) * large.std(dtype=np.float64), rel=1e-6)


def test_mixed_shift_scales_first_and_shifts_then(latent):
    scaled = StdShift(shrink=0.3)(latent, rng(1, "perturbation"))
    expected = UniformMeanShift(shift=-0.15)(scaled, rng(1, "perturbation"))
    np.testing.assert_array_equal(MixedShift(shift=-0.15, shrink=0.3)(latent, rng(1, "perturbation")), expected)
