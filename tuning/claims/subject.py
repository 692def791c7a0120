"""A study as what claims rest on."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from typing_extensions import override

from pipelines.claims.subject import Answered, Kept, Subject
from pipelines.plan import refuse_unwritable
from pipelines.question import AnyQuestion
from tuning.study import StudySpec, conduct


@dataclass(frozen=True)
class OfStudy(Subject):
    """A study; it starts Ray, or joins the one that is there, at its first trial."""

    asked: StudySpec

    @property
    @override
    def run(self) -> Kept:
        return self.asked.run

    @property
    @override
    def questions(self) -> tuple[AnyQuestion, ...]:
        return ()

    @override
    def check(self) -> None:
        self.asked.check()

    @override
    def plan(self) -> Iterator[str]:
        yield self.asked.asks
        yield from self.asked.plan()

    @override
    def refuse(self) -> None:
        refuse_unwritable(self.asked.run.output)

    @override
    def answer(self, console: Console) -> Answered:
        page, report = conduct(self.asked, console)
        return Answered(report.parent, f"{page.facts['Model']}; {page.facts['Size']}")
