"""Found latents with other classes' prompts: which are tried, beside what, and what the page says."""

import numpy as np
import pytest

from tests.tuning.sage.models import SAMPLER, linear_surrogate
from tests.tuning.sage.people.made_up import made
from tests.tuning.sage.region.half_space import GENERATOR, SEARCH
from tuning.sage.failures import Saved
from tuning.sage.latent import seed_latent
from tuning.sage.latents.elsewhere import Elsewhere, ElsewhereSpec, Moved
from tuning.sage.latents.elsewhere_page import ElsewhereAnswers
from tuning.sage.region.oracle import Oracle, Query

PROMPTS = {label: f"a photo of a {label}" for label in ("star", "fish", "moon", "ring")}
BLANK = {"circle": "", "square": ""}


def failure(seed: int, found: int) -> Saved:
    """A circle from a seed; what was found is the latent of another seed."""
    latent = seed_latent(GENERATOR, SAMPLER, found)
    return made(seed, label="circle", prompt="", sampler=SAMPLER)._replace(latent=latent)


def row(name: str, found: bool, own: bool, fresh: bool) -> Moved:
    query = Query(prompt="a photo of a fish", label="fish")
    return Moved(failure=name, query=query, found=found, own_seed=own, fresh_seed=fresh)


def test_other_classes_are_chosen_for_each_latent():
    spec = ElsewhereSpec(classes=2)
    chosen = [tuple(one.label for one in spec.queries(made(n).failure, PROMPTS)) for n in range(20)]
    assert {len(set(labels)) for labels in chosen} == {2}
    assert {label for labels in chosen for label in labels} == {"fish", "moon", "ring"}
    assert len(set(chosen)) > 2
    assert spec.queries(made(1).failure, PROMPTS) == spec.queries(made(1).failure, PROMPTS)


def test_a_class_that_is_the_target_is_left_out():
    one = made(1, target={"kind": "targeted", "target": "fish"}).failure
    queries = ElsewhereSpec(classes=9).queries(one, PROMPTS)
    assert {query.label for query in queries} == {"moon", "ring"}
    assert {query.target for query in queries} == {one.target}


def test_each_latent_is_judged_with_the_other_prompt():
    """Where nothing is drawn from the prompt, a latent fails as a square exactly where it is seen as a circle."""
    surrogate, seeds = linear_surrogate(bias=0.5), range(8)
    saved = [failure(seed, found=seed + 100) for seed in seeds]
    rows = Elsewhere(ElsewhereSpec(), SEARCH, GENERATOR, surrogate)(saved, BLANK)
    oracle = Oracle(SEARCH, GENERATOR, surrogate)
    circle = lambda first: oracle(  # noqa: E731
        np.stack([seed_latent(GENERATOR, SAMPLER, first + n) for n in seeds]), Query(prompt="", label="square")
    )
    assert [one.failure for one in rows] == [one.failure.name for one in saved]
    assert [one.found for one in rows] == circle(100).tolist()
    assert [one.own_seed for one in rows] == circle(0).tolist()
    assert len({*[one.fresh_seed for one in rows]}) == 2


def test_only_the_first_failures_are_tried():
    spec = ElsewhereSpec(failures=2, classes=1)
    rows = Elsewhere(spec, SEARCH, GENERATOR, linear_surrogate())([failure(n, n) for n in range(4)], BLANK)
    assert len(rows) == 2
    assert len(rows) * 3 == spec.pictures


def test_rates_and_gains_are_over_the_same_prompts():
    rows = [row(f"{n}", n < 30, n < 8, n < 4) for n in range(40)]
    answers = ElsewhereAnswers(rows)
    assert [answers.rate(arm).value for arm in ("found", "own_seed", "fresh_seed")] == [0.75, 0.2, 0.1]
    assert answers.gain("fresh_seed").value == pytest.approx(0.65)
    assert answers.gain("own_seed").low > 0.3
    assert "+0.65" in " ".join(answers.sentences())


def test_prompts_of_one_latent_are_one_cluster():
    """Twelve latents that fail always or never: an interval over 120 pairs would be 0.18 wide."""
    rows = [row(f"{n}", n % 2 == 0, False, False) for n in range(12) for _ in range(10)]
    found = ElsewhereAnswers(rows).gain("fresh_seed")
    assert found.n == 120
    assert found.high - found.low > 0.4


def test_without_a_failure_there_is_nothing_to_say():
    answers = ElsewhereAnswers([])
    assert not list(answers.sentences())
    assert np.isnan(answers.gain("fresh_seed").value)
    assert answers.table().empty
