"""The score from which on pairs are positive with a stated precision."""

import numpy as np
from jaxtyping import Float64, Int64
from pydantic import Field

from stages.base import Spec
from stages.metrics.bootstrap import Bootstrap
from stages.metrics.detection import Grouped, Pairs, group
from stages.metrics.estimate import Estimate

GRID = 1000
"""Thresholds that are tried: the positive scores, or so many of them at even ranks."""


class PrecisionTarget(Spec):
    """A precision, and how rare positives are."""

    precision: float = Field(0.9, gt=0, le=1, description="Share of the pairs at or above the score that are positive.")
    prior: float | None = Field(
        None, gt=0, lt=1, description="Share of all pairs that are positive; null: as the pairs were counted."
    )


class PrecisionPoint(Spec):
    """The lowest score that has the precision, and the share of positives at or above it."""

    target: PrecisionTarget
    score: Estimate
    recall: Estimate


def score_at_precision(
    positive: Pairs, negative: Pairs, target: PrecisionTarget, bootstrap: Bootstrap
) -> PrecisionPoint:
    """Return the lowest score that has the target's precision. It depends on the prior as much as on the scores.

    A resample in which no score has it counts as a score above all and a recall of 0. Percentile intervals over
    resampled clusters; NaN for an end that lies above all scores.
    """
    found = group(positive, negative)
    grid = _grid(found.positive)
    true = _at_or_above(found.positive, found.positive_group, found.groups, grid)
    false = _at_or_above(found.negative, found.negative_group, found.groups, grid)
    value = _lowest(true.sum(axis=0)[None], false.sum(axis=0)[None], grid, target)
    resamples = [_lowest(w @ true, w @ false, grid, target) for w in bootstrap.weights(found.groups)]
    resampled = (np.concatenate(part) for part in zip(*resamples, strict=True))
    estimates = [_estimate(v, r, found, bootstrap) for v, r in zip(value, resampled, strict=True)]
    return PrecisionPoint(target=target, score=estimates[0], recall=estimates[1])


def _grid(scores: Float64[np.ndarray, " p"]) -> Float64[np.ndarray, " g"]:
    """Return minus infinity, at or above which all pairs are, and thresholds in ascending order."""
    distinct = np.unique(scores)
    even = np.linspace(0, len(distinct) - 1, min(len(distinct), GRID)).round().astype(np.int64)
    return np.concatenate([[-np.inf], distinct[even]])


def _at_or_above(
    scores: Float64[np.ndarray, " n"], groups: Int64[np.ndarray, " n"], count: int, grid: Float64[np.ndarray, " g"]
) -> Float64[np.ndarray, "c g"]:
    """Return, for each cluster, how many of its pairs score at least each threshold."""
    highest = np.searchsorted(grid, scores, side="right") - 1  # the highest threshold that each reaches
    reached = np.bincount(groups * len(grid) + highest, minlength=count * len(grid)).reshape(count, len(grid))
    return reached[:, ::-1].cumsum(axis=1)[:, ::-1].astype(np.float64)


def _lowest(
    positive: Float64[np.ndarray, "b g"],
    negative: Float64[np.ndarray, "b g"],
    grid: Float64[np.ndarray, " g"],
    target: PrecisionTarget,
) -> tuple[Float64[np.ndarray, " b"], Float64[np.ndarray, " b"]]:
    """Return the lowest threshold with the precision, infinity where none has it, and the recall there.

    Where a kind has no pair at all there is no recall either: NaN.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        true, false = positive / positive[:, :1], negative / negative[:, :1]
        prior = target.prior or positive[:, :1] / (positive[:, :1] + negative[:, :1])
        precision = prior * true / (prior * true + (1 - prior) * false)
    enough = precision >= target.precision
    enough[:, 0] = False  # minus infinity is no score
    rows, at, reached = np.arange(len(enough)), enough.argmax(axis=1), enough.any(axis=1)
    missed = np.where((positive[:, 0] > 0) & (negative[:, 0] > 0), 0.0, np.nan)
    return np.where(reached, grid[at], np.inf), np.where(reached, true[rows, at], missed)


def _estimate(
    value: Float64[np.ndarray, " 1"], resampled: Float64[np.ndarray, " b"], found: Grouped, bootstrap: Bootstrap
) -> Estimate:
    tail = (1 - bootstrap.confidence) / 2
    ends = np.quantile(resampled, [tail, 1 - tail], method="inverted_cdf")  # of infinite entries only ranks matter
    number, low, high = (float(x) if np.isfinite(x) else np.nan for x in (value[0], *ends))
    method = f"percentile {bootstrap.confidence:.4g}, {bootstrap.resamples} resamples"
    return Estimate(value=number, low=low, high=high, n=found.n, n_missing=found.n_missing, method=method)
