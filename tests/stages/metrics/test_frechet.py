"""FID against the exact distance of Gaussians, and its interval against fresh samples."""

import numpy as np
import pytest
from scipy import linalg

from stages.metrics.frechet import frechet, frechet_distance
from stages.randomness import rng


def samples(n: int, seed: int, mean: float = 0.0, std: float = 1.0, d: int = 6) -> np.ndarray:
    return mean + std * rng(seed, "samples").standard_normal((n, d))


def test_a_set_lies_at_distance_zero_of_itself():
    x = samples(200, 0)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_gaussians_have_a_known_distance():
    """For N(m, s^2 I): d m^2 + d (s - 1)^2."""
    found = frechet_distance(samples(200_000, 1), samples(200_000, 2, mean=0.5, std=1.5))
    assert found == pytest.approx(6 * 0.5**2 + 6 * 0.5**2, rel=0.02)


def test_agrees_with_the_root_of_a_matrix():
    a, b = samples(300, 3) @ rng(3, "mix").standard_normal((6, 6)), samples(400, 4, mean=0.3)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(first @ second).real
    wanted = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(first + second - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9)


def test_the_interval_covers_the_distance_at_this_n():
    reference = samples(20_000, 5)
    values = [frechet_distance(samples(400, s, mean=0.4), reference) for s in range(6, 206)]
    expected = np.mean(values)
    covers = 0
    for seed in range(100):
        estimate = frechet(samples(400, 1000 + seed, mean=0.4), reference)
        covers += estimate.low <= expected <= estimate.high
    assert covers >= 88


def test_missing_rows_are_left_out_and_counted():
    x, reference = samples(100, 7), samples(500, 8)
    holed = np.concatenate([x, np.full((3, 6), np.nan)])
    one, other = frechet(x, reference), frechet(holed, reference)
    assert other.value == one.value
    assert (other.n, other.n_missing) == (100, 3)


def test_too_few_pictures_have_no_value():
    estimate = frechet(samples(20, 9), samples(500, 10))
    assert np.isnan(estimate.value)
    assert estimate.n == 20
