"""FID: how far the features of two sets of pictures lie apart, as if both were Gaussian."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from stages.metrics.estimate import Estimate
from stages.randomness import rng


class Reference(NamedTuple):
    """What the distance needs to know of one set."""

    mean: Float64[np.ndarray, " d"]
    trace: float
    """Of the covariance."""
    root: Float64[np.ndarray, "d d"]
    """Of the covariance."""


def frechet_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """Return ||mean(a) - mean(b)||^2 + tr(A + B - 2 (A B)^(1/2)), with the covariances A and B.

    Heusel et al. 2017 (arXiv:1706.08500), Eq. 6. Only values of one extractor and of equal n compare: it falls with n.
    """
    return _distance(a, _reference(b))


def frechet(
    drawn: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "m d"], confidence: float = 0.95, groups: int = 20
) -> Estimate:
    """Return the distance of drawn pictures to a reference that counts as fixed, rows of NaN left out.

    The interval is Student's from the jackknife over random groups: Efron and Tibshirani 1993, chapter 11. It is that
    of the distance at this n, not at infinitely many pictures.
    """
    from scipy import stats

    present = drawn[np.isfinite(drawn).all(axis=1)]
    n, method = len(present), f"jackknife {confidence:.4g} over {groups} groups"
    if n < 2 * groups or not drawn.shape[1]:
        return Estimate.missing(len(drawn) - n, method, n=n)
    fixed = _reference(reference)
    value = _distance(present, fixed)
    group = rng(0, "frechet").permutation(n) % groups
    without = np.array([_distance(present[group != g], fixed) for g in range(groups)])
    error = math.sqrt((groups - 1) / groups * np.sum((without - without.mean()) ** 2))
    half = float(stats.t.ppf((1 + confidence) / 2, groups - 1)) * error
    return Estimate(value=value, low=value - half, high=value + half, n=n, n_missing=len(drawn) - n, method=method)


def _reference(x: Float[np.ndarray, "m d"]) -> Reference:
    mean, covariance = _moments(x)
    values, vectors = np.linalg.eigh(covariance)
    return Reference(mean, float(np.trace(covariance)), (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)


def _distance(x: Float[np.ndarray, "n d"], reference: Reference) -> float:
    mean, covariance = _moments(x)
    # A B has the eigenvalues of B^(1/2) A B^(1/2), which is symmetric
    values = np.linalg.eigvalsh(reference.root @ covariance @ reference.root)
    shared = 2 * np.sqrt(np.clip(values, 0, None)).sum()
    return float(np.sum((mean - reference.mean) ** 2) + np.trace(covariance) + reference.trace - shared)


def _moments(x: Float[np.ndarray, "n d"]) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, "d d"]]:
    numbers = x.astype(np.float64)
    return numbers.mean(axis=0), np.atleast_2d(np.cov(numbers, rowvar=False))
