"""How well a score tells positives from negatives, such as copies from other pairs: the ROC curve and its area."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from stages.arrays import Clusters, Outcomes
from stages.metrics.base import as_numbers
from stages.metrics.estimate import Estimate


class Pairs(NamedTuple):
    """Scores of pairs of one kind; NaN is a missing one.

    Pairs of one picture are not independent, so their clusters say which they are: equal numbers, here and on the other
    side, mean one picture. Without clusters every pair stands for itself.
    """

    scores: Outcomes
    clusters: Clusters | None = None


class Grouped(NamedTuple):
    """The scores that are present on either side, the group of each, and how many groups there are."""

    positive: Float64[np.ndarray, " p"]
    negative: Float64[np.ndarray, " n"]
    positive_group: Int64[np.ndarray, " p"]
    negative_group: Int64[np.ndarray, " n"]
    groups: int
    n_missing: int

    @property
    def n(self) -> int:
        """Number of scores."""
        return len(self.positive) + len(self.negative)


class Roc(NamedTuple):
    """The curve from (0, 0) to (1, 1): at each threshold, the shares of scores at or above it."""

    false_positive: Float64[np.ndarray, " k"]
    true_positive: Float64[np.ndarray, " k"]
    threshold: Float64[np.ndarray, " k"]


def roc(positive: Pairs, negative: Pairs) -> Roc:
    """Return the ROC curve: a point at infinity and one at every distinct score."""
    found = group(positive, negative)
    distinct = np.unique(np.concatenate([found.positive, found.negative]))[::-1]
    false, true = (_at_or_above(side, distinct) for side in (found.negative, found.positive))
    return Roc(false, true, np.concatenate([[np.inf], distinct]))


def auc(positive: Pairs, negative: Pairs, confidence: float = 0.95) -> Estimate:
    """Return the chance that a positive scores above a negative, ties counting half.

    The interval is that of DeLong et al. 1988 (doi:10.2307/2531595), with the clusters of Obuchowski 1997
    (doi:10.2307/2533958), on the logit so that it stays within 0 and 1. Perfectly separated scores, or fewer than two
    clusters of a kind, give none.
    """
    from scipy import special, stats

    found, method = group(positive, negative), f"DeLong, logit, {confidence:.4g}"
    p, n = len(found.positive), len(found.negative)
    if not p or not n:
        return Estimate.missing(found.n_missing, method, n=found.n)
    ranks = stats.rankdata(np.concatenate([found.positive, found.negative]))
    above = (ranks[:p] - stats.rankdata(found.positive)) / n  # of each positive: the share of negatives below it
    below = 1 - (ranks[p:] - stats.rankdata(found.negative)) / p
    value, ends = float(above.mean()), np.full(2, math.nan)
    error = _error(found, above - value, below - value)
    if error > 0 and 0 < value < 1:
        half = stats.norm.ppf((1 + confidence) / 2) * error / (value * (1 - value))
        ends = special.expit(special.logit(value) + half * np.array([-1, 1]))
    return Estimate(value=value, low=ends[0], high=ends[1], n=found.n, n_missing=found.n_missing, method=method)


def group(positive: Pairs, negative: Pairs) -> Grouped:
    """Return the scores that are present, with the clusters of both sides numbered alike."""
    if (positive.clusters is None) != (negative.clusters is None):
        raise ValueError("pairs expect clusters on both sides or on neither, but found them on one")
    scores = np.concatenate([as_numbers(positive.scores), as_numbers(negative.scores)])
    if positive.clusters is None or negative.clusters is None:
        clusters = np.arange(len(scores))
    else:
        clusters = np.concatenate([positive.clusters, negative.clusters])
    names, index = np.unique(clusters, return_inverse=True)
    seen, first = ~np.isnan(scores), np.arange(len(scores)) < len(positive.scores)
    return Grouped(
        positive=scores[seen & first],
        negative=scores[seen & ~first],
        positive_group=index[seen & first],
        negative_group=index[seen & ~first],
        groups=len(names),
        n_missing=int((~seen).sum()),
    )


def _error(found: Grouped, above: Float64[np.ndarray, " p"], below: Float64[np.ndarray, " n"]) -> float:
    """Return the standard error of the area; 0 where there is none. Obuchowski 1997, S10, S01 and S11."""
    a = np.bincount(found.positive_group, above, found.groups) / len(above)
    b = np.bincount(found.negative_group, below, found.groups) / len(below)
    counts = (len(np.unique(found.positive_group)), len(np.unique(found.negative_group)), found.groups)
    if min(counts) < 2:
        return 0.0
    factors = np.array(counts) / (np.array(counts) - 1)
    variance = factors @ [np.sum(a**2), np.sum(b**2), 2 * np.sum(a * b)]
    return math.sqrt(max(float(variance), 0.0))


def _at_or_above(scores: Float64[np.ndarray, " n"], thresholds: Float64[np.ndarray, " k"]) -> np.ndarray:
    """Return the share of scores at or above infinity, and at or above each threshold."""
    count = len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")
    return np.concatenate([[0.0], count / max(len(scores), 1)])
