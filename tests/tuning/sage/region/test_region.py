"""All measures together, on a half-space of which everything is known, and on failures that a search has found."""

import math

import numpy as np
import pytest

from tests.tuning.sage.models import attempts
from tests.tuning.sage.region.half_space import GENERATOR, QUERY, SEARCH, HalfSpace, draws
from tuning.sage.failures import Failure, Saved
from tuning.sage.latent import LatentSearch, seed_latent
from tuning.sage.region.oracle import Query
from tuning.sage.region.paths import PathSpec
from tuning.sage.region.persistence import PersistenceSpec
from tuning.sage.region.radius import RadiusSpec
from tuning.sage.region.region import (
    LatentFailure,
    Region,
    RegionSpec,
    connected,
    failing,
    of_saved,
    of_searches,
    straight,
)
from tuning.sage.region.subset_simulation import SubsetSimulation
from tuning.sage.targets import Targeted

SPACE = HalfSpace(2.5)
OTHER = Query(prompt="", label="circle", target=Targeted(target="square"))
SPEC = RegionSpec(
    search=SEARCH,
    radius=RadiusSpec(failures=6, directions=5),
    paths=PathSpec(pairs=6, controls=3, crossed=2),
    persistence=PersistenceSpec(failures=4, draws=10),
    plain=200,
    subset_simulation=SubsetSimulation(chains=30, runs=3),
)
BRIEF = SPEC.model_copy(
    update={"queries": 0, "persistence": PersistenceSpec(failures=1), "radius": RadiusSpec(failures=2)}
)


def failures(count=8, height=0.4):
    seeds = draws(count, "seeds")
    return [LatentFailure(SPACE.reached(seed, height), QUERY if n % 2 else OTHER, seed) for n, seed in enumerate(seeds)]


def region(spec=SPEC):
    return Region(spec, GENERATOR, SPACE.surrogate)


@pytest.fixture(scope="module")
def probe():
    return region()


@pytest.fixture(scope="module")
def found(probe):
    return probe(failures())


def test_a_half_space_has_the_probability_of_its_distance(found):
    (chance,) = found.chances
    rare = chance.rare.estimate
    assert rare.low <= SPACE.probability <= rare.high
    assert len(chance.rare.runs) == 3
    assert chance.plain.low <= SPACE.probability <= chance.plain.high
    assert chance.plain.n == 200


def test_its_failures_are_one_component(found):
    assert len(found.pairs) == 6
    assert straight(found.pairs).value == connected(found.pairs).value == failing(found.pairs).value == 1
    assert {pair.path.outcome for pair in found.pairs} == {"straight"}
    for query in (QUERY, OTHER):
        own = [label for one, label in zip(found.failures, found.components, strict=True) if one.query == query]
        assert len({*own}) == 1
        assert -1 not in own


def test_its_controls_leave_it(found):
    assert straight(found.controls).value == 0
    assert failing(found.controls).value < 0.7
    assert connected(found.controls).value < 1


def test_queries_that_mean_the_same_share_their_failures(found):
    """Of two classes, any other class is the second."""
    assert found.transferred.value == 1
    assert connected(found.crossed).value == 1
    assert all(found.failures[pair.first].query != found.failures[pair.second].query for pair in found.crossed)


def test_its_radii_are_those_of_the_boundary(found):
    assert len(found.radii) == 6
    assert found.angle.low <= found.angle.value <= found.angle.high
    assert 0 < found.towards_start.value < found.angle.value
    assert found.distance.value > found.angle.value, "the latents' norm is about 14"


def test_it_grows_less_likely_to_persist(found):
    shares = [one.value for one in found.persistence.curve()]
    assert shares == sorted(shares, reverse=True)
    assert found.persistence.fails.shape == (4, 4, 10)


def test_every_picture_is_counted_once(probe, found):
    assert sum(found.evaluations.values()) == probe.oracle.evaluations
    assert probe.oracle.evaluations <= SPEC.pictures
    assert found.evaluations["confirmation"] == 8
    assert found.evaluations["persistence"] == SPEC.persistence.pictures


