"""Features of known distributions."""

import numpy as np

from stages.metrics.quality.moments import Moments
from stages.randomness import rng


def normal(n: int, seed: int, mean: float = 0.0, std: float = 1.0, d: int = 6) -> np.ndarray:
    """Return rows from N(mean, std^2 I)."""
    return mean + std * rng(seed, "samples").standard_normal((n, d))


def grouped(rows: np.ndarray, groups: int = 20) -> list[Moments]:
    """Return the statistics of rows in random groups."""
    group = rng(0, "test groups").permutation(len(rows)) % groups
    return [Moments.of(rows[group == g]) for g in range(groups)]
