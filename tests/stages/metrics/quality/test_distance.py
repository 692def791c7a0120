"""FID from groups: closed forms, an independent implementation, coverage, and what is not defined."""

import numpy as np
import pytest
import torch
from scipy import linalg

from stages.metrics.frechet import frechet_distance
from stages.metrics.quality.distance import fid, fid_difference, fid_infinity, fixed
from stages.metrics.quality.moments import Moments, merged
from tests.stages.metrics.quality.draws import grouped, normal

WIDE = fixed(Moments.of(normal(200_000, 99)))


def by_another(a: np.ndarray, b: np.ndarray) -> float:
    """The distance as torch-fidelity and torchmetrics write it: eigenvalues of the product, which is not symmetric."""
    first, second = (torch.from_numpy(np.cov(x, rowvar=False)) for x in (a, b))
    shared = torch.linalg.eigvals(first @ second).sqrt().real.sum()
    gap = torch.from_numpy(a.mean(axis=0) - b.mean(axis=0))
    return float(gap @ gap + first.trace() + second.trace() - 2 * shared)


def test_two_gaussians_have_the_closed_form():
    """For N(m, s^2 I): d m^2 + d (s - 1)^2."""
    found = fid(grouped(normal(100_000, 1, mean=0.5, std=1.5)), WIDE)
    assert found.value == pytest.approx(6 * 0.25 + 6 * 0.25, rel=0.02)


def test_correlated_gaussians_have_the_closed_form():
    """Covariances that commute have roots that do: the distance is ||A^(1/2) - B^(1/2)||^2."""
    turn = np.linalg.qr(normal(6, 2))[0]
    scales = [np.array([1, 2, 3, 4, 5, 6.0]), np.array([6, 1, 2, 2, 2, 1.0])]
    white = [linalg.solve_triangular(linalg.cholesky(np.cov(x, rowvar=False)), x.T - x.T.mean(axis=1, keepdims=True),
             trans="T").T for x in (normal(50, 3), normal(70, 4))]  # fmt: skip
    a, b = (x * s @ turn for x, s in zip(white, scales, strict=True))
    found = fid(grouped(a, 5), fixed(Moments.of(b)))
    assert found.value == pytest.approx(float(np.sum((scales[0] - scales[1]) ** 2)), rel=1e-9)


def test_agrees_with_another_implementation():
    a, b = normal(300, 5) @ normal(6, 6), normal(400, 7, mean=0.3) @ normal(6, 8)
    found = fid(grouped(a), fixed(Moments.of(b))).value
    assert found == pytest.approx(by_another(a, b), rel=1e-8)
    root = linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)).real
    trace = np.trace(np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * root)
    assert found == pytest.approx(np.sum((a.mean(0) - b.mean(0)) ** 2) + trace, rel=1e-8)
    assert found == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_the_interval_covers_the_distance_at_this_n():
    values = [fid(grouped(normal(400, s, mean=0.4)), WIDE) for s in range(100, 150)]
    expected = np.mean([e.value for e in values])
    assert sum(e.low <= expected <= e.high for e in values) >= 43


def test_the_limit_has_no_bias_where_the_distance_has():
    """Of equal distributions the distance is 0, and what is found at n is bias alone."""
    found = [(fid(g, WIDE).value, fid_infinity(g, WIDE)) for s in range(24) if (g := grouped(normal(200, 300 + s), 8))]
    at_n, limits = np.mean([a for a, _ in found]), [e.value for _, e in found]
    assert at_n > 0.08
    assert abs(np.mean(limits)) < 0.3 * at_n
    assert sum(e.low <= 0 <= e.high for _, e in found) >= 20


def test_common_noise_cancels_in_a_difference():
    noise = normal(400, 9)
    same, shifted = grouped(noise), grouped(noise + 0.05)
    found = fid_difference(same, shifted, WIDE)
    assert found.value == pytest.approx(fid(shifted, WIDE).value - fid(same, WIDE).value, abs=1e-9)
    assert found.high - found.low < 0.6 * (fid(shifted, WIDE).high - fid(shifted, WIDE).low)
    nothing = fid_difference(same, same, WIDE)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


@pytest.mark.parametrize("score", [fid, fid_infinity])
def test_no_more_pictures_than_features_have_no_distance(score):
    few = grouped(normal(7, 10), 4)
    found = score(few, WIDE, 3)
    assert np.isnan(found.value)
    assert (found.n, found.n_missing) == (7, 3)
    assert "fewer pictures than 6 features" in found.method
    assert fixed(merged(few[:2])) is None
    assert "a reference of fewer pictures" in score(grouped(normal(400, 11)), None).method
