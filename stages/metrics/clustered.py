"""The share of rows for which something is true, where rows share a seed or a prompt."""

import numpy as np

from stages.arrays import Clusters, Outcomes
from stages.metrics.base import as_binary
from stages.metrics.bootstrap import cluster_index, cluster_sums
from stages.metrics.estimate import Estimate
from stages.metrics.proportion import Proportion

NOTHING = 1e-18
"""Rounding of a variance of zero."""


def share(outcomes: Outcomes, clusters: Clusters | None) -> Estimate:
    """Return the share of true outcomes, for rows on their own or in clusters."""
    return Proportion().of(outcomes) if clusters is None else clustered_proportion(outcomes, clusters)


def clustered_proportion(outcomes: Outcomes, clusters: Clusters, confidence: float = 0.95) -> Estimate:
    """Return the share of true outcomes, with Wilson's interval at the effective number of rows.

    That number is p (1 - p) over the variance between clusters (Korn and Graubard 1998, Survey Methodology 24, 193),
    and the number of clusters where all outcomes are the same, so an interval is never empty.
    """
    from statsmodels.stats.proportion import proportion_confint

    binary = as_binary(outcomes)
    present = ~np.isnan(binary)
    n, missing = int(present.sum()), int((~present).sum())
    if n == 0:
        return Estimate.missing(missing, f"Wilson {confidence:.4g} over clusters")
    index, groups = cluster_index(clusters[present], n)
    sums, counts = cluster_sums(np.stack([binary[present], np.ones(n)]), index, groups)
    share = float(sums.sum()) / n
    effective = min(float(n), max(1.0, _effective(sums - share * counts, share, n)))
    low, high = proportion_confint(share * effective, effective, alpha=1 - confidence, method="wilson")
    method = f"Wilson {confidence:.4g}, {effective:.0f} effective of {n} rows in {groups} clusters"
    return Estimate(value=share, low=float(low), high=float(high), n=n, n_missing=missing, method=method)


def _effective(deviations: np.ndarray, share: float, n: int) -> float:
    """Return the number of independent rows whose share would vary as much."""
    groups = len(deviations)
    variance = float(np.sum(deviations**2)) / n**2 * groups / max(1, groups - 1)
    return share * (1 - share) / variance if variance > NOTHING else float(groups)
