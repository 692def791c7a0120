import math
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from tests.tuning.sage.prompt_models import CANDIDATES, NEVER, generator, spec, surrogate, words
from tuning.sage.prompt import PromptSearch
from tuning.sage.prompts.found import PromptSearchSpec, seed_success_rate, success_rate
from tuning.sage.prompts.pictures import PromptAttempt, PromptPictures
from tuning.sage.targets import Distorted, Targeted

GENERATOR = generator()
PLAIN = "a photo of a circle"


def attempt(*seeds, label="circle", **settings):
    return PromptAttempt(label=label, seeds=seeds or (0, 1), **settings)


def search(ensemble=None, language=None, **settings):
    return PromptSearch(spec(**settings), GENERATOR, ensemble or surrogate(NEVER), language or words())


def true_losses(texts, one, ensemble=None, **settings):
    whole = PromptPictures(spec(**settings), GENERATOR, ensemble or surrogate(NEVER))
    return {
        text: shown.objective for text, shown in zip(texts, whole.see([(one, text) for text in texts]), strict=True)
    }


@pytest.mark.parametrize("selection", ["gradient", "nearest"])
@pytest.mark.parametrize("seeds", [(0, 1), (4,), (5, 6, 7)])
def test_one_word_is_that_of_brute_force_where_every_word_is_verified(selection, seeds):
    one = attempt(*seeds)
    (found,) = search(words=1, selection=selection)([one])
    every = true_losses([PLAIN, *(f"{PLAIN} {word}" for word in CANDIDATES)], one)
    assert found.prompt == max(every, key=every.get)
    assert found.shown.objective == pytest.approx(max(every.values()), abs=1e-4)


def test_a_word_of_several_tokens_is_found():
    language = words(exclude=("red", "blue", "gold", "bright", "on", "not"))
    ahead = [one for one in (attempt(seed) for seed in range(12)) if _raises(one, "darkish")]
    (found,) = search(language=language, words=1)(ahead[:1])
    assert found.prompt == f"{PLAIN} darkish"


def _raises(one, word):
    every = true_losses([PLAIN, f"{PLAIN} {word}"], one)
    return every[f"{PLAIN} {word}"] > every[PLAIN]


@pytest.fixture(scope="module")
def searches():
    return search(words=4, iterations=2, verify=3)([attempt(seed, seed + 20) for seed in range(8)])


def test_the_objective_rises_with_every_word(searches):
    assert any(len(found.path) > 2 for found in searches)
    for found in searches:
        assert all(later > earlier for earlier, later in pairwise(found.curve))
        assert all(after.prompt.startswith(f"{before.prompt} ") for before, after in pairwise(found.path)), (
            "each prompt is the one before it and one word"
        )


def test_pictures_are_counted_exactly(searches):
    """Two gradients and the verified words of each position, on two seeds; and the plain prompt's."""
    for found in searches:
        verified = sum(not math.isnan(c.objective) for position in found.considered for c in position)
        assert found.gradient_pictures == 2 * 2 * len(found.considered)
        assert found.verified_pictures == 2 * (1 + verified)
        assert found.evaluations == found.gradient_pictures + found.verified_pictures


