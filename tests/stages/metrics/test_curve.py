import math

import numpy as np
import pytest

from stages.metrics import Bootstrap, Curve, break_point, slope
from stages.randomness import rng

FEW = Bootstrap(resamples=400)
QUICK = Bootstrap(resamples=200)


def exact(accuracies, n=100):
    """A curve whose rows have exactly these accuracies, by strength; the control has 0.9."""
    rows = [np.arange(n) < round(a * n) for a in accuracies.values()]
    control = np.arange(n) < round(0.9 * n)
    return Curve(np.array(list(accuracies), dtype=float), control.astype(float), np.array(rows, dtype=float))


def test_breaks_where_the_straight_line_says():
    """0.9 falls to 0.6 at 0.2 and to 0.2 at 0.3: half of 0.9 lies at 0.2 + 0.1 (0.6 - 0.45) / (0.6 - 0.2)."""
    broken = break_point(exact({0.1: 0.9, 0.2: 0.6, 0.3: 0.2}), 0.5, FEW)
    assert broken.reached
    assert broken.strength.value == pytest.approx(0.2375)
    assert broken.strength.low < 0.2375 < broken.strength.high
    assert broken.share_reached == 1
    assert str(broken).startswith("0.237 [0.2")


def test_breaks_between_the_control_and_the_first_strength():
    assert break_point(exact({0.2: 0.0}), 0.5, FEW).strength.value == pytest.approx(0.1)


def test_breaks_at_the_nearer_side_whatever_the_order_of_the_strengths():
    accuracies = {0.2: 0.7, -0.2: 0.0, -0.1: 0.9, 0.1: 0.8, 0.0: 0.9}
    assert break_point(exact(accuracies), 0.5, FEW).strength.value == pytest.approx(0.15)


def test_breaks_at_the_first_crossing_and_not_at_a_later_one():
    assert break_point(exact({0.1: 0.0, 0.2: 0.9, 0.3: 0.0}), 0.5, FEW).strength.value == pytest.approx(0.05)


def test_a_zero_of_its_own_replaces_the_control():
    """At shift 0 a mixed shift has already shrunk the latent."""
    assert break_point(exact({0.0: 0.3, 0.1: 0.2}), 0.5, FEW).strength.value == 0
    assert break_point(exact({0.0: 0.6, 0.1: 0.3}), 0.5, FEW).strength.value == pytest.approx(0.05)


def test_not_reached_is_said():
    broken = break_point(exact({-0.1: 0.88, 0.3: 0.85}), 0.5, FEW)
    assert not broken.reached
    assert all(math.isnan(v) for v in (broken.strength.value, broken.strength.low, broken.strength.high))
    assert broken.share_reached == 0
    assert str(broken) == "not reached between -0.1 and 0.3 (n=200)"


def test_an_interval_that_goes_beyond_the_strengths_is_said():
    reached = break_point(exact({0.1: 0.9, 0.2: 0.44}), 0.5, FEW)
    assert reached.reached
    assert math.isnan(reached.strength.high)
    assert 0.3 < reached.share_reached < 0.9
    assert str(reached).endswith(", beyond] (n=200)")
    missed = break_point(exact({0.1: 0.9, 0.2: 0.46}), 0.5, FEW)
    assert not missed.reached
    assert missed.strength.low < 0.2
    assert str(missed).startswith("not reached between 0 and 0.2 [0.")


def test_a_control_that_never_succeeds_has_no_break():
    curve = Curve(np.array([0.1]), np.zeros(20), np.zeros((1, 20)))
    broken = break_point(curve, 0.5, FEW)
    assert not broken.reached
    assert math.isnan(broken.share_reached)
    assert str(broken) == "no value (n=20)"


def test_strengths_without_a_pair_are_missing_and_not_zero():
    curve = exact({0.1: 0.9, 0.2: 0.6, 0.3: 0.2})
    holed = Curve(curve.strengths, curve.control, curve.perturbed.copy())
    holed.perturbed[1] = math.nan
    broken = break_point(holed, 0.5, FEW)
    assert broken.strength.value == pytest.approx(0.1 + 0.2 * 0.45 / 0.7)
    assert (broken.strength.n, broken.strength.n_missing) == (200, 100)


