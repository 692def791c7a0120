import numpy as np
import pytest
import torch

from tests.tuning.sage.models import LABELS, Logistic, linear_surrogate
from tests.tuning.sage.region.half_space import GENERATOR, LENGTH, QUERY, ROUNDING, SEARCH, SLOPES, HalfSpace, draws
from tuning.sage.region.oracle import Oracle, Query
from tuning.sage.surrogate import Surrogate
from tuning.sage.targets import Targeted

LATENTS = draws(37, "oracle")


def test_it_answers_as_the_ensemble_does_on_saved_pictures():
    surrogate = linear_surrogate(bias=0.5)
    fails = Oracle(SEARCH, GENERATOR, surrogate)(LATENTS, QUERY)
    saved = np.stack(GENERATOR.pictures(list(LATENTS), [""] * 37, range(37), SEARCH.sampler))
    pixels = torch.from_numpy(saved).permute(0, 3, 1, 2) / 255
    wanted = surrogate.fails(pixels, ["circle"] * 37, [QUERY.target] * 37).numpy()
    np.testing.assert_array_equal(fails, wanted)
    assert 5 < fails.sum() < 32


def test_a_margin_is_the_smallest_log_odds_and_its_slope_their_gradient():
    space = HalfSpace(0.5)
    odds = LENGTH * space.height(LATENTS)
    np.testing.assert_allclose(space.oracle.margins(LATENTS, QUERY), odds, atol=5 * ROUNDING * LENGTH)
    slopes, margins = space.oracle.slopes(LATENTS, QUERY)
    np.testing.assert_allclose(slopes, np.broadcast_to(SLOPES, slopes.shape), atol=1e-3)
    np.testing.assert_allclose(margins, odds, atol=5 * ROUNDING * LENGTH)


def test_a_latent_is_answered_alone_as_among_others():
    oracle = HalfSpace(0.5).oracle
    for ask in (oracle.margins, lambda latents, query: oracle.slopes(latents, query)[0]):
        alone = np.concatenate([ask(latent[None], QUERY) for latent in LATENTS[:6]])
        np.testing.assert_array_equal(alone, ask(LATENTS, QUERY)[:6])


@pytest.mark.parametrize("batch", [1, 10])
def test_the_batch_changes_no_verdict(batch):
    one, other = (HalfSpace(0.5, search=SEARCH.model_copy(update={"batch": b})).oracle for b in (64, batch))
    np.testing.assert_array_equal(one(LATENTS, QUERY), other(LATENTS, QUERY))


def test_it_counts_pictures_and_not_what_pads_a_batch():
    oracle = HalfSpace(0.5).oracle
    oracle(LATENTS, QUERY)
    oracle.slopes(LATENTS[:3], QUERY)
    assert oracle.evaluations == 40
    assert oracle(LATENTS[:0], QUERY).shape == (0,)
    assert oracle.slopes(LATENTS[:0], QUERY)[0].shape == (0, 3, 8, 8)
    assert oracle.evaluations == 40


def test_a_picture_that_is_not_finite_is_missing_and_no_failure():
    oracle = HalfSpace(-50.0).oracle
    latents = LATENTS[:2].copy()
    latents[0, 0, 0, 0] = np.inf
    assert np.isnan(oracle.margins(latents, QUERY)).tolist() == [True, False]
    assert oracle(latents, QUERY).tolist() == [False, True]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(prompt="", label="dog"), "expected a class of the label set circle, square, found 'dog'"),
        (Query(prompt="", label="circle", target=Targeted(target="circle")), "other than the prompt's class"),
        (Query(prompt="a dog", label="circle"), "the prompt of a model without text must be empty"),
    ],
)
def test_refusals(query, message):
    oracle = Oracle(SEARCH, GENERATOR, Surrogate([Logistic("member")], Logistic("judge"), LABELS))
    for ask in (oracle, oracle.slopes):
        with pytest.raises(ValueError, match=message):
            ask(LATENTS, query)
