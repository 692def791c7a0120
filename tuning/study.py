"""A study: many models trained by Ray Tune, what they draw, and a page that answers a question."""

from abc import abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import yaml
from pydantic import Field
from rich.console import Console

from pipelines import tracking
from pipelines.report import write
from pipelines.run import RunFailed
from stages.base import Spec, digest
from tuning.search import Point, SearchRun, search
from tuning.training.trial import Drawing, Task, run

if TYPE_CHECKING:
    from pipelines.report import Page


class StudySpec(Spec):
    """The settings that every study has."""

    name: str = Field(pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    drawing: Drawing
    run: SearchRun = SearchRun()

    asks: ClassVar[str]
    """The question in words."""

    @abstractmethod
    def phases(self) -> Iterator[dict[str, Task]]:
        """Yield the trials by name; those of a phase need the models of the phases before."""

    @abstractmethod
    def check(self) -> None:
        """Refuse what could never run; raises `ValueError`."""

    @abstractmethod
    def plan(self) -> Iterator[str]:
        """Yield what the study would do; starts nothing."""

    @abstractmethod
    def page(self) -> "Page":
        """Return the answer, once every model has drawn."""

    def identity(self) -> str:
        """Return 8 hex digits that name these settings: everything but where and how they run."""
        return digest(self.model_dump(mode="json", exclude={"run"}))[:8]

    @property
    def folder(self) -> Path:
        """Return the folder of this study's report."""
        return Path(self.run.output) / f"{self.name}-{self.identity()}"


def conduct(study: StudySpec, console: Console) -> tuple["Page", Path]:
    """Train, draw, answer and report; returns the page and its file."""
    with ThreadPoolExecutor(1) as beside:
        uri = tracking.address(study.run.tracking_uri, study.run.output)
        beside.submit(tracking.open_store, uri, study.run.experiment).result()
    with tracking.tracked(study.name, type(study).__name__.removesuffix("Spec").lower()) as tracker:
        tracker.parameters(study)
        for tasks in study.phases():
            work(study, tasks, console, tracker)
        page = study.page()
        report = write(page, study.folder)
        settings = yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False)
        (study.folder / "spec.yaml").write_text(settings, encoding="utf-8")
        for name, points in page.curves.items():
            tracker.curve(name.replace(",", ""), points)
        tracker.page(page, study.folder)
    return page, report


def work(study: StudySpec, tasks: dict[str, Task], console: Console, tracker: tracking.Tracker) -> None:
    """Train and draw whatever of a phase is not there yet."""
    from tuning.watching import Watching

    todo = {name: task for name, task in tasks.items() if not task.measured.is_file()}
    if not todo:
        return
    pictures = sum(task.model.budget.pictures for task in todo.values())
    points: list[Point] = [{"name": name, "task": task.model_dump(mode="json")} for name, task in tasks.items()]
    name = f"{study.name}-{digest([str(task.measured) for task in tasks.values()])[:8]}"
    with Watching(console, tracker, frozenset(todo), pictures) as watching:
        search(name, run, points, study.run, watching)
    if gone := [task.measured for task in todo.values() if not task.measured.is_file()]:
        raise RunFailed(
            f"{name}: expected {gone[0]}, which a trial wrote before, found nothing; "
            f"delete {study.run.output}/tune/{name} and start again"
        )
