import math

from pipelines.figures import average, whiskers
from stages.metrics import Estimate


def test_whiskers_never_point_inwards():
    """Wilson's end at a share of 1 is 1 up to rounding, to either side."""
    beyond = Estimate(value=1.0, low=1.0 + 2**-52, high=1.0 - 2**-52, n=3, method="rounded")
    assert whiskers([beyond]) == [[0.0], [0.0]]
    assert whiskers([Estimate(value=0.5, low=0.25, high=1.0, n=3, method="made up")]) == [[0.25], [0.5]]


def test_the_average_of_shares_leaves_out_what_is_missing():
    """A class all of whose pictures failed is sorted behind every other."""
    none, one, half = (Estimate(value=v, low=v, high=v, n=2, method="made up") for v in (math.nan, 1.0, 0.5))
    assert average([one, none, half]) == 0.75
    assert average([none, none]) == average([]) == math.inf
