"""Effects of factors: planted ones come back, intervals cover, and statsmodels agrees on a balanced design."""

from itertools import product

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from stages.metrics import Bootstrap, Curve, slope
from stages.metrics.factorial import (
    Design,
    combined,
    contrast,
    effects,
    leads,
    less,
    means,
    ratios,
    single,
    slopes,
)
from stages.randomness import rng

FACTORS = ("space", "variance", "sampler")
LEVELS = np.array(list(product((0, 1), repeat=3)))
DESIGN = Design(FACTORS, LEVELS, np.zeros(8, dtype=np.int64))
TERMS = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]
PLANTED = np.array([0.5, -0.2, 0.0, 0.3, 0.0, -0.1])
CODES = np.stack([np.prod(LEVELS[:, term] - 0.5, axis=1) for term in TERMS], axis=1)
"""Half-step codes, in which a coefficient is the difference that the level makes."""


def planted(clusters: int, noise: float, number: int = 0) -> np.ndarray:
    """Rows [cells clusters]: the planted effects, a part that a cluster has in common, and noise of each row."""
    generator = rng(number, "planted")
    own = generator.standard_normal((8, clusters)) + 2 * generator.standard_normal(clusters)
    return (CODES @ PLANTED)[:, None] + noise * own


WEIGHTS = [contrast(DESIGN, term, np.ones(8, dtype=bool)).weights for term in TERMS]


def covered(rows: np.ndarray, truth: np.ndarray) -> list[bool]:
    """Say which intervals hold the truth."""
    found = [combined(means(rows), weights)[0] for weights in WEIGHTS]
    return [e.low <= t <= e.high for e, t in zip(found, truth, strict=True)]


def test_planted_effects_come_back():
    found = effects(DESIGN, means(planted(5, 0.0)))
    assert [e.term for e in found] == TERMS
    np.testing.assert_allclose([e.estimate.value for e in found], PLANTED, atol=1e-12)
    assert all((e.groups, e.possible) == (2 ** (3 - len(e.term)),) * 2 for e in found)


def test_intervals_cover_as_often_as_they_say():
    """Gaussian rows of 12 clusters that share most of their noise."""
    inside = [covered(planted(12, 1.0, number), PLANTED) for number in range(250)]
    assert (np.abs(np.mean(inside, axis=0) - 0.95) < 0.04).all()


def test_intervals_cover_for_slopes_of_outcomes_that_are_right_or_wrong():
    """A row fails beyond a strength that its cluster and its cell fix: what top-1 accuracy under a shift looks like."""
    distance, falls = np.array([4.0, 8.0, 16.0]), np.array([0.02, 0.05, 0.03, 0.05, 0.02, 0.03, 0.05, 0.05])

    def drawn(number: int, rows: int) -> np.ndarray:
        generator = rng(number, "outcomes")
        coin = (generator.random(rows) + generator.random((8, rows))) % 1
        kept = coin[:, None] >= falls[:, None, None] * distance[:, None]
        return np.stack([slopes(distance, cell - 1.0) for cell in kept])

    truth = np.array([combined(means(drawn(-1, 100_000)), weights)[0].value for weights in WEIGHTS])
    inside = [covered(drawn(number, 40), truth) for number in range(250)]
    assert (np.abs(np.mean(inside, axis=0) - 0.95) < 0.04).all()


def test_effects_are_corrected_by_holm_over_all_of_them():
    found = effects(DESIGN, means(planted(20, 1.0)))
    expected = sm.stats.multipletests([e.p_value for e in found], method="holm")[1]
    np.testing.assert_allclose([e.p_holm for e in found], expected)
    assert found[0].p_holm < 0.05 < found[2].p_holm


@pytest.mark.parametrize("shared", [False, True])
def test_least_squares_with_clustered_errors_agree(shared):
    """statsmodels' sandwich, without its own correction for the number of rows."""
    rows = planted(20, 1.0)
    clusters = np.arange(20) // 4 if shared else np.arange(20)
    found = effects(DESIGN, means(rows, clusters if shared else None))
    x = sm.add_constant(np.repeat(CODES, 20, axis=0))
    fit = (
        sm.OLS(rows.ravel(), x)
        .fit()
        .get_robustcov_results("cluster", groups=np.tile(clusters, 8), use_correction=False)
    )
    groups = len(np.unique(clusters))
    half = fit.bse[1:] * np.sqrt(groups / (groups - 1)) * stats.t.ppf(0.975, groups - 1)
    np.testing.assert_allclose([e.estimate.value for e in found], fit.params[1:], atol=1e-12)
    np.testing.assert_allclose([e.estimate.high - e.estimate.value for e in found], half, rtol=1e-9)


