"""FID: how far the features of two sets of pictures lie apart, as if both were Gaussian."""

import math

import numpy as np
from jaxtyping import Float

from stages.metrics.estimate import Estimate
from stages.randomness import rng


def frechet_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """Return ||mean(a) - mean(b)||^2 + tr(A + B - 2 (A B)^(1/2)), with the covariances A and B.

    Heusel et al. 2017 (arXiv:1706.08500), Eq. 6. Only values of one extractor and of equal n compare: it falls with n.
    """
    means = a.mean(axis=0, dtype=np.float64) - b.mean(axis=0, dtype=np.float64)
    first, second = (np.atleast_2d(np.cov(x, rowvar=False, dtype=np.float64)) for x in (a, b))
    # the eigenvalues of a product of two covariances are real and not negative, up to rounding
    root = np.sqrt(np.clip(np.linalg.eigvals(first @ second).real, 0, None)).sum()
    return float(means @ means + np.trace(first) + np.trace(second) - 2 * root)


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
    value = frechet_distance(present, reference)
    group = rng(0, "frechet").permutation(n) % groups
    without = np.array([frechet_distance(present[group != g], reference) for g in range(groups)])
    error = math.sqrt((groups - 1) / groups * np.sum((without - without.mean()) ** 2))
    half = float(stats.t.ppf((1 + confidence) / 2, groups - 1)) * error
    return Estimate(value=value, low=value - half, high=value + half, n=n, n_missing=len(drawn) - n, method=method)
