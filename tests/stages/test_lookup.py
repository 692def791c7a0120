"""Lookup: what the search finds, row by row; missing stays missing."""

import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from stages.base import objects
from stages.lookup import Lookup, LookupSpec
from stages.neighbours import Ivf, search
from tests.stages.neighbours.make import unit, write


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return write(tmp_path_factory.mktemp("index"), unit(300, 8).astype(np.float16))


@pytest.fixture
def rows():
    vectors = list(unit(6, 8, "queries"))
    vectors[2] = None
    return {"embedding": objects(vectors)}


def test_it_agrees_with_the_search(index, rows):
    out = Lookup(LookupSpec(index=str(index.folder), k=3, threads=1))(rows)
    present = [i for i in range(6) if i != 2]
    found = search(index, np.stack([rows["embedding"][i] for i in present]), 3)
    assert [out["nearest"][i] for i in present] == found.items.tolist()
    assert [out["nearest_score"][i] for i in present] == found.scores.tolist()


def test_without_an_embedding_there_is_no_neighbour(index, rows):
    stage = Lookup(LookupSpec(index=str(index.folder)))
    out = stage(rows)
    assert out["nearest"][2] is None
    assert out["nearest_score"][2] is None
    assert stage({"embedding": objects([None, None])})["nearest"].tolist() == [None, None]


def test_a_row_depends_on_itself_alone(index, rows):
    stage = Lookup(LookupSpec(index=str(index.folder), k=2, prefix="sscd_"))
    rows = {"sscd_embedding": rows["embedding"]}
    whole = stage(rows)
    for i in range(6):
        alone = stage({"sscd_embedding": rows["sscd_embedding"][i : i + 1]})
        assert alone["sscd_nearest"][0] == whole["sscd_nearest"][i]
        assert alone["sscd_nearest_score"][0] == whole["sscd_nearest_score"][i]


def test_columns_carry_the_prefix(index):
    spec = LookupSpec(index=str(index.folder), prefix="pixels_")
    assert Lookup.columns(spec) == (("pixels_embedding",), ("pixels_nearest", "pixels_nearest_score"))


def test_another_engine(index, rows):
    out = Lookup(LookupSpec(index=str(index.folder), engine=Ivf(lists=4, probes=4)))(rows)
    assert out["nearest"][0] == Lookup(LookupSpec(index=str(index.folder)))(rows)["nearest"][0]


def test_too_many_neighbours_are_refused_before_any_row(index):
    with pytest.raises(ValueError, match="expected k of 1 to 300, the number of references, found 301"):
        Lookup(LookupSpec(index=str(index.folder), k=301))


def test_another_descriptor_is_refused(index):
    with pytest.raises(ValueError, match="expected queries of 8 numbers"):
        Lookup(LookupSpec(index=str(index.folder)))({"embedding": objects(unit(1, 9))})


def test_an_unknown_engine_is_refused():
    with pytest.raises(ValidationError, match="'exact', 'flat'"):
        LookupSpec.model_validate({"index": "x", "engine": {"kind": "annoy"}})


def test_specs_need_no_heavy_library():
    code = "import sys, stages.lookup, stages.embed; print([n for n in ('torch', 'faiss', 'ray') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
