"""A comparison as a user runs it: what it leaves behind, what another model adds, what a second report says."""

from pathlib import Path

import pandas as pd
import pyarrow.dataset as pads
import pytest
import yaml

from tests.e2e.commands import reported_again, seedquake
from tests.pages import addresses

pytestmark = pytest.mark.e2e
TWO = (
    "models=[{name: two, model: 'zoo:text-to-image', sampler: {scheduler: ddim, steps: 2, guidance: 4.0}}, "
    "{name: three, model: 'zoo:text-to-image', sampler: {scheduler: ddim, steps: 3, guidance: 4.0}}]"
)
THREE = TWO[:-1] + ", {name: four, model: 'zoo:text-to-image', sampler: {scheduler: dpmpp, steps: 4, guidance: 4.0}}]"
SMALL = (
    "prompts.limit=2",
    "prompts.values.colour=[red]",
    "seeds.count=4",
    "plane={points: 2}",
    "run.generate.actors=1",
)
ROWS = 2 * 4 + 4


def compare(output: Path, *overrides: str) -> str:
    words = ("reproducibility", "reproducibility_samplers", *SMALL, f"run.output={output}", *overrides)
    return seedquake(*words, cwd=output.parent)[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("e2e") / "runs"
    out = compare(output, TWO)
    assert "two | three" in out
    assert "report " in out
    return output


def samples(output: Path) -> dict[str, dict]:
    rows = pads.dataset(output / "store" / "samples").to_table().to_pylist()
    found = {row["sample_id"]: row for row in rows}
    assert len(found) == len(rows), "a row stands twice"
    return found


def folder(output: Path, name: str = "reproducibility_samplers") -> Path:
    (found,) = output.glob(f"{name}-*")
    return found


def test_every_row_of_every_model_is_stored_and_embedded(run: Path):
    rows = samples(run)
    assert len(rows) == 2 * ROWS
    assert all(row["error"] is None for row in rows.values())
    tables = [pads.dataset(table).to_table() for table in (run / "store" / "measured").iterdir()]
    assert sorted(t.column_names[1] for t in tables) == ["embedding", "pixels_embedding"]
    assert all(sorted(t["sample_id"].to_pylist()) == sorted(rows) for t in tables)


def test_the_report_is_whole(run: Path):
    page = (folder(run) / "report.html").read_text()
    assert addresses(page) == []
    for name in ("curves", "noises", "matrix", "scores", "plane"):
        assert (folder(run) / "figures" / f"{name}.svg").stat().st_size > 1000
    assert yaml.safe_load((folder(run) / "spec.yaml").read_text())["question"] == "reproducibility"


@pytest.mark.slow
def test_another_model_draws_only_its_own_rows(run: Path):
    before = samples(run)
    pairs = pd.read_parquet(folder(run) / "tables" / "pairs.parquet")
    out = compare(run, THREE, "name=three")
    after = samples(run)
    assert f"{3 * ROWS} images, {2 * ROWS} of them in the store" in out
    assert {i: after[i] for i in before} == before
    assert len(after) - len(before) == len(before) // 2
    again = pd.read_parquet(folder(run, "three") / "tables" / "pairs.parquet")
    shared = again[again["first"].eq("two") & again["second"].eq("three")].reset_index(drop=True)
    pd.testing.assert_frame_equal(shared, pairs)


def test_a_report_is_made_again_from_the_rows(run: Path):
    before, after = reported_again(folder(run))
    assert after == before


def test_a_plan_says_that_all_is_done(run: Path):
    words = ("plan", "reproducibility_samplers", *SMALL, TWO, f"run.output={run}")
    out, _ = seedquake(*words, cwd=run.parent)
    assert "to draw 0" in out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_holds_the_run(run: Path):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{run / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "seedquake"]
    found = client.search_runs([experiment.experiment_id])[-1]
    assert found.info.status == "FINISHED"
    assert found.data.tags["seedquake.question"] == "reproducibility"
    points = client.get_metric_history(found.info.run_id, "two - three RP over the threshold")
    assert sorted(p.step for p in points)[::50] == [0, 500, 1000]
