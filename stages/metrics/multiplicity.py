"""Many tests at once."""

import numpy as np
from jaxtyping import Float, Float64


def holm(p_values: Float[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Return the p-values adjusted for the family of all of them: Holm 1979 (doi:10.2307/4615733).

    Rejecting those at most alpha keeps the chance of any false rejection at alpha, whatever their dependence. A NaN
    is a test that was not made: it stays NaN and does not count.
    """
    from statsmodels.stats.multitest import multipletests

    adjusted = np.full(len(p_values), np.nan)
    made = ~np.isnan(p_values)
    if made.any():
        adjusted[made] = multipletests(p_values[made], method="holm")[1]
    return adjusted
