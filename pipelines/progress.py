"""Progress for people: a bar in a terminal, a line every few seconds elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from pipelines.run import Tally

LINE_EVERY_S = 15.0


class Watcher:
    """Shows rows done, rows per second, time left and failures of whatever runs."""

    def __init__(self, console: Console) -> None:
        self.console = console
        columns = (SpinnerColumn(), "{task.description}", BarColumn(), MofNCompleteColumn())
        self.bar = Progress(
            *columns, TextColumn("{task.fields[note]}"), TimeRemainingColumn(), console=console, transient=True
        )
        self.last_line = 0.0

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def __call__(self, what: str, tally: Tally) -> None:
        """Show where a step stands."""
        rate = tally.rate
        known = rate == rate  # noqa: PLR0124  NaN is not itself
        note = ", ".join(([f"{rate:.1f}/s"] if known else []) + ([f"{tally.failed} failed"] if tally.failed else []))
        if self.console.is_terminal:
            task = next((t for t in self.bar.tasks if t.description == what), None)
            number = task.id if task else self.bar.add_task(what, note=note)
            self.bar.update(number, completed=tally.done, total=tally.todo, note=note)
        elif time.monotonic() - self.last_line > LINE_EVERY_S or tally.done >= tally.todo:
            self.last_line = time.monotonic()
            left = f", {(tally.todo - tally.done) / rate:.0f} s left" if known and tally.done < tally.todo else ""
            self.console.print(f"{what}: {tally.done} of {tally.todo}{note and ', '}{note}{left}", highlight=False)
