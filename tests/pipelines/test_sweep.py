"""Sweeps on real actors: derived measures are made of stored ones, and parts held by others give the same rows."""

from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pytest
import torch

from pipelines.cluster import connect
from pipelines.compute import Compute
from pipelines.question import AnyQuestion
from pipelines.run import RunSpec, Tally
from pipelines.sharded_model import ShardedGenerate
from pipelines.store import Store
from pipelines.sweep import Swept, sweep, together
from stages.lookup import Lookup
from stages.models.analytic.empirical import Empirical
from stages.models.analytic.files import save
from stages.neighbours import search
from tests.pipelines.made import memorization, reproducibility, save_measured, save_rows, training_set, units
from tests.pipelines.test_pairs import near
from tests.pipelines.test_replication import ONE_PROMPT

SMALL = "run.measure={cpus: 0.25}"


@pytest.fixture(scope="module")
def ray_cluster():
    import ray

    from pipelines.pipeline import Pipeline, Step
    from pipelines.replication_controls import Gather, GatherSpec

    steps = Pipeline("gather", Step(Gather, GatherSpec(index="none"), Compute(actors=3)))
    connect(RunSpec(), [steps])
    yield
    ray.shutdown()


def swept(question: AnyQuestion) -> tuple[Swept, dict[str, int]]:
    """Sweep, and return what it did and how many rows each step had done."""
    seen: dict[str, int] = {}

    def watch(what: str, tally: Tally) -> None:
        seen[what] = tally.done

    return sweep(question, watch), seen


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("parts", ["null", "3"])
def test_a_lookup_is_made_of_stored_embeddings(tmp_path: Path, parts: str):
    """No picture is drawn or embedded again; an index held in parts gives the same bits in the same table."""
    training = units(250, purpose="training")
    training_set(tmp_path, training)
    question = memorization(tmp_path, training, ONE_PROMPT, "seeds.count=50", SMALL, f"run.parts={parts}")
    drawn, store = near(training[:50], 0.5, "samples"), Store(question.spec.store)
    save_rows(store, question.grid, failed=(4,))
    save_measured(store, question.grid, question.descriptor, [None if n == 4 else v for n, v in enumerate(drawn)])
    done, seen = swept(question)
    assert (done.drawn, done.reused, seen) == (0, 50, {"measuring": 49})
    assert question.lookup.stage is Lookup
    rows = pads.dataset(tmp_path / "runs" / "store" / question.lookup.table).to_table()
    found = dict(zip(rows["sample_id"].to_pylist(), rows["nearest_score"].to_pylist(), strict=True))
    expected = search(question.index, drawn, 5).scores
    ids = question.grid.rows(np.arange(50))["sample_id"]
    assert sorted(found) == sorted(i for n, i in enumerate(ids) if n != 4)
    for n, i in enumerate(ids):
        if n != 4:
            assert found[i] == expected[n].tolist()
    assert swept(question)[1] == {}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_an_empirical_model_in_parts_draws_the_same_rows(tmp_path: Path):
    """And every model of a comparison is drawn by its own pipeline, its progress under its own name."""
    points = torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    save(Empirical(points), tmp_path / "model")
    entries = "[{name: a, model: %s}, {name: b, model: %s, sampler: {scheduler: edm_euler, steps: 6, guidance: 1}}]"
    given = (
        f"models={entries.replace('%s', str(tmp_path / 'model'))}",
        "sampler={scheduler: heun, steps: 4, guidance: 1}",
        "prompts={kind: none}",
        "seeds.count=6",
        "plane={points: 2}",
        "mae={side_px: 8}",
        SMALL,
    )
    rows = []
    for name, parts in (("whole", "null"), ("parts", "3")):
        question = reproducibility(tmp_path, *given, f"run.output={tmp_path / name}", f"run.parts={parts}")
        done, seen = swept(question)
        assert (done.drawn, done.failed) == (20, 0)
        assert seen == {"drawing a": 10, "drawing b": 10}
        assert len(done.rates) == 2
        table = pads.dataset(tmp_path / name / "store" / "samples").to_table().sort_by("sample_id")
        rows.append(table.select(["sample_id", "image", "seed", "perturbation"]))
    assert rows[0].equals(rows[1])
    assert ShardedGenerate.__name__ not in {s.name for d in question.draws for s in d.generation.steps}


def test_a_run_of_several_models_adds_up():
    parts = [Swept(4, 1, 2, 10.0, 3.0, 1.5, 0), Swept(8, 0, 0, 30.0, 5.0, 2.0, 1), Swept(0, 0, 9, 0.0, np.nan, None, 0)]
    found = together(parts)
    assert (found.drawn, found.failed, found.reused, found.seconds, found.saved) == (12, 1, 11, 40.0, 1)
    assert (found.rate, found.first_row) == (5.0, 1.5)
    np.testing.assert_array_equal(found.rates, [3.0, 5.0, np.nan])
    assert together(parts[:1]) == parts[0]
