"""Ranges of settings."""

from typing import get_args

import numpy as np
import optuna
import pytest
from pydantic import TypeAdapter, ValidationError

from stages.randomness import rng
from tuning.spaces import AnyRange, Choice, Integers, LogUniform, Uniform

TABLE = [Choice(values=("a", 2, None)), Uniform(low=-1, high=1), LogUniform(low=0.01, high=10), Integers(low=1, high=3)]
PARSE: TypeAdapter[AnyRange] = TypeAdapter(AnyRange)


def test_every_kind_is_in_the_table():
    assert {type(one) for one in TABLE} == set(get_args(get_args(AnyRange)[0]))


@pytest.mark.parametrize("values", TABLE, ids=repr)
def test_survives_json(values):
    assert PARSE.validate_json(values.model_dump_json()) == values


@pytest.mark.parametrize("values", TABLE, ids=repr)
def test_samples_lie_in_the_range(values):
    state = int(rng(0, "range").integers(2**31))
    drawn = values.domain().sample(size=200, random_state=state)
    if isinstance(values, Choice):
        assert set(drawn) == set(values.values)
    else:
        assert values.low <= min(drawn) < max(drawn) <= values.high
    if isinstance(values, Integers):
        assert set(drawn) == {1, 2, 3}


@pytest.mark.parametrize("bad", [{"low": 1, "high": 1}, {"low": 2, "high": 1}], ids=str)
@pytest.mark.parametrize("kind", ["uniform", "log_uniform", "integers"])
def test_an_empty_range_is_refused(kind, bad):
    with pytest.raises(ValidationError, match="expected low below high"):
        PARSE.validate_python({"kind": kind, **bad})


@pytest.mark.parametrize("values", TABLE, ids=repr)
def test_optuna_proposes_the_same_values(values):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    drawn = [values.suggest(study.ask(), "x") for _ in range(200)]
    if isinstance(values, Choice):
        assert set(drawn) == set(values.values)
    else:
        assert values.low <= min(drawn) < max(drawn) <= values.high
    if isinstance(values, LogUniform):
        assert np.median(drawn) == pytest.approx((values.low * values.high) ** 0.5, rel=0.5)
