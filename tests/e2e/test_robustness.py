"""The main job as a user runs it: what it leaves behind, that it reuses everything, that a kill loses nothing."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pytest
import yaml

from tests.e2e.commands import deaf_to, process, reported_again, robustness, start, sweep
from tests.pages import addresses

pytestmark = pytest.mark.e2e
ROWS = 4 * 2 * 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("e2e") / "runs"
    out, _ = process(*sweep(output), cwd=output.parent)
    assert "mean shift -0.4" in out
    assert "report " in out
    assert f"seedquake ui {output}" in out.replace("\n", "")
    return output


def samples(output: Path) -> dict[str, dict]:
    """The stored samples by id; no id may stand twice."""
    rows = pads.dataset(output / "store" / "samples").to_table().to_pylist()
    found = {row["sample_id"]: row for row in rows}
    assert len(found) == len(rows), "a row stands twice"
    return found


def folder(output: Path) -> Path:
    (found,) = output.glob("robustness_demo-*")
    return found


def test_every_row_is_stored_with_its_picture(run: Path):
    rows = samples(run)
    assert len(rows) == ROWS
    assert all(row["image"]["bytes"].startswith(b"\x89PNG") and row["error"] is None for row in rows.values())
    measured = sorted(p.name.partition("-")[0] for p in (run / "store" / "measured").iterdir())
    assert measured == ["appearance", "classify", "classify", "clipscore"]
    for table in (run / "store" / "measured").iterdir():
        assert sorted(pads.dataset(table).to_table()["sample_id"].to_pylist()) == sorted(rows)


def test_the_report_is_whole_and_self_contained(run: Path):
    page = (folder(run) / "report.html").read_text()
    assert 'src="data:image/png;base64,' in page
    assert addresses(page) == []
    for name in ("accuracy", "classes", "pictures", "effect_top1_correct"):
        for kind in ("png", "svg"):
            assert (folder(run) / "figures" / f"{name}.{kind}").stat().st_size > 1000
    assert yaml.safe_load((folder(run) / "spec.yaml").read_text())["seeds"]["count"] == 2


def test_others_read_the_output_without_us(run: Path):
    import duckdb
    import pandas as pd
    from datasets import load_dataset

    files = str(run / "store" / "samples" / "*.parquet")
    assert len(pd.read_parquet(run / "store" / "samples")) == ROWS
    assert duckdb.read_parquet(files).count("*").fetchall() == [(ROWS,)]
    data = load_dataset("parquet", data_files=files, split="train", cache_dir=str(run / "cache"))
    assert data[0]["image"].size == (64, 64)
    cells = pd.read_parquet(folder(run) / "tables" / "cells.parquet")
    assert (cells["top1_correct_low"] <= cells["top1_correct"]).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_holds_the_run(run: Path):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{run / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "seedquake"]
    found = client.search_runs([experiment.experiment_id])[-1]
    assert found.info.status == "FINISHED"
    assert found.data.params["seeds.count"] == "2"
    assert found.data.tags["version.torch"]
    points = client.get_metric_history(found.info.run_id, "uniform_mean_shift/top1_correct")
    assert sorted(p.step for p in points) == [-400, 0, 400]
    assert {"report.html", "figures", "tables", "browse"} <= {a.path for a in client.list_artifacts(found.info.run_id)}
    assert found.inputs.dataset_inputs


def test_a_second_question_draws_nothing(run: Path):
    """Another classifier judges the stored pictures; only its own table is new."""
    before = samples(run)
    out, _ = robustness(run, "name=again", "classifier=zoo:judge", "judge=null", "judge_control=null")
    assert samples(run) == before
    assert f"{ROWS} of them in the store" in out
    (report,) = run.glob("again-*/report.html")
    assert "0 images drawn" not in report.read_text()


def test_a_report_is_made_again_from_the_rows(run: Path):
    before, after = reported_again(folder(run))
    assert after == before


def test_a_killed_run_goes_on_and_ends_with_the_same_rows(run: Path, tmp_path: Path):
    """Killed once its first rows are stored, then started again: the rows of the uninterrupted run, bit for bit."""
    output, alone = tmp_path / "runs", "judge_control=null"
    started = start(*sweep(output), alone, cwd=tmp_path)
    deadline = time.monotonic() + 200
    while not list(output.glob("store/samples/part-*.parquet")):
        assert time.monotonic() < deadline
        assert started.poll() is None, started.communicate()
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    for stream in (started.stdout, started.stderr):
        stream.close()
    kept = set(samples(output))
    assert 0 < len(kept) < ROWS
    robustness(output, alone)
    whole, resumed = samples(run), samples(output)
    assert kept < set(resumed)
    assert resumed == whole
    scores = [measured(path, "clip_score") for path in (run, output)]
    np.testing.assert_allclose([scores[0][i] for i in sorted(whole)], [scores[1][i] for i in sorted(whole)], atol=1e-4)


def measured(output: Path, column: str) -> dict[str, float]:
    (table,) = (output / "store" / "measured").glob("clipscore-*")
    rows = pads.dataset(table).to_table()
    return dict(zip(rows["sample_id"].to_pylist(), rows[column].to_pylist(), strict=True))


def test_rows_that_fail_are_counted_and_the_run_goes_on(tmp_path: Path):
    """The pictures of one prompt are not finite: those rows say so, and the others are whole."""
    output = tmp_path / "runs"
    deaf_to("star", tmp_path / "model")
    robustness(output, "model=./model", "run.max_failed_share=0.5", "judge_control=null", "seeds.count=1")
    rows = samples(output).values()
    failed = [row for row in rows if row["error"]]
    assert (len(rows), len(failed)) == (12, 3)
    assert all(row["image"] is None and "not finite" in row["error"] for row in failed)
    assert {row["prompt"] for row in failed} == {"a photo of a red star"}
    assert "9 images were judged, 3 failed" in (folder(output) / "report.html").read_text()


def test_too_many_failures_end_the_run_and_keep_its_rows(tmp_path: Path):
    output = tmp_path / "runs"
    model = f"model={deaf_to('star', tmp_path / 'model')}"
    _, err = robustness(output, model, "run.max_failed_share=0.1", status=1)
    assert "run.max_failed_share" in err
    assert samples(output)


@pytest.mark.slow
def test_mlflow_opens_in_a_browser_on_this_machine_only(run: Path):
    import urllib.request

    server = start("ui", str(run), "--port", "5801", cwd=run.parent)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen("http://127.0.0.1:5801/", timeout=5) as answer:
                    assert answer.status == 200
                    break
            except OSError:
                time.sleep(1)
        else:
            pytest.fail("no answer")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate()


@pytest.mark.slow
def test_both_layouts_give_the_same_rows(run: Path, tmp_path: Path):
    robustness(tmp_path / "runs", "run.layout=staged")
    assert samples(tmp_path / "runs") == samples(run)


@pytest.mark.slow
def test_adaptive_sampling_stops_where_it_is_sure(tmp_path: Path):
    """Two steps draw nothing recognisable: accuracy is near zero, so its interval narrows early."""
    output = tmp_path / "runs"
    robustness(output, "seeds.count=40", "adaptive={target_half_width: 0.2, block: 4}")
    assert 4 * 4 * 3 <= len(samples(output)) < 4 * 40 * 3
    (page,) = output.glob("robustness_demo-*/report.html")
    assert "Adaptive sampling stopped early" in page.read_text()
