"""Contraction: what sampling leaves of a shift of the seed latent, where that is known."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float64

NOTHING = 1e-9
"""Rounding of a variance of zero."""


def contraction(signal: Sequence[float], variance: float, eta: float) -> Float64[np.ndarray, " states"]:
    """Return rho_k / rho_0 on Gaussian data of this variance: what is left of an initial shift in each state.

    `signal` is alpha-bar of the states, first to last. With the exact epsilon the step of DDIM, Song et al. 2021
    (arXiv:2010.02502), Eq. 12 and 16, is affine in the state, so a shift is multiplied by its slope, whatever the mean
    of the data and the noise. eta = 0 is DDIM, eta = 1 ancestral sampling, whatever its variance. The products
    telescope: with a the first alpha-bar, v the variance and V = a v + 1 - a, ancestral sampling leaves sqrt(a) v / V,
    however many its steps, and DDIM, of many steps, sqrt(v / V).
    """
    if not variance > 0 or not 0 <= eta <= 1 or any(not 0 < a <= 1 for a in signal):
        raise ValueError(
            f"contraction: expected a variance above 0, eta from 0 to 1 and alpha-bars above 0 and up to 1, "
            f"found {variance:g}, {eta:g} and {min(signal, default=math.nan):g} to {max(signal, default=math.nan):g}"
        )
    left = [1.0]
    for now, after in pairwise(signal):
        deviation = eta**2 * (1 - after) / (1 - now) * max(1 - now / after, 0.0)  # Eq. 16, squared
        kept = math.sqrt(now * after) * variance + math.sqrt((1 - now) * (1 - after - deviation))
        left.append(left[-1] * kept / (now * variance + 1 - now))
    return np.array(left)


def contraction_along(
    signal: Sequence[float], covariance: Float[np.ndarray, "c c"], direction: Float[np.ndarray, " c"], eta: float
) -> Float64[np.ndarray, " states"]:
    """Return rho_k / rho_0 of a shift in this direction, on Gaussian data of this covariance.

    Each principal component of the shift is multiplied by the factor of its variance.
    """
    variances, axes = np.linalg.eigh(covariance.astype(np.float64))
    weights = (axes.T @ direction) ** 2 / (direction @ direction)
    left = np.stack([contraction(signal, max(float(variance), NOTHING), eta) for variance in variances])
    curve: Float64[np.ndarray, " states"] = np.sqrt(weights @ left**2)
    return curve
