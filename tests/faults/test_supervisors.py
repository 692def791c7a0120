"""Ray's supervisor of a submitted job, killed at random moments: the job fails, and the same one again goes on."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.private_cluster import BIN, Head, private_head
from tests.faults.scenes import begun, driver, finished, long, wait_until, waits

ROOT = Path(__file__).parent.parent.parent
SUPERVISOR = "ray::JobSupervisor"
ENDS_S = 60.0
"""By when the driver of a job whose supervisor was killed has ended; Ray looks once a second."""


@pytest.fixture
def head() -> Iterator[Head]:
    with private_head(cpus=4) as found:
        yield found


def processes(head: Head, title: str) -> list[psutil.Process]:
    """Return the processes of a head whose command line holds some words."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            of_head = process.environ().get("RAY_AUTH_TOKEN_PATH") == head.environment["RAY_AUTH_TOKEN_PATH"]
            if of_head and title in " ".join(process.cmdline()):
                found.append(process)
    return found


def submit(head: Head, words: list[str], *more: str) -> str:
    """Submit a job that finds these tests, and return what Ray says."""
    place = json.dumps({"env_vars": {"PYTHONPATH": str(ROOT)}})
    asking = (str(BIN / "ray"), "job", "submit", "--address", head.dashboard, *more, "--runtime-env-json", place)
    return head.run(*asking, "--", *words, cwd=head.folder)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_jobs_whose_supervisor_is_killed_lose_nothing(head: Head, tmp_path: Path):
    moments, killed = 20, 0
    question, words = long(tmp_path, moments), driver(tmp_path, moments)
    for wait in waits(moments, "killed supervisors"):
        before = begun(question)
        submit(head, words, "--no-wait")
        wait_until(lambda before=before: begun(question) > before)
        time.sleep(wait)
        (supervisor,) = processes(head, SUPERVISOR)
        supervisor.send_signal(signal.SIGKILL)
        killed += 1
        until = time.monotonic() + ENDS_S
        while processes(head, " ".join(words[1:3])):
            assert time.monotonic() < until, "the driver goes on without its supervisor"
            time.sleep(0.1)
    assert "succeeded" in submit(head, words)
    found = finished(question, killed)
    assert found["moments"] == moments
