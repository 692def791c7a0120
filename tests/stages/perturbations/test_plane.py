import numpy as np
import pytest

from stages.perturbations import Plane
from stages.randomness import rng


def others(x: np.ndarray) -> list[np.ndarray]:
    generator = rng(1, "perturbation")
    return [generator.standard_normal(x.shape, dtype=np.float32) for _ in range(2)]


def at(x: np.ndarray, a: float, b: float) -> np.ndarray:
    return Plane(a=a, b=b)(x, rng(1, "perturbation"))


def test_its_corners_are_three_seeds(large):
    second, third = others(large)
    for (a, b), corner in (((0, 0), large), ((1, 0), second), ((0, 1), third)):
        np.testing.assert_allclose(at(large, a, b), corner, atol=1e-6)


def test_it_is_flat(large):
    """Every point is the same combination of the corners, so a parallelogram closes."""
    along = at(large, 0.5, 0.25) + at(large, 0.0, 0.5) - at(large, 0.5, 0.75)
    np.testing.assert_allclose(along, large, atol=1e-5)


@pytest.mark.parametrize(("a", "b"), [(1 / 3, 1 / 3), (0.5, 0.5), (1.0, 1.0), (-0.2, 1.2)])
def test_its_variance_is_as_stated(large, a, b):
    assert np.var(at(large, a, b)) == pytest.approx((1 - a - b) ** 2 + a**2 + b**2, rel=0.05)
