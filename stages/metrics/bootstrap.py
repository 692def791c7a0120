"""Resampling of rows, or of the whole clusters to which they belong."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64
from pydantic import Field

from stages.arrays import Clusters
from stages.base import Spec
from stages.randomness import rng


class Bootstrap(Spec):
    """How an interval is resampled: Efron and Tibshirani 1993, chapters 13 (percentile) and 14 (BCa)."""

    resamples: int = Field(2000, ge=100, le=1_000_000, description="Number of resamples, 100 to 1 000 000.")
    confidence: float = Field(0.95, gt=0, lt=1, description="Coverage of the interval, 0 to 1, both excluded.")
    method: Literal["percentile", "bca"] = Field(
        "percentile", description="Percentile, or bias-corrected, accelerated."
    )
    seed: int = Field(0, ge=0, description="Seed of the resampling, at least 0.")

    def generator(self) -> np.random.Generator:
        """Return the generator of the resamples: the same for equal specs."""
        return rng(self.seed, "bootstrap")

    def weights(self, clusters: int) -> Iterator[Int64[np.ndarray, "b g"]]:
        """Yield, some resamples at a time, how often each cluster is drawn in each of them.

        About 32 MiB at a time, so that memory does not grow with the rows.
        """
        generator = self.generator()
        block = max(1, 2**22 // max(1, clusters))
        for start in range(0, self.resamples, block):
            size = min(block, self.resamples - start)
            drawn = generator.integers(clusters, size=(size, clusters)) if clusters else np.empty((size, 0), np.int64)
            flat = (drawn + clusters * np.arange(size)[:, None]).ravel()
            yield np.bincount(flat, minlength=size * clusters).reshape(size, clusters)


def cluster_index(clusters: Clusters | None, n: int) -> tuple[Int64[np.ndarray, " n"], int]:
    """Return each row's cluster as an index, and the number of clusters; without clusters each row is its own."""
    if clusters is None:
        return np.arange(n), n
    if len(clusters) != n:
        raise ValueError(f"clusters expect one entry for each of {n} rows, but found {len(clusters)}")
    names, index = np.unique(clusters, return_inverse=True)
    return index, len(names)


def cluster_sums(
    rows: Float64[np.ndarray, "k n"], index: Int64[np.ndarray, " n"], clusters: int
) -> Float64[np.ndarray, "k g"]:
    """Return the sum of every line of `rows` within each cluster."""
    sums = [np.bincount(index, weights=line, minlength=clusters) for line in rows]
    return np.reshape(sums, (len(rows), clusters)).astype(np.float64)
