import json

import numpy as np
import pytest

from tuning.sage import outcomes
from tuning.sage.prompts.outcomes import PromptOutcome, Said, fresh_gain, fresh_rate, naturalness
from tuning.sage.prompts.pictures import PromptAttempt

PLAIN = "a photo of a star"


def outcome(seed=0, *, words="in the dark", natural=False, success=True, plain=(0, 0), fresh=(1, 1), per_word=-2.0):
    return PromptOutcome(
        attempt=PromptAttempt(label="star", seeds=(seed,)),
        plain=PLAIN,
        prompt=f"{PLAIN} {words}",
        evaluations=10,
        natural=natural,
        success=success,
        plain_said=Said(per_word=-1.0, words=5, end=-0.5),
        said=Said(per_word=per_word, words=8, end=float("nan")),
        plain_fresh=tuple(map(bool, plain)),
        fresh=tuple(map(bool, fresh)),
    )


def test_an_outcome_survives_json_that_everyone_reads(tmp_path):
    one = outcome()
    outcomes.keep(tmp_path, one)
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_text(), parse_constant=pytest.fail)["said"]["end"] is None
    (again,) = outcomes.kept(tmp_path, [one.attempt], PromptOutcome).values()
    assert (again.prompt, again.words, again.fresh) == (one.prompt, "in the dark", (True, True))
    assert np.isnan(again.said.end)


def test_shares_of_fresh_seeds_leave_natural_failures_out():
    rows = [outcome(0, fresh=(1, 0)), outcome(1, fresh=(1, 1), plain=(1, 0)), outcome(2, natural=True, plain=(1, 1))]
    assert (fresh_rate(rows).value, fresh_rate(rows, plain=True).value) == (0.75, 0.25)
    assert fresh_rate(rows).n == 4
    assert fresh_gain(rows).value == pytest.approx(0.5)


def test_seeds_of_one_prompt_are_one_cluster():
    """All seeds of a prompt agree here, so that eight prompts say no more than eight seeds would."""
    rows = [outcome(n, fresh=(n % 2,) * 10, plain=(0,) * 10) for n in range(8)]
    alone = [outcome(n, fresh=(n % 2,), plain=(0,)) for n in range(8)]
    width = lambda estimate: estimate.high - estimate.low  # noqa: E731
    assert width(fresh_rate(rows)) == pytest.approx(width(fresh_rate(alone)), rel=0.1)


def test_nothing_tried_is_missing():
    rows = [outcome(natural=True)]
    assert np.isnan(fresh_rate(rows).value)
    assert np.isnan(fresh_gain(rows).value)
    assert fresh_gain(rows).n == 0


def test_naturalness_is_of_words():
    rows = [outcome(0, per_word=-2.0), outcome(1, per_word=-4.0)]
    assert naturalness(rows).value == -3
    assert naturalness(rows, plain=True).value == -1


def test_gain_is_over_the_attempts_of_both():
    search = {one.attempt: one for one in (outcome(0), outcome(1), outcome(2, natural=True), outcome(3))}
    control = {one.attempt: one for one in (outcome(0, success=False), outcome(1), outcome(2, success=False))}
    assert outcomes.gain(search, control).value == 0.5
    assert (outcomes.gain(search, control).n, outcomes.gain(search, control).n_missing) == (2, 1)
