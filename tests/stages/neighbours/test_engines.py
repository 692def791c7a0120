"""Every law over every engine, and FAISS as an independent check of the exact search."""

from typing import get_args

import faiss
import numpy as np
import pytest
from pydantic import TypeAdapter

from stages.neighbours import AnyEngine, Exact, Flat, Hnsw, Index, InMemory, Ivf, IvfPq
from stages.neighbours.recall import recall
from stages.neighbours.search import Checked, search
from stages.neighbours.trained import file_of
from tests.stages.neighbours.make import brute, unit, write

TABLE = [Exact(), Flat(), Ivf(lists=8, probes=4), IvfPq(lists=8, probes=4, bytes=4), Hnsw(links=8, breadth=32)]
TRAINED = [engine for engine in TABLE if engine.kind != "exact"]
COUNT, DIMENSION = 900, 16


@pytest.fixture(scope="module")
def stored() -> np.ndarray:
    centres = unit(30, DIMENSION, "centres")[np.arange(COUNT) % 30]
    vectors = centres + 0.3 * unit(COUNT, DIMENSION)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def asked(stored) -> np.ndarray:
    near = stored[:60] + 0.1 * unit(60, DIMENSION, "queries")
    return near / np.linalg.norm(near, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def index(stored, tmp_path_factory) -> Index:
    return write(tmp_path_factory.mktemp("index"), stored.astype(np.float16), shard_rows=400)


@pytest.mark.parametrize("engine", TABLE, ids=repr)
class TestLaws:
    def test_scores_are_those_of_the_items(self, engine, index, asked):
        found = search(index, asked, 5, engine)
        assert found.items.shape == found.scores.shape == (60, 5)
        assert (found.items >= 0).all()
        vectors = index.gather(found.items.ravel()).reshape(60, 5, -1).astype(np.float64)
        np.testing.assert_allclose(found.scores, np.einsum("qd,qkd->qk", asked, vectors), rtol=1e-6)

    def test_best_first_and_no_item_twice(self, engine, index, asked):
        found = search(index, asked, 5, engine)
        assert (np.diff(found.scores, axis=1) <= 0).all()
        assert all(len(set(row)) == 5 for row in found.items.tolist())

    def test_finds_nearly_all_of_clustered_references(self, engine, index, asked):
        share = recall(engine, index, asked, 5, "cpu")
        assert share.nearest.value > 0.9
        assert share.at_k.value > 0.8
        assert share.nearest.n == share.at_k.n == 60
        if engine.exact:
            assert share.nearest.value == share.at_k.value == 1.0

    def test_l2_agrees_with_brute_force_in_score(self, engine, stored, asked):
        scores, _ = brute(asked, stored, 1, "l2")
        found = search(InMemory(stored, "l2"), asked, 1, engine)
        assert (found.scores >= scores * (1 - 2.0**-23)).all()
        assert np.isclose(found.scores, scores, rtol=1e-6).mean() > 0.9

    def test_same_answer_again(self, engine, index, asked):
        first, second = (search(index, asked, 3, engine) for _ in range(2))
        assert first.scores.tobytes() == second.scores.tobytes()
        np.testing.assert_array_equal(first.items, second.items)

    def test_shards_keep_the_numbers_of_their_items(self, engine, index, asked):
        part = Index.open(index.folder, shards=[1, 2])
        found = search(part, asked, 3, engine)
        assert found.items.min() >= 400
        vectors = index.gather(found.items[:, 0])
        np.testing.assert_allclose(found.scores[:, 0], np.sum(asked * vectors, axis=1), rtol=1e-5)

    def test_survives_json(self, engine):
        assert TypeAdapter(AnyEngine).validate_json(engine.model_dump_json()) == engine


def test_every_kind_is_in_the_table():
    assert {type(e) for e in TABLE} == set(get_args(get_args(AnyEngine)[0]))


def test_an_unknown_engine_is_refused():
    with pytest.raises(ValueError, match=r"'annoy'.*'exact', 'flat', 'ivf', 'ivf_pq', 'hnsw'"):
        TypeAdapter(AnyEngine).validate_python({"kind": "annoy"})


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_exact_equals_faiss_itself(metric, stored, asked):
    peer = {"cosine": faiss.IndexFlatIP, "l2": faiss.IndexFlatL2}[metric](DIMENSION)
    peer.add(stored)
    scores, items = peer.search(asked, 4)
    found = search(InMemory(stored, metric), asked, 4)
    np.testing.assert_array_equal(found.items, items)
    np.testing.assert_allclose(found.scores, scores if metric == "cosine" else np.sqrt(scores), rtol=1e-4)


@pytest.mark.parametrize("engine", TRAINED, ids=repr)
def test_an_engine_is_built_once(engine, index, asked):
    search(index, asked, 1, engine)
    path = file_of(engine, index)
    before = path.stat().st_mtime_ns
    search(index, asked, 1, engine.model_copy(update={"rescored": 2}))
    assert path.stat().st_mtime_ns == before
    assert [p for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_other_references_get_a_file_of_their_own(index):
    half = Index.open(index.folder, shards=[0])
    assert file_of(Flat(), half) != file_of(Flat(), index)
    assert file_of(Ivf(lists=4), index) != file_of(Ivf(lists=8), index)
    assert file_of(Ivf(lists=4, probes=1), index) == file_of(Ivf(lists=4, probes=2), index)


def test_a_broken_engine_file_is_named(index, asked):
    engine = Ivf(lists=2)
    file_of(engine, index).parent.mkdir(exist_ok=True)
    file_of(engine, index).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"expected an index of FAISS in .*; delete it"):
        search(index, asked, 1, engine)


def test_pq_refuses_a_dimension_that_it_cannot_divide(index, asked):
    with pytest.raises(ValueError, match=r"expected a dimension that 14 divides .*found 16; change bytes"):
        search(index, asked, 1, IvfPq(bytes=7))


class TestQueries:
    def test_more_neighbours_than_references(self, index, asked):
        with pytest.raises(ValueError, match="expected k of 1 to 900, the number of references, found 901"):
            search(index, asked, 901)

    def test_another_dimension(self, index):
        with pytest.raises(ValueError, match=r"expected queries of 16 numbers.* found 8"):
            search(index, unit(3, 8), 1)

    def test_a_zero_vector(self, index):
        with pytest.raises(ValueError, match="norm 0; a zero vector has no direction"):
            search(index, np.zeros((1, 16), np.float32), 1)

    def test_not_a_number(self, index):
        with pytest.raises(ValueError, match="found NaN or infinity"):
            search(index, np.full((1, 16), np.nan, np.float32), 1)

    def test_zero_is_a_point_like_any_other_for_l2(self, stored):
        found = Checked(InMemory(stored, "l2"), Exact())(np.zeros((1, 16), np.float32), 1)
        np.testing.assert_allclose(found.scores, 1, rtol=1e-6)

    def test_references_of_another_type(self, stored):
        with pytest.raises(ValueError, match="expected references of float16 or float32, found float64"):
            InMemory(stored.astype(np.float64), "cosine")

    def test_no_reference_at_all(self):
        with pytest.raises(ValueError, match="at least one reference, found none"):
            InMemory(np.zeros((0, 4), np.float32), "cosine")
