"""What sampling leaves of a shift: products that telescope, and principal components that each have their own."""

import math

import numpy as np
import pytest

from stages.sampling.contraction import contraction, contraction_along

SIGNAL = [*(np.cos(np.linspace(1.5, 0.0, 401)[:-1]) ** 2), 1.0]


@pytest.mark.parametrize("variance", [0.04, 1.0, 9.0])
def test_the_products_telescope(variance: float):
    start = SIGNAL[0]
    marginal = start * variance + 1 - start
    ancestral, ddim = (contraction(SIGNAL, variance, eta) for eta in (1.0, 0.0))
    assert len(ancestral) == len(SIGNAL)
    assert ancestral[0] == ddim[0] == 1
    assert ancestral[-1] == pytest.approx(math.sqrt(start) * variance / marginal)
    assert ddim[-1] == pytest.approx(math.sqrt(variance / marginal), rel=0.05)
    assert contraction(SIGNAL[::40], variance, 1.0)[-1] == pytest.approx(
        math.sqrt(start / SIGNAL[::40][-1]) * (SIGNAL[::40][-1] * variance + 1 - SIGNAL[::40][-1]) / marginal
    )


def test_less_noise_leaves_more_of_a_shift():
    left = [contraction(SIGNAL, 1.0, eta)[-1] for eta in (0.0, 0.3, 0.7, 1.0)]
    assert left == sorted(left, reverse=True)


def test_a_direction_of_one_variance_contracts_by_it():
    random = np.random.default_rng(0)
    axes = np.linalg.qr(random.standard_normal((3, 3)))[0]
    covariance = axes @ np.diag([0.1, 1.0, 4.0]) @ axes.T
    for axis, variance in zip(axes.T, (0.1, 1.0, 4.0), strict=True):
        np.testing.assert_allclose(
            contraction_along(SIGNAL, covariance, 3 * axis, 0.5), contraction(SIGNAL, variance, 0.5)
        )
    both = contraction_along(SIGNAL, covariance, axes[:, 0] + axes[:, 2], 0.5)
    parts = [contraction(SIGNAL, variance, 0.5) for variance in (0.1, 4.0)]
    np.testing.assert_allclose(both, np.sqrt((parts[0] ** 2 + parts[1] ** 2) / 2))


@pytest.mark.parametrize(
    ("signal", "variance", "eta"), [([0.0, 1.0], 1, 0), ([0.1, 1.2], 1, 0), ([0.1], 0, 0), ([0.1], 1, 2)]
)
def test_what_is_no_schedule_is_refused(signal, variance, eta):
    with pytest.raises(ValueError, match="contraction: expected a variance above 0"):
        contraction(signal, float(variance), float(eta))
