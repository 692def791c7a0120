from collections import Counter

import numpy as np
import pytest

from tests.tuning.sage.prompt_models import CANDIDATES, generator, spec, surrogate, words
from tuning.sage.prompt import PromptSearch
from tuning.sage.prompts.controls import AtRandom, RandomCompletions, random_success_rate
from tuning.sage.prompts.pictures import PromptAttempt, PromptPictures

GENERATOR = generator()
PLAIN = "a photo of a circle"
ENSEMBLE = surrogate(bias=0.0)


def attempt(*seeds):
    return PromptAttempt(label="circle", seeds=seeds)


def completions(language=None, **settings):
    return RandomCompletions(spec(**settings), GENERATOR, ENSEMBLE, language or words())


def test_completions_are_what_the_language_model_says():
    """Of one word each, the shares of the candidates are their probabilities, renormalised."""
    control = completions(words=1)
    drawn = Counter(text for seed in range(600) for text in control.texts(attempt(seed), 2)[1:])
    assert {text.removeprefix(f"{PLAIN} ") for text in drawn} == CANDIDATES
    chances = {word.text: np.exp(word.log_p) for word in words().after(PLAIN, "circle")}
    for word, chance in chances.items():
        share = chance / sum(chances.values())
        assert abs(drawn[f"{PLAIN} {word}"] / 600 - share) < 4 * (share * (1 - share) / 600) ** 0.5


def test_completions_keep_the_searchs_rules():
    control = completions(words=3)
    texts = [text for seed in range(20) for text in control.texts(attempt(seed), 5)[1:]]
    lengths = Counter(len(text.split()) - 5 for text in texts)
    assert set(lengths) == {1, 2, 3}, "the model may end a text behind any word, of which it has one at least"
    said = {word for text in texts for word in text.split()[5:]}
    assert not said & {"not", "circle", "square", "squares"}


def test_a_larger_budget_goes_on_where_a_smaller_one_ends():
    control = completions(words=2)
    texts = control.texts(attempt(3), 9)
    assert texts[0] == PLAIN
    assert len({*texts}) == len(texts) == 9
    assert control.texts(attempt(3), 4) == texts[:4]


def test_a_model_that_has_no_more_to_say_spends_less():
    (one,) = completions(words=1)([attempt(0, 1)], [1000])
    assert one.evaluations == 2 * (1 + len(CANDIDATES))
    assert len(one.shown) == 1 + len(CANDIDATES)


def test_the_best_is_that_of_brute_force():
    row = attempt(0, 1)
    (one,) = completions(words=1)([row], [1000])
    texts = [PLAIN, *(f"{PLAIN} {word}" for word in CANDIDATES)]
    every = PromptPictures(spec(), GENERATOR, ENSEMBLE).see([(row, text) for text in texts])
    best = max(every, key=lambda shown: shown.objective)
    assert one.best.prompt == best.prompt
    assert one.best.objective == pytest.approx(best.objective, abs=1e-3)


def test_budgets_are_kept_and_rows_are_alone():
    control, rows, budgets = completions(words=3), [attempt(0, 1), attempt(2), attempt(3, 4, 5)], [5, 9, 3]
    together = control(rows, budgets)
    assert [one.evaluations for one in together] == [4, 9, 3]
    for row, budget, one in zip(rows, budgets, together, strict=True):
        (alone,) = control([row], [budget])
        assert [shown.prompt for shown in alone.shown] == [shown.prompt for shown in one.shown]
        assert alone.natural == one.natural
    assert together[2].shown[0].prompt == PLAIN


def test_accepted_completions_fail_and_the_plain_prompt_is_none_of_them():
    found = completions(words=3)([attempt(seed) for seed in range(12)], [8] * 12)
    rate = random_success_rate(found)
    assert rate.n == sum(not one.natural for one in found)
    assert any(one.accepted and not one.natural for one in found)
    for one in found:
        if one.accepted:
            assert one.accepted.fails == (True,)
            assert one.accepted.prompt != PLAIN


def test_random_choices_draw_no_gradient_and_as_many_pictures():
    settings = spec(words=2, iterations=2, verify=1)
    choice = AtRandom(settings)
    found = PromptSearch(settings, GENERATOR, surrogate(-1000.0), words(), choice)([attempt(0, 1), attempt(2)])
    assert choice.verify == 3
    for one in found:
        assert one.gradient_pictures == 0
        for considered in one.considered:
            assert np.isfinite([candidate.objective for candidate in considered]).sum() == min(3, len(considered))
        assert one.evaluations == len(one.attempt.seeds) * (1 + 3 * len(one.considered))


def test_random_choices_differ_by_seed_and_are_the_same_again():
    settings = spec(words=1, iterations=1, verify=1)
    search = PromptSearch(settings, GENERATOR, surrogate(-1000.0), words(), AtRandom(settings))
    rows = [attempt(seed) for seed in range(4)]
    orders = [[candidate.word for candidate in found.considered[0]] for found in search(rows)]
    assert orders == [[candidate.word for candidate in found.considered[0]] for found in search(rows)]
    assert len({tuple(order) for order in orders}) > 1


def test_a_budget_below_one_picture_a_seed_is_refused():
    with pytest.raises(ValueError, match="expected a budget of at least 2, a picture a seed, found 1"):
        completions()([attempt(0, 1)], [1])


def test_a_class_that_is_not_in_the_label_set_is_refused():
    with pytest.raises(ValueError, match="expected a class of the label set"):
        completions()([PromptAttempt(label="dog", seeds=(0,))], [1])
