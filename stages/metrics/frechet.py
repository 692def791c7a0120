"""FID: how far the features of two sets of pictures lie apart, as if both were Gaussian."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from stages.metrics.estimate import Estimate
from stages.metrics.quality.jackknife import jackknife
from stages.metrics.quality.moments import Moments, merged
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
    return distance(Moments.of(a), reference_of(Moments.of(b)))


def frechet(
    drawn: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "m d"], confidence: float = 0.95, groups: int = 20
) -> Estimate:
    """Return the distance of drawn pictures to a reference that counts as fixed, rows of NaN left out.

    The interval is that of the jackknife over random groups.
    """
    present = drawn[np.isfinite(drawn).all(axis=1)]
    n, missing = len(present), len(drawn) - len(present)
    if n < 2 * groups or not drawn.shape[1]:
        return Estimate.missing(missing, f"jackknife {confidence:.4g} over {groups} groups", n=n)
    group = rng(0, "frechet").permutation(n) % groups
    parts, fixed = [Moments.of(present[group == g]) for g in range(groups)], reference_of(Moments.of(reference))
    whole = merged(parts)
    without = [distance(whole - part, fixed) for part in parts]
    return jackknife(distance(whole, fixed), without, (n, missing), confidence)


def reference_of(moments: Moments) -> Reference:
    """Return what the distance to a set needs, from its statistics."""
    covariance = moments.covariance
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return Reference(moments.mean, float(np.trace(covariance)), root)


def distance(drawn: Moments, reference: Reference) -> float:
    """Return the distance of a set to a reference, from the set's statistics."""
    covariance = drawn.covariance
    # A B has the eigenvalues of B^(1/2) A B^(1/2), which is symmetric
    values = np.linalg.eigvalsh(reference.root @ covariance @ reference.root)
    shared = 2 * np.sqrt(np.clip(values, 0, None)).sum()
    return float(np.sum((drawn.mean - reference.mean) ** 2) + np.trace(covariance) + reference.trace - shared)