def test_the_defaults_take_fewer_than_2000_pictures():
    assert RegionSpec().pictures < 2000


def test_a_latent_that_does_not_fail_is_left_out():
    success = LatentFailure(draws(1, "seeds")[0], QUERY)
    found = region(BRIEF)([*failures(2), success, *failures(4)[2:]])
    assert found.unconfirmed == 1
    assert len(found.failures) == 4
    assert found.chances == ()


def test_nothing_found_is_nothing_known():
    found = region()([])
    assert found.evaluations == dict.fromkeys(found.evaluations, 0)
    for estimate in (
        found.angle,
        found.towards_start,
        found.transferred,
        connected(found.pairs),
        failing(found.controls),
    ):
        assert math.isnan(estimate.value)
        assert estimate.n == 0


def test_a_plain_draw_that_fails_is_no_control():
    """Where nearly all fail, a control has no end that does not."""
    space = HalfSpace(-30.0)
    found = Region(BRIEF, GENERATOR, space.surrogate)([LatentFailure(seed, QUERY) for seed in draws(2, "seeds")])
    estimate = connected(found.controls)
    assert (estimate.n, estimate.n_missing) == (0, 3)
    assert found.radii[0].censored == 5
    assert math.isnan(found.towards_start.value)


def test_the_batch_changes_no_verdict():
    """What is drawn at random does not depend on it, and the pictures only up to rounding."""
    one, other = (
        region(BRIEF.model_copy(update={"search": SEARCH.model_copy(update={"batch": batch})}))(failures(4))
        for batch in (8, 64)
    )
    np.testing.assert_array_equal(one.persistence.fails, other.persistence.fails)
    for radius, again in zip(one.radii, other.radii, strict=True):
        np.testing.assert_allclose(radius.angles, again.angles, atol=1e-6)
    for pair, again in zip((*one.pairs, *one.controls), (*other.pairs, *other.controls), strict=True):
        assert pair[:2] == again[:2]
        assert pair.path.outcome == again.path.outcome
    assert one.evaluations == other.evaluations


def test_failures_of_a_search_come_with_their_seeds():
    space = HalfSpace(2.0)
    search = SEARCH.model_copy(update={"iterations": 40})
    searched = LatentSearch(search, GENERATOR, space.surrogate)(attempts(6))
    failures = of_searches(searched)
    assert len(failures) >= 4
    for one, failure in zip((one for one in searched if one.accepted), failures, strict=True):
        np.testing.assert_array_equal(failure.latent, one.accepted.latent)
        assert (failure.start is None) == one.natural
    found = Region(BRIEF, GENERATOR, space.surrogate)(failures)
    assert found.unconfirmed <= 1
    assert connected(found.pairs).value == 1


def saved(search, vectors=None, seed=3):
    latent, picture = draws(1, "saved")[0], np.zeros((8, 8, 3), np.uint8)
    failure = Failure(
        search=search,
        model="linear",
        revision="-",
        prompt="",
        before="",
        label="circle",
        target=OTHER.target,
        seed=seed,
        sampler=SEARCH.sampler,
        evaluations=1,
        objective=0.1,
        measured={},
        seen={},
        sha256="-",
    )
    return Saved(failure, latent, vectors, picture, picture)


def test_saved_failures_come_with_their_seeds_unless_something_stands_behind_their_prompt():
    searched, plain = of_saved(
        [saved("latent"), saved("token", np.zeros((1, 4), np.float32)), saved("seed")], GENERATOR
    )
    np.testing.assert_array_equal(searched.start, seed_latent(GENERATOR, SEARCH.sampler, 3))
    assert plain.start is None
    assert searched.query == plain.query == OTHER
    np.testing.assert_array_equal(searched.latent, draws(1, "saved")[0])


def test_a_spec_survives_json():
    assert RegionSpec.model_validate_json(SPEC.model_dump_json()) == SPEC
