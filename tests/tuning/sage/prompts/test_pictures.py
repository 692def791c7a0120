import math
from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stages.sampling.gradients import Full, Residual
from stages.sampling.gradients import pictures as drawn
from stages.sampling.prompts import Extended
from tests.tuning.sage.models import Logistic, linear_generator
from tests.tuning.sage.prompt_models import LABELS, SAMPLER, generator, spec, surrogate
from tuning.sage.latent import seed_latent
from tuning.sage.prompts.pictures import PicturesSpec, PromptAttempt, PromptGradient, PromptPictures
from tuning.sage.surrogate import Surrogate
from tuning.sage.targets import Targeted

GENERATOR = generator()
PLAIN = "a photo of a circle"
CIRCLE = PromptAttempt(label="circle", seeds=(0, 1, 2))


def pictures(ensemble=None, **settings):
    return PromptPictures(spec(**settings), GENERATOR, ensemble or surrogate())


def vectors(count=2, seed=0, scale=0.4):
    width = GENERATOR.token_space().table.shape[1]
    return scale * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_what_is_shown_is_what_the_generator_draws():
    """Loss and verdict of each seed, computed again from pictures that are drawn one at a time."""
    ensemble = surrogate()
    (shown,) = pictures(ensemble).see([(CIRCLE, PLAIN)])
    for seed, value, fails in zip(CIRCLE.seeds, shown.values, shown.fails, strict=True):
        latent = torch.from_numpy(seed_latent(GENERATOR, SAMPLER, seed))[None]
        pixels = GENERATOR.draw(latent, [PLAIN], SAMPLER, []).permute(0, 3, 1, 2).clone()
        odds = [float(member.logits(pixels.clamp(0, 1))[0, 1]) for member in ensemble.members]
        assert value == pytest.approx(sum(odds), abs=1e-3)
        assert fails == bool(ensemble.fails(pixels, ["circle"], [CIRCLE.target]))
    assert shown.objective == pytest.approx(np.mean(shown.values))
    assert shown.share == np.mean(shown.fails)


@torch.no_grad()
def losses(behind, seed):
    """The sum of the members' log-odds with each of these vectors behind the prompt."""
    latents = torch.from_numpy(seed_latent(GENERATOR, SAMPLER, seed)).expand(len(behind), -1, -1, -1)
    prompts = Extended([PLAIN] * len(behind), behind)
    pixels = drawn(GENERATOR, latents, prompts, SAMPLER, Full()).permute(0, 3, 1, 2).clamp(0, 1)
    return sum(member.logits(pixels)[:, 1] for member in surrogate().members)


@pytest.mark.parametrize("count", [1, 2])
def test_the_gradient_is_that_of_finite_differences(count):
    """The mean loss over two seeds, along every axis of every vector."""
    attempt, at, h = PromptAttempt(label="circle", seeds=(0, 1)), vectors(count), 0.01
    (slope,) = pictures(batch=2).slopes([(attempt, PLAIN)], [at])
    axes = h * torch.eye(at.numel()).view(-1, *at.shape)
    above, below = (sum(losses(at + sign * axes, seed) for seed in attempt.seeds) / 2 for sign in (1, -1))
    differences = ((above - below) / (2 * h)).float()
    assert torch.cosine_similarity(slope.gradient.flatten(), differences, dim=0) > 0.99
    assert slope.gradient.norm() == pytest.approx(float(differences.norm()), rel=0.05)


def test_vectors_of_a_word_show_what_the_word_does():
    whole, space = pictures(), GENERATOR.token_space()
    for word in ("red", "darkish", "red bright"):
        (shown,) = whole.see([(CIRCLE, f"{PLAIN} {word}")])
        (slope,) = whole.slopes([(CIRCLE, PLAIN)], [space.table[space.tokens(word)]])
        assert slope.objective == pytest.approx(shown.objective, abs=1e-3)


def test_a_residual_gradient_reaches_the_vectors():
    at = vectors()
    full, residual = (
        pictures(gradient=kind).slopes([(CIRCLE, PLAIN)], [at])[0]
        for kind in ({"kind": "full"}, {"kind": "residual", "last_steps": 2})
    )
    assert residual.objective == pytest.approx(full.objective, abs=1e-4)
    assert (residual.gradient.abs().amax(1) > 0).all()


def test_questions_together_are_questions_alone():
    """Of other classes, targets, numbers of seeds and lengths of prompts, in batches that they share."""
    asked = [
        (CIRCLE, PLAIN),
        (PromptAttempt(label="square", seeds=(5,)), "a photo of a square red"),
        (PromptAttempt(label="circle", seeds=(0, 7), target=Targeted(target="square")), f"{PLAIN} darkish left"),
    ]
    whole, behind = pictures(), [vectors(seed=seed) for seed in range(3)]
    for together, question in zip(whole.see(asked), asked, strict=True):
        (alone,) = whole.see([question])
        assert together.fails == alone.fails
        assert together.values == pytest.approx(alone.values, abs=1e-4)
    for together, question, x in zip(whole.slopes(asked, behind), asked, behind, strict=True):
        (alone,) = whole.slopes([question], [x])
        torch.testing.assert_close(
            together.gradient, alone.gradient, rtol=1e-3, atol=1e-3 * float(alone.gradient.norm())
        )


def test_no_question_draws_nothing():
    assert pictures().see([]) == pictures().slopes([], []) == []


def test_a_picture_that_is_not_finite_is_missing():
    class Broken(Logistic):
        def log_probabilities(self, pictures):
            found = super().log_probabilities(pictures).clone()
            found[0] = torch.nan
            return found

    ensemble = Surrogate([Broken()], Logistic("judge"), LABELS)
    (shown,) = pictures(ensemble, batch=3).see([(CIRCLE, PLAIN)])
    assert np.isnan(shown.values).tolist() == [True, False, False]
    assert math.isnan(shown.objective)
    assert pictures(ensemble, batch=3).failure_rate(CIRCLE, PLAIN).n_missing == 1


def test_the_failure_rate_is_over_seeds():
    attempt = PromptAttempt(label="circle", seeds=tuple(range(40)))
    ensemble = surrogate(bias=0.0)
    rate = pictures(ensemble, batch=20).failure_rate(attempt, PLAIN)
    (shown,) = pictures(ensemble, batch=20).see([(attempt, PLAIN)])
    assert (rate.n, rate.value) == (40, shown.share)
    assert rate.method.startswith("Wilson")


class TestRefusals:
    def test_a_model_without_text(self):
        with pytest.raises(ValueError, match="expected a model whose one text encoder is CLIP's, found AnalyticPipe"):
            PromptPictures(PicturesSpec(), linear_generator(), surrogate())

    def test_a_residual_of_more_steps_than_there_are(self):
        with pytest.raises(ValueError, match="last_steps below the sampler's 3 steps, found 9"):
            pictures(gradient={"kind": "residual", "last_steps": 9})

    def test_a_gradient_that_does_not_reach_prompts(self):
        with pytest.raises(ValidationError, match="'full', 'residual'"):
            spec(gradient={"kind": "adjoint"})

    def test_no_seed_or_one_twice(self):
        with pytest.raises(ValidationError, match="at least 1 item"):
            PromptAttempt(label="circle", seeds=())
        with pytest.raises(ValidationError, match="expected distinct seeds, found 1, 1"):
            PromptAttempt(label="circle", seeds=(1, 1))


def test_the_gradients_offered_are_those_that_reach_prompts():
    members = get_args(get_args(PromptGradient)[0])
    assert members == (Full, Residual)
    assert all(member.reaches_prompts for member in members)
