"""Pace: what actors note of their batches survives any cutting of them, and adds up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.columns import pack, unpack
from pipelines.pace import TOOK, Clock, Pace


class At(Clock):
    """A clock that is no actor's."""

    def __init__(self, pool: str, accelerator: str, warm: bool = True) -> None:
        self.place, self.warm = (pool, accelerator), warm


def batch(rows: int) -> dict[str, np.ndarray]:
    return {"number": np.arange(rows)}


def test_the_first_batch_of_an_actor_is_not_counted():
    clock, pace = At("Draw", "A100", warm=False), Pace()
    for seconds in (50.0, 2.0, 4.0):
        pace.add(clock.noted(batch(3), seconds)[TOOK])
    assert pace.rates == {("Draw", "A100"): pytest.approx(1.0)}
    assert pace.rows == {("Draw", "A100"): 6}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(1, 3))
def test_batches_may_be_cut_anywhere_between_pools(sizes: list[int], parts: int):
    """Every row carries its share of the seconds."""
    drawn = [unpack(pack(At("Draw", "").noted(batch(rows), 0.5 * rows))) for rows in sizes]
    rows = np.concatenate([one[TOOK] for one in drawn])
    pace = Pace()
    for part in np.array_split(rows, parts):
        pace.add(At("Measure", "H200").noted({"number": np.arange(len(part)), TOOK: part}, 0.25 * len(part))[TOOK])
    whole = {("Draw", ""): 2.0, ("Measure", "H200"): 4.0} if len(rows) else {}
    assert pace.rates == pytest.approx(whole)
    assert (pace + pace).rates == pytest.approx(whole)
