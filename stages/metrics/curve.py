"""Curves over the strength of a perturbation: where they break, and how steeply they fall."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from stages.arrays import Clusters
from stages.base import Spec
from stages.metrics.bootstrap import Bootstrap, cluster_index, cluster_sums
from stages.metrics.estimate import Estimate, Number


@dataclass(frozen=True)
class Curve:
    """One family at several strengths, every row matched to its control.

    Column i is the same prompt, seed and sampler everywhere. The control is the point at strength 0, unless `strengths`
    holds a 0 of its own. A pair with a NaN on either side is missing.
    """

    strengths: Float64[np.ndarray, " k"]
    control: Float64[np.ndarray, " n"]
    perturbed: Float64[np.ndarray, "_ _"]
    clusters: Clusters | None = None

    def __post_init__(self) -> None:
        if self.perturbed.shape != (len(self.strengths), len(self.control)):
            raise ValueError(
                f"a Curve expects rows of shape {(len(self.strengths), len(self.control))} (strengths, control rows), "
                f"but found {self.perturbed.shape}"
            )
        if len(np.unique(self.strengths)) != len(self.strengths):
            raise ValueError(f"a Curve expects every strength once, but found {self.strengths.tolist()}")

    def totals(self) -> Float64[np.ndarray, "3 k g"]:
        """Return the sums within each cluster, over the pairs present: of perturbed, of control, and their number."""
        present = ~np.isnan(self.perturbed) & ~np.isnan(self.control)
        index, groups = cluster_index(self.clusters, len(self.control))
        sides = (self.perturbed, np.broadcast_to(self.control, present.shape), np.ones(present.shape))
        return np.stack([cluster_sums(np.where(present, side, 0.0), index, groups) for side in sides])

    def measured(self) -> "Curve":
        """Return the curve without the strengths at which no pair is present."""
        kept = (~np.isnan(self.perturbed) & ~np.isnan(self.control)).any(axis=1)
        return Curve(self.strengths[kept], self.control, self.perturbed[kept], self.clusters)


class BreakPoint(Spec):
    """The smallest |strength| that takes the stated share of the control's mean away, or that none did."""

    drop_fraction: float = Field(gt=0, description="Share of the control's mean that is lost there, above 0; no unit.")
    strength: Estimate = Field(
        description="|Strength| of the break: value NaN where not reached, high NaN where the interval goes beyond."
    )
    reached: bool = Field(description="Whether the break lies within the strengths tested.")
    share_reached: Number = Field(description="Share of the resamples that break there, 0 to 1; NaN where undefined.")
    lowest_tested: float = Field(description="Lowest strength tested, with its sign, or 0.")
    highest_tested: float = Field(description="Highest strength tested, with its sign, or 0.")

    def __str__(self) -> str:
        tested = f"between {self.lowest_tested:g} and {self.highest_tested:g}"
        low, n = self.strength.low, self.strength.n
        if math.isnan(self.share_reached):
            return str(self.strength)
        if not self.reached:
            return f"not reached {tested}{'' if math.isnan(low) else f' [{low:.3f}, beyond]'} (n={n})"
        if math.isnan(self.strength.high) and self.share_reached < 1:
            return f"{self.strength.value:.3f} [{low:.3f}, beyond] (n={n})"
        return str(self.strength)


def break_point(curve: Curve, drop_fraction: float, bootstrap: Bootstrap) -> BreakPoint:
    """Return where the curve first loses `drop_fraction` of the control's mean, going out from 0 to either side.

    Between strengths the drop is a straight line. Of two sides the nearer counts, which leans towards 0 where both are
    close; the interval corrects for most of it (two equal sides, independent rows, n = 120 to 400: 95 % cover 90 to
    93 %; one side, or rows that move together: 94 to 95 %). A resample that never breaks lies beyond every strength. A
    control whose mean is not above 0 has nothing to lose, and so no value.
    """
    _require_percentile(bootstrap)
    shown = curve.measured()
    totals = shown.totals()
    value = float(first_crossing(shown.strengths, relative_drops(totals.sum(axis=2)[None]), drop_fraction)[0])
    resampled = np.concatenate(
        [first_crossing(shown.strengths, relative_drops(t), drop_fraction) for t in resample(totals, bootstrap)]
    )
    defined = resampled[~np.isnan(resampled)]
    low, high = (math.nan, math.nan) if math.isnan(value) else bias_corrected(value, defined, bootstrap.confidence)
    return BreakPoint(
        drop_fraction=drop_fraction,
        strength=_estimate(_finite(value), _finite(low), _finite(high), curve, bootstrap),
        reached=math.isfinite(value),
        share_reached=math.nan if math.isnan(value) else float(np.isfinite(defined).mean()),
        lowest_tested=min([0.0, *shown.strengths.tolist()]),
        highest_tested=max([0.0, *shown.strengths.tolist()]),
    )


