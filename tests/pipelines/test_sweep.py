"""Sweeps on real actors: derived measures are made of stored ones, and parts held by others give the same rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest
import torch

from pipelines.pairs import Pairs
from pipelines.question import AnyQuestion
from pipelines.reproducibility import Reproducibility
from pipelines.run import Tally
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


def swept(question: AnyQuestion) -> tuple[Swept, dict[str, int]]:
    """Sweep, and return what it did and how many rows each step had done."""
    seen: dict[str, int] = {}

    def watch(what: str, tally: Tally) -> None:
        seen[what] = tally.done

    return sweep(question, watch), seen


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("parts", ["null", "2"])
def test_a_lookup_is_made_of_stored_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: str):
    """No picture is drawn or embedded again; an index held in parts gives the same bits in the same table.

    Ray was started in another folder: relative paths are those of the question all the same.
    """
    monkeypatch.chdir(tmp_path)
    training = units(250, purpose="training")
    training_set(Path(), training)
    question = memorization(Path(), training, ONE_PROMPT, "seeds.count=50", SMALL, f"run.parts={parts}")
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


def empirical(folder: Path, name: str, *overrides: str) -> Reproducibility:
    """Return a comparison of two samplers of one empirical model, whose rows go to a store of this name."""
    if not (folder / "model").is_dir():
        points = torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        save(Empirical(points), folder / "model")
    model = folder / "model"
    other = f"{{name: b, model: {model}, sampler: {{scheduler: edm_euler, steps: 6, guidance: 1}}}}"
    return reproducibility(
        folder,
        f"models=[{{name: a, model: {model}}}, {other}]",
        "sampler={scheduler: heun, steps: 4, guidance: 1}",
        "prompts={kind: none}",
        "seeds.count=6",
        "plane={points: 2}",
        "mae={side_px: 8}",
        f"run.output={folder / name}",
        SMALL,
        *overrides,
    )


def stored_rows(folder: Path, name: str) -> pa.Table:
    rows = pads.dataset(folder / name / "store" / "samples").to_table().sort_by("sample_id")
    return rows.select(["sample_id", "image", "seed", "perturbation"])


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_run_that_goes_on_and_a_model_in_parts_give_the_same_rows_and_numbers(tmp_path: Path):
    """And every model of a comparison is drawn by its own pipeline, its progress under its own name."""
    whole = empirical(tmp_path, "whole")
    done, seen = swept(whole)
    assert (done.drawn, done.failed, len(done.rates)) == (20, 0, 2)
    assert seen == {"drawing a": 10, "drawing b": 10}
    swept(empirical(tmp_path, "resumed", "seeds.count=2", "plane=null"))
    resumed, parts = empirical(tmp_path, "resumed"), empirical(tmp_path, "parts", "run.parts=3")
    assert swept(resumed)[0].reused == 4
    swept(parts)
    for name, question in (("resumed", resumed), ("parts", parts)):
        assert stored_rows(tmp_path, name).equals(stored_rows(tmp_path, "whole"))
        for one, other in zip(Pairs(question).all, Pairs(whole).all, strict=True):
            np.testing.assert_array_equal(one.same, other.same)
            assert (one.agreement, one.floor, one.gain) == (other.agreement, other.floor, other.gain)


def test_a_run_of_several_models_adds_up():
    parts = [Swept(4, 1, 2, 10.0, 3.0, 1.5, 0), Swept(8, 0, 0, 30.0, 5.0, 2.0, 1), Swept(0, 0, 9, 0.0, np.nan, None, 0)]
    found = together(parts)
    assert (found.drawn, found.failed, found.reused, found.seconds, found.saved) == (12, 1, 11, 40.0, 1)
    assert (found.rate, found.first_row) == (5.0, 1.5)
    np.testing.assert_array_equal(found.rates, [3.0, 5.0, np.nan])
    assert together(parts[:1]) == parts[0]