def test_the_pictures_drawn_are_the_pictures_counted():
    drawn = []
    handle = GENERATOR.pipe.unet.register_forward_pre_hook(
        lambda _, given, __: drawn.append(len(given[0]) // 2), with_kwargs=True
    )
    whole = search(words=2, iterations=2, verify=3, batch=2)
    ticks = list(whole.ticks([attempt(0, 1)]))
    handle.remove()
    (found,) = [one for tick in ticks for one in tick.ended]
    steps = found.verified_pictures * 3 + found.gradient_pictures * whole.spec.gradient.cost(3).forwards
    assert sum(drawn) == steps
    assert [tick.pictures for tick in ticks] == sorted(tick.pictures for tick in ticks)
    assert ticks[-1].pictures == found.evaluations


@pytest.mark.parametrize("settings", [{"words": 0}, {"iterations": 0}])
def test_no_word_and_no_iteration_leave_the_prompt_and_its_pictures(settings):
    one = attempt()
    (found,) = search(**settings)([one])
    (plain,) = PromptPictures(spec(), GENERATOR, surrogate(NEVER)).see([(one, PLAIN)])
    assert found.shown == plain
    assert (found.prompt, found.considered, found.gradient_pictures, found.evaluations) == (PLAIN, [], 0, 2)
    assert found.naturalness[0] == found.naturalness[1]


def test_a_batch_is_its_searches_one_at_a_time():
    rows = [
        attempt(0, 1),
        attempt(2, label="square"),
        attempt(3, 4, 5, target=Targeted(target="square")),
        attempt(6, target=Distorted(low=0.6)),
    ]
    whole = search(ensemble=surrogate(bias=-20.0), words=2, iterations=2, verify=3, batch=3)
    alone = [whole([row])[0] for row in rows]
    together = whole(rows[::-1])[::-1]
    assert len({found.evaluations for found in alone}) > 1
    for one, other in zip(alone, together, strict=True):
        assert [shown.prompt for shown in one.path] == [shown.prompt for shown in other.path]
        assert one.curve == pytest.approx(other.curve, abs=1e-3)
        assert one.evaluations == other.evaluations


def failing(**settings):
    """Searches in a world where the plain prompt seldom fails and an appended word may make it."""
    return search(ensemble=surrogate(bias=0.0), words=2, verify=6, **settings)


ROWS = [attempt(seed) for seed in range(12)]


@pytest.fixture(scope="module")
def stopped():
    return failing()(ROWS)


def test_a_search_stops_at_its_first_accepted_prompt(stopped):
    on = failing(early_stop=False)(ROWS)
    accepted = [found for found in stopped if found.accepted and not found.natural]
    assert accepted
    for found in accepted:
        assert found.shown is found.path[-1]
        assert found.shown.fails == (True,)
        assert not any(shown.share == 1 for shown in found.path[:-1])
    for first, last in zip(stopped, on, strict=True):
        assert last.curve[: len(first.curve)] == pytest.approx(first.curve, abs=1e-3)
        assert bool(first.accepted) <= bool(last.accepted)


def test_the_wanted_share_of_seeds():
    rows = [attempt(*range(seed, seed + 4)) for seed in range(0, 20, 4)]
    for share in (0.25, 0.75):
        for found in failing(share=share)(rows):
            assert found.natural == (found.path[0].share >= share)
            if found.accepted:
                assert found.accepted.share >= share


def test_a_plain_prompt_that_fails_is_natural_and_not_the_searchs():
    found = search(ensemble=surrogate(bias=1000.0))([attempt()])
    assert found[0].natural
    assert found[0].evaluations == 2
    assert (success_rate(found).n, success_rate(found).n_missing) == (0, 1)
    assert seed_success_rate(found[0]).n_missing == 2


def test_rates_are_shares_of_searches_and_of_seeds(stopped):
    rate, own = success_rate(stopped), [one for one in stopped if not one.natural]
    assert rate.n == len(own)
    assert rate.value == np.mean([one.accepted is not None for one in own])
    for one in own:
        assert seed_success_rate(one).value == float(one.shown.fails[0])


def test_a_text_must_end_where_it_may(stopped):
    """The model of words ends any of these texts with probability 0.1, but that of the plain prompt."""
    strict, loose = (failing(finished=least)(ROWS) for least in (0.11, 0.09))
    assert [one.prompt for one in loose] == [one.prompt for one in stopped]
    for one in strict:
        assert one.accepted is None or one.natural


def test_naturalness_of_the_plain_and_the_found_prompt(searches):
    for found in searches:
        plain, shown = (words().naturalness(text) for text in (PLAIN, found.prompt))
        assert found.naturalness == [plain, shown]


def test_room_ends_a_search():
    """Ten tokens fit, five of which are the plain prompt's; the two vectors need two of the rest."""
    for found in search(words=20, verify=6)([attempt(seed) for seed in range(6)]):
        assert len(GENERATOR.token_space().tokens(found.prompt)) <= 10
        assert len(found.path) <= 6


class TestRefusals:
    def test_a_class_that_is_not_in_the_label_set(self):
        with pytest.raises(ValueError, match="expected a class of the label set circle, square, found 'dog'"):
            search()([attempt(label="dog")])

    def test_a_target_that_is_the_class(self):
        with pytest.raises(ValueError, match="expected a target other than the prompt's class, found 'circle'"):
            search()([attempt(target=Targeted(target="circle"))])

    def test_no_candidate_left(self):
        everything = words(exclude=(*CANDIDATES, "not"))
        with pytest.raises(ValueError, match=r"words that may follow 'a photo of a circle', found none left of the 50"):
            search(language=everything)([attempt()])

    def test_a_prompt_that_the_language_model_cannot_express(self):
        with pytest.raises(ValueError, match=r"its tokenizer can express, found '<\|endoftext\|>'"):
            search(template="a <|endoftext|> {label}")([attempt()])

    @pytest.mark.parametrize(("future", "refused"), [(False, 10), (True, 9)])
    def test_a_prompt_without_room(self, future, refused):
        for length in range(7, 11):
            whole = search(template="a " * (length - 1) + "{label}", future=future, words=0)
            if length >= refused:
                with pytest.raises(
                    ValueError, match=rf"room for {1 + future} behind the prompt, found {10 - length} of"
                ):
                    whole([attempt()])
            else:
                assert whole([attempt()])

    def test_settings_without_meaning(self):
        for settings in ({"template": "a photo"}, {"share": 0}, {"verify": 0}, {"step": 0}, {"finished": 1}):
            with pytest.raises(ValidationError):
                PromptSearchSpec.model_validate(settings)


def test_the_plain_prompt():
    assert [PromptSearchSpec().prompt(label) for label in ("arrow", "star")] == [
        "a photo of an arrow",
        "a photo of a star",
    ]


def test_settings_survive_json():
    settings = spec(gradient={"kind": "residual"}, loss={"kind": "paper"}, language={"model": "x/y"})
    assert PromptSearchSpec.model_validate_json(settings.model_dump_json()) == settings