def slope(curve: Curve, bootstrap: Bootstrap) -> Estimate:
    """Return the change of the mean per unit of |strength|: least squares through the strengths and the control at 0.

    Every strength weighs the same; restrict the curve to the range in which it is straight.
    """
    _require_percentile(bootstrap)
    shown = curve.measured()
    totals = shown.totals()
    distance = np.abs(shown.strengths)
    value = float(_slopes(distance, totals.sum(axis=2)[None])[0])
    resampled = np.concatenate([_slopes(distance, t) for t in resample(totals, bootstrap)])
    low, high = bias_corrected(value, resampled[~np.isnan(resampled)], bootstrap.confidence)
    return _estimate(value, low, high, curve, bootstrap)


def resample(totals: Float64[np.ndarray, "3 k g"], bootstrap: Bootstrap) -> list[Float64[np.ndarray, "_ 3 k"]]:
    """Return the totals of every resample of the clusters, in blocks of resamples."""
    return [np.tensordot(weights.astype(np.float64), totals, (1, 2)) for weights in bootstrap.weights(totals.shape[2])]


def relative_drops(totals: Float64[np.ndarray, "b 3 k"]) -> Float64[np.ndarray, "b k"]:
    """Return 1 - perturbed / control of the pairs present; NaN where the control's mean is not above 0."""
    perturbed, control, _ = np.moveaxis(totals, 1, 0)
    kept: np.ndarray = np.divide(perturbed, control, out=np.full(control.shape, np.nan), where=control > 0)
    return 1 - kept


def first_crossing(
    strengths: Float64[np.ndarray, " k"], drops: Float64[np.ndarray, "b k"], threshold: float
) -> Float64[np.ndarray, " b"]:
    """Return the smallest |strength| of either side at which the drop reaches the threshold.

    Infinite where it is not reached; NaN where a drop is not defined, or where there is none at all.
    """
    if not len(strengths):
        return np.full(len(drops), np.nan)
    start = drops[:, strengths == 0] if (strengths == 0).any() else np.zeros((len(drops), 1))
    crossings = []
    for side in (strengths > 0, strengths < 0):
        distance = np.abs(strengths[side])
        outwards = np.argsort(distance)
        s = np.concatenate([[0.0], distance[outwards]])
        d = np.concatenate([start, drops[:, side][:, outwards]], axis=1)
        crossings.append(_crossing(s, d, threshold))
    return np.where(np.isnan(drops).any(axis=1), np.nan, np.minimum(*crossings))


def _crossing(
    s: Float64[np.ndarray, " k"], d: Float64[np.ndarray, "b k"], threshold: float
) -> Float64[np.ndarray, " b"]:
    """Return where each line of `d`, straight between the ascending `s`, first reaches the threshold, or infinity."""
    hit = d >= threshold
    after = hit.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    rows = np.arange(len(d))
    rise = np.where(after > before, d[rows, after] - d[rows, before], 1.0)
    at = s[before] + (threshold - d[rows, before]) / rise * (s[after] - s[before])
    return np.where(hit.any(axis=1), at, np.inf)


def _slopes(distance: Float64[np.ndarray, " k"], totals: Float64[np.ndarray, "b 3 k"]) -> Float64[np.ndarray, " b"]:
    perturbed, control, pairs = np.moveaxis(totals, 1, 0)
    change = np.divide(perturbed - control, pairs, out=np.full(pairs.shape, np.nan), where=pairs != 0)
    if not (distance == 0).any():
        distance, change = np.append(distance, 0.0), np.pad(change, ((0, 0), (0, 1)))
    centred = distance - distance.mean()
    if not centred.any():
        return np.full(len(change), np.nan)
    slopes: np.ndarray = change @ centred / np.sum(centred**2)
    return slopes


def bias_corrected(value: float, resampled: Float64[np.ndarray, " b"], confidence: float) -> tuple[float, float]:
    """Return the bias-corrected percentile interval: Efron 1987 (doi:10.1080/01621459.1987.10478410), Eq. 2.3, a = 0.

    It corrects for the median only, so it needs no more than ranks: infinite entries keep theirs. NaN where resampling
    knows no spread.
    """
    from scipy import stats

    if not len(resampled) or resampled.min() == resampled.max():
        return math.nan, math.nan
    below = np.mean(resampled < value) + np.mean(resampled == value) / 2
    bias = stats.norm.ppf(np.clip(below, 0.5 / len(resampled), 1 - 0.5 / len(resampled)))
    z = stats.norm.ppf((1 + confidence) / 2)
    low, high = np.quantile(resampled, stats.norm.cdf([2 * bias - z, 2 * bias + z]), method="inverted_cdf")
    return float(low), float(high)


def _finite(number: float) -> float:
    return number if math.isfinite(number) else math.nan


def _estimate(value: float, low: float, high: float, curve: Curve, bootstrap: Bootstrap) -> Estimate:
    """Return the estimate; its n counts pairs over all strengths."""
    unit = "pairs" if curve.clusters is None else "clusters"
    n = int(curve.totals()[2].sum())
    method = f"bias-corrected bootstrap {bootstrap.confidence:.4g} over {unit}"
    return Estimate(value=value, low=low, high=high, n=n, n_missing=curve.perturbed.size - n, method=method)


def _require_percentile(bootstrap: Bootstrap) -> None:
    if bootstrap.method != "percentile":
        raise ValueError(f"a curve expects bootstrap method 'percentile', but found '{bootstrap.method}'")
