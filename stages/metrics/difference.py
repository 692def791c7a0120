"""The difference of two estimates that share no row."""

import math

from stages.metrics.estimate import Estimate


def difference(control: Estimate, other: Estimate) -> Estimate:
    """Return other less control, with an interval from those of both: Zou and Donner 2008 (doi:10.1002/sim.3095).

    Of two Wilson intervals it makes the hybrid score interval of Newcombe 1998 (Statistics in Medicine 17, 873), method
    10. The two must rest on rows drawn independently of each other.
    """
    method = f"MOVER of {control.method} and {other.method}"
    n, missing = control.n + other.n, control.n_missing + other.n_missing
    if math.isnan(control.value) or math.isnan(other.value):
        return Estimate.missing(missing, method, n=n)
    value = other.value - control.value
    below = math.hypot(other.value - other.low, control.high - control.value)
    above = math.hypot(other.high - other.value, control.value - control.low)
    return Estimate(value=value, low=value - below, high=value + above, n=n, n_missing=missing, method=method)
