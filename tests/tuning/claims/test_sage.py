"""Claims of SAGE: statistics on outcomes made up, and the settings that they rest on."""

import math

import pytest

from pipelines.config import load
from tests.tuning.sage.people.made_up import SEEN, made
from tests.tuning.sage.prompts.test_outcomes import outcome
from tuning.claims import CLAIMS, sage
from tuning.claims.subject import OfStudy
from tuning.sage.latent import Attempt
from tuning.sage.latents import page as latent_page
from tuning.sage.latents.study import LatentStudySpec
from tuning.sage.outcomes import Outcome
from tuning.sage.prompts import page as prompt_page
from tuning.sage.region.page import Around
from tuning.sage.tokens.page import Answer
from tuning.studies_cli import CONFIGS


def kept(value: float, low: float, high: float, n: int = 32) -> dict[str, object]:
    return {"value": value, "low": low, "high": high, "n": n, "method": "made up"}


def answer(target: str = "fish", **arms: float) -> Answer:
    """A target, and the success of each arm; the CLIP score falls by ten times that."""
    rows = [
        {"behind": arm, "prompts": "new", "seeds": "new"}
        | {"success": kept(rate, rate - 0.1, rate + 0.1), "clip_change": kept(-10 * rate, -10 * rate - 1, -10 * rate)}
        for arm, rate in arms.items()
    ]
    return Answer(target, {"rows": rows})


def searched(ways: dict[str, list[bool]]) -> latent_page.Answers:
    attempts = [Attempt(seed=seed, prompt="a photo of a star", label="star") for seed in range(40)]
    found = {
        way: {
            attempt: Outcome(attempt=attempt, evaluations=5, natural=attempt.seed < 4, success=success)
            for attempt, success in zip(attempts, successes, strict=True)
        }
        for way, successes in ways.items()
    }
    return latent_page.Answers(None, found)


def test_searches_over_latents_are_compared_by_attempt():
    """Of 40 seeds 4 fail by themselves; of the others the search finds 20 and chance 2."""
    answers = searched({"search": [seed < 24 for seed in range(40)], "fresh_seeds": [seed > 37 for seed in range(40)]})
    found = sage.better_latents(answers)
    assert (found.value, found.n, found.n_missing) == (pytest.approx(0.5), 36, 4)
    assert found.low > 0.2


def test_a_study_without_the_control_settles_nothing():
    assert math.isnan(sage.better_latents(searched({"search": [True] * 40})).value)
    assert math.isnan(sage.better_words(prompt_page.Answers(None, {"search": {}})).value)


def test_only_prompts_that_were_found_are_tried_on_fresh_seeds():
    """The prompt of a search that found none is the nearest miss: that it fails nowhere says nothing of those found."""
    rows = [outcome(0, fresh=(1, 0)), outcome(1, fresh=(1, 1), plain=(1, 0)), outcome(2, success=False, fresh=(0, 0))]
    completed = [one.model_copy(update={"success": False}) for one in rows]
    ways = {"search": rows, "random_completions": completed}
    answers = prompt_page.Answers(None, {way: {one.attempt: one for one in found} for way, found in ways.items()})
    assert sage.on_fresh_seeds(answers).value == pytest.approx(0.5)
    assert sage.on_fresh_seeds(answers).n == 4
    assert sage.better_words(answers).value == pytest.approx(2 / 3)


def test_where_no_prompt_was_found_there_is_no_share():
    assert math.isnan(sage.on_fresh_seeds(prompt_page.Answers(None, {"search": {}})).value)


def test_the_probability_is_that_of_subset_simulation():
    one = {"prompt": "a photo of a star", "plain": kept(0, 0, 0.03), "rare": kept(0.004, 0.002, 0.01)}
    assert sage.likely(Around({"chances": [one]})).value == 0.004
    assert math.isnan(sage.likely(Around({"chances": []})).value)


def test_failures_that_all_see_alike_show_another_class():
    apart = SEEN | {"judge": "moon 0.98"}
    found = sage.agreed([made(0).failure, made(1).failure, made(2, seen=apart).failure])
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)
    assert sage.agreed([]).n == 0


def test_a_token_is_held_against_the_best_that_chance_has_chosen():
    found = sage.ahead_of_chance(answer(found=0.8, random_vector=0.1, random_word=0.2, target_word=0.9))
    assert found.value == pytest.approx(0.6)
    assert found.low == pytest.approx(0.6 - math.hypot(0.1, 0.1))
    assert math.isnan(sage.ahead_of_chance(answer(found=0.8, target_word=0.9)).value)


def test_the_clip_score_is_held_against_that_of_the_targets_word():
    """It falls by 8 with the token and by 9 with the word."""
    assert sage.clip_spared(answer(found=0.8, target_word=0.9)).value == pytest.approx(1)
    assert math.isnan(sage.clip_spared(answer(found=0.8)).value)


def test_a_claim_must_hold_for_every_target():
    two = [sage.ahead_of_chance(answer(found=rate, random_word=0.1)) for rate in (0.9, 0.3)]
    assert sage.least(two).value == pytest.approx(0.2)
    assert math.isnan(sage.least([*two, sage.NOTHING]).value)


@pytest.mark.parametrize("claim", sage.CLAIMS, ids=lambda claim: claim.name)
def test_the_configs_measure_what_claims_rest_on(claim):
    subject = claim.subject(claim.config, [])
    assert isinstance(subject, OfStudy)
    spec = subject.asked
    if claim.config == sage.LATENTS:
        assert spec.region
        assert spec.region.queries
        assert spec.elsewhere
        assert "fresh_seeds" in spec.controls
    if claim.config == sage.PROMPTS:
        assert "random_completions" in spec.controls
    if claim.config == sage.TOKENS:
        assert spec.clip
        assert {"random_word", "random_vector", "target_word"} <= {*spec.search.controls}
    assert CLAIMS[claim.name] is claim


def test_the_claims_have_the_searches_of_the_demo():
    """So that what the demo has searched is not searched again."""
    claims, demo = (load(LatentStudySpec, name, [], CONFIGS) for name in (sage.LATENTS, "sage_demo"))
    assert claims.attempts() == demo.attempts()
    assert claims.searches() == demo.searches()


def test_what_a_study_leaves_out_settles_nothing(tmp_path):
    settings = ["region=null", "elsewhere=null", f"run.output={tmp_path}"]
    study = sage.latents(sage.LATENTS, settings).asked
    named = {claim.name: claim.measure(study) for claim in sage.CLAIMS if claim.config == sage.LATENTS}
    assert all(math.isnan(found.value) for name, found in named.items() if name != "sage/latents-beyond-chance")
