import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from stages.randomness import rng
from tests.tuning.sage.models import Logistic
from tests.tuning.sage.region.half_space import QUERY, SEARCH, SPACE, HalfSpace, draws
from tuning.sage.region.paths import Pair, Path, PathSpec, components, crossed, disjoint, path, same, share
from tuning.sage.region.sphere import angle, great_circle

SPEC = PathSpec()
SEEDS = draws(8, "seeds")


class TwoSided(Logistic):
    """Its second class is whatever lies far to either side: two caps that are apart."""

    def logits(self, pictures):
        odds = ((pictures.double() - 0.5).flatten(1) @ self.weights).abs() + self.bias
        return torch.stack([torch.zeros_like(odds), odds], dim=1)


def between(space, first, last, spec=SPEC, **settings):
    return path(space.oracle, QUERY, first, last, spec, **settings)


@pytest.mark.parametrize("pair", list(pairwise(range(6))))
def test_failures_of_a_half_space_are_connected_straight(pair):
    """A cap of less than half of the sphere holds the shortest way between any two of its latents."""
    ends = [SPACE.reached(SEEDS[at], 0.3) for at in pair]
    found = between(SPACE, *ends)
    assert found.outcome == "straight"
    assert found.middles.shape == (7,)
    np.testing.assert_array_equal(found.latents, great_circle(*ends, 6))
    assert found.angle == pytest.approx(angle(*ends))
    assert found.gap == pytest.approx(found.angle / 14, abs=1e-6)


@pytest.mark.parametrize("pair", list(pairwise(range(4))))
def test_failures_around_a_dent_are_connected_by_bending(pair):
    """The shortest way between two latents just outside a cap that does not fail leads through it."""
    space = HalfSpace(-3.0)
    found = between(space, *(space.reached(SEEDS[at], 0.2) for at in pair))
    assert not found.straight.all()
    assert found.outcome == "bent"
    steps = [angle(a, b) for a, b in pairwise(found.latents)]
    assert max(steps) < 1.01 * min(steps), "it is spaced evenly"
    norms = [np.linalg.norm(latent) for latent in (*found.latents, *great_circle(*found.latents[[0, -1]], 6))]
    assert max(norms) < 1.05 * min(norms), "it keeps to the sphere"


def test_without_rounds_it_is_not_bent():
    space = HalfSpace(-3.0)
    found = between(space, *(space.reached(seed, 0.2) for seed in SEEDS[:2]), PathSpec(rounds=0))
    assert found.outcome == "apart"
    assert found.middles.shape == (0,)
    assert 0 <= found.straight.mean() < 1


@pytest.mark.parametrize("rounds", [0, 4])
def test_two_caps_are_apart_and_each_is_connected(rounds):
    space, spec = HalfSpace(3.0, classifier=TwoSided), PathSpec(rounds=rounds)
    here, there, opposite = (space.reached(seed, 1.0, sign) for seed, sign in zip(SEEDS[:3], (1, 1, -1), strict=True))
    assert space.oracle(np.stack([here, there, opposite]), QUERY).all()
    assert between(space, here, there, spec).outcome == "straight"
    assert between(space, here, opposite, spec).outcome == "apart"


def test_a_gap_between_the_points_is_seen_halfway():
    """Of one point, in the middle: it fails, and what lies a quarter on does not."""
    space = HalfSpace(3.0, classifier=TwoSided)
    ends = space.reached(SEEDS[0], 1.0), space.reached(SEEDS[1], 1.0, -1)
    narrow = PathSpec(points=1, rounds=3, steps=20)
    found = between(space, *ends, narrow)
    assert found.fails.all()
    assert not found.middles.all()
    assert found.outcome == "apart"


def test_a_control_leaves_the_failures():
    """Bending mends part of the way to a plain seed that does not fail; its last end holds it back."""
    failure, seed = SPACE.reached(SEEDS[0], 1.0), SEEDS[1]
    assert not SPACE.oracle(seed[None], QUERY)[0]
    found = between(SPACE, failure, seed, PathSpec(rounds=1), control=True)
    assert found.outcome == "apart"
    assert found.straight.mean() < found.fails.mean() < 1


def test_a_control_is_not_tested_next_to_its_last_end():
    failure, near = SPACE.reached(SEEDS[0], 1.0), SPACE.reached(SEEDS[1], -0.2)
    assert not SPACE.oracle(near[None], QUERY)[0]
    found = between(SPACE, failure, near, control=True)
    assert found.outcome == "straight"
    assert found.middles.shape == (6,)


