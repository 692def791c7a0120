import math

import numpy as np
import pytest

from stages.metrics import Bootstrap, Pairs, PrecisionTarget, score_at_precision
from stages.randomness import rng

FEW = Bootstrap(resamples=200)


def pairs(seed, pictures=60, each=3, others=20):
    """A few copies of each picture, and many other pairs."""
    draw = rng(seed, "pairs")
    positive = Pairs(draw.normal(2, 1, pictures * each), np.repeat(np.arange(pictures), each))
    return positive, Pairs(draw.normal(0, 1, pictures * others), np.repeat(np.arange(pictures), others))


def by_trying(positive, negative, target):
    """The definition: every positive score, lowest first."""
    for score in np.sort(positive):
        true, false = (positive >= score).mean(), (negative >= score).mean()
        prior = target.prior or len(positive) / (len(positive) + len(negative))
        if prior * true / (prior * true + (1 - prior) * false) >= target.precision:
            return score, true
    return math.nan, 0.0


@pytest.mark.parametrize("prior", [None, 0.5, 0.01])
@pytest.mark.parametrize("precision", [0.5, 0.9, 1.0])
def test_it_is_the_lowest_score_with_the_precision(prior, precision):
    positive, negative = pairs(1)
    target = PrecisionTarget(precision=precision, prior=prior)
    point = score_at_precision(positive, negative, target, FEW)
    score, recall = by_trying(positive.scores, negative.scores, target)
    assert point.score.value == pytest.approx(score, nan_ok=True)
    assert point.recall.value == pytest.approx(recall)
    assert point.recall.n == len(positive.scores) + len(negative.scores)


def test_rarer_positives_need_a_higher_score():
    found = [score_at_precision(*pairs(2), PrecisionTarget(prior=p), FEW).score.value for p in (0.5, 0.1, 0.02)]
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_its_interval_covers():
    """The recall where the precision is 0.9 for normal scores, from a large sample."""
    target = PrecisionTarget(prior=0.3)
    truth = score_at_precision(*pairs(99, pictures=20_000), target, Bootstrap(resamples=100)).recall.value
    found = [score_at_precision(*pairs(seed), target, FEW).recall for seed in range(100)]
    assert 0.88 < np.mean([f.low <= truth <= f.high for f in found]) <= 1


def test_pictures_are_resampled_whole():
    """A picture seen ten times tells no more than once."""
    positive, negative = pairs(3)
    tenfold = [Pairs(np.tile(side.scores, 10), np.tile(side.clusters, 10)) for side in (positive, negative)]
    once, again = (score_at_precision(*sides, PrecisionTarget(), FEW) for sides in ((positive, negative), tenfold))
    assert (once.score.low, once.score.high) == pytest.approx((again.score.low, again.score.high))


def test_a_precision_that_no_score_has():
    positive = Pairs(np.zeros(10), np.arange(10))
    point = score_at_precision(positive, Pairs(np.ones(10), np.arange(10)), PrecisionTarget(), FEW)
    assert math.isnan(point.score.value)
    assert (point.recall.value, point.recall.high) == (0, 0)


def test_without_a_pair_of_a_kind_nothing_is_known():
    empty, some = Pairs(np.zeros(0), np.zeros(0, np.int64)), Pairs(np.ones(5), np.arange(5))
    for sides in ((empty, some), (some, empty)):
        point = score_at_precision(*sides, PrecisionTarget(), FEW)
        assert math.isnan(point.score.value)
        assert math.isnan(point.recall.value)


def test_missing_scores_are_counted():
    positive, negative = pairs(4)
    gap = Pairs(np.append(positive.scores, math.nan), np.append(positive.clusters, 0))
    whole, found = (score_at_precision(p, negative, PrecisionTarget(), FEW) for p in (positive, gap))
    assert found.score == whole.score.model_copy(update={"n_missing": 1})
