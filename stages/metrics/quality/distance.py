"""FID from groups of statistics: its interval, its limit for infinitely many pictures, its difference of two sets."""

import math
from collections.abc import Sequence

import numpy as np

from stages.metrics.estimate import Estimate
from stages.metrics.frechet import Reference, distance, reference_of
from stages.metrics.quality.jackknife import jackknife
from stages.metrics.quality.moments import Moments, merged

SHARES = (0.5, 0.75, 1.0)
"""Of the groups: the sizes from which the limit is read off."""


def fixed(reference: Moments) -> Reference | None:
    """Return a reference that counts as fixed; None where it has fewer pictures than features can be compared by."""
    return reference_of(reference) if reference.n > reference.dimension else None


def fid(groups: Sequence[Moments], reference: Reference | None, missing: int = 0) -> Estimate:
    """Return the Frechet distance of the pictures in random groups to a reference.

    Not defined with fewer pictures than features: the covariance is then singular, and the distance meaningless.
    """
    whole = merged(groups)
    if (reason := undefined(groups, reference)) or reference is None:
        return Estimate.missing(missing, reason, whole.n)
    without = [distance(whole - part, reference) for part in groups]
    return jackknife(distance(whole, reference), without, (whole.n, missing))


def fid_infinity(groups: Sequence[Moments], reference: Reference | None, missing: int = 0) -> Estimate:
    """Return the limit of the distance for infinitely many drawn pictures: Chong and Forsyth 2020 (arXiv:1911.07023).

    The distance is linear in 1 / n; the limit is where the line over several n meets 0. Each n is a number of groups,
    taken from both ends of their row. The bias of the reference's own n stays.
    """
    whole = merged(groups)
    smallest = merged(groups[: max(1, int(len(groups) * SHARES[0]) - 1)])
    if (reason := undefined(groups, reference)) or reference is None or smallest.n <= whole.dimension:
        return Estimate.missing(missing, reason or f"fewer pictures than {whole.dimension} features in a part", whole.n)
    without = [_limit([*groups[:g], *groups[g + 1 :]], reference) for g in range(len(groups))]
    return jackknife(_limit(groups, reference), without, (whole.n, missing))


def fid_difference(
    control: Sequence[Moments], other: Sequence[Moments], reference: Reference | None, missing: int = 0
) -> Estimate:
    """Return other less control, both to one reference; group i of both holds the same seeds and prompts.

    What the common noise gives to both cancels in the jackknife, as in a paired test.
    """
    first, second = merged(control), merged(other)
    n = min(first.n, second.n)
    reason = undefined(control, reference) or undefined(other, reference)
    if reason or reference is None:
        return Estimate.missing(missing, reason, n)
    pairs = list(zip(control, other, strict=True))
    without = [distance(second - b, reference) - distance(first - a, reference) for a, b in pairs]
    return jackknife(distance(second, reference) - distance(first, reference), without, (n, missing))


def undefined(groups: Sequence[Moments], reference: Reference | None) -> str:
    """Return why there is no distance; empty where there is one."""
    whole, largest = merged(groups), max(part.n for part in groups)
    if reference is None:
        return f"a reference of fewer pictures than {whole.dimension} features"
    if whole.n - largest <= whole.dimension:
        return f"fewer pictures than {whole.dimension} features"
    return ""


def _limit(groups: Sequence[Moments], reference: Reference) -> float:
    """Return where the line of distances over 1 / n meets 0; NaN where all n are equal."""
    inverse, values = [], []
    for share in SHARES:
        size = max(1, round(share * len(groups)))
        starts = (0,) if size == len(groups) else (0, len(groups) - size)
        for start in starts:
            part = merged(groups[start : start + size])
            inverse.append(1 / part.n)
            values.append(distance(part, reference))
    if len({*inverse}) < 2:
        return math.nan
    return float(np.polyfit(inverse, values, 1)[1])
