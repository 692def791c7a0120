"""Runs on real actors: every row once, whatever dies; too many failures stop; impossible requests are refused."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.cluster import connect, refuse_impossible
from pipelines.compute import Compute
from pipelines.config import UserError
from pipelines.grid import Grid, Seeds
from pipelines.pipeline import Pipeline, Step
from pipelines.prompts import Prompt
from pipelines.run import RunFailed, RunSpec, cause, execute, undone, work
from stages.base import Spec
from tests.pipelines.toys import Brightness, Draw, ToySpec

GRID = Grid("m", "r", (Prompt("a", 0, "a"), Prompt("b", 1, "b")), Seeds(count=60, shared=True), ("{}",), ("{}",))
KEEP = ("number", "seed", "error", "brightness")


def pipeline(**misbehaviour) -> Pipeline:
    return Pipeline(
        "toys",
        Step(Draw, ToySpec(**misbehaviour), Compute(actors=2, cpus=0.5)),
        Step(Brightness, Spec(), Compute(cpus=0.5)),
        keep=KEEP,
    )


def run(steps: Pipeline, done=(), **settings) -> dict[int, tuple]:
    bits = np.zeros(len(GRID), dtype=bool)
    bits[list(done)] = True
    found: list[tuple] = []
    spec = RunSpec(batch_size=8, **settings)
    execute(
        steps,
        work(GRID, np.packbits(bits), 8),
        int((~bits).sum()),
        spec,
        lambda _: None,
        lambda b: found.extend(zip(*(b[name].tolist() for name in KEEP), strict=True)),
    )
    assert len({row[0] for row in found}) == len(found), "a row came twice"
    return {row[0]: row[1:] for row in found}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("layout", ["fused", "staged"])
def test_both_layouts_give_every_row_once(layout: str):
    rows = run(pipeline(), layout=layout)
    assert sorted(rows) == list(range(len(GRID)))
    assert all(brightness == seed for seed, error, brightness in rows.values())


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_rows_that_are_done_are_left_out():
    done = {*range(0, 120, 3), 119}
    assert sorted(run(pipeline(), done)) == sorted(set(range(120)) - done)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_actor_loses_nothing(tmp_path: Path):
    rows = run(pipeline(dies_on=30, folder=str(tmp_path)))
    assert (tmp_path / "died").exists()
    assert sorted(rows) == list(range(len(GRID)))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_failed_rows_come_back_with_their_reason():
    rows = run(pipeline(fails_on=(3,)))
    failed = [n for n, (_, error, _) in rows.items() if error]
    assert [rows[n][0] for n in failed] == [3, 3]
    assert all(np.isnan(rows[n][2]) for n in failed)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_too_many_failures_stop_the_run():
    with pytest.raises(RunFailed, match="at most 5% of 120 rows"):
        run(pipeline(fails_on=tuple(range(30))))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_what_a_stage_refuses_reaches_the_user_in_one_sentence():
    with pytest.raises(UserError, match="draw: expected a whole model, found a broken one"):
        run(pipeline(broken=True))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_request_that_can_never_be_met_is_refused_at_once():
    greedy = Pipeline("greedy", Step(Draw, ToySpec(), Compute(actors=10_000)))
    with pytest.raises(UserError, match=r"greedy: expected a cluster with at least 10001 CPUs .* found"):
        refuse_impossible(greedy, RunSpec(), [{"CPU": 2.0}])
    with pytest.raises(UserError, match="1 GPUs"):
        connect(RunSpec(), [Pipeline("gpu", Step(Draw, ToySpec(), Compute(gpus=1)))])


def test_undone_reads_the_bitmap():
    done = np.zeros(100, dtype=bool)
    done[[0, 7, 8, 63, 99]] = True
    for numbers in (np.arange(100), np.arange(5, 9), np.array([99]), np.array([64, 7, 3, 99, 0])):
        np.testing.assert_array_equal(undone(numbers, np.packbits(done)), numbers[~done[numbers]])


def test_the_cause_of_a_failure_is_what_was_said_last_before_rays_advice():
    advice = "Failed to map after 1/1 attempts (total backoff 0.0s).\nTo change retry attempts, configure it."
    said = RuntimeError(f"Traceback\n  File x\nValueError: expected a, found b\n{advice}")
    assert cause(said) == "ValueError: expected a, found b"
    assert cause(RuntimeError("one\ntwo")) == "two"
    link = "The above exception was the direct cause of the following exception:"
    ray = f"ray::MapWorker() (pid=963)\nray.exceptions.UserCodeException: UDF failed to process a data block.\n{advice}"
    assert cause(RuntimeError(f"KeyError: 1\n\n{link}\n\nValueError: a, found b\n\n{link}\n\n{ray}")) == (
        "ValueError: a, found b"
    )
