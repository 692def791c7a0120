"""Pipelines: columns are followed before anything runs, layouts differ in where, not in what."""

import numpy as np
import pytest

from pipelines.columns import pack, unpack
from pipelines.compute import Compute, Kind
from pipelines.pipeline import Pipeline, Step, Worker
from stages.base import Spec, objects
from tests.pipelines.toys import Brightness, Draw, ToySpec

COLUMNS = ("number", "seed", "error")
TOYS = (Step(Draw, ToySpec()), Step(Brightness, Spec()))


def test_columns_are_followed():
    Pipeline("toys", *TOYS, keep=("number", "brightness")).check(COLUMNS)


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        (Pipeline("toys", *reversed(TOYS)), r"step 1 \(Brightness\) reads \['image'\]"),
        (Pipeline("toys", *TOYS, TOYS[1]), r"step 3 \(Brightness\) writes \['brightness'\], which already exist"),
        (Pipeline("toys", *TOYS, keep=("clip",)), r"keeps \['clip'\]"),
    ],
)
def test_bad_columns_are_refused_in_one_sentence(pipeline: Pipeline, said: str):
    with pytest.raises(ValueError, match=said):
        pipeline.check(COLUMNS)


def test_a_step_that_rewrites_what_it_reads_is_allowed():
    Pipeline("toys", TOYS[0]).check(COLUMNS)


def test_pools_of_both_layouts():
    steps = (
        Step(Draw, ToySpec(), Compute(actors=3, cpus=2)),
        Step(Draw, ToySpec(), None),
        Step(Brightness, Spec(), Compute(cpus=0.5)),
    )
    pipeline = Pipeline("toys", *steps)
    fused, staged = pipeline.pools("fused"), pipeline.pools("staged")
    assert [(p.name, p.compute.actors) for p in fused] == [("Draw + Draw + Brightness", 3)]
    assert [(p.name, p.compute.actors) for p in staged] == [("Draw + Draw", 3), ("Brightness", 1)]


def test_no_pool_is_larger_than_it_may_be():
    """Of several kinds the first stay."""
    assert [Compute(actors=5).at_most(n).count for n in (1, 5, 7)] == [1, 5, 5]
    mixed = Compute(gpus=1, kinds=(Kind(accelerator="A100", actors=2), Kind(accelerator="H200", actors=3)))
    assert mixed.places == ["A100", "A100", "H200", "H200", "H200"]
    assert [mixed.at_most(n).places for n in (1, 3, 9)] == [mixed.places[:1], mixed.places[:3], mixed.places]
    assert mixed.count == mixed.at_most(9).count == 5


def test_a_worker_applies_every_step_and_keeps_what_it_is_told():
    rows = pack({"number": np.arange(3), "seed": np.array([1, 2, 3]), "error": objects([None, None, "old"])})
    out = unpack(Worker((Step(Draw, ToySpec(fails_on=(2,))), TOYS[1]), ("number", "brightness", "error"))(rows))
    assert sorted(out) == ["brightness", "error", "number"]
    np.testing.assert_array_equal(out["brightness"], [1, np.nan, 3])
    assert out["error"].tolist() == [None, "no", None]


def test_packing_keeps_everything():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    batch = {
        "sample_id": objects(["a", "b"]),
        "seed": np.array([1, 2**40]),
        "error": objects([None, None]),
        "image": objects([image, None]),
        "judge_top5": objects([[1, 2], None]),
        "clip_score": np.array([1.5, np.nan]),
        "sscd_embedding": objects([np.array([0.6, -0.8], np.float32), None]),
        "sscd_nearest": objects([[2**40, 0], None]),
        "sscd_nearest_score": objects([[0.5, 0.25], None]),
    }
    back = unpack(pack(batch))
    np.testing.assert_array_equal(back["image"][0], image)
    assert back["image"][1] is None
    assert back["seed"].tolist() == [1, 2**40]
    assert (back["error"].tolist(), back["judge_top5"].tolist()) == ([None, None], [[1, 2], None])
    np.testing.assert_array_equal(back["clip_score"], [1.5, np.nan])
    np.testing.assert_array_equal(back["sscd_embedding"][0], batch["sscd_embedding"][0])
    assert back["sscd_embedding"][0].dtype == np.float32
    assert back["sscd_embedding"][1] is None
    assert back["sscd_nearest"].tolist() == [[2**40, 0], None]
    assert back["sscd_nearest_score"].tolist() == [[0.5, 0.25], None]
