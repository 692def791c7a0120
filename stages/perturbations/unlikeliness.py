"""How far a latent is from what a standard normal draws."""

import math
from typing import NamedTuple

import numpy as np

from stages.arrays import Latent


class Unlikeliness(NamedTuple):
    """Three distances from N(0, 1); all NaN where the latent has an entry that is not finite."""

    mean_z: float
    """Largest |z-score| of a channel's mean. Among c channels of a normal draw, about 1.5 for 4 and 2 for 16."""
    norm_z: float
    """z-score of the squared norm, with its sign: positive for a latent that is too long."""
    ks_p: float
    """p-value of the Kolmogorov-Smirnov test of all entries against N(0, 1). It sees no change of order."""


def unlikeliness(x: Latent) -> Unlikeliness:
    """Return how unlikely `x` is under N(0, I).

    A mean of h w normals has standard deviation 1 / sqrt(h w); |x|^2 is chi-squared with d degrees of freedom, of mean
    d and variance 2 d (close to normal for d in the hundreds).
    """
    from scipy import stats

    if not np.isfinite(x).all():
        return Unlikeliness(math.nan, math.nan, math.nan)
    entries = x.astype(np.float64)
    channels, height, width = x.shape
    mean_z = np.abs(entries.mean(axis=(1, 2))).max() * math.sqrt(height * width)
    d = channels * height * width
    norm_z = (np.sum(entries**2) - d) / math.sqrt(2 * d)
    return Unlikeliness(float(mean_z), float(norm_z), float(stats.kstest(entries.ravel(), "norm").pvalue))
