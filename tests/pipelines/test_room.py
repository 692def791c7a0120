"""Room: what is refused cannot be placed, and what sums alone would let pass is refused."""

import math
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cluster import refuse_impossible
from pipelines.compute import Compute, Kind
from pipelines.config import UserError
from pipelines.pipeline import Pipeline, Step
from pipelines.room import Shortage, shortage, slots
from pipelines.run import RunSpec
from stages.base import Spec
from tests.pipelines.toys import Brightness, Draw, ToySpec


@pytest.mark.parametrize(
    ("amount", "size", "device", "expected"),
    [(3, 2, math.inf, 1), (0.3, 0.1, math.inf, 3), (2, 0.6, 1, 2), (2, 0.3, 1, 6), (4, 2, 1, 2), (0.5, 0.25, 1, 2)],
)
def test_how_many_fit(amount: float, size: float, device: float, expected: int):
    assert slots(amount, size, device) == expected


@pytest.mark.parametrize(
    ("actors", "nodes", "device", "expected"),
    [
        ({2: 2}, [1, 1, 1, 1], 1, Shortage(2, 2, 0)),
        ({0.6: 3}, [2], 1, Shortage(0.6, 3, 2)),
        ({1.5: 2}, [2, 1], math.inf, Shortage(1.5, 2, 1)),
        ({2: 1, 1: 1}, [1, 1, 1], math.inf, Shortage(2, 1, 0)),
        ({2: 1, 1.5: 1}, [2, 1.4], math.inf, Shortage(1.5, 2, 1)),
        ({1: 4, 0.5: 8}, [4, 4], math.inf, None),
        ({}, [], 1, None),
    ],
)
def test_known_shortages(actors, nodes, device, expected):
    assert shortage(actors, nodes, device) == expected


@given(st.lists(st.lists(st.sampled_from([0.1, 0.25, 0.3, 0.5, 1, 1.5, 2, 3]), max_size=6), min_size=1, max_size=5))
def test_what_was_placed_is_never_refused(placed: list[list[float]]):
    nodes = [math.fsum(node) for node in placed]
    sizes = [size for node in placed for size in node]
    assert shortage({size: sizes.count(size) for size in sizes}, nodes) is None


@given(
    st.lists(st.lists(st.sampled_from([0.1, 0.25, 0.3, 0.5]), max_size=3), min_size=1, max_size=6), st.integers(0, 3)
)
def test_fractions_placed_on_devices_are_never_refused(devices: list[list[float]], whole: int):
    devices = [device for device in devices if math.fsum(device) <= 1]
    sizes = [size for device in devices for size in device] + [2.0] * whole
    assert shortage({size: sizes.count(size) for size in sizes}, [float(len(devices)), *[2.0] * whole], 1) is None


@pytest.mark.parametrize(
    ("compute", "nodes", "said"),
    [
        (
            Compute(gpus=2),
            [{"CPU": 8, "GPU": 1}] * 4,
            "of 1 times 2 GPUs only 0 fit nodes of 4 x 1; lower run.generate",
        ),
        (Compute(cpus=3), [{"CPU": 2}, {"CPU": 2}], "of 1 times 3 CPUs only 0 fit nodes of 2 x 2"),
        (Compute(gpus=0.6, actors=3), [{"CPU": 1, "GPU": 2}], "of 3 times 0.6 GPUs only 2 fit nodes of 1 x 2"),
    ],
)
def test_actors_that_no_node_holds_are_refused(compute: Compute, nodes: list[dict[str, float]], said: str):
    steps = Step(Draw, ToySpec(), compute), Step(Brightness, Spec(), None)
    with pytest.raises(UserError, match=said):
        refuse_impossible(Pipeline("toys", *steps), RunSpec(), nodes)


A100, H200 = ({"CPU": 8.0, "GPU": 2.0, f"accelerator_type:{name}": 1.0} for name in ("A100", "H200"))


@pytest.mark.parametrize(
    ("kinds", "pools", "said"),
    [
        ({"A100": 2, "H200": 2}, "given", None),
        ({"A100": 1, "H200": 9}, "fitted", None),
        (
            {"H300": 1},
            "fitted",
            "accelerator H300 and room for as many as fit x .*, found 1 x A100, 1 x H200, 1 x no acc",
        ),
        (
            {"A100": 1, "H300": 1},
            "given",
            r"accelerator H300 and room for 2 \(1 on A100, 1 on H300\) x \(Draw: 1 GPU\)",
        ),
        ({"A100": 1, "H200": 3}, "given", "accelerator H200 .* of 3 times 1 GPUs only 2 fit nodes of 1 x 2; lower"),
    ],
)
def test_kinds_of_nodes_that_are_not_there_are_named(kinds: dict[str, int], pools: str, said: str | None):
    compute = Compute(gpus=1, kinds=tuple(Kind(accelerator=name, actors=count) for name, count in kinds.items()))
    pipeline, run = Pipeline("toys", Step(Draw, ToySpec(), compute)), RunSpec.model_validate({"pools": pools})
    with nullcontext() if said is None else pytest.raises(UserError, match=said):
        refuse_impossible(pipeline, run, [{"CPU": 4.0}, A100, H200])


def test_parts_need_room_too():
    pipeline = Pipeline("toys", Step(Draw, ToySpec()))
    refuse_impossible(pipeline, RunSpec(), [{"CPU": 2}, {"CPU": 2}])
    with pytest.raises(UserError, match=r"of 2 times 1\.5 CPUs only 1 fit"):
        refuse_impossible(
            pipeline, RunSpec(parts=2, measure=Compute(cpus=1.5)), [{"CPU": 2}, {"CPU": 1}, {"CPU": 1}, {"CPU": 1}]
        )
