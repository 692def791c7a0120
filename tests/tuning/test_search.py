"""Ray Tune, set up once: every point once, a stopped search taken up again, a failed trial told from a finished one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.compute import Compute
from pipelines.config import UserError
from pipelines.run import RunFailed
from tests.conftest import CPUS
from tests.pipelines import test_run
from tuning.search import Metrics, Point, Sampled, SearchRun, connect, search
from tuning.spaces import Choice, LogUniform, Sampling, Uniform

pytestmark = pytest.mark.ray
DRIVER = """
import sys
from tests.tuning.test_search import Told, POINTS, run, slow
from tuning.search import search
search("killed", slow, POINTS, run(sys.argv[1]), Told())
"""
POINTS: list[Point] = [{"name": f"point {n}", "number": n, "folder": ""} for n in range(4)]


class Told:
    """What the driver heard."""

    def __init__(self) -> None:
        self.metrics: list[tuple[Point, Metrics]] = []
        self.ends: list[tuple[Point, bool]] = []

    def told(self, trial: str, point: Point, metrics: Metrics) -> None:  # noqa: ARG002
        self.metrics.append((point, metrics))

    def ended(self, trial: str, point: Point, failed: bool) -> None:  # noqa: ARG002
        self.ends.append((point, failed))


def run(output: str | Path, actors: int = 2, **settings) -> SearchRun:
    return SearchRun(output=str(output), trials=Compute(actors=actors, cpus=0.5), **settings)


def counting(point: Point) -> Iterator[Metrics]:
    for step in range(3):
        yield {"pictures": float(step), "loss": float(point["number"])}


def stumbling(point: Point) -> Iterator[Metrics]:
    """Point 1 dies for good, point 2 dies once."""
    mark = Path(str(point["folder"])) / f"{point['number']}"
    first = not mark.exists()
    mark.touch()
    yield {"pictures": 1.0}
    if point["number"] == 1 or (point["number"] == 2 and first):
        raise ValueError("one is not good")


def climbing(point: Point) -> Iterator[Metrics]:
    """Get better by as much as x is near to 3, in ten steps of ten pictures."""
    for step in range(1, 11):
        yield {"pictures": 10.0 * step, "score": step * (1 - abs(float(str(point["x"])) - 3) / 10)}


def leaving(point: Point) -> Iterator[Metrics]:
    """Leave a file where the trial works."""
    Path(str(point["name"])).touch()
    yield {"pictures": 1.0}


def asking(_: Point) -> Iterator[Metrics]:
    """Run a data set within a trial."""
    yield {"pictures": float(len(test_run.run(test_run.pipeline())))}


def slow(point: Point) -> Iterator[Metrics]:
    """Count in a file, so that a trial that is started again goes on from there."""
    file = Path(os.environ["COUNTS"]) / f"{point['number']}"
    for step in range(len(file.read_text()) if file.exists() else 0, 6):
        with file.open("a") as text:
            text.write(str(step))
        yield {"pictures": float(step)}
        time.sleep(0.4)


@pytest.mark.usefixtures("ray_cluster")
class TestSearch:
    def test_every_point_is_tried_once_and_told_of(self, tmp_path):
        told = Told()
        search("count", counting, POINTS, run(tmp_path), told)
        assert sorted(str(p["name"]) for p, failed in told.ends if not failed) == [str(p["name"]) for p in POINTS]
        for point in POINTS:
            heard = [m for p, m in told.metrics if p == point]
            assert heard == [{"pictures": float(s), "loss": float(str(point["number"]))} for s in range(3)]

    def test_a_failed_trial_is_said_and_the_others_are_kept(self, tmp_path):
        points = [{**point, "folder": str(tmp_path)} for point in POINTS]
        told = Told()
        with pytest.raises(RunFailed, match=r"expected all of 4 trials to finish, but 1 failed, .* one is not good"):
            search("stumble", stumbling, points, run(tmp_path, max_failures=1), told)
        assert {p["number"]: failed for p, failed in told.ends} == {0: False, 1: True, 2: False, 3: False}
        again = Told()
        with pytest.raises(RunFailed):
            search("stumble", stumbling, points, run(tmp_path, actors=1, max_failures=0), again)
        assert [p["number"] for p, _ in again.ends] == [1]

    @pytest.mark.parametrize("kind", ["experiment_state", "basic-variant-state"])
    def test_a_search_whose_state_a_kill_has_cut_begins_anew(self, tmp_path, kind):
        for expected in (4, 0, 4):
            told = Told()
            search("cut", counting, POINTS, run(tmp_path), told)
            assert [failed for _, failed in told.ends] == [False] * expected
            if not expected:
                (file,) = (file for file in (tmp_path / "tune" / "cut").glob(f"{kind}-2*"))
                file.write_bytes(file.read_bytes()[:-9])
                for other in (tmp_path / "tune" / "cut").glob("*-0000*"):
                    other.unlink()

    def test_a_clock_that_is_set_back_between_commands_makes_nothing_forgotten(self, tmp_path, monkeypatch):
        points, wall = [{**point, "folder": str(tmp_path)} for point in POINTS], time.time
        ends = []
        for hours in (0, -1, -1):
            told = Told()
            monkeypatch.setattr(time, "time", lambda hours=hours: wall() + 3600 * hours)
            with pytest.raises(RunFailed, match="one is not good"):
                search("back", stumbling, points, run(tmp_path, max_failures=0), told)
            ends.append({p["number"]: failed for p, failed in told.ends})
        assert ends == [{0: False, 1: True, 2: True, 3: False}, {1: True, 2: False}, {1: True}]

    def test_a_trial_works_where_its_search_does(self, tmp_path, monkeypatch):
        """Ray was started in another folder, and its processes worked in a third one before."""
        for folder in (tmp_path / "first", tmp_path / "second"):
            folder.mkdir()
            monkeypatch.chdir(folder)
            search("leave", leaving, POINTS, run("runs", actors=1), Told())
            assert {path.name for path in folder.iterdir()} == {"runs", *(str(p["name"]) for p in POINTS)}

    def test_settings_are_proposed_and_those_behind_are_stopped(self, tmp_path):
        sampling = Sampling(trials=12, grace=0.2, seed=1)
        space = {"x": Uniform(low=0.0, high=10.0), "kind": Choice(values=("a", "b"))}
        told, sampled = Told(), Sampled(space, sampling, metric="score", budget=100)
        search("climb", climbing, sampled, run(tmp_path), told)
        assert len(told.ends) == 12
        last = {str(p["x"]): m for p, m in told.metrics}
        steps = {x: m["pictures"] for x, m in last.items()}
        assert min(steps.values()) < 100 == max(steps.values())  # some were stopped, the best never
        best = max(last, key=lambda x: last[x]["score"])
        assert abs(float(best) - 3) < 1
        assert all(0 <= float(x) <= 10 for x in last)
        again = Told()
        search("climb", climbing, sampled, run(tmp_path), again)
        assert not again.metrics  # what was tried is not tried again

    def test_random_proposals_depend_on_the_seed_alone(self, tmp_path):
        tried = []
        for name in ("first", "second"):
            sampling = Sampling(trials=4, searcher="random", scheduler="none", seed=5)
            told = Told()
            sampled = Sampled({"x": LogUniform(low=0.1, high=10.0)}, sampling, metric="score", budget=100)
            search(name, climbing, sampled, run(tmp_path, actors=1), told)
            tried.append(sorted(float(str(p["x"])) for p, _ in told.ends))
        assert tried[0] == tried[1]
        assert len(set(tried[0])) == 4

    def test_settings_that_need_another_are_proposed_beside_it_alone(self, tmp_path):
        tried = []
        space = {"kind": Choice(values=("a", "b")), "x": Uniform(low=0.0, high=10.0), "y": Uniform(low=0.0, high=1.0)}
        for searcher in ("optuna", "random"):
            sampling = Sampling(trials=8, searcher=searcher, scheduler="none", seed=2)
            told, sampled = Told(), Sampled(space, sampling, "score", budget=100, needs={"y": ("kind", "b")})
            search(f"needs {searcher}", climbing, sampled, run(tmp_path), told)
            tried.append([p for p, _ in told.ends])
        for points in tried:
            assert {str(p["kind"]) for p in points} == {"a", "b"}
            assert all(set(p) == ({"kind", "x", "y"} if p["kind"] == "b" else {"kind", "x"}) for p in points)

    def test_a_data_set_within_a_trial_is_refused_instead_of_waiting_for_its_cpus(self, tmp_path):
        """Trials hold every CPU; a data set of a command has them all once they are done."""
        everything = SearchRun(output=str(tmp_path), trials=Compute(actors=CPUS, cpus=1), max_failures=0)
        with pytest.raises(RunFailed, match=r"4 failed, the first with .*data set: expected to be run by a command"):
            search("ask", asking, POINTS, everything, Told())
        assert len(test_run.run(test_run.pipeline())) == len(test_run.GRID)

    def test_a_trial_that_no_machine_can_hold_is_refused(self):
        with pytest.raises(UserError, match=r"run\.trials: expected a node with at least 3 GPUs, found 1 x 0"):
            connect(SearchRun(trials=Compute(gpus=3)))


def test_a_search_that_was_killed_goes_on(tmp_path):
    """The driver is killed with all its processes; no step of any trial is taken twice."""
    counts = tmp_path / "counts"
    counts.mkdir()
    environment = {**os.environ, "COUNTS": str(counts), "RAY_AUTH_MODE": "disabled"}
    words = [sys.executable, "-c", DRIVER, str(tmp_path)]
    first = subprocess.Popen(words, env=environment, start_new_session=True)
    deadline = time.monotonic() + 200
    while not any(counts.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = [file.read_text() for file in counts.iterdir()]
    assert before
    assert any(text != "012345" for text in before)
    subprocess.run(words, env=environment, check=True, timeout=250)
    assert {file.name: file.read_text() for file in counts.iterdir()} == dict.fromkeys("0123", "012345")
