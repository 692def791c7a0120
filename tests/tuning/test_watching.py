"""What MLflow keeps of trials: a run of each under the search's own, with its settings, its steps and its end."""

import io

import mlflow
import pytest
from rich.console import Console

from pipelines.run import RunFailed
from pipelines.tracking import RETRIES, open_store, tracked
from tuning.watching import Watching

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, in mlflow


@pytest.fixture
def store(tmp_path) -> str:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    open_store(uri, "trials")
    return uri


def test_each_trial_is_a_child_run(store):
    points = [{"name": f"width {w}", "task": {"width": w, "long": list(range(400))}} for w in (8, 16, 24)]
    text = io.StringIO()
    names = frozenset(str(p["name"]) for p in points)
    with tracked("search", "transition") as tracker, Watching(Console(file=text), tracker, names, 300) as watching:
        watching.told("t9", {"name": "done before"}, {"pictures": 100.0})
        watching.ended("t9", {"name": "done before"}, failed=False)
        for number, point in enumerate(points):
            for pictures in (50.0, 100.0):
                watching.told(f"t{number}", point, {"pictures": pictures, "loss": 1 / pictures, "never": float("nan")})
        watching.ended("t0", points[0], failed=False)
        watching.ended("t1", points[1], failed=True)
    client = mlflow.MlflowClient(store)
    runs = client.search_runs(
        [tracker.run.info.experiment_id], f"tags.mlflow.parentRunId = '{tracker.id}'", order_by=["start_time"]
    )
    assert {r.info.run_name: r.info.status for r in runs} == {
        "width 8": "FINISHED",
        "width 16": "FAILED",
        "width 24": "KILLED",
    }
    assert runs[0].data.params["task.long"].startswith("400 entries, ")
    history = client.get_metric_history(runs[0].info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(50, 0.02), (100, 0.01)]
    assert "never" not in runs[0].data.metrics
    assert client.get_run(tracker.id).info.status == "FINISHED"
    assert "2 of 3 trials, 1 failed" in text.getvalue()


def test_trials_go_on_without_mlflow_and_the_end_says_so(store, monkeypatch):
    monkeypatch.setenv(RETRIES, "0")
    text, names = io.StringIO(), [f"width {w}" for w in (8, 16, 24)]

    def try_them() -> None:
        with (
            tracked("search", "transition"),
            tracked("nested", "transition") as tracker,
            Watching(Console(file=text), tracker, frozenset(names), 300) as watching,
        ):
            for number, name in enumerate(names):
                watching.told(f"t{number}", {"name": name}, {"pictures": 100.0})
                mlflow.set_tracking_uri("http://127.0.0.1:9")
                watching.ended(f"t{number}", {"name": name}, failed=False)

    with pytest.raises(RunFailed, match=r"run\.tracking_uri: expected MLflow to answer at http://127\.0\.0\.1:9"):
        try_them()
    assert "3 of 3 trials" in text.getvalue()
    assert mlflow.active_run() is None
    mlflow.set_tracking_uri(store)
