import numpy as np
import pytest

from stages.perturbations import RandomDirection, UniformMeanShift
from stages.randomness import rng


@pytest.mark.parametrize("draw", ["gaussian", "sign"])
def test_moves_as_far_as_a_uniform_mean_shift(draw, large):
    moved = RandomDirection(rms=0.2, draw=draw)(large, rng(1, "perturbation")) - large
    shifted = UniformMeanShift(shift=0.2)(large, rng(1, "perturbation")) - large
    assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(shifted), rel=1e-5)


@pytest.mark.parametrize("draw", ["gaussian", "sign"])
def test_has_no_direction_of_its_own(draw, large):
    """The mean of a random step of size rms has standard deviation rms / sqrt(d)."""
    steps = [RandomDirection(rms=0.2, draw=draw)(large, rng(s, "perturbation")) - large for s in range(50)]
    z = np.array([step.mean(dtype=np.float64) for step in steps]) / 0.2 * np.sqrt(large.size)
    assert abs(z).max() < 4
    assert z.std() == pytest.approx(1, abs=0.35)


def test_sign_moves_every_entry_by_the_same_amount(large):
    step = RandomDirection(rms=0.2, draw="sign")(large, rng(1, "perturbation")) - large
    np.testing.assert_allclose(np.abs(step), 0.2, atol=1e-6)
