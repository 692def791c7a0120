"""A function of several means of the same rows, such as a ratio of two break points, with its interval."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64

from stages.arrays import Clusters
from stages.metrics.bootstrap import Bootstrap, cluster_index, cluster_sums
from stages.metrics.curve import bias_corrected
from stages.metrics.estimate import Estimate

OfMeans: TypeAlias = Callable[[Float64[np.ndarray, "b k"]], Float64[np.ndarray, " b"]]
"""What is asked of k means, for b resamples at a time; not finite where it is not defined."""


def functional(
    rows: Float64[np.ndarray, "k n"], of_means: OfMeans, bootstrap: Bootstrap, clusters: Clusters | None = None
) -> Estimate:
    """Return a function of the means of k columns over the same n rows, with a bias-corrected bootstrap interval.

    Whole rows are resampled (or whole clusters of them), so what the columns share cancels as it should. An entry that
    is NaN is missing from its own mean only. An end beyond what the function can tell is NaN.
    """
    present = ~np.isnan(rows)
    index, groups = cluster_index(clusters, rows.shape[1])
    totals = np.stack(
        [cluster_sums(side.astype(float), index, groups) for side in (np.where(present, rows, 0), present)]
    )
    counted = present.sum(axis=1)
    n = int(counted.min(initial=rows.shape[1]))
    value = float(of_means(_means(totals.sum(axis=2)[None]))[0]) if n else math.nan
    unit = "rows" if clusters is None else "clusters"
    method = f"bias-corrected bootstrap {bootstrap.confidence:.4g} over {unit}"
    if not math.isfinite(value):
        return Estimate.missing(int((~present).sum()), method, n)
    blocks = [np.tensordot(w.astype(np.float64), totals, (1, 2)) for w in bootstrap.weights(groups)]
    resampled = np.concatenate([of_means(_means(block)) for block in blocks])
    low, high = bias_corrected(value, resampled[~np.isnan(resampled)], bootstrap.confidence)
    low, high = (end if math.isfinite(end) else math.nan for end in (low, high))
    return Estimate(value=value, low=low, high=high, n=n, n_missing=int((~present).sum()), method=method)


def _means(totals: Float64[np.ndarray, "b 2 k"]) -> Float64[np.ndarray, "b k"]:
    sums, counts = np.moveaxis(totals, 1, 0)
    means: np.ndarray = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return means
