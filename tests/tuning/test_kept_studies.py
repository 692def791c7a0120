"""Studies whose trials share no folder: what is left at one machine is gone on from at another."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import JsonValue
from rich.console import Console

from pipelines.compute import Compute
from pipelines.run import RunFailed
from pipelines.store import Store
from stages.base import Spec
from tests import s3
from tests.tuning.test_search import POINTS, Told, counting, run, stumbling
from tuning.search import Metrics, Point, Sampled, SearchRun, search
from tuning.spaces import Sampling, Uniform
from tuning.study import StudySpec, sample, work

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
STEPS = 4


class Toy(Spec):
    """Counts in a checkpoint, and stops on the way where its folder says so."""

    output: str
    number: int
    needs: int | None = None

    @property
    def folder(self) -> Path:
        return Path(self.output) / "trained" / f"toy-{self.number}"

    @property
    def measured(self) -> Path:
        return self.folder / "done.txt"

    @property
    def pictures(self) -> int:
        return STEPS


def counted(point: Point) -> Iterator[Metrics]:
    toy = Toy.model_validate(point["task"])
    toy.folder.mkdir(parents=True, exist_ok=True)
    before = Toy(output=toy.output, number=toy.needs).measured.read_text() if toy.needs is not None else ""
    file, steps = toy.folder / "checkpoint.pt", toy.folder / "steps.txt"
    first = int(file.read_text()) if file.exists() else 0
    for step in range(STEPS if toy.measured.exists() else first, STEPS):
        file.write_text(str(step + 1))
        with steps.open("a") as text:
            text.write(f"{step} at {Path(toy.output).name}\n")
        yield {"pictures": float(step + 1)}
        if step == 1 and toy.number == 1 and (Path(toy.output) / "stops").exists():
            raise ValueError("one stops")
    file.unlink(missing_ok=True)
    toy.measured.write_text(before + str(toy.number))
    yield {"pictures": float(STEPS)}


class ToyStudy(StudySpec):
    name: str = "toys"

    asks: ClassVar = "Who counts?"

    @property
    def trainable(self) -> Any:
        return counted

    def tasks(self) -> dict[str, Toy]:
        return {f"toy {n}": Toy(output=self.run.output, number=n) for n in range(3)}

    def phases(self) -> Iterator[Mapping[str, Toy]]:
        yield self.tasks()
        yield {"last": Toy(output=self.run.output, number=9, needs=2)}

    def check(self) -> None: ...

    def plan(self) -> Iterator[str]:
        yield ""

    def page(self) -> Any: ...


class Drawn(ToyStudy):
    """Samples numbers."""

    @property
    def trainable(self) -> Any:
        return lambda point: counted({"task": self.task(point)})

    def task(self, point: Point) -> dict[str, JsonValue]:
        return {"output": self.run.output, "number": int(100 * float(str(point["x"])))}

    def places(self, point: Point) -> tuple[Path, ...]:
        return (Toy.model_validate(self.task(point)).folder,)


def conducted(study: ToyStudy) -> None:
    """Work on all phases, as `conduct` does."""
    left: list[str] = []
    for tasks in study.phases():
        left += work(study, tasks, Console(file=io.StringIO()), None, left)


@pytest.fixture
def place(s3_port: int) -> str:
    """A place on S3, by a way that fails now and then."""
    way = s3.Way(s3_port, seed=2, share=0.05, slow_s=0.05)
    return s3.uri(s3.bucket(s3_port), way.port)


def at(output: Path, place: str) -> dict[str, Any]:
    output.mkdir()
    trials = Compute(actors=2, cpus=0.5)
    return {"run": SearchRun(output=str(output), store=place, trials=trials, max_failures=0)}


def test_a_search_is_taken_up_at_another_machine(tmp_path: Path, place: str):
    for output, ends in (("first", 4), ("second", 0)):
        told = Told()
        search("count", counting, POINTS, run(tmp_path / output, store=place), told)
        assert len(told.ends) == ends
        assert not (tmp_path / output / "tune").exists()


def test_a_trial_that_failed_is_tried_again_at_another_machine(tmp_path: Path, place: str):
    points: list[Point] = [{**point, "folder": str(tmp_path)} for point in POINTS]
    for output, ends in (("first", [0, 1, 2, 3]), ("second", [1, 2])):
        told = Told()
        with pytest.raises(RunFailed, match="one is not good"):
            search("stumble", stumbling, points, run(tmp_path / output, store=place, max_failures=0), told)
        assert sorted(int(str(p["number"])) for p, _ in told.ends) == ends


def test_a_study_goes_on_at_another_machine(tmp_path: Path, place: str):
    first, second = (ToyStudy(**at(tmp_path / name, place)) for name in ("first", "second"))
    (tmp_path / "first" / "stops").touch()
    with pytest.raises(RunFailed, match="one stops"):
        conducted(first)
    conducted(second)
    left = {n: (tmp_path / "second" / "trained" / f"toy-{n}") for n in (0, 1, 2, 9)}
    assert {n: (folder / "done.txt").read_text() for n, folder in left.items()} == {0: "0", 1: "1", 2: "2", 9: "29"}
    assert (left[0] / "steps.txt").read_text() == "".join(f"{step} at first\n" for step in range(STEPS))
    assert (left[1] / "steps.txt").read_text() == "0 at first\n1 at first\n2 at second\n3 at second\n"
    third = ToyStudy(**at(tmp_path / "third", place))
    conducted(third)  # nothing is done again
    assert (tmp_path / "third" / "trained" / "toy-9" / "steps.txt").read_text().count("at second") == STEPS
    assert not Store(place).tables()


def test_sampled_trials_are_brought_together(tmp_path: Path, place: str):
    study = Drawn(**at(tmp_path / "first", place))
    sampled = Sampled({"x": Uniform(low=0.0, high=1.0)}, Sampling(trials=3, scheduler="none"), "pictures", STEPS)
    (name,) = sample(study, sampled, Console(file=io.StringIO()), None)
    elsewhere = SearchRun(output=str(tmp_path / "second"), store=place).kept()
    assert elsewhere is not None
    elsewhere.fetch_all([name])
    assert len(list((tmp_path / "second" / "trained").glob("toy-*/done.txt"))) == 3
