import math

import numpy as np
import pytest
from scipy import stats

from stages.metrics import Bootstrap, mcnemar, paired_difference, proportion_difference
from stages.metrics.bootstrap import cluster_index
from stages.randomness import rng

FEW = Bootstrap(resamples=400)


def binary(lost, gained, kept, wrong):
    """Rows of the control and of the perturbed, from the four counts."""
    control = np.repeat([1, 0, 1, 0], [lost, gained, kept, wrong])
    perturbed = np.repeat([0, 1, 1, 0], [lost, gained, kept, wrong])
    return control, perturbed


@pytest.mark.parametrize(("lost", "gained"), [(9, 2), (2, 9), (5, 5), (30, 0), (1, 0), (0, 0)])
def test_mcnemar_is_a_binomial_test_of_the_pairs_that_changed(lost, gained):
    test = mcnemar(*binary(lost, gained, 20, 7))
    reference = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert test.p_value == pytest.approx(reference, rel=1e-9)
    assert (test.lost, test.gained, test.n) == (lost, gained, lost + gained + 27)


def test_proportion_difference_known_answer():
    """By hand, for 10 lost and 2 gained of 50: (3 - 11) / 52 -+ 1.96 sqrt((11 + 3) / 52 - (8 / 52)^2) / sqrt(52)."""
    estimate = proportion_difference(*binary(10, 2, 30, 8))
    half = 1.959964 * math.sqrt((14 / 52 - (8 / 52) ** 2) / 52)
    assert estimate.value == pytest.approx(-0.16)
    assert (estimate.low, estimate.high) == pytest.approx((-8 / 52 - half, -8 / 52 + half), abs=1e-6)


def test_proportion_difference_has_a_width_where_nothing_changed():
    estimate = proportion_difference(*binary(0, 0, 50, 0))
    assert estimate.value == 0
    assert -0.1 < estimate.low < 0 < estimate.high < 0.1


def test_proportion_difference_covers_as_often_as_it_says():
    counts = rng(0, "coverage").multinomial(100, [0.15, 0.05, 0.7, 0.1], size=2000)
    estimates = [proportion_difference(*binary(*c)) for c in counts]
    assert 0.93 < np.mean([e.low <= -0.1 <= e.high for e in estimates]) < 0.97


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_agrees_with_scipy_on_pairs(method):
    control, perturbed = rng(0, "rows").gamma(2.0, size=(2, 60))
    estimate = paired_difference(control, perturbed, Bootstrap(method=method, resamples=5000))
    reference = stats.bootstrap(
        (perturbed - control,), np.mean, n_resamples=5000, method=method, rng=np.random.default_rng(1)
    ).confidence_interval
    assert estimate.value == pytest.approx(np.mean(perturbed - control))
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high), abs=0.05)


def test_bootstrap_covers_as_often_as_it_says():
    generator = rng(0, "coverage")
    covered = []
    for _ in range(600):
        control = generator.normal(size=60)
        estimate = paired_difference(control, control + generator.normal(-0.3, 0.5, size=60), FEW)
        covered.append(estimate.low <= -0.3 <= estimate.high)
    assert 0.925 < np.mean(covered) < 0.975


def test_bootstrap_over_clusters_covers_where_one_over_pairs_does_not():
    generator = rng(1, "coverage")
    clusters = np.repeat(np.arange(40), 6)
    covered = {"pairs": [], "clusters": []}
    for _ in range(200):
        shared = generator.normal(size=40)[clusters]
        perturbed = -0.3 + 0.5 * shared + generator.normal(0, 0.2, size=240)
        for name, groups in (("pairs", None), ("clusters", clusters)):
            estimate = paired_difference(np.zeros(240), perturbed, FEW, groups)
            covered[name].append(estimate.low <= -0.3 <= estimate.high)
    assert 0.92 < np.mean(covered["clusters"]) < 0.98
    assert np.mean(covered["pairs"]) < 0.7


def test_clusters_of_one_are_pairs():
    control, perturbed = rng(0, "rows").normal(size=(2, 50))
    pairs = paired_difference(control, perturbed, FEW)
    clusters = paired_difference(control, perturbed, FEW, np.arange(50))
    assert (pairs.low, pairs.high) == (clusters.low, clusters.high)


def test_same_spec_same_interval():
    control, perturbed = rng(0, "rows").normal(size=(2, 50))
    first, second = (paired_difference(control, perturbed, FEW) for _ in range(2))
    other = paired_difference(control, perturbed, FEW.model_copy(update={"seed": 1}))
    assert first == second != other


def test_a_pair_with_a_missing_side_is_missing():
    control, perturbed = np.array([1, math.nan, 1, 0, 1, 0]), np.array([0, 1, math.nan, 1, 1, 0])
    whole = np.array([1, 0, 1, 0]), np.array([0, 1, 1, 0])
    for of in (mcnemar, proportion_difference, lambda c, p: paired_difference(c, p, FEW)):
        assert of(control, perturbed) == of(*whole).model_copy(update={"n_missing": 2})


def test_a_missing_pair_takes_its_cluster_along_only_when_alone():
    clusters = np.array([7, 7, 8, 9, 9])
    perturbed = np.array([1, math.nan, math.nan, 0.5, 0.1])
    estimate = paired_difference(np.zeros(5), perturbed, FEW, clusters)
    assert estimate == paired_difference(np.zeros(3), perturbed[[0, 3, 4]], FEW, clusters[[0, 3, 4]]).model_copy(
        update={"n_missing": 2}
    )


@pytest.mark.parametrize("rows", [np.array([]), np.full(3, math.nan)], ids=["no rows", "only missing"])
def test_empty_gives_nan(rows):
    assert math.isnan(mcnemar(rows, rows).p_value)
    for estimate in (proportion_difference(rows, rows), paired_difference(rows, rows, FEW)):
        assert math.isnan(estimate.value)
        assert (estimate.n, estimate.n_missing) == (0, len(rows))


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("clusters", [None, np.zeros(10, dtype=int)], ids=["pairs", "one cluster"])
def test_no_spread_no_interval(method, clusters):
    estimate = paired_difference(np.ones(10), np.zeros(10), Bootstrap(method=method), clusters)
    assert estimate.value == -1
    assert math.isnan(estimate.low)


def test_refuses_clusters_of_another_length():
    with pytest.raises(ValueError, match="each of 5 rows, but found 4"):
        cluster_index(np.arange(4), 5)
