"""The grid: numbers and rows are one to one, ids hold everything that matters, 10^8 rows cost nothing."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.grid import Grid, Seeds
from pipelines.prompts import Prompt


def grid(prompts=3, seeds=4, perturbations=2, samplers=2, **changes) -> Grid:
    return Grid(
        model=changes.pop("model", "zoo:x"),
        revision=changes.pop("revision", "r1"),
        prompts=tuple(Prompt(f"p{i}", i, f"p{i}") for i in range(prompts)),
        seeds=Seeds(count=seeds, **changes),
        perturbations=tuple(f'{{"kind":"{i}"}}' for i in range(perturbations)),
        samplers=tuple(f'{{"steps":{i}}}' for i in range(samplers)),
    )


def numbers(g: Grid, batch) -> np.ndarray:
    return g.numbers(batch["prompt"].tolist(), batch["seed"], batch["perturbation"].tolist(), batch["sampler"].tolist())


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.booleans(), st.integers(0, 50))
def test_numbers_invert_rows(prompts, seeds, perturbations, samplers, shared, first):
    g = grid(prompts, seeds, perturbations, samplers, shared=shared, first=first)
    every = np.arange(len(g))
    np.testing.assert_array_equal(numbers(g, g.rows(every)), every)


def test_rows_of_another_grid_are_not_found():
    small, large = grid(prompts=2, seeds=2), grid(prompts=3, seeds=4)
    found = numbers(small, large.rows(np.arange(len(large))))
    assert sorted(found[found >= 0]) == list(range(len(small)))


@pytest.mark.parametrize("shared", [True, False])
def test_growing_a_grid_keeps_every_id(shared: bool):
    small, large = grid(shared=shared), grid(prompts=5, seeds=9, perturbations=3, shared=shared)
    ids = [set(g.rows(np.arange(len(g)))["sample_id"]) for g in (small, large)]
    assert ids[0] < ids[1]


def test_ids_hold_what_determines_the_image_and_nothing_else():
    base = grid().rows(np.arange(4))["sample_id"]
    assert len(set(base)) == 4
    assert all(len(i) == 32 for i in base)
    for change in ({"model": "zoo:y"}, {"revision": "r2"}, {"first": 100}):
        assert not set(base) & set(grid(**change).rows(np.arange(4))["sample_id"])


def test_ids_are_frozen():
    """A changed id would orphan every stored sample; this one was made by this very line, on 2026-11-23."""
    assert grid(shared=True).rows(np.array([5]))["sample_id"][0] == "65f19c895bd3bb49a0b7b52960e9b861"


def test_own_seeds_differ_between_prompts_and_shared_ones_do_not():
    own, shared = (grid(shared=s).rows(np.arange(3))["seed"] for s in (False, True))
    assert len(set(own.tolist())) == 3
    assert set(shared.tolist()) == {0}


def test_the_control_and_its_shifts_share_seeds():
    g = grid()
    rows = g.rows(np.arange(len(g)))
    for seed, prompt in {(s, p) for s, p in zip(rows["seed"], rows["prompt"], strict=True)}:
        same = (rows["seed"] == seed) & (rows["prompt"] == prompt)
        assert len(set(rows["perturbation"][same])) == 2


def test_blocks_partition_the_seeds():
    blocks = list(Seeds(count=25, first=3).blocks(10))
    assert [(b.first, b.count) for b in blocks] == [(3, 10), (13, 10), (23, 5)]


def test_a_grid_of_a_hundred_million_rows_costs_nothing():
    tracemalloc.start()
    g = grid(prompts=1000, seeds=10_000, perturbations=10, samplers=1)
    assert len(g) == 10**8
    last = g.rows(np.array([len(g) - 1]))
    assert last["prompt"][0] == "p999"
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