def test_identical_cells_have_no_effect():
    rows = np.broadcast_to(rng(0, "one").standard_normal(30), (8, 30))
    for effect in effects(DESIGN, means(rows)):
        assert effect.estimate.value == pytest.approx(0, abs=1e-15)
        assert np.isnan([effect.estimate.low, effect.estimate.high, effect.p_value]).all()


def test_swapping_two_levels_turns_the_sign():
    cells = means(planted(20, 1.0))
    swapped = Design(FACTORS, LEVELS ^ np.array([1, 0, 0]), np.zeros(8, dtype=np.int64))
    for one, other in zip(effects(DESIGN, cells), effects(swapped, cells), strict=True):
        sign = -1 if 0 in one.term else 1
        assert other.estimate.value == pytest.approx(sign * one.estimate.value)
        assert other.p_value == pytest.approx(one.p_value)


def test_a_missing_row_is_missing_and_never_zero():
    rows = planted(20, 1.0) + 100
    rows[3, :5] = np.nan
    cells = means(rows)
    assert cells.values[3] == pytest.approx(rows[3, 5:].mean())
    assert (cells.n[3], cells.n_missing[3]) == (15, 5)
    first = effects(DESIGN, cells)[0].estimate
    assert (first.n, first.n_missing) == (155, 5)


def test_rows_that_are_missing_everywhere_leave_no_trace():
    rows = planted(20, 1.0)
    more = np.concatenate([rows, np.full((8, 3), np.nan)], axis=1)
    one, other = (effects(DESIGN, means(r))[0].estimate for r in (rows, more))
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))
    assert (one.n_missing, other.n_missing) == (0, 24)


def test_cells_without_a_partner_take_no_part():
    """Of 8 cells one is empty; a difference of plain means over the rest would be off by the other factors' effects."""
    rows = np.repeat((CODES[:, :3] @ PLANTED[:3])[:, None], 6, axis=1)
    rows[7] = np.nan
    found = effects(DESIGN, means(rows))
    np.testing.assert_allclose([e.estimate.value for e in found], [*PLANTED[:3], 0, 0, 0], atol=1e-12)
    assert [(e.groups, e.possible) for e in found] == [(3, 4)] * 3 + [(1, 2)] * 3
    assert abs(rows[4:7].mean() - rows[:4].mean() - PLANTED[0]) > 0.03


def test_with_interactions_an_incomplete_design_gives_the_mean_of_what_is_there():
    rows = planted(6, 0.0)
    there = [rows[4 + i, 0] - rows[i, 0] for i in range(3)]
    rows[7] = np.nan
    assert effects(DESIGN, means(rows))[0].estimate.value == pytest.approx(np.mean(there))
    assert np.mean(there) != pytest.approx(PLANTED[0], abs=0.01)


def test_what_no_cells_show_has_no_value():
    """Two models that differ in two factors at once tell neither apart."""
    design = Design(
        ("space", "variance", "sampler"), np.array([[0, 0, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]]), np.zeros(4, int)
    )
    found = {e.term: e for e in effects(design, means(rng(0, "rows").standard_normal((4, 9))))}
    assert np.isnan(found[0,].estimate.value)
    assert found[0,].groups == 0
    assert np.isnan(found[1, 2].p_holm)
    assert found[2,].groups == 2
    assert np.isfinite(found[2,].estimate.low)


def test_blocks_are_never_compared():
    """The same levels in two models, one far above the other."""
    design = Design(("sampler",), np.array([[0], [1], [0], [1]]), np.array([0, 0, 1, 1]))
    rows = np.array([[0.0, 1.0], [1.0, 2.0], [50.0, 51.0], [53.0, 54.0]])
    (found,) = effects(design, means(rows))
    assert (found.estimate.value, found.groups, found.possible) == (2.0, 2, 2)


def test_weights_of_a_contrast_are_those_of_a_difference_of_means():
    main = contrast(DESIGN, (1,), np.ones(8, dtype=bool)).weights
    np.testing.assert_allclose(main, np.where(LEVELS[:, 1] == 1, 0.25, -0.25))
    both = contrast(DESIGN, (0, 2), np.ones(8, dtype=bool)).weights
    assert both.sum() == 0
    assert set(both) == {-0.5, 0.5}


