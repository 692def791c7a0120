import math

import numpy as np
import pytest
import torch

from tests.tuning.sage.models import Logistic
from tests.tuning.sage.prompt_models import CANDIDATES, LABELS, NEVER, generator, spec, surrogate, words
from tuning.sage.prompt import PromptSearch
from tuning.sage.prompts.found import PromptFound, PromptRow
from tuning.sage.prompts.gradient import ByGradient
from tuning.sage.prompts.pictures import PromptAttempt, PromptPictures, Shown
from tuning.sage.surrogate import Surrogate

GENERATOR = generator()
PLAIN = "a photo of a circle"
ONE = PromptAttempt(label="circle", seeds=(0, 1))


def search(ensemble=None, **settings):
    return PromptSearch(spec(words=1, **settings), GENERATOR, ensemble or surrogate(NEVER), words())


def test_the_words_verified_are_those_of_the_largest_scores():
    (found,) = search(verify=2)([ONE])
    (considered,) = found.considered
    assert {candidate.word for candidate in considered} == CANDIDATES
    scores = [candidate.score for candidate in considered]
    assert scores == sorted(scores, reverse=True)
    assert [math.isnan(candidate.objective) for candidate in considered] == [False] * 2 + [True] * (len(CANDIDATES) - 2)


def test_scores_are_first_order():
    """With one gradient: its product with what each word is from the mean vector of the candidates."""
    language = words()
    (found,) = search(future=False)([ONE])
    whole = PromptPictures(spec(), GENERATOR, surrogate(NEVER))
    candidates = language.after(PLAIN, "circle")
    space = whole.space
    known = torch.stack([space.table[space.tokens(word.text)].mean(0) for word in candidates])
    chances = np.exp([word.log_p for word in candidates])
    start = torch.tensor(chances / chances.sum()).float() @ known
    (slope,) = whole.slopes([(ONE, PLAIN)], [start[None]])
    expected = dict(
        zip((word.text for word in candidates), ((known - start) @ slope.gradient[0]).tolist(), strict=True)
    )
    assert {c.word: c.score for c in found.considered[0]} == pytest.approx(expected, rel=1e-2, abs=1e-2)


def test_steps_and_box_are_measured_in_the_units_asked_for():
    table = GENERATOR.token_space().table
    whole = PromptPictures(spec(), GENERATOR, surrogate())
    absolute, relative = (ByGradient(spec(step=0.5, box=2.0, scale=scale), whole) for scale in ("absolute", "rms"))
    assert (absolute.step, absolute.box) == (0.5, 2.0)
    rms = float(table.square().mean().sqrt())
    assert (relative.step, relative.box) == pytest.approx((0.5 * rms, 2 * rms))


def test_vectors_climb_and_stay_in_the_box():
    whole = PromptPictures(spec(), GENERATOR, surrogate(NEVER))
    row = PromptRow(PromptFound(ONE, [Shown(PLAIN, (0.0,), (False,))]), words().after(PLAIN, "circle"))
    climb, asked = Watched(whole), [(ONE, PLAIN)]
    list(ByGradient(spec(iterations=6, box=1.0, step=0.2), climb)([row]))
    assert climb.objectives[-1] > climb.objectives[0]
    assert max(float(vectors.abs().max()) for vectors in climb.vectors) <= 1
    assert whole.slopes(asked, climb.vectors[-1:])[0].objective == pytest.approx(climb.objectives[-1], abs=1e-3)


class Watched:
    """Notes where slopes are asked for, and what the loss is there."""

    def __init__(self, pictures):
        self.pictures, self.space, self.vectors, self.objectives = pictures, pictures.space, [], []

    def slopes(self, asked, vectors):
        found = self.pictures.slopes(asked, vectors)
        self.vectors += vectors
        self.objectives += [slope.objective for slope in found]
        return found


def test_a_word_of_several_tokens_counts_as_their_mean():
    choice = ByGradient(spec(), PromptPictures(spec(), GENERATOR, surrogate()))
    space = GENERATOR.token_space()
    assert len(space.tokens("darkish")) == 2
    torch.testing.assert_close(choice.embeddings(["red", "darkish"])[1], space.table[space.tokens("darkish")].mean(0))


def test_a_gradient_that_is_not_finite_ends_its_search_only():
    class Broken(Logistic):
        def log_probabilities(self, pictures):
            found = super().log_probabilities(pictures)
            return found.clone().index_fill_(0, torch.tensor([0]), torch.nan) if pictures.requires_grad else found

    ensemble = Surrogate([Broken(bias=NEVER)], Logistic("judge", bias=NEVER), LABELS)
    first, second = search(ensemble=ensemble, batch=2)(
        [PromptAttempt(label="circle", seeds=(seed,)) for seed in (0, 1)]
    )
    assert first.prompt == PLAIN
    assert first.considered == [[]]
    assert len(second.considered[0]) == len(CANDIDATES)
