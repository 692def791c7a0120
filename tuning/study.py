"""A study: many tasks worked on by Ray Tune, each once, and a page that answers a question from what they left."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import yaml
from pydantic import Field, JsonValue
from rich.console import Console

from pipelines import cluster, tracking
from pipelines.ask import ask
from pipelines.masking import masked_tree
from pipelines.progress import Watcher
from pipelines.question import AnyQuestion
from pipelines.report import write
from pipelines.run import RunFailed
from pipelines.working_folder import bringing
from stages.base import Spec, digest
from stages.storage import below
from tuning.keeping import Keeping, Left, named, of_task
from tuning.search import Point, Sampled, SearchRun, Trainable, connect, search

if TYPE_CHECKING:
    from pipelines.report import Page


class Task(Protocol):
    """What one trial does. What it leaves lies in a file named by its settings, so that nothing is done twice."""

    @property
    def measured(self) -> Path:
        """The file that is there once the task is done."""

    @property
    def pictures(self) -> int:
        """How many pictures it sees or draws: the measure of progress."""

    def model_dump(self, *, mode: str) -> dict[str, JsonValue]:
        """Return the task as a point of a search holds it."""


class StudySpec(Spec):
    """The settings that every study has."""

    name: str = Field(pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    run: SearchRun = SearchRun()

    asks: ClassVar[str]
    """The question in words."""
    leaves: ClassVar[str] = "trained"
    """The folder of what the tasks leave, in the output."""

    @property
    @abstractmethod
    def trainable(self) -> Trainable:
        """Return what a trial runs on its point: `{"name": ..., "task": ...}`, or settings that a search proposes."""

    @abstractmethod
    def phases(self) -> Iterator[Mapping[str, Task] | Sampled]:
        """Yield the tasks by name, or settings to sample; those of a phase need what the phases before left."""

    @abstractmethod
    def check(self) -> None:
        """Refuse what could never run; raises `ValueError`."""

    @abstractmethod
    def plan(self) -> Iterator[str]:
        """Yield what the study would do; starts nothing."""

    @property
    def room(self) -> float:
        """Return the CPUs that its questions need at once; 0 where it asks none."""
        return 0

    def places(self, point: Point) -> tuple[Path, ...]:
        """Return the folders and files in which the trial of a sampled point works; nothing, in most studies."""
        raise NotImplementedError(f"{type(self).__name__} samples no points, found {point}")

    def questions(self) -> Iterator[AnyQuestion]:
        """Yield the questions that are asked of what the tasks left, before the answer."""
        yield from ()

    @abstractmethod
    def page(self) -> "Page":
        """Return the answer, once every task is done."""

    def keep(self, tracker: tracking.Tracker) -> None:
        """Keep what should outlast the page, which has been written and tracked; nothing, in most studies."""

    def identity(self) -> str:
        """Return 8 hex digits that name these settings: everything but where and how they run."""
        asked = {part: {"run"} for part in ("quality", "shaken", "searched")}
        return digest(self.model_dump(mode="json", exclude={"run": True, **asked}))[:8]

    @property
    def folder(self) -> Path:
        """Return the folder of this study's report."""
        return Path(self.run.output) / f"{self.name}-{self.identity()}"


def conduct(study: StudySpec, console: Console) -> tuple["Page", Path]:
    """Work on every task, answer and report; returns the page and its file."""
    kept = study.run.kept()
    if kept:
        kept.check()
    with ThreadPoolExecutor(1) as beside:
        uri = tracking.address(study.run.tracking_uri, study.run.output)
        beside.submit(tracking.open_store, uri, study.run.experiment).result()
    with tracking.tracked(study.name, type(study).__name__.removesuffix("Spec").lower()) as tracker:
        tracker.parameters(study)
        if study.room:
            connect(study.run, study.room)
        left: list[str] = []
        for tasks in study.phases():
            if isinstance(tasks, Sampled):
                left += sample(study, tasks, console, tracker, left)
            else:
                left += work(study, tasks, console, tracker, left)
        with bringing(partial(kept.fetch_all, left) if kept else None):
            for question in study.questions():
                put(question, console)
        page = study.page()
        report = write(page, study.folder)
        settings = yaml.safe_dump(masked_tree(study.model_dump(mode="json")), sort_keys=False)
        (study.folder / "spec.yaml").write_text(settings, encoding="utf-8")
        for name, points in page.curves.items():
            tracker.curve(name.replace(",", ""), points)
        tracker.page(page, study.folder)
        study.keep(tracker)
    return page, report


def put(question: AnyQuestion, console: Console) -> None:
    """Ask a question, whose answer has a report of its own."""
    cluster.connect(question.spec.run, [draw.generation for draw in question.draws])
    with Watcher(console) as watcher:
        asked = ask(question, watcher)
    console.print(f"report   {asked.report}", highlight=False, soft_wrap=True)


def work(
    study: StudySpec, tasks: Mapping[str, Task], console: Console, tracker: tracking.Tracker, left: Sequence[str] = ()
) -> list[str]:
    """Do whatever of a phase is not there yet; `left` names what the phases before left, returned is what this one did.

    A name is that of a manifest of `tuning.keeping`.
    """
    from tuning.watching import Watching

    kept = tasks if study.run.store else {}
    names = {name: named(study.run.output, task.measured) for name, task in kept.items()}
    fetch(study, names.values())
    todo = {name: task for name, task in tasks.items() if not task.measured.is_file()}
    if not todo:
        return list(names.values())
    pictures = sum(task.pictures for task in todo.values())
    points: list[Point] = [{"name": name, "task": task.model_dump(mode="json")} for name, task in tasks.items()]
    name = f"{study.name}-{digest([str(task.measured) for task in tasks.values()])[:8]}"
    trainable = keeping(study, left, partial(of_task, study.run.output, names))
    with Watching(console, tracker, frozenset(todo), pictures) as watching:
        search(name, trainable, points, study.run, watching)
    fetch(study, names.values())
    if gone := [task.measured for task in todo.values() if not task.measured.is_file()]:
        raise RunFailed(
            f"{name}: expected {gone[0]}, which a trial wrote before, found nothing; "
            f"delete {below(study.run.store or study.run.output, f'tune/{name}')} and start again"
        )
    return list(names.values())


def sample(
    study: StudySpec, sampled: Sampled, console: Console, tracker: tracking.Tracker, left: Sequence[str] = ()
) -> list[str]:
    """Try settings, one trial each; those that were tried are not tried again. Names are as those of `work`."""
    from tuning.watching import Watching

    name = f"{study.name}-{study.identity()}"
    trainable = keeping(study, left, partial(of_point, study, name))
    with Watching(console, tracker, None, len(sampled) * sampled.budget, len(sampled)) as watching:
        search(name, trainable, sampled, study.run, watching)
    fetch(study, [f"{name}/"])
    return [f"{name}/"]


def of_point(study: StudySpec, name: str, point: Point) -> Left:
    """Return what the trial of a sampled point leaves."""
    return Left(f"{name}/{digest(point)[:16]}", study.places(point))


def keeping(study: StudySpec, needs: Sequence[str], left: Callable[[Point], Left]) -> Trainable:
    """Return the trainable of a study, whose trials keep what they leave where the study says."""
    if study.run.store is None:
        return study.trainable
    return Keeping(study.trainable, study.run.output, study.run.store, tuple(needs), left)


def fetch(study: StudySpec, names: Iterable[str]) -> None:
    """Bring here what trials have left elsewhere."""
    if kept := study.run.kept():
        kept.fetch_all(names)