def test_a_path_is_the_same_in_any_batch():
    space = HalfSpace(-3.0)
    ends = [space.reached(seed, 0.2) for seed in SEEDS[:2]]
    found = [between(HalfSpace(-3.0, search=SEARCH.model_copy(update={"batch": batch})), *ends) for batch in (4, 64)]
    for one in found[1:]:
        np.testing.assert_array_equal(one.fails, found[0].fails)
        np.testing.assert_allclose(one.latents, found[0].latents, atol=1e-4)


def test_it_keeps_to_its_budget():
    """The dearest path: its points never fail until the last test."""
    space, spec = HalfSpace(300.0), PathSpec(pairs=1, controls=0, crossed=0)
    between(space, SEEDS[0], SEEDS[1], spec)
    assert spec.pictures - 7 <= space.oracle.evaluations <= spec.pictures


def made(first, second, connected=True):
    fails = np.array([connected])
    return Pair(first, second, Path(fails, fails, fails, SEEDS[:3], 1.0))


class TestPairs:
    def test_same_pairs_are_of_one_group_and_come_once(self):
        groups = list("abababc")
        found = same(groups, 100, rng(0, "pairs"))
        assert {frozenset(pair) for pair in found} == {
            frozenset({a, b}) for a in range(7) for b in range(a) if groups[a] == groups[b]
        }
        assert len(found) == 6

    def test_a_few_reach_many(self):
        assert len({end for pair in same(["a"] * 5, 4, rng(0, "pairs")) for end in pair}) == 5
        assert {pair[0] % 2 for pair in same([0, 1] * 4, 2, rng(0, "pairs"))} == {0, 1}

    def test_crossed_pairs_are_of_two_groups(self):
        found = crossed(list("aab"), 100, rng(0, "pairs"))
        assert sorted(found) == [(0, 2), (1, 2), (2, 0), (2, 1)]
        assert crossed(list("aaa"), 2, rng(0, "pairs")) == []

    def test_disjoint_pairs_have_no_end_in_common(self):
        assert disjoint([made(0, 1), made(1, 2), made(2, 3), made(0, 3)]) == 2
        assert disjoint([made(0, None), made(1, None), made(0, None)]) == 2


class TestShare:
    def test_of_disjoint_pairs_it_is_wilsons(self):
        from stages.metrics import Proportion

        pairs = [made(2 * n, 2 * n + 1, n % 3 > 0) for n in range(9)]
        ours, wilson = share([pair.connected for pair in pairs], pairs), Proportion().of(np.arange(9) % 3 > 0)
        assert (ours.value, ours.low, ours.high, ours.n) == pytest.approx((wilson.value, wilson.low, wilson.high, 9))

    def test_pairs_with_common_ends_say_less(self):
        every = [made(a, b) for a in range(5) for b in range(a)]
        found = share([1.0] * 10, every)
        assert (found.value, found.high, found.n) == (1, 1, 10)
        assert found.low < 0.5
        assert found.method == "Wilson 0.95 at 2 disjoint pairs of 10"

    def test_its_interval_covers_where_ends_decide(self):
        """A pair is connected where both of its failures are of the large component, of two thirds."""
        covered = []
        for seed in range(300):
            large = rng(seed, "large").random(8) < 2 / 3
            pairs = [made(a, b, bool(large[a] and large[b])) for a in range(8) for b in range(a)]
            found = share([pair.connected for pair in pairs], pairs)
            covered.append(found.low <= 4 / 9 <= found.high)
        assert np.mean(covered) > 0.93

    def test_a_pair_without_a_path_is_missing(self):
        pairs = [made(0, 1), Pair(2, 3, None)]
        found = share([pair.connected for pair in pairs], pairs)
        assert (found.value, found.n, found.n_missing) == (1, 1, 1)
        assert math.isnan(pairs[1].straight)
        assert math.isnan(share([], []).value)


def test_components_are_what_connected_pairs_link():
    pairs = [made(0, 1), made(1, 2), made(3, 4), made(2, 3, connected=False), Pair(5, 6, None)]
    found = components(8, pairs)
    assert len({*found[:3]}) == 1
    assert found[3] == found[4] != found[0]
    assert (found[5:] == -1).all()
    assert components(2, []).tolist() == [-1, -1]
