"""Many tests at once."""

import numpy as np
from jaxtyping import Float, Float64


def holm(p_values: Float[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Return the p-values adjusted for the family of all of them: Holm 1979 (doi:10.2307/4615733).

    Rejecting those at most alpha keeps the chance of any false rejection at alpha, whatever their dependence. A NaN
    is a test that was not made: it stays NaN and does not count.
    """
    adjusted = np.full(len(p_values), np.nan)
    made = ~np.isnan(p_values)
    order = np.flatnonzero(made)[np.argsort(p_values[made])]
    left = np.arange(len(order), 0, -1)  # hypotheses not yet rejected
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * left), 1.0)
    return adjusted