def test_one_cell_has_students_interval():
    rows = rng(0, "rows").standard_normal((2, 15))
    found = single(means(rows), 1)
    low, high = stats.t.interval(0.95, 14, rows[1].mean(), stats.sem(rows[1]))
    assert (found.value, found.low, found.high) == pytest.approx((rows[1].mean(), low, high))


def test_a_slope_of_rows_is_the_slope_of_their_curve():
    distance = np.array([2.0, 1.0, 4.0])
    control, perturbed = rng(0, "control").random(30), rng(0, "perturbed").random((3, 30))
    rows = slopes(distance, perturbed - control)
    curve = Curve(np.array([-2.0, 1.0, 4.0]), control, perturbed)
    assert rows.mean() == pytest.approx(slope(curve, Bootstrap(resamples=100)).value)


def test_a_slope_starts_at_a_control_that_has_changed_by_nothing():
    assert slopes(np.array([2.0]), np.array([[-0.5, 0.0, np.nan]])).tolist()[:2] == [-0.25, 0.0]
    changes = np.array([[-1.0, np.nan, -1.0], [-2.0, -2.0, np.nan]])
    np.testing.assert_array_equal(slopes(np.array([1.0, 2.0]), changes), [-1.0, np.nan, np.nan])
    assert not slopes(np.array([1.0, 2.0]), np.zeros((2, 4))).any()


def test_a_ratio_to_one_is_a_mean():
    rows = planted(12, 1.0)
    for one, other in zip(ratios(rows, np.ones_like(rows)), means(rows), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_ratio_of_means_covers():
    base, top = rng(0, "base").random((400, 1, 40)) + 0.5, rng(0, "top").random((400, 1, 40))
    found = [single(ratios(t * b, b), 0) for t, b in zip(top, base, strict=True)]
    assert abs(np.mean([e.low <= 0.5 <= e.high for e in found]) - 0.95) < 0.035


def test_nothing_to_lose_is_no_share_of_it():
    cells = ratios(np.array([[0.0, 0.0], [-1.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_array_equal(cells.values, [np.nan, -0.5])


def test_other_clusters_add_their_variance():
    own, other = (means(planted(n, 1.0, n)) for n in (400, 300))
    (both, _), (a, _), (b, _) = (combined(c, np.eye(8)[0]) for c in (less(own, other), own, other))
    assert both.value == pytest.approx(a.value - b.value)
    assert both.high - both.value == pytest.approx(np.hypot(a.high - a.value, b.high - b.value), rel=0.01)
    assert both.n == 700


def test_the_largest_effect_leads_by_its_size():
    """The signs of both do not matter: -0.5 leads 0.3 by 0.2."""
    mains = [contrast(DESIGN, (i,), np.ones(8, dtype=bool)).weights for i in range(3)]
    rows = (CODES[:, :3] @ np.array([0.3, -0.5, 0.0]))[:, None] + 0.01 * rng(0, "rows").standard_normal((8, 50))
    found = leads(means(rows), mains)
    assert set(found) == {(1, 0), (1, 2)}
    assert found[1, 0].value == pytest.approx(0.2, abs=0.02)
    assert found[1, 2].value == pytest.approx(0.5, abs=0.02)
    assert all(0 < lead.low < lead.value < lead.high for lead in found.values())


def test_a_lead_is_seldom_found_where_there_is_none():
    mains = [contrast(DESIGN, (i,), np.ones(8, dtype=bool)).weights for i in range(3)]
    equal = (CODES[:, :3] @ np.array([0.5, 0.5, -0.5]))[:, None]
    found = [leads(means(equal + rng(n, "rows").standard_normal((8, 12))), mains) for n in range(150)]
    assert np.mean([all(lead.low > 0 for lead in f.values()) for f in found]) < 0.05


def test_one_contrast_leads_nothing():
    assert leads(means(planted(5, 1.0)), [np.zeros(8), CODES[:, 0]]) == {}


@pytest.mark.parametrize(
    ("levels", "blocks", "said"),
    [([[0], [2]], [0, 0], "levels 0 and 1, but found"), ([[1], [1]], [0, 0], "found one twice")],
)
def test_a_design_that_is_none_is_refused(levels, blocks, said):
    with pytest.raises(ValueError, match=said):
        Design(("sampler",), np.array(levels), np.array(blocks))


def test_slopes_need_a_distance():
    with pytest.raises(ValueError, match="a distance above 0"):
        slopes(np.zeros(1), np.zeros((1, 2)))
