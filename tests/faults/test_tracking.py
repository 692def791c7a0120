"""An MLflow server that is killed at random moments: rows are kept, the run says so soon, the next one tells."""

import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import mlflow
import psutil
import pytest

from pipelines import tracking
from pipelines.compute import Compute
from pipelines.run import RunFailed, RunSpec
from stages.randomness import rng
from tests.faults.toys import PoisonSpec, Toys, uninterrupted

ROWS, BATCH, BATCH_S = 24, 4, 0.3
UNINTERRUPTED_S = 3.0
"""What a run takes, its actors' start included."""
BOUND_S = 35.0
"""By when a run without its MLflow has ended: 26 s of tries, and what a busy machine takes for the rest."""
SERVES = "import sys; from pipelines.tracking import serve; sys.exit(serve(sys.argv[1], int(sys.argv[2])))"


def serving(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Serve a database as `seedquake ui` does."""
    words = [sys.executable, "-c", SERVES, f"sqlite:///{folder / 'mlflow.db'}", str(port)]
    with (folder / "server.log").open("ab") as log:
        started = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    while not answers(port):
        assert started.poll() is None, (folder / "server.log").read_text()[-2000:]
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.2)
    return started


def answers(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def kill(server: subprocess.Popen[bytes]) -> None:
    """Kill a server with all its processes."""
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(server.pid)
        for one in [*top.children(recursive=True), top]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
    server.wait()


def toys(folder: Path, port: int) -> Toys:
    pool, uri = Compute(actors=2, cpus=0.5), f"http://127.0.0.1:{port}"
    run = {"output": str(folder), "batch_size": BATCH, "generate": pool, "tracking_uri": uri}
    return Toys(RunSpec.model_validate(run), ROWS, PoisonSpec(batch_s=BATCH_S))


def run(question: Toys, struck: threading.Timer | None = None) -> None:
    """Draw and tell, as a command does; a fault may strike so long after it began to draw."""
    with tracking.tracked_late(question.spec, "toys") as late:
        if struck:
            struck.start()
        question.sweep()
        late.open().metrics({"rows": float(len(question.rows()))})
        if struck:
            struck.join()


def lost(question: Toys, server: subprocess.Popen[bytes], after_s: float) -> float:
    """Kill the server so long after a run began, and return how long the run then went on; all its rows are there."""
    killed = list[float]()

    def strike() -> None:
        kill(server)
        killed.append(time.monotonic())

    with pytest.raises(
        RunFailed, match=r"run\.tracking_uri: expected MLflow to answer at .*; rows and report are kept"
    ):
        run(question, threading.Timer(after_s, strike))
    assert question.rows() == uninterrupted(ROWS)
    return time.monotonic() - killed[0]


def told(folder: Path) -> list[tuple[str, float | None]]:
    """Return the runs that MLflow knows: how they ended, and how many rows they told of."""
    rows = "select value from latest_metrics where key = 'rows' and run_uuid = runs.run_uuid"
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        return list(store.execute(f"select status, ({rows}) from runs order by start_time"))  # noqa: S608


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Give a free port; leave MLflow as it was, without the environment's settings meanwhile."""
    for name in tracking.PATIENCE:
        monkeypatch.delenv(name, raising=False)
    before = mlflow.get_tracking_uri()
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        found = int(one.getsockname()[1])
    yield found
    mlflow.set_tracking_uri(before)
    assert mlflow.active_run() is None, "MLflow would be asked again as the process ends"


def lose(folder: Path, port: int, moments: int) -> list[float]:
    """Lose the server so many times; after each, the same run against a new one tells what the lost one was not."""
    draw, seconds = rng(8, "moments"), list[float]()
    server = serving(folder, port)
    try:
        while len(seconds) < moments:
            question = toys(folder / str(len(seconds)), port)
            seconds.append(lost(question, server, draw.uniform(0, UNINTERRUPTED_S)))
            server = serving(folder, port)
            run(question)
            assert told(folder)[-1] == ("FINISHED", ROWS)
    finally:
        kill(server)
    assert len(told(folder)) == 2 * moments
    return seconds


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_run_whose_mlflow_is_killed_ends_soon_and_keeps_its_rows(tmp_path: Path, port: int):
    (seconds,) = lose(tmp_path, port, 1)
    assert seconds < UNINTERRUPTED_S + BOUND_S


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.usefixtures("ray_cluster")
def test_runs_whose_mlflow_is_killed_at_many_moments(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch):
    """The user's own settings of MLflow hold: here, one more try at once."""
    monkeypatch.setenv(tracking.RETRIES, "1")
    assert len(lose(tmp_path, port, 20)) == 20
