"""A factorial design as a user runs it: what it leaves behind, and what a second report says."""

from pathlib import Path

import pandas as pd
import pyarrow.dataset as pads
import pytest
import yaml

from tests.e2e.commands import reported_again, seedquake
from tests.pages import addresses

pytestmark = pytest.mark.e2e
FACTORS = (
    "factors={sampler: {ancestral: {scheduler: ddpm}, DDIM: {scheduler: ddim}}, "
    "guidance: {low: {guidance: 1.0}, high: {guidance: 4.0}}}"
)
SMALL = (
    "arms=[{model: 'zoo:text-to-image', name: latent}]",
    FACTORS,
    "prompts.limit=2",
    "prompts.values.colour=[red]",
    "strengths=[-8, 0, 8]",
    "sampler.steps=3",
    "judge_control.images=12",
    "run.batch_size=8",
    "run.generate.actors=1",
)
ROWS = 4 * 4 * 2


def ask(*words: str, output: Path) -> str:
    return seedquake(*words, "factorial_demo", *SMALL, f"run.output={output}", cwd=output.parent)[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("e2e") / "runs"
    out = ask("factorial", output=output)
    assert "sampler x guidance" in out
    assert "judge control" in out
    return output


def folder(output: Path) -> Path:
    (found,) = output.glob("factorial_demo-*")
    return found


def test_every_cell_is_stored_and_judged(run: Path):
    rows = pads.dataset(run / "store" / "samples").to_table().to_pylist()
    assert len(rows) == len({row["sample_id"] for row in rows}) == ROWS
    assert all(row["error"] is None for row in rows)
    assert len({row["sampler"] for row in rows}) == 4
    tables = [pads.dataset(table).to_table() for table in (run / "store" / "measured").iterdir()]
    assert [len(table) for table in tables] == [ROWS] * 4


def test_shift_zero_is_the_same_row_of_every_curve(run: Path):
    curves = pd.read_parquet(folder(run) / "tables" / "curves.parquet")
    controls = curves[curves["perturbation"] == "none"]
    assert len(controls) == 4
    assert (controls["change_of_top1_correct"] == 0).all()


def test_the_report_is_whole(run: Path):
    page = (folder(run) / "report.html").read_text()
    assert addresses(page) == []
    for name in ("effects", "slopes", "curves", "pictures"):
        assert (folder(run) / "figures" / f"{name}.svg").stat().st_size > 1000
    effects = pd.read_parquet(folder(run) / "tables" / "effects.parquet")
    assert set(effects["response"]) >= {"slope", "relative_slope", "unshifted", "change_at_8", "slope_less_judge"}
    assert yaml.safe_load((folder(run) / "spec.yaml").read_text())["question"] == "factorial"


def test_a_report_is_made_again_from_the_rows(run: Path):
    before, after = reported_again(folder(run))
    assert after == before


def test_a_plan_says_that_all_is_done(run: Path):
    out = ask("plan", output=run)
    assert "to draw 0" in out
    assert "4 cells of 8" in out


def test_a_mistake_is_one_sentence(tmp_path: Path):
    _, err = seedquake("factorial", "factorial_demo", *SMALL, "strengths=[8]", cwd=tmp_path, status=2)
    assert "expected 0 among them, the control of every row" in err
    assert "Traceback" not in err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_holds_the_run(run: Path):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{run / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "seedquake"]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.tags["seedquake.question"] == "factorial"
    points = client.get_metric_history(found.info.run_id, "latent_ DDIM_ high/top1_correct over sigmas")
    assert sorted(p.step for p in points) == [-8000, 0, 8000]
