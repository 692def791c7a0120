"""MLflow's artifacts on object storage: where the experiment says, by MLflow's own means."""

from pathlib import Path

import mlflow
import pytest
from pyarrow.fs import FileSelector

from pipelines import tracking
from stages.storage import filesystem, read
from tests import s3


@pytest.fixture(autouse=True)
def own_store():
    yield
    mlflow.set_tracking_uri(None)


def test_artifacts_go_where_the_experiment_says(tmp_path: Path, s3_port: int, monkeypatch: pytest.MonkeyPatch):
    way = s3.Way(s3_port, seed=4, share=0.1, slow_s=0.05)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{way.port}")
    place, uri = s3.bucket(s3_port), tracking.address(None, str(tmp_path))
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("kept", artifact_location=place)
    (tmp_path / "report.html").write_text("an answer")
    tracking.open_store(uri, "kept")
    with tracking.tracked("run", "toys") as tracker:
        tracker.file(tmp_path / "report.html")
    fs, root = filesystem(s3.uri(place, s3_port))
    (path,) = (info.path for info in fs.get_file_info(FileSelector(root, recursive=True)) if info.is_file)
    assert path == f"{root}/{tracker.id}/artifacts/report.html"
    assert read(fs, path).to_pybytes() == b"an answer"
    assert not (tmp_path / "mlruns").exists()
