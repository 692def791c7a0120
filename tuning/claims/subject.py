"""A study as what claims rest on."""

from collections.abc import Iterator

from rich.console import Console
from typing_extensions import override

from pipelines.claims.subject import Answered, Kept, Subject
from pipelines.config import load
from pipelines.plan import refuse_unwritable
from pipelines.question import AnyQuestion
from tuning.studies_cli import CONFIGS
from tuning.study import StudySpec, conduct


class OfStudy(Subject[StudySpec]):
    """A study; it starts Ray, or joins the one that is there, at its first trial."""

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


def studied(kind: type[StudySpec], config: str, overrides: list[str]) -> OfStudy:
    """Return the study that a config asks; raises `UserError`."""
    return OfStudy(load(kind, config, overrides, CONFIGS))
