"""How far a latent is from what a standard normal draws."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from stages.arrays import Latent


class Unlikeliness(NamedTuple):
    """Three distances from N(0, 1); all NaN where the latent has an entry that is not finite."""

    mean_z: float
    """Largest |z-score| of a channel's mean. Among c channels of a normal draw, about 1.5 for 4 and 2 for 16."""
    norm_z: float
    """z-score of the squared norm, with its sign: positive for a latent that is too long."""
    ks_p: float
    """p-value of the Kolmogorov-Smirnov test of all entries against N(0, 1). It sees no change of order."""


UNKNOWN = Unlikeliness(math.nan, math.nan, math.nan)


def unlikeliness(x: Latent) -> Unlikeliness:
    """Return how unlikely `x` is under N(0, I).

    A mean of h w normals has standard deviation 1 / sqrt(h w); |x|^2 is chi-squared with d degrees of freedom, of mean
    d and variance 2 d (close to normal for d in the hundreds).
    """
    return unlikeliness_of_each([x])[0]


def unlikeliness_of_each(latents: Sequence[Latent]) -> list[Unlikeliness]:
    """Return how unlikely each latent is: as `unlikeliness`, in a fraction of the time for latents of one shape."""
    found = [UNKNOWN] * len(latents)
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, x in enumerate(latents):
        if np.isfinite(x).all():
            alike[x.shape].append(number)
    for numbers in alike.values():
        for number, measured in zip(numbers, _measured(np.stack([latents[n] for n in numbers])), strict=True):
            found[number] = Unlikeliness(*measured)
    return found


def _measured(x: Float32[np.ndarray, "b c h w"]) -> Float64[np.ndarray, "b 3"]:
    from scipy import special, stats

    entries = x.astype(np.float64)
    count, d = len(x), x[0].size
    mean_z = np.abs(entries.mean(axis=(2, 3))).max(axis=1) * math.sqrt(x[0, 0].size)
    norm_z = (np.sum(entries**2, axis=(1, 2, 3)) - d) / math.sqrt(2 * d)
    ks_p = stats.ks_1samp(entries.reshape(count, d), special.ndtr, axis=1).pvalue
    return np.stack([mean_z, norm_z, ks_p], axis=1)
