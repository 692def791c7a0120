"""KID: the maximum mean discrepancy of two sets of features under a polynomial kernel."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64

from stages.metrics.estimate import Estimate
from stages.metrics.quality.jackknife import jackknife

GROUPS = 20
BLOCK = 1024


def kid(drawn: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "m d"], missing: int = 0) -> Estimate:
    """Return the unbiased squared discrepancy over all pairs of rows, which come in random order; it may be negative.

    Binkowski et al. 2018 (arXiv:1801.01401), section 4, with the interval of a jackknife over groups of drawn rows, to
    a reference that counts as fixed. Published code takes the mean over subsets of 1000: the same number with more
    noise, since it leaves most pairs out.
    """
    n = len(drawn)
    if n < 2 * GROUPS or len(reference) < 2:
        return Estimate.missing(missing, f"fewer than {2 * GROUPS} pictures", n)
    parts = [drawn[g::GROUPS] for g in range(GROUPS)]
    own = within(parts)
    across = np.array([kernel_sum(part, reference) for part in parts]) / len(reference)
    fixed = within([reference]).sum() / (len(reference) * (len(reference) - 1))

    def value(rows: int, keep: Float64[np.ndarray, " g"]) -> float:
        return float(keep @ own @ keep / (rows * (rows - 1)) + fixed - 2 * keep @ across / rows)

    without = [value(n - len(part), 1 - one) for part, one in zip(parts, np.eye(GROUPS), strict=True)]
    return jackknife(value(n, np.ones(GROUPS)), without, (n, missing))


def within(parts: Sequence[Float[np.ndarray, "_ d"]]) -> Float64[np.ndarray, "g g"]:
    """Return the sum of the kernel over the pairs of every two parts, no row with itself."""
    sums = np.array([[kernel_sum(a, b) for b in parts] for a in parts])
    return sums - np.diag([float(np.sum(((part.astype(np.float64) ** 2).mean(axis=1) + 1) ** 3)) for part in parts])


def kernel_sum(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """Return the sum over all pairs of (a . b / d + 1)^3, some rows at a time."""
    other = b.astype(np.float64).T / a.shape[1]
    total = 0.0
    for start in range(0, len(a), BLOCK):
        base = a[start : start + BLOCK].astype(np.float64) @ other + 1
        total += float((base * base * base).sum())  # numpy's power of 3 is ten times slower
    return total
