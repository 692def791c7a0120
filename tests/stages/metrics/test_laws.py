"""Every law over every mergeable metric."""

import math
import pickle
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from stages.metrics import AnyMetric, Mean, Proportion

TABLE = [Proportion(), Proportion(confidence=0.9), Mean(), Mean(confidence=0.99)]
NUMBERS = {Proportion: st.sampled_from([0.0, 1.0, math.nan]), Mean: st.floats(-1e6, 1e6) | st.just(math.nan)}


def numbers(estimate):
    return [estimate.value, estimate.low, estimate.high]


@pytest.mark.parametrize("metric", TABLE, ids=repr)
class TestLaws:
    @given(data=st.data())
    @settings(max_examples=100, deadline=None)
    def test_any_split_merges_to_one_pass(self, metric, data):
        rows = np.array(data.draw(st.lists(NUMBERS[type(metric)], max_size=30)), dtype=np.float64)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
        states = [metric.update(metric.empty(), part) for part in np.split(rows, cuts)]
        order = data.draw(st.permutations(range(len(states))))
        merged = metric.empty()
        for i in order:
            merged = metric.merge(merged, states[i])
        together, whole = metric.result(merged), metric.of(rows)
        assert (together.n, together.n_missing) == (whole.n, whole.n_missing)
        np.testing.assert_allclose(numbers(together), numbers(whole), rtol=1e-9, atol=1e-6)

    def test_updates_in_batches_as_in_one(self, metric):
        rows = np.array([1, 0, 1, math.nan, 0, 1, 1])
        state = metric.empty()
        for row in rows:
            state = metric.update(state, np.array([row]))
        np.testing.assert_allclose(numbers(metric.result(state)), numbers(metric.of(rows)), rtol=1e-12)

    @pytest.mark.parametrize("rows", [np.array([]), np.full(3, math.nan)], ids=["no rows", "only missing"])
    def test_empty_gives_nan(self, metric, rows):
        estimate = metric.of(rows)
        assert all(math.isnan(v) for v in numbers(estimate))
        assert (estimate.n, estimate.n_missing) == (0, len(rows))

    def test_missing_is_counted_and_never_a_number(self, metric):
        with_missing = metric.of(np.array([1, 0, math.nan, 1, math.nan]))
        without = metric.of(np.array([1, 0, 1]))
        assert with_missing == without.model_copy(update={"n_missing": 2})

    def test_takes_truth_values_and_integers(self, metric):
        rows = np.array([1, 0, 1, 1])
        assert metric.of(rows == 1) == metric.of(rows) == metric.of(rows.astype(np.float32))

    def test_refuses_infinity(self, metric):
        with pytest.raises(ValueError, match="but found 1 infinite"):
            metric.of(np.array([1, math.inf]))

    def test_wider_at_higher_confidence(self, metric):
        rows = np.array([1, 0, 1, 1])
        wider = metric.model_copy(update={"confidence": 0.999}).of(rows)
        assert wider.low < metric.of(rows).low < metric.of(rows).high < wider.high

    def test_state_travels(self, metric):
        state = metric.update(metric.empty(), np.array([1, 0, 1]))
        assert pickle.loads(pickle.dumps(state)) == state  # noqa: S301

    def test_survives_json(self, metric):
        assert TypeAdapter(AnyMetric).validate_json(metric.model_dump_json()) == metric


def test_every_kind_is_in_the_table():
    assert {type(m) for m in TABLE} == set(get_args(get_args(AnyMetric)[0]))
