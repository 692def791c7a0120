"""What claims rest on: a config that is asked and answers, a question of pipelines or something else."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from rich.console import Console
from typing_extensions import override

from pipelines import plan
from pipelines.question import AnyQuestion
from pipelines.questions import resolved

T = TypeVar("T")


class Kept(Protocol):
    """Where a subject keeps its answer, and tracks it."""

    @property
    def output(self) -> str:
        """Folder of what it leaves."""

    @property
    def tracking_uri(self) -> str | None:
        """MLflow's address; empty: a database in that folder."""

    @property
    def experiment(self) -> str:
        """MLflow experiment."""


class Answered(NamedTuple):
    """What an answer left."""

    folder: Path
    """Of its report."""
    size: str
    """Model and size, as the ledger says them."""


class Subject(ABC, Generic[T]):
    """A config with its overrides, resolved; reads files, and starts nothing but to answer."""

    def __init__(self, asked: T) -> None:
        self.asked = asked
        """What claims measure once it has answered."""

    @property
    @abstractmethod
    def run(self) -> Kept:
        """Return where its answer is kept."""

    @property
    @abstractmethod
    def questions(self) -> tuple[AnyQuestion, ...]:
        """Return the questions of pipelines that it asks; Ray must have room for each before any starts."""

    @abstractmethod
    def check(self) -> None:
        """Refuse what could never run; raises ValueError."""

    @abstractmethod
    def plan(self) -> Iterator[str]:
        """Yield what it would do and cost, a line at least."""

    @abstractmethod
    def refuse(self) -> None:
        """Raise `UserError` where the machine has no room for it."""

    @abstractmethod
    def answer(self, console: Console) -> Answered:
        """Do whatever is not done yet, answer and report."""


AnySubject: TypeAlias = Subject[Any]
"""A subject of which it does not matter what it asks."""


class OfQuestion(Subject[AnyQuestion]):
    """A question of pipelines."""

    @classmethod
    def resolved(cls, config: str, overrides: list[str]) -> "OfQuestion":
        """Return the question that a config asks; raises `UserError`."""
        return cls(resolved(config, overrides))

    @property
    @override
    def run(self) -> Kept:
        run: Kept = self.asked.spec.run
        return run

    @property
    @override
    def questions(self) -> tuple[AnyQuestion, ...]:
        return (self.asked,)

    @override
    def check(self) -> None:
        from pipelines.cli import check

        check(self.asked)

    @override
    def plan(self) -> Iterator[str]:
        found = plan.plan(self.asked)
        yield f"{found.rows} images, {found.stored} of them in the store; time {plan.duration(found.seconds)}"

    @override
    def refuse(self) -> None:
        plan.refuse(self.asked, plan.plan(self.asked))

    @override
    def answer(self, console: Console) -> Answered:
        from pipelines import ask
        from pipelines.progress import Watcher

        with Watcher(console) as watch:
            asked = ask.ask(self.asked, watch)
        models = ", ".join(draw.grid.model for draw in self.asked.draws)
        return Answered(asked.report.parent, f"{models}; {asked.page.facts['Grid']}")
