"""The question: with which settings does a search over latents find most failures for as many pictures."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from pydantic import Field, JsonValue, model_validator
from typing_extensions import override

from pipelines.report import Page, interval
from stages.base import digest
from stages.metrics import Estimate
from tuning.sage import outcomes
from tuning.sage.latent import LatentSearchSpec
from tuning.sage.latents import trial
from tuning.sage.latents.study import LatentStudySpec
from tuning.sage.latents.trial import LatentTask
from tuning.search import Metrics, Point, Sampled
from tuning.spaces import AnyRange, Choice, Sampling
from tuning.study import StudySpec

if TYPE_CHECKING:
    from tuning.sage.outcomes import Outcome


class HyperSpec(StudySpec):
    """A study of latents, whose settings are drawn from ranges, a trial each; all trials search the same attempts."""

    name: str = Field("sage_tune", pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    study: LatentStudySpec
    space: dict[str, AnyRange] = Field(min_length=1, description="Ranges of settings of `study.search`, as a.b.")
    sampling: Sampling = Sampling()

    leaves: ClassVar = "sage"
    asks: ClassVar = "With which settings does the search find most failures for as many pictures?"

    @model_validator(mode="after")
    def _settings_exist(self) -> "HyperSpec":
        changed(self.study.search, {name: least(values) for name, values in self.space.items()})
        return self

    @property
    def trials(self) -> Path:
        """Return the folder of a file a trial."""
        return Path(self.run.output) / "sage" / f"tune-{self.identity()}"

    def task(self, settings: Mapping[str, JsonValue]) -> LatentTask:
        """Return all attempts as one trial under these settings."""
        return LatentTask(
            model=self.study.model,
            surrogate=self.study.surrogate,
            search=changed(self.study.search, settings),
            attempts=tuple(self.study.attempts()),
            output=self.run.output,
            **self.run.placed(),
        )

    @override
    def phases(self) -> Iterator[Sampled]:
        settings = {name: least(values) for name, values in self.space.items()}
        yield Sampled(self.space, self.sampling, metric="found", budget=self.task(settings).pictures)

    @property
    @override
    def trainable(self) -> Any:
        return partial(run, self)

    @override
    def places(self, point: Point) -> tuple[Path, ...]:
        return self.note(point), self.task(point).folder

    def note(self, point: Point) -> Path:
        """Return the file in which a trial notes its settings."""
        return self.trials / f"{digest(point)[:16]}.json"

    @override
    def check(self) -> None:
        self.study.check()
        if "iterations" in self.space:
            raise ValueError("space: expected settings that leave the budget alone, found 'iterations'")

    @override
    def plan(self) -> Iterator[str]:
        tried, sampling = len(list(self.trials.glob("*.json"))), self.sampling
        yield f"trials     {sampling.trials} by {sampling.searcher}, halved by {sampling.scheduler}; {tried} began"
        yield f"attempts   {len(self.study.attempts())}, the same in every trial"
        yield from (f"range      {name}: {values!r}" for name, values in self.space.items())

    @override
    def page(self) -> Page:
        rows = sorted(read(self), key=lambda row: -row.rate.value)
        table = pd.DataFrame([row.cells() for row in rows])
        best = ", ".join(f"{name} = {short(value)}" for name, value in rows[0].settings.items())
        return Page(
            title=f"Seedquake: {self.name}",
            question=self.asks,
            verdict=f"Most failures with {best}: {interval(rows[0].rate)} of {rows[0].rate.n} attempts.",
            sentences=("The best of many trials looks better than it is: run it again on other seeds.",),
            pictures=(),
            tables={"trials": table},
            shown=table.map(short),
            heading="Every trial, the best first",
            facts={"Trials": f"{len(rows)}, of which {sum(row.stopped for row in rows)} were stopped early"},
            spec=self.model_dump(mode="json"),
        )


def short(value: JsonValue) -> JsonValue:
    """Return a value as people read it: a fraction by its first three digits; the stored table keeps them all."""
    return f"{value:.3g}" if isinstance(value, float) else value


class Row:
    """What one trial came to."""

    def __init__(self, settings: dict[str, JsonValue], found: "list[Outcome]", attempts: int) -> None:
        self.settings, self.stopped = settings, len(found) < attempts
        self.pictures = sum(one.evaluations for one in found)
        self.rate: Estimate = outcomes.success_rate(found)

    def cells(self) -> dict[str, JsonValue]:
        """Return the trial as a row of the table."""
        ended = "stopped early" if self.stopped else "ended"
        return {**self.settings, "found": interval(self.rate), "pictures": self.pictures, "trial": ended}


def run(spec: HyperSpec, point: Point) -> Iterator[Metrics]:
    """Search all attempts under the settings of a point; yield the share that has succeeded so far."""
    task = spec.task(point)
    file = spec.note(point)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(point) + "\n", encoding="utf-8")
    for metrics in trial.run({"task": task.model_dump(mode="json")}):
        found = sum(one.success for one in task.done().values())
        yield {**metrics, "found": found / len(task.attempts)}


def read(spec: HyperSpec) -> list[Row]:
    """Return what is kept of every trial."""
    rows = []
    for file in sorted(spec.trials.glob("*.json")):
        settings = json.loads(file.read_text(encoding="utf-8"))
        task = spec.task(settings)
        rows.append(Row(settings, list(task.done().values()), len(task.attempts)))
    return rows


def changed(search: LatentSearchSpec, settings: Mapping[str, JsonValue]) -> LatentSearchSpec:
    """Return the settings of a search with some of them changed; raises ValueError for one that there is not."""
    changed: dict[str, Any] = search.model_dump(mode="json")
    for name, value in settings.items():
        *path, last = name.split(".")
        inner = changed
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return LatentSearchSpec.model_validate(changed)


def least(values: AnyRange) -> JsonValue:
    """Return one value of a range."""
    return values.values[0] if isinstance(values, Choice) else values.low
