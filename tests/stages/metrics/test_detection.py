import math

import numpy as np
import pytest
from scipy import stats

from stages.metrics import Bootstrap, Estimate, Pairs, auc, roc
from stages.randomness import rng


def scores(seed, shift=1.0, positives=40, negatives=60, digits=1):
    """Scores with ties."""
    draw = rng(seed, "scores")
    return draw.normal(shift, 1, positives).round(digits), draw.normal(0, 1, negatives).round(digits)


def by_counting(positive, negative):
    return np.mean([[(p > n) + (p == n) / 2 for n in negative] for p in positive])


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_share_of_pairs_in_order(seed):
    positive, negative = scores(seed)
    estimate = auc(Pairs(positive), Pairs(negative))
    assert estimate.value == pytest.approx(by_counting(positive, negative), abs=1e-12)
    statistic = stats.mannwhitneyu(positive, negative).statistic
    assert estimate.value == pytest.approx(statistic / (40 * 60), abs=1e-12)


def test_the_interval_is_delongs():
    """The definition: variances of each score's share of pairs in order, on the logit."""
    positive, negative = scores(1)
    order = np.array([[(p > n) + (p == n) / 2 for n in negative] for p in positive])
    error = math.sqrt(order.mean(axis=1).var(ddof=1) / 40 + order.mean(axis=0).var(ddof=1) / 60)
    a = order.mean()
    half = stats.norm.ppf(0.975) * error / (a * (1 - a))
    estimate = auc(Pairs(positive), Pairs(negative))
    ends = [1 / (1 + math.exp(-(math.log(a / (1 - a)) + sign * half))) for sign in (-1, 1)]
    assert (estimate.low, estimate.high) == pytest.approx(ends, abs=1e-12)


def test_it_covers_as_often_as_it_says():
    true = stats.norm.cdf(1 / math.sqrt(2))
    intervals = [auc(*map(Pairs, scores(seed, digits=9))) for seed in range(600)]
    assert 0.93 < np.mean([i.low <= true <= i.high for i in intervals]) < 0.97


def test_the_area_under_the_curve_is_the_auc():
    positive, negative = scores(3)
    curve = roc(Pairs(positive), Pairs(negative))
    assert np.trapezoid(curve.true_positive, curve.false_positive) == pytest.approx(
        auc(Pairs(positive), Pairs(negative)).value
    )
    for false, true, threshold in zip(*curve, strict=True):
        assert (false, true) == ((negative >= threshold).mean(), (positive >= threshold).mean())
    assert (curve.false_positive[-1], curve.true_positive[-1]) == (1, 1)


def test_missing_scores_are_left_out_and_counted():
    positive, negative = scores(4)
    with_missing = auc(*(Pairs(np.append(side, math.nan)) for side in (positive, negative)))
    assert with_missing == auc(Pairs(positive), Pairs(negative)).model_copy(update={"n_missing": 2})


def clustered(seed, pictures=50, each=4):
    """Scores that share much of their noise with the others of their picture, on both sides."""
    draw = rng(seed, "clustered")
    shared, names = np.repeat(draw.normal(size=pictures), each), np.repeat(np.arange(pictures), each)
    sides = [shift + shared + draw.normal(0, 0.5, len(names)) for shift in (1.0, 0.0)]
    return Pairs(sides[0], names), Pairs(sides[1], names)


def test_clusters_of_one_are_no_clusters():
    positive, negative = scores(5)
    single = auc(Pairs(positive, np.arange(40)), Pairs(negative, 40 + np.arange(60)))
    assert single == auc(Pairs(positive), Pairs(negative))


def test_clusters_are_counted_once():
    """A picture seen three times tells no more than once."""
    positive, negative = clustered(1)
    once, thrice = auc(positive, negative), auc(*(Pairs(*(np.tile(x, 3) for x in s)) for s in (positive, negative)))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


def test_the_error_of_clusters_is_that_of_resampled_pictures():
    positive, negative = clustered(2)
    resampled = []
    for weights in np.concatenate(list(Bootstrap(resamples=600).weights(50))):
        drawn = [np.repeat(side.scores.reshape(50, -1), weights, axis=0).ravel() for side in (positive, negative)]
        resampled.append(auc(*map(Pairs, drawn)).value)
    estimate = auc(positive, negative)
    logit = [math.log(end / (1 - end)) for end in (estimate.low, estimate.high)]
    error = (logit[1] - logit[0]) / 2 / stats.norm.ppf(0.975) * estimate.value * (1 - estimate.value)
    assert error == pytest.approx(np.std(resampled), rel=0.1)


def test_clusters_on_one_side_are_refused():
    with pytest.raises(ValueError, match="clusters on both sides or on neither"):
        auc(Pairs(np.ones(2), np.arange(2)), Pairs(np.ones(2)))


def test_separated_scores_have_no_interval_and_no_scores_no_value():
    apart = auc(Pairs(np.array([2.0, 3.0])), Pairs(np.array([0.0, 1.0])))
    assert apart.value == 1
    assert math.isnan(apart.low)
    assert math.isnan(apart.high)
    assert auc(Pairs(np.array([math.nan])), Pairs(np.array([1.0]))) == Estimate.missing(1, apart.method, n=1)
