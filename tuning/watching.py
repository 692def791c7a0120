"""Who watches the trials of a search: a line for people, a run under the search's own for MLflow."""

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipelines.progress import LINE_EVERY_S
from pipelines.tracking import Child, Tracker
from tuning.search import Metrics, Point


@dataclass
class Watching:
    """Shows how many trials are done, and tracks each; a trial reports `pictures`, its progress, among its metrics."""

    console: Console
    tracker: Tracker | None
    trials: frozenset[str] | None
    """Names of the points that are left to try; others end at once and are not counted. None: all count."""
    pictures: int
    """That these trials see or draw together."""
    count: int = 0
    """How many trials there are; 0: as many as names."""
    seen: dict[str, float] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    ends: dict[str, bool] = field(default_factory=dict)
    """Of each trial that ended, whether it failed."""

    def __post_init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
        self.bar = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)
        self.count = self.count or len(self.trials or ())
        self.task = self.bar.add_task("trials", total=self.pictures)
        self.last_line = 0.0

    def __enter__(self) -> "Watching":
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.bar.stop()
        for child in self.children.values():  # what is open now was stopped
            child.end("KILLED")

    def told(self, trial: str, point: Point, metrics: Metrics) -> None:
        """Take notice of what a trial yielded."""
        if not self.counts(name := named(trial, point)):
            return
        self.seen[trial] = metrics.get("pictures", 0.0)
        if self.tracker:
            if trial not in self.children:
                self.children[trial] = self.tracker.child(name, point)
            self.children[trial].metrics(metrics, step=int(self.seen[trial]))
        self.show()

    def ended(self, trial: str, point: Point, failed: bool) -> None:
        """Take notice of the end of a trial."""
        if self.counts(name := named(trial, point)):
            self.ends[name] = failed
        if child := self.children.pop(trial, None):
            child.end("FAILED" if failed else "FINISHED")
        self.show(always=failed or len(self.ends) == self.count)

    def counts(self, name: str) -> bool:
        """Return whether a trial is one of those to do."""
        return self.trials is None or name in self.trials

    def show(self, always: bool = False) -> None:
        """Draw the bar, or now and then a line."""
        failed = sum(self.ends.values())
        text = f"{len(self.ends)} of {self.count} trials{f', {failed} failed' if failed else ''}"
        total = sum(self.seen.values())
        self.bar.update(self.task, description=text, completed=total)
        if not self.console.is_terminal and (always or time.monotonic() - self.last_line > LINE_EVERY_S):
            self.last_line = time.monotonic()
            self.console.print(f"{text}, {total / self.pictures:.0%} of the pictures", highlight=False)


def named(trial: str, point: Point) -> str:
    """Return the name of a trial: its point's, or Ray's where the point has none."""
    return str(point.get("name", trial))