def test_drops_are_taken_over_the_pairs_present():
    """Were the control's mean taken over all rows, the missing failures would look like a gain."""
    control = np.array([1.0, 1, 1, 1, 0, 0, 0, 0])
    perturbed = np.array([[1.0, 1, 0, 0, math.nan, math.nan, math.nan, math.nan]])
    assert break_point(Curve(np.array([0.2]), control, perturbed), 0.5, FEW).strength.value == pytest.approx(0.2)


@pytest.mark.parametrize("strengths", [0, 2])
def test_empty_gives_nan(strengths):
    curve = Curve(np.arange(strengths) + 1.0, np.zeros(0), np.zeros((strengths, 0)))
    assert math.isnan(break_point(curve, 0.5, FEW).strength.value)
    assert math.isnan(slope(curve, FEW).value)
    assert slope(curve, FEW).n == 0


def linear(generator, shared, clusters):
    """Rows of accuracy 0.9 - 2 |s|; strengths share one uniform number per row or cluster, or draw their own."""
    draws = generator.random((1 if shared else 7, clusters.max() + 1))[:, clusters]
    rows = np.broadcast_to(draws, (7, len(clusters))) < 0.9 - 2 * np.array([[0, 0.3, 0.2, 0.1, 0.1, 0.2, 0.3]]).T
    strengths = np.array([-0.3, -0.2, -0.1, 0.1, 0.2, 0.3])
    return Curve(strengths, rows[0].astype(float), rows[1:].astype(float), clusters)


@pytest.mark.parametrize(("shared", "least"), [(True, 0.92), (False, 0.88)])
@pytest.mark.parametrize("size", [1, 3], ids=["pairs", "clusters"])
def test_intervals_cover_as_often_as_they_say(shared, least, size):
    """The break of 0.9 - 2 |s| at half of 0.9 is 0.225, its slope -2. Two equal, independent sides are hardest."""
    generator, clusters = rng(0, "coverage"), np.repeat(np.arange(120), size)
    curves = [linear(generator, shared, clusters) for _ in range(200)]
    breaks = [break_point(curve, 0.5, QUICK).strength for curve in curves]
    slopes = [slope(curve, QUICK) for curve in curves]
    assert least < np.mean([not (e.low > 0.225 or e.high < 0.225) for e in breaks]) < 0.985  # a high of NaN is beyond
    assert 0.90 < np.mean([e.low <= -2 <= e.high for e in slopes]) < 0.985


def test_slope_is_least_squares_through_the_control():
    curve = exact({0.1: 0.8, -0.2: 0.6, 0.3: 0.35})
    reference = np.polyfit([0, 0.1, 0.2, 0.3], [0.9, 0.8, 0.6, 0.35], 1)[0]
    assert slope(curve, FEW).value == pytest.approx(reference)


def test_a_curve_that_never_changes_has_slope_zero_and_no_interval():
    estimate = slope(exact({0.1: 0.9, 0.2: 0.9}), FEW)
    assert estimate.value == 0
    assert math.isnan(estimate.low)


def test_same_spec_same_interval_and_survives_json():
    first, second = (break_point(exact({0.1: 0.9, 0.2: 0.4}), 0.5, FEW) for _ in range(2))
    assert first == second == type(first).model_validate_json(first.canonical())


def test_refuses_rows_that_do_not_match():
    with pytest.raises(ValueError, match=r"shape \(2, 5\)"):
        Curve(np.array([0.1, 0.2]), np.zeros(5), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="every strength once"):
        Curve(np.array([0.1, 0.1]), np.zeros(5), np.zeros((2, 5)))


def test_refuses_bca():
    with pytest.raises(ValueError, match="'percentile', but found 'bca'"):
        slope(exact({0.1: 0.9}), Bootstrap(method="bca"))
