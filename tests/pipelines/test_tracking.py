"""What goes to MLflow, and when: settings flattened, missing values left out."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.config import UserError, load
from pipelines.robustness import RobustnessSpec
from pipelines.run import RunFailed, Tally, stop_if_failing
from pipelines.tracking import address, flattened, tracked_late


def test_settings_are_flattened_to_text():
    flat = flattened({"a": {"b": 1, "c": None}, "d": [1, 2], "e": {}})
    assert flat == {"a.b": "1", "a.c": "None", "d": "[1, 2]", "e": "{}"}


def test_long_lists_become_their_length_and_hash():
    flat = flattened(load(RobustnessSpec, "robustness_paper").model_dump(mode="json"))
    assert flat["perturbations"].startswith("83 entries, ")
    assert flat["seeds.count"] == "100"


def test_the_default_address_is_beside_the_runs(tmp_path):
    assert address(None, str(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    assert address("http://127.0.0.1:5000", "runs") == "http://127.0.0.1:5000"


@pytest.fixture
def spec(tmp_path: Path) -> RobustnessSpec:
    return load(RobustnessSpec, "robustness_demo", [f"run.output={tmp_path}"])


def statuses(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        return [status for (status,) in store.execute("select status from runs")]


def test_mlflow_opens_with_the_first_rows_and_keeps_the_settings(spec, tmp_path):
    with tracked_late(spec, "robustness") as late:
        assert not (tmp_path / "mlflow.db").exists()
        while late.tracker is None:
            late.begin()
        assert statuses(tmp_path) == ["RUNNING"]
        assert late.open() is late.tracker
    assert statuses(tmp_path) == ["FINISHED"]
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        assert ("run.batch_size", "16") in list(store.execute("select key, value from params"))


def test_a_run_that_fails_says_so_in_mlflow_once_it_has_rows(spec, tmp_path):
    with pytest.raises(RuntimeError), tracked_late(spec, "robustness"):
        raise RuntimeError
    assert not (tmp_path / "mlflow.db").exists()
    with pytest.raises(RunFailed), tracked_late(spec, "robustness") as late:
        stop_if_failing(Tally(todo=1, done=1, failed=bool(late.open())), spec.run, "robustness")
    assert statuses(tmp_path) == ["FAILED"]


def test_a_file_that_is_no_database_is_refused_at_once(spec, tmp_path):
    (tmp_path / "mlflow.db").write_text("my notes, which are longer than the header of a database" * 20)
    with pytest.raises(UserError, match=r"expected an MLflow store at .*mlflow.db, but found file is not a database"):
        tracked_late(spec, "robustness").__enter__()


def test_an_address_that_is_set_is_tried_before_anything_is_drawn(spec, tmp_path):
    (tmp_path / "file").touch()
    elsewhere = f"sqlite:///{tmp_path}/file/mlflow.db"
    run = spec.run.model_copy(update={"tracking_uri": elsewhere})
    with pytest.raises(UserError, match="expected an MLflow store at"):
        tracked_late(spec.model_copy(update={"run": run}), "robustness").__enter__()


def test_an_mlflow_that_is_gone_is_told_in_one_sentence(spec, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def lose_it() -> None:
        with tracked_late(spec, "robustness") as late:
            tracker = late.open()
            mlflow.set_tracking_uri("http://127.0.0.1:9")
            tracker.metrics({"a": 1.0})

    with pytest.raises(RunFailed, match=r"answer at http://127\.0\.0\.1:9, found .*; rows and report are kept"):
        lose_it()
    assert mlflow.active_run() is None, "MLflow would ask again as the process ends"
    mlflow.set_tracking_uri(address(None, str(tmp_path)))
