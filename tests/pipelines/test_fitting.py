"""Fitting: what fits is placed, no more than fits, and the slower side of a pipeline grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cluster import refuse_impossible
from pipelines.compute import Compute, Kind
from pipelines.fitting import Room, fitted
from pipelines.pipeline import Pipeline, Step
from pipelines.run import RunSpec
from stages.base import Spec
from tests.pipelines.toys import Brightness, Draw, ToySpec

FAST, SLOW, PLAIN = "accelerator_type:H200", "accelerator_type:A100", "node:10.0.0.1"


def fit(run: RunSpec, nodes, rates=()) -> RunSpec:
    steps = Step(Draw, ToySpec(), run.generate), Step(Brightness, Spec(), run.measure)
    pipeline = Pipeline("toys", *steps)
    found = fitted(run, pipeline.pools(run.layout), nodes, dict(rates))
    again = Pipeline("toys", Step(Draw, ToySpec(), found.generate), Step(Brightness, Spec(), found.measure))
    refuse_impossible(again, found, nodes)
    return found


def node(cpus: float, gpus: float = 0, name: str = PLAIN) -> dict[str, float]:
    return {"CPU": cpus, "GPU": gpus, name: 1.0}


@pytest.mark.parametrize(
    ("generate", "nodes", "actors"),
    [
        ({}, [node(4)], 3),
        ({"cpus": 2}, [node(4), node(5)], 3),
        ({"cpus": 2}, [node(4), node(4)], 3),
        ({"gpus": 1}, [node(1, 4), node(8, 2)], 6),
        ({"gpus": 0.3}, [node(1, 2)], 6),
        ({"gpus": 2}, [node(1, 3), node(1, 1)], 1),
        ({"actors": 7, "gpus": 1}, [node(1, 2)], 2),
    ],
)
def test_one_pool_takes_what_fits_and_leaves_a_cpu_for_reading(generate, nodes, actors):
    found = fit(RunSpec(generate=Compute(**generate)), nodes)
    assert found.generate == Compute(**generate | {"actors": actors})


def test_several_kinds_are_told_apart_and_the_fastest_comes_first():
    nodes = [node(8, 2, SLOW), node(8, 1, FAST), node(8)]
    rates = {("Draw + Brightness", "A100"): 1.0, ("Draw + Brightness", "H200"): 3.0}
    run = RunSpec(generate=Compute(gpus=1))
    assert fit(run, nodes, rates).generate.places == ["H200", "A100", "A100"]
    only = run.model_copy(update={"generate": Compute(gpus=0.5, kinds=(Kind(accelerator="A100"),))})
    assert fit(only, nodes).generate.places == ["A100"] * 4


@pytest.mark.parametrize(
    ("draw", "measure", "actors"),
    [
        (1.0, 100.0, (11, 1)),
        (1.0, 1.0, (6, 6)),
        (1.0, 0.5, (4, 8)),
        (4.0, 1.0, (3, 9)),
        (None, 1.0, (11, 1)),
        (1.0, None, (11, 1)),
    ],
)
def test_stages_are_balanced_by_their_rates(draw, measure, actors):
    """Twelve CPUs, besides the one for reading; without rates every CPU but one draws."""
    rates = {(name, ""): rate for name, rate in (("Draw", draw), ("Brightness", measure)) if rate}
    found = fit(RunSpec(layout="staged", measure=Compute()), [node(7), node(6)], rates)
    assert (found.generate.count, found.measure.count) == actors


def test_several_stages_share_one_gpu():
    run = RunSpec(layout="staged", generate=Compute(gpus=0.5), measure=Compute(gpus=0.25))
    rates = {("Draw", "H200"): 1.0, ("Brightness", "H200"): 1.0}
    found = fit(run, [node(8, 1, FAST)], rates)
    assert (found.generate.count, found.measure.count) == (1, 1)
    found = fit(run, [node(8, 2, FAST)], rates)
    assert (found.generate.count, found.measure.count) == (3, 2)


@given(
    st.lists(st.builds(node, st.sampled_from([1, 2, 8]), st.sampled_from([0, 1, 4])), min_size=1, max_size=4),
    st.sampled_from([{"cpus": 0.5}, {"cpus": 3}, {"gpus": 0.3}, {"gpus": 1}, {"gpus": 2}]),
    st.sampled_from([{"cpus": 0.5}, {"gpus": 0.25}]),
    st.sampled_from([0.1, 1.0, 30.0]),
)
def test_what_is_fitted_is_never_refused(nodes, generate, measure, rate):
    run = RunSpec(layout="staged", generate=Compute(**generate), measure=Compute(**measure))
    steps = Step(Draw, ToySpec(), run.generate), Step(Brightness, Spec(), run.measure)
    pools = Pipeline("toys", *steps).pools("staged")
    found = fitted(run, pools, nodes, {("Draw", ""): 1.0, ("Brightness", ""): rate})
    if found.generate.count + found.measure.count > 2:  # or else not even the least may fit
        fit(run, nodes, {("Draw", ""): 1.0, ("Brightness", ""): rate})


def test_a_fraction_lies_within_one_device():
    room = Room("", 1.0, (0.4, 0.4, 1.0))
    assert room.beside(Compute(gpus=0.5)) == Room("", 1.0, (0.4, 0.4, 0.5))
    assert room.beside(Compute(gpus=0.4)) == Room("", 1.0, (0.0, 0.4, 1.0))
    assert room.beside(Compute(gpus=1)) == Room("", 1.0, (0.0, 0.4, 0.4))
    assert room.beside(Compute(gpus=2)) is None
