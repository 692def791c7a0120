from itertools import pairwise

import numpy as np
import pytest

from stages.perturbations import Slerp
from stages.randomness import rng


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_keeps_the_expected_norm(fraction, large):
    out = Slerp(fraction=fraction)(large, rng(1, "perturbation"))
    assert np.linalg.norm(out) / np.sqrt(large.size) == pytest.approx(1, abs=0.02)


def test_ends_at_the_other_seed(large):
    other = rng(1, "perturbation").standard_normal(large.shape, dtype=np.float32)
    np.testing.assert_allclose(Slerp(fraction=1)(large, rng(1, "perturbation")), other, atol=1e-6)


def test_is_symmetric(large):
    """A share of the way there is the rest of the way back."""
    other = rng(1, "perturbation").standard_normal(large.shape, dtype=np.float32)
    there = Slerp(fraction=0.3)(large, rng(1, "perturbation"))
    back = Slerp(fraction=0.7)(other, rng(0, "latent"))
    np.testing.assert_allclose(there, back, atol=1e-6)


def test_goes_at_constant_angular_speed(large):
    points = [Slerp(fraction=f)(large, rng(1, "perturbation")).ravel() for f in (0.0, 0.25, 0.5, 0.75, 1.0)]
    units = [p / np.linalg.norm(p) for p in points]
    angles = [np.arccos(a @ b) for a, b in pairwise(units)]
    np.testing.assert_allclose(angles, np.mean(angles), rtol=0.02)


def test_refuses_its_own_latent(large):
    with pytest.raises(ValueError, match=r"not parallel .* generator of another purpose"):
        Slerp(fraction=0.5)(large, rng(0, "latent"))
