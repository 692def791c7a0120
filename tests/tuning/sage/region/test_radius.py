import math

import numpy as np
import pytest

from stages.randomness import rng
from tests.tuning.sage.region.half_space import QUERY, ROUNDING, SPACE, draws
from tuning.sage.region.radius import RadiusSpec, exits, median, radius
from tuning.sage.region.sphere import angle, chord, tangent

FINE = RadiusSpec(directions=12, bisections=12)
SEEDS = draws(3, "seeds")


def fails(latents):
    return SPACE.oracle(latents, QUERY)


def exactly(latents):
    return SPACE.height(latents) > 0


def known(latent, directions):
    angles = np.array([SPACE.arc(latent, direction).exit() for direction in directions])
    return np.where(angles < math.pi / 2, angles, np.inf)


@pytest.mark.parametrize("height", [0.3, 1.0, 6.0])
@pytest.mark.parametrize(("oracle", "close"), [(exactly, 3e-4), (fails, 4 * ROUNDING)])
def test_it_is_the_root_on_the_great_circle(oracle, close, height):
    """The height along a great circle is a + r cos(angle - phase); 8-bit pictures move the ensemble's a little."""
    latent = SPACE.reached(SEEDS[0], height)
    directions = [tangent(latent, rng(0, n).standard_normal(latent.shape)) for n in range(12)]
    found = exits(oracle, latent, directions, np.full(12, math.pi / 2), FINE)
    np.testing.assert_allclose(found, known(latent, directions), atol=close)


def test_a_radius_measures_angle_and_distance_and_the_way_back():
    latent = SPACE.reached(SEEDS[1], 0.5)
    found = radius(exactly, latent, SEEDS[1], FINE, rng(0, "radius"))
    np.testing.assert_allclose(found.distances, chord(latent, found.angles))
    back = SPACE.arc(latent, tangent(latent, SEEDS[1])).exit()
    assert found.towards_start == pytest.approx(back, abs=1e-3)
    assert found.towards_start < np.median(found.angles), "the way it came is about the shortest way out"
    assert found.angle.low < found.angle.value < found.angle.high
    assert found.angle.n == 12


def test_what_always_fails_is_censored_and_not_zero():
    found = radius(lambda latents: np.ones(len(latents), bool), SEEDS[0], SEEDS[1], FINE, rng(0, "radius"))
    assert found.censored == 12
    assert math.isnan(found.towards_start), "a start that fails is no way out"
    assert math.isnan(found.angle.value)
    assert (found.angle.n, found.angle.n_missing) == (12, 0)
    assert found.angle.method == "order statistics 0.95, 12 censored"


def test_what_fails_alone_has_a_radius_below_the_first_step():
    spec = RadiusSpec(directions=3, doublings=5, bisections=0)
    found = radius(lambda latents: np.zeros(len(latents), bool), SEEDS[0], None, spec, rng(0, "radius"))
    assert found.angles == pytest.approx([math.pi / 128] * 3)
    assert math.isnan(found.towards_start)


def test_each_direction_is_measured_alone_as_among_others():
    latent = SPACE.reached(SEEDS[2], 0.5)
    ways = [tangent(latent, seed) for seed in draws(7, "ways")]
    ends = np.linspace(0.2, 1.5, 7)
    together = exits(fails, latent, ways, ends, RadiusSpec())
    alone = [exits(fails, latent, [way], np.array([end]), RadiusSpec())[0] for way, end in zip(ways, ends, strict=True)]
    np.testing.assert_array_equal(together, alone)


def test_it_keeps_to_its_budget():
    spec = RadiusSpec(failures=1, directions=4)
    asked = []
    seed = SEEDS[0]

    def count(latents):
        asked.append(len(latents))
        return np.array([angle(seed, latent) < 1.5 for latent in latents])  # all doublings, then all bisections

    radius(count, seed, SEEDS[1], spec, rng(0, "radius"))
    assert sum(asked) == spec.pictures


class TestMedian:
    def test_known_answers(self):
        """Of nine values the second and the eighth hold the median with 96 %, of six the ends do with 97 %."""
        nine = median(np.arange(1.0, 10.0))
        assert (nine.value, nine.low, nine.high, nine.n) == (5, 2, 8, 9)
        six = median(np.arange(1.0, 7.0))
        assert (six.value, six.low, six.high) == (3.5, 1, 6)

    def test_censored_values_count_by_rank(self):
        found = median(np.array([1, 2, 3, 4, 5, np.inf, np.inf, np.inf, np.inf]))
        assert (found.value, found.low) == (5, 2)
        assert math.isnan(found.high)

    def test_few_values_give_no_interval_and_none_no_value(self):
        few = median(np.array([1.0, 2.0, np.nan]))
        assert (few.value, few.n, few.n_missing) == (1.5, 2, 1)
        assert math.isnan(few.low)
        assert math.isnan(median(np.array([np.nan])).value)

    def test_the_interval_covers(self):
        values = rng(0, "median").exponential(size=(400, 11))
        found = [median(row) for row in values]
        assert np.mean([one.low <= math.log(2) <= one.high for one in found]) > 0.93
