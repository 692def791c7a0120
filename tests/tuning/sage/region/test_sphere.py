import math
from itertools import pairwise

import numpy as np
import pytest

from stages.randomness import rng
from tuning.sage.region.sphere import angle, chord, great_circle, respaced, slerp, tangent, walk
from tuning.sage.validity import Validity, non_gaussian_rate, project

SHAPE = (3, 8, 8)


def draw(seed):
    return rng(seed, "latent").standard_normal(SHAPE, dtype=np.float32)


A, B = draw(0), draw(1)


def moments(x):
    entries = x.astype(np.float64)
    return entries.mean(), entries.std()


@pytest.mark.parametrize("by", [0.0, 1e-3, 0.4, math.pi / 2, 3.0])
def test_a_walk_keeps_mean_and_norm_and_goes_as_far_as_it_says(by):
    there = walk(A, tangent(A, B), by)
    assert moments(there) == pytest.approx(moments(A), rel=1e-5, abs=1e-7)
    assert angle(A, there) == pytest.approx(by, abs=1e-6)
    apart = np.linalg.norm((there - A).astype(np.float64))
    assert apart == pytest.approx(float(chord(A, np.array([by]))[0]), rel=1e-4, abs=1e-5)


def test_a_walk_towards_a_latent_arrives():
    other = project(B, A)
    np.testing.assert_allclose(walk(A, tangent(A, other), angle(A, other)), other, atol=1e-5)


def test_no_end_is_no_distance():
    assert chord(A, np.array([np.inf, 0.0])).tolist() == [np.inf, 0.0]


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5, 1.0])
def test_slerp_shares_the_angle_and_interpolates_mean_and_norm(fraction):
    between = slerp(A, B, fraction)
    assert angle(A, between) == pytest.approx(fraction * angle(A, B), abs=1e-6)
    wanted = [(1 - fraction) * a + fraction * b for a, b in zip(moments(A), moments(B), strict=True)]
    assert moments(between) == pytest.approx(wanted, rel=1e-5, abs=1e-7)


def test_slerp_of_one_latent_is_that_latent():
    np.testing.assert_allclose(slerp(A, A, 0.3), A, atol=1e-6)


def test_a_great_circle_is_evenly_spaced_and_respacing_leaves_it():
    circle = great_circle(A, B, 5)
    assert len(circle) == 7
    assert [angle(a, b) for a, b in pairwise(circle)] == pytest.approx([angle(A, B) / 6] * 6, abs=1e-6)
    np.testing.assert_allclose(respaced(circle), circle, atol=1e-5)


def test_respacing_evens_out_and_stays_on_the_way():
    string = np.stack([slerp(A, B, fraction) for fraction in (0.0, 0.1, 0.15, 0.9, 1.0)])
    even = respaced(string)
    np.testing.assert_allclose(even, great_circle(A, B, 3), atol=1e-5)
    np.testing.assert_array_equal(even[[0, -1]], string[[0, -1]])


def test_walks_are_as_likely_as_plain_seeds():
    """The tests of N(0, I) reject latents half a radian from valid seeds about as often as plain seeds, a tenth."""
    valid = [seed for seed in map(draw, range(100)) if Validity().accepts(seed)]
    walked = [walk(x, tangent(x, draw(1000 + n)), 0.5) for n, x in enumerate(valid)]
    assert non_gaussian_rate(walked, Validity()).value < non_gaussian_rate(map(draw, range(100)), Validity()).high


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: angle(A, np.ones(SHAPE, np.float32)), "finite entries that differ, found a norm of 0"),
        (lambda: angle(A, np.full(SHAPE, np.nan, np.float32)), "finite entries that differ, found a norm of nan"),
        (lambda: slerp(A, -A, 0.5), "not opposite, found an angle of pi"),
        (lambda: tangent(A, 2 * A), "another latent to go to, found one at a sine of"),
    ],
)
def test_refusals(work, message):
    with pytest.raises(ValueError, match=message):
        work()
