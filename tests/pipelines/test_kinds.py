"""One pipeline on two kinds of node gives the rows of one kind, each once, and the faster one draws more of them."""

import json
import os
import subprocess
import sys
import tempfile

import pytest

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What happened, in a process of its own, with a place of its own for Ray, whose sockets' paths are short."""
    folder = tmp_path_factory.mktemp("kinds")
    with tempfile.TemporaryDirectory(prefix="ray") as place:
        words = [sys.executable, "-m", "tests.pipelines.two_kinds", str(folder)]
        done = subprocess.run(
            words, check=False, capture_output=True, text=True, env=os.environ | {"RAY_TMPDIR": place}
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "found.json").read_text())


def test_rows_do_not_depend_on_the_kinds(found: dict):
    assert found["two"]["values"] == found["one"]["values"]
    assert [number for number, _ in found["two"]["values"]] == list(range(96))


def test_both_kinds_work_and_the_faster_one_takes_more(found: dict):
    one, two = found["one"], found["two"]
    assert one["rows"] == {"QUICK": 96, "SLOW": 0}
    assert two["rows"]["QUICK"] > two["rows"]["SLOW"] > 0
    assert two["rates"]["QUICK"] > 2 * two["rates"]["SLOW"]


def test_pools_that_fit_themselves_take_every_node(found: dict):
    """In the staged layout what measures stands beside what draws."""
    (fused,) = {name for name, _ in found["fitted"]["fused"]}
    assert [[fused, "QUICK"], [fused, "SLOW"]] == found["fitted"]["fused"]
    drawing = "Toy + SaveSamples"
    assert [place for place in found["fitted"]["staged"] if place[0] == drawing] == [
        [drawing, "QUICK"],
        [drawing, "SLOW"],
    ]


def test_a_kind_that_no_node_is_is_named(found: dict):
    assert "expected nodes with accelerator QUICKER" in found["refused"]
    assert "found 1 x QUICK, 1 x SLOW, 1 x no accelerator" in found["refused"]


def test_a_plan_joins_a_running_ray_and_names_what_it_holds(found: dict):
    assert (
        "nodes      1 x QUICK, 1 CPU, 1 GPU; 1 x SLOW, 1 CPU, 1 GPU; 1 x no accelerator, 0 CPU, 0 GPU" in found["plan"]
    )
    assert '"run.generate.kinds=[{accelerator: QUICK, actors: 1}, {accelerator: SLOW, actors: 1}]"' in found["plan"]
