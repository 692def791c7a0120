import numpy as np
import pytest
from scipy import stats

from stages.randomness import rng
from tests.tuning.sage.region.half_space import QUERY, SPACE, draws
from tuning.sage.region.persistence import Persistence, PersistenceSpec, outlasts

SPEC = PersistenceSpec(strengths=(0.0, 0.3, 0.8, 1.0), draws=200)


def fails(latents):
    return SPACE.oracle(latents, QUERY)


def test_a_half_space_keeps_what_its_distance_says():
    """The height of sqrt(1 - b^2) z + b xi above the origin is normal: sqrt(1 - b^2) times that of z, deviation b."""
    latent = SPACE.reached(draws(1, "seeds")[0], 0.5)
    found = Persistence(SPEC.strengths, outlasts(fails, latent, SPEC, rng(0, "persistence"))[None])
    for b, share in zip(SPEC.strengths[1:], found.of(0)[1:], strict=True):
        known = stats.norm.cdf((np.sqrt(1 - b**2) * (SPACE.distance + 0.5) - SPACE.distance) / b)
        assert share.n == 200
        assert share.value == pytest.approx(known, abs=0.12)
    assert found.of(0)[0].value == 1
    assert found.of(0)[-1].low <= SPACE.probability <= found.of(0)[-1].high


def test_the_curve_counts_failures_as_clusters():
    sure, unsure = np.ones((1, 1, 50), bool), np.arange(50).reshape(1, 1, 50) % 5 == 0
    (pooled,) = Persistence((0.5,), np.concatenate([sure, unsure])).curve()
    assert (pooled.value, pooled.n) == (0.6, 100)
    assert pooled.high - pooled.low > 0.5, "a hundred draws of two failures are two, not a hundred"


def test_no_failures_give_no_curve():
    (pooled,) = Persistence((0.5,), np.zeros((0, 1, 6), bool)).curve()
    assert pooled.n == 0


def test_each_draw_is_one_direction_at_every_strength():
    seen = []
    latent = draws(1, "seeds")[0]
    outlasts(lambda rows: seen.append(rows) or np.ones(len(rows), bool), latent, SPEC, rng(0, "persistence"))
    rows = seen[0].reshape(4, 200, *latent.shape)
    np.testing.assert_array_equal(rows[0], np.broadcast_to(latent, rows[0].shape))
    np.testing.assert_allclose(rows[1] - np.sqrt(0.91) * latent, 0.3 * rows[-1], atol=1e-5)
    assert SPEC.pictures == 3 * 4 * 200
