import math

import numpy as np
import pytest
from scipy import stats

from stages.randomness import rng
from tuning.sage.region.subset_simulation import SubsetSimulation, mean_of_log_normal, perturbed

SHAPE = (1, 4, 4)


def beyond(distance, weights=None):
    """The margin of a half-space of probability Phi(-distance)."""
    w = np.ones(SHAPE) / 4 if weights is None else weights
    return lambda latents: np.sum(w * latents, axis=(1, 2, 3), dtype=np.float64) - distance


@pytest.mark.parametrize("distance", [0.5, 2.0, 3.0])
def test_many_runs_average_to_the_probability(distance):
    spec = SubsetSimulation(runs=200)
    found = np.array([run.probability for run in spec(beyond(distance), SHAPE, 0).runs])
    assert found.mean() == pytest.approx(stats.norm.sf(distance), abs=4 * found.std() / math.sqrt(200))


def test_its_interval_covers_a_rare_probability():
    """95 % of them should, of 120 questions of Phi(-4) = 3.2e-5 at about 2,300 draws each."""
    spec = SubsetSimulation(chains=20, runs=4, levels=9)
    found = [spec(beyond(4.0), SHAPE, seed) for seed in range(120)]
    assert np.mean([one.estimate.low <= stats.norm.sf(4) <= one.estimate.high for one in found]) > 0.88
    assert np.mean([sum(run.evaluations for run in one.runs) for one in found]) < 2500


def test_two_caps_weigh_twice_as_much():
    spec = SubsetSimulation(chains=20, runs=100)
    both = lambda latents: np.abs(beyond(0.0)(latents)) - 3.0  # noqa: E731
    found = spec(both, SHAPE, 0).estimate
    assert found.low <= 2 * stats.norm.sf(3) <= found.high


def test_a_failure_that_is_not_rare_is_counted_as_plain_draws_are():
    found = SubsetSimulation()(beyond(0.0), SHAPE, 0)
    assert found.estimate.method == "Wilson 0.95"
    assert found.estimate.n == 150
    assert found.estimate.low < 0.5 < found.estimate.high
    assert all(run.evaluations == 50 for run in found.runs)


def test_what_cannot_fail_is_missing_and_not_zero():
    spec = SubsetSimulation()
    found = spec(beyond(50.0), SHAPE, 0)
    assert math.isnan(found.estimate.value)
    assert (found.estimate.n, found.estimate.n_missing) == (0, 3)
    assert "3 of 3 runs of subset simulation met no failure" in found.estimate.method
    assert sum(run.evaluations for run in found.runs) == spec.pictures


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_margins_that_lead_nowhere_end_a_run(value):
    found = SubsetSimulation()(lambda latents: np.full(len(latents), value), SHAPE, 0)
    assert [run.probability for run in found.runs] == [0, 0, 0]


def test_what_is_not_finite_is_no_failure():
    """Half of the draws have no margin; the others fail beyond 1."""
    half = lambda x: np.where(x[:, 0, 0, 0] > 0, np.nan, x[:, 0, 0, 1] - 1.0)  # noqa: E731
    found = SubsetSimulation(chains=40, runs=50)(half, SHAPE, 0).estimate
    assert found.low <= stats.norm.sf(1) / 2 <= found.high


def test_a_run_depends_on_its_seed_alone():
    spec = SubsetSimulation(runs=3)
    again, more = spec(beyond(3.0), SHAPE, 1), spec.model_copy(update={"runs": 5})(beyond(3.0), SHAPE, 1)
    assert spec(beyond(3.0), SHAPE, 1) == again
    assert more.runs[:3] == again.runs
    assert spec(beyond(3.0), SHAPE, 2) != again


def test_moves_grow_shorter_where_failures_are_rarer():
    (run, *_) = SubsetSimulation(chains=50, levels=9)(beyond(4.0), SHAPE, 0).runs
    assert run.moves[-1] < run.moves[0]
    assert list(run.thresholds) == sorted(run.thresholds)


def test_a_move_leaves_the_normal_distribution_as_it_is():
    random = rng(0, "moves")
    latents, noise = random.standard_normal((2, 4000, *SHAPE), dtype=np.float32)
    moved = perturbed(latents, 0.6, noise)
    assert stats.kstest(moved.ravel(), "norm").pvalue > 0.01
    assert np.corrcoef(moved.ravel(), latents.ravel())[0, 1] == pytest.approx(0.8, abs=0.01)
    np.testing.assert_array_equal(perturbed(latents, 0.0, noise), latents)
    np.testing.assert_array_equal(perturbed(latents, 1.0, noise), noise)


class TestLogNormal:
    def test_the_interval_covers_the_mean(self):
        drawn = rng(0, "log-normal").lognormal(math.log(1e-3) - 0.5, 1.0, (500, 6))
        assert np.mean([one.low <= 1e-3 <= one.high for one in map(mean_of_log_normal, drawn)]) > 0.9

    def test_equal_numbers_give_no_interval(self):
        found = mean_of_log_normal(np.full(4, 0.2))
        assert found.value == pytest.approx(0.2)
        assert math.isnan(found.low)
        assert math.isnan(found.high)

    def test_an_upper_end_stays_a_probability(self):
        assert mean_of_log_normal(np.array([1e-9, 0.5])).high == 1.0
