"""Merging partial answers: any split, any order, the same bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.neighbours.found import Best, Found, cost, pair_scores
from stages.randomness import rng

METRICS = ["cosine", "l2"]


def found(scores: np.ndarray, items: np.ndarray, k: int, metric: str) -> Found:
    best = Best(len(scores), k)
    rows = np.repeat(np.arange(len(scores)), scores.shape[1])
    best.add(rows, cost(scores.ravel(), metric), np.tile(items, len(scores)))
    return best.found(metric)


def same(a: Found, b: Found) -> bool:
    return bool((a.items == b.items).all()) and a.scores.tobytes() == b.scores.tobytes()


@pytest.mark.parametrize("metric", METRICS)
@given(data=st.data())
@settings(max_examples=60)
def test_any_split_in_any_order_merges_to_one_pass(metric, data):
    count, k = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 6))
    levels = st.lists(st.sampled_from([0.25, 0.5, 0.5, 1.0]), min_size=2 * count, max_size=2 * count)  # many ties
    scores = np.array(data.draw(levels), np.float32).reshape(2, count)
    items = np.arange(count)
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=3)))
    parts = [found(scores[:, i], items[i], k, metric) for i in np.split(items, cuts)]
    merged = parts[0]
    for i in data.draw(st.permutations(range(1, len(parts)))):
        merged = merged.merge(parts[i])
    whole = found(scores, items, k, metric)
    assert same(merged, whole)
    left = parts[0].merge(parts[-1]).merge(parts[0 if len(parts) < 2 else 1])
    assert left.items.shape == whole.items.shape


def test_merging_is_associative():
    a, b, c = (
        found(rng(i, "x").standard_normal((3, 4)).astype(np.float32), np.arange(4) + 4 * i, 3, "l2") for i in range(3)
    )
    assert same(a.merge(b).merge(c), a.merge(b.merge(c)))


def test_equal_scores_come_in_order_of_their_items():
    one = found(np.array([[0.5, 0.5, 0.7]], np.float32), np.array([9, 3, 6]), 3, "cosine")
    assert one.items.tolist() == [[6, 3, 9]]


def test_where_there_are_too_few_the_last_items_are_missing():
    few = found(np.array([[0.5]], np.float32), np.array([4]), 3, "l2")
    assert few.items.tolist() == [[4, -1, -1]]
    assert np.isinf(few.scores[0, 1:]).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 3, 64, 513, 3072])
def test_a_pair_has_the_same_bits_in_any_batch(metric, dimension):
    a, b = (rng(0, side).standard_normal((300, dimension), dtype=np.float32) for side in "ab")
    together = pair_scores(a, b, metric)
    alone = np.concatenate([pair_scores(a[i : i + 1], b[i : i + 1], metric) for i in range(300)])
    halves = np.concatenate([pair_scores(a[i : i + 7], b[i : i + 7], metric) for i in range(0, 300, 7)])
    assert together.tobytes() == alone.tobytes() == halves.tobytes()


def test_a_near_duplicate_has_its_true_distance():
    x = np.full((1, 3072), 1e3, np.float32)
    y = x.copy()
    y[0, 5] += 0.25
    assert pair_scores(x, y, "l2").tolist() == [0.25]
    assert pair_scores(x, x, "l2").tolist() == [0.0]
