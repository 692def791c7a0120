"""A sweep that watches, on real actors: what was drawn unwatched is drawn again, once, and nothing after it."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.run import Tally
from pipelines.save import SAMPLES
from pipelines.store import Store
from pipelines.sweep import sweep
from tests.pipelines.trajectories import apply, draw, trajectory


def stored(question, table: str) -> dict[str, dict]:
    return {row["sample_id"]: row for row in Store(question.spec.store).dataset(table).to_table().to_pylist()}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_rows_that_nobody_watched_are_drawn_again_once(tmp_path: Path):
    question, alike = trajectory(tmp_path), trajectory(tmp_path, f"run.output={tmp_path / 'alike'}")
    (part,) = question.draws
    plain = type(part)(**{**vars(part), "measures": ()})
    apply(plain.generation, part.grids[0].rows(np.arange(60)))
    before = stored(question, SAMPLES)
    seen: dict[str, int] = {}

    def watch(what: str, tally: Tally) -> None:
        seen[what] = tally.done

    done = sweep(question, watch)
    assert (done.drawn, done.reused) == (60, 60)
    assert seen == {"pilot": 12, "drawing": 60, "drawing again": 60}
    after = stored(question, SAMPLES)
    assert len(after) == 120
    assert {i: after[i] for i in before} == before
    seen.clear()
    assert sweep(question, watch).drawn == 0
    assert seen == {}
    draw(alike)
    for one, other in zip(part.measures, alike.draws[0].measures, strict=True):
        here, there = stored(question, one.table), stored(alike, other.table)
        assert here.keys() == there.keys()
        for sample, row in here.items():
            for name in one.columns:
                np.testing.assert_allclose(row[name], there[sample][name], atol=1e-4)
