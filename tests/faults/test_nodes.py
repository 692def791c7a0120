"""Nodes and drivers that are lost at random moments, and memory that runs out, in a Ray of several nodes or limits."""

from pathlib import Path

import pytest

from tests.faults.scenes import play


@pytest.mark.ray
def test_a_lost_node_costs_no_more_than_its_batch(tmp_path: Path):
    found = play("lost_nodes", tmp_path, 1)
    assert found["again"][0] <= 1
    assert found["refused"].startswith(
        "toys: expected nodes with room for 1 x (Toy + SaveSamples + Shade + SaveMeasured"
    )
    assert "of 1 times 2 GPUs only 0 fit nodes of 1 x 0, 2 x 1" in found["refused"]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_nodes_lost_at_many_moments_cost_no_more_than_their_batches(tmp_path: Path):
    found = play("lost_nodes", tmp_path, 20)
    assert found["moments"] == 20
    assert max(found["again"]) <= 1


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_drivers_killed_at_many_moments_lose_nothing(tmp_path: Path):
    assert play("killed_drivers", tmp_path, 20)["moments"] == 20


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_rows_that_take_all_memory_are_set_aside_and_say_so(tmp_path: Path):
    errors = play("out_of_memory", tmp_path, 20)["errors"]
    assert len(errors) == 20
    assert all("x ended by Ray for lack of memory" in error for error in errors)
