"""What a perturbation changed: matched rows, the control's on one side and the perturbed on the other.

Entry i of both sides is the same prompt, seed and sampler. A pair counts where both sides have a number.
"""

import math
import warnings

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from stages.arrays import Clusters, Outcomes
from stages.base import Spec
from stages.metrics.base import as_binary, as_numbers
from stages.metrics.bootstrap import Bootstrap, cluster_index, cluster_sums
from stages.metrics.estimate import Estimate, Number


class PairedTest(Spec):
    """A test of no change, with the pairs that changed."""

    p_value: Number = Field(description="p-value of the two-sided test, 0 to 1; NaN where there is no pair.")
    lost: int = Field(ge=0, description="Pairs true for the control alone.")
    gained: int = Field(ge=0, description="Pairs true for the perturbed row alone.")
    n: int = Field(ge=0, description="Pairs with both outcomes.")
    n_missing: int = Field(ge=0, description="Pairs without one or both.")
    method: str = Field(description="Name of the test.")


def mcnemar(control: Outcomes, perturbed: Outcomes) -> PairedTest:
    """Return McNemar's exact test of binary outcomes: binomial in the pairs that changed.

    It holds for independent pairs, not for pairs in clusters.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact_mcnemar

    before, after = present_pairs(as_binary(control), as_binary(perturbed))
    lost, gained = int(np.sum(before > after)), int(np.sum(before < after))
    p_value = exact_mcnemar([[0, lost], [gained, 0]], exact=True).pvalue if len(before) else math.nan
    return PairedTest(
        p_value=float(p_value),
        lost=lost,
        gained=gained,
        n=len(before),
        n_missing=len(control) - len(before),
        method="McNemar exact",
    )


def proportion_difference(control: Outcomes, perturbed: Outcomes, confidence: float = 0.95) -> Estimate:
    """Return perturbed less control of binary outcomes: Bonett and Price 2012 (doi:10.3102/1076998611411915).

    Their adjusted Wald interval adds one pair to each kind of change, so it has a width even where no pair changed,
    where every bootstrap has none. It holds for independent pairs.
    """
    from scipy import stats

    test = mcnemar(control, perturbed)
    method = f"Bonett-Price {confidence:.4g}"
    if test.n == 0:
        return Estimate.missing(test.n_missing, method)
    lost, gained = (test.lost + 1) / (test.n + 2), (test.gained + 1) / (test.n + 2)
    z = float(stats.norm.ppf((1 + confidence) / 2))
    half = z * math.sqrt((lost + gained - (gained - lost) ** 2) / (test.n + 2))
    low, high = max(-1.0, gained - lost - half), min(1.0, gained - lost + half)
    value = (test.gained - test.lost) / test.n
    return Estimate(value=value, low=low, high=high, n=test.n, n_missing=test.n_missing, method=method)


def paired_difference(
    control: Outcomes, perturbed: Outcomes, bootstrap: Bootstrap, clusters: Clusters | None = None
) -> Estimate:
    """Return the mean of perturbed less control, with a bootstrap interval over pairs, or over whole clusters.

    Where all pairs, or all cluster means, differ by the same amount, resampling knows no spread and there is no
    interval; for binary outcomes use `proportion_difference` there.
    """
    before, after = as_numbers(control), as_numbers(perturbed)
    difference = after - before
    present = ~np.isnan(difference)
    unit = "pairs" if clusters is None else "clusters"
    method = f"{bootstrap.method} bootstrap {bootstrap.confidence:.4g} over {unit}"
    n, n_missing = int(present.sum()), int((~present).sum())
    if n == 0:
        return Estimate.missing(n_missing, method)
    difference = difference[present]
    index, groups = cluster_index(None if clusters is None else clusters[present], n)
    sums, counts = cluster_sums(np.stack([difference, np.ones(n)]), index, groups)
    low, high = _interval(sums, counts, bootstrap)
    return Estimate(value=float(difference.mean()), low=low, high=high, n=n, n_missing=n_missing, method=method)


def present_pairs(
    control: Float64[np.ndarray, " n"], perturbed: Float64[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Return both sides of the pairs that have both numbers."""
    present = ~np.isnan(control) & ~np.isnan(perturbed)
    return control[present], perturbed[present]


def _interval(
    sums: Float64[np.ndarray, " g"], counts: Float64[np.ndarray, " g"], bootstrap: Bootstrap
) -> tuple[float, float]:
    """Return the interval of the ratio of totals, resampling clusters; NaN where it has no spread."""
    from scipy import stats

    if len(sums) < 2 or np.ptp(sums / counts) == 0:
        return math.nan, math.nan
    with warnings.catch_warnings():
        # BCa has no interval where leaving out any one cluster changes nothing; scipy then returns NaN and says so.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (sums, counts),
            lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
            n_resamples=bootstrap.resamples,
            batch=max(1, 2**20 // len(sums)),
            vectorized=True,
            paired=True,
            confidence_level=bootstrap.confidence,
            method="BCa" if bootstrap.method == "bca" else "percentile",
            rng=bootstrap.generator(),
        ).confidence_interval
    return float(interval.low), float(interval.high)
