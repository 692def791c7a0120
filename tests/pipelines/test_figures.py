from pipelines.figures import whiskers
from stages.metrics import Estimate


def test_whiskers_never_point_inwards():
    """Wilson's end at a share of 1 is 1 up to rounding, to either side."""
    beyond = Estimate(value=1.0, low=1.0 + 2**-52, high=1.0 - 2**-52, n=3, method="rounded")
    assert whiskers([beyond]) == [[0.0], [0.0]]
    assert whiskers([Estimate(value=0.5, low=0.25, high=1.0, n=3, method="made up")]) == [[0.25], [0.5]]
