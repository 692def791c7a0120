"""One question by every way to a cluster: the same rows, the run's exit status, and a job that outlives its client."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as pads
import pytest

from tests.e2e.commands import SEEDQUAKE, SMALL
from tests.e2e.private_cluster import BIN, COMMAND_S, Head, private_head

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parent.parent.parent
RAY = str(BIN / "ray")
WORDS = ("robustness", "robustness_demo", *SMALL, "judge_control=null")
SUBMIT = str(ROOT / "cluster" / "submit.py")
ROWS = 4 * 2 * 3


@pytest.fixture(scope="session", autouse=True)
def shared_ray() -> None:
    """None: these commands reach a Ray by themselves."""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with private_head(cpus=4) as found:
        yield found


@pytest.fixture(scope="module")
def alone(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Way (a): a Ray of the command's own."""
    folder = tmp_path_factory.mktemp("alone")
    head.run(SEEDQUAKE, *WORDS, cwd=folder, SEEDQUAKE_OUTPUT=str(folder / "runs"))
    return folder / "runs"


def job(head: Head, *words: str) -> tuple[str, ...]:
    """The words that submit a job with this project's folder, as a user does."""
    return RAY, "job", "submit", "--address", head.dashboard, "--working-dir", ".", *words


def samples(output: Path) -> dict[str, dict]:
    rows = pads.dataset(output / "store" / "samples").to_table().to_pylist()
    found = {row["sample_id"]: row for row in rows}
    assert len(found) == len(rows), "a row stands twice"
    return found


def test_a_submitted_job_gives_the_same_rows(head: Head, alone: Path, tmp_path: Path):
    """Way (b), with the whole project uploaded; progress and the answer come back."""
    output = tmp_path / "runs"
    said = head.run(*job(head, "--", "seedquake", *WORDS, f"run.output={output}"), cwd=ROOT)
    assert f"{ROWS} of {ROWS}" in said
    assert "report " in said
    assert samples(output) == samples(alone)
    assert len(samples(output)) == ROWS


def test_a_running_ray_that_is_named_by_its_variable_gives_the_same_rows(head: Head, alone: Path, tmp_path: Path):
    """Way (d)."""
    plan = head.run(SEEDQUAKE, "plan", *WORDS[1:], cwd=tmp_path, RAY_ADDRESS=head.address)
    assert f"joins {head.address}, which RAY_ADDRESS names" in plan
    head.run(SEEDQUAKE, *WORDS, f"run.output={tmp_path / 'runs'}", cwd=tmp_path, RAY_ADDRESS=head.address)
    assert samples(tmp_path / "runs") == samples(alone)


def test_a_failing_job_has_the_exit_status_of_its_run(head: Head, tmp_path: Path):
    wrong = ("robustness", "robustness_demo", "seeds.cuont=2", "name=$(touch stolen)")
    said = head.run(*job(head, "--no-wait", "--", "seedquake", *wrong), cwd=ROOT)
    assert "submitted successfully" in said
    said = head.run(*job(head, "--", "seedquake", *wrong), cwd=ROOT, status=1)  # Ray's own command knows 0 and 1
    assert "did you mean count?" in said
    said = head.run(sys.executable, SUBMIT, *wrong, cwd=tmp_path, status=2, RAY_API_SERVER_ADDRESS=head.dashboard)
    assert "did you mean count?" in said
    assert not list(head.folder.rglob("stolen")) + list(tmp_path.rglob("stolen"))


def test_results_in_the_uploaded_folder_are_refused(head: Head):
    said = head.run(*job(head, "--", "seedquake", *WORDS), cwd=ROOT, status=1)
    assert "expected a folder that outlives the job, found 'runs'" in said


def test_nobody_without_the_token_is_let_in(head: Head, tmp_path: Path):
    words = (SEEDQUAKE, *WORDS, f"run.output={tmp_path / 'runs'}")
    said = head.run(*words, cwd=tmp_path, status=2, RAY_ADDRESS=head.address, RAY_AUTH_MODE="disabled")
    assert "is its token that of this shell" in said
    assert "Traceback" not in said
    said = head.run(*job(head, "--", "true"), cwd=tmp_path, status=1, RAY_AUTH_MODE="disabled")
    assert "401" in said or "authentication" in said.lower()


def test_a_killed_client_does_not_end_the_job(head: Head, alone: Path, tmp_path: Path):
    output = tmp_path / "runs"
    words = (sys.executable, SUBMIT, *WORDS, f"run.output={output}")
    client = head.start(*words, cwd=tmp_path, RAY_API_SERVER_ADDRESS=head.dashboard)
    assert client.stdout
    name = client.stdout.readline().split()[1]
    os.killpg(client.pid, signal.SIGKILL)
    client.communicate()
    asking = (RAY, "job", "status", "--address", head.dashboard, name)
    deadline = time.monotonic() + COMMAND_S
    while "succeeded" not in (said := head.run(*asking, cwd=tmp_path)):
        assert "failed" not in said
        assert time.monotonic() < deadline
        time.sleep(2)
    assert samples(output) == samples(alone)
