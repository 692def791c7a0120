"""The question: with which settings does a fine-tuning draw best in few calls, for an equal budget.

All trials go on from one model. "Better Adversarial Robustness" (arXiv:2502.17099) compares trainings by FID at 5 to 50
calls; a minibatch under attack costs K passes and up to K updates, so `equal` says which of the counts is the same.
"""

import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, JsonValue, model_validator
from typing_extensions import override

from stages.base import digest
from tuning.search import Metrics, Point, Sampled
from tuning.spaces import Sampling
from tuning.study import StudySpec
from tuning.training.diffusion.judging import Judged, Judging
from tuning.training.diffusion.perturbations import Adversarial, AnyPerturbation, Unperturbed
from tuning.training.diffusion.settings import DiffusionSpec
from tuning.training.diffusion.tune_space import NEEDS, Space, ends, perturbation
from tuning.training.diffusion.twins import longer
from tuning.training.networks import Pretrained
from tuning.training.settings import Budget

if TYPE_CHECKING:
    from pipelines.report import Page
    from pipelines.tracking import Tracker

PLAIN: dict[str, JsonValue] = {"method": "none"}
Count = Literal["minibatches", "updates", "passes"]


class AdversarialTuneSpec(StudySpec):
    """A model, the settings in which it may go on, and how what it then draws is judged."""

    name: str = Field("adversarial_tune", pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    model: DiffusionSpec = Field(description="What all go on from, and how it is trained.")
    tuning: Budget = Field(description="How a plain training goes on; the others get as much of `equal`.")
    equal: Count = Field("updates", description="Which count is the same for all: minibatches, updates or passes.")
    attack: Adversarial = Field(Adversarial(), description="What `space` does not vary of it.")
    gamma: float = Field(0.1, ge=0, description="Of ADM-IP, unless `space` varies it.")
    space: Space
    sampling: Sampling = Sampling()
    judging: Judging = Judging()
    fresh: int = Field(2000, ge=2, description="Noises after those of the search, for the last comparison.")
    registered: str | None = Field(
        "seedquake-adversarial", pattern=r"^[\w. -]{1,80}$", description="Name in MLflow's model registry; null: none."
    )

    asks: ClassVar = "With which settings does a fine-tuning draw best in few calls, for an equal budget?"

    @model_validator(mode="after")
    def _settings_exist(self) -> "AdversarialTuneSpec":
        if self.model.perturbation.kind != "none":
            raise ValueError(f"model.perturbation: expected kind none, found {self.model.perturbation.kind}")
        for name, values in self.space.ranges().items():
            others = PLAIN if name not in NEEDS else dict([NEEDS[name]])
            for value in ends(values):
                self.task({**others, name: value})
        return self

    def original(self) -> Judged:
        """Return the model that all go on from."""
        return self._judged(self.model)

    def start(self) -> str:
        """Return its folder."""
        return str(self.original().folder / "model")

    def task(self, settings: Mapping[str, JsonValue]) -> Judged:
        """Return the trial of some settings."""
        how = perturbation(settings, self.attack, self.gamma, 3 * self.model.data.source.side_px**2)
        rate = {"learning_rate": settings.get("learning_rate", self.tuning.learning_rate)}
        budget = Budget.model_validate(self.tuning.model_dump() | rate)
        task = self._judged(self._going_on(shorter(budget, self.cost(how)), how), settings.get("scale"))
        return task.model_copy(update={"worth": self.tuning.pictures})

    def cost(self, how: AnyPerturbation) -> int:
        """Return how many of the equal count a minibatch takes."""
        return {"minibatches": 1, "updates": how.updates, "passes": how.passes}[self.equal]

    def trials(self) -> dict[str, tuple[dict[str, JsonValue], Judged]]:
        """Return the settings and task of every trial that began."""
        found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(self.notes.glob("*.json"))]
        return {digest(settings)[:8]: (settings, self.task(settings)) for settings in found}

    @property
    def notes(self) -> Path:
        """Return the folder of a file a trial."""
        return Path(self.run.output) / "trained" / f"tune-{self.identity()}"

    def best(self) -> tuple[dict[str, JsonValue], Judged]:
        """Return the trial that went to its end and draws best; raises ValueError where none did."""
        from tuning.training.diffusion.fid import read

        ended = [(settings, task) for settings, task in self.trials().values() if task.measured.is_file()]
        means = [read(task).value for _, task in ended]
        if not [mean for mean in means if not math.isnan(mean)]:
            raise ValueError(
                f"{self.name}: expected a trial that drew pictures at its end, found none; lower space.learning_rate"
            )
        return ended[min(range(len(ended)), key=lambda row: math.inf if math.isnan(means[row]) else means[row])]

    def compared(self) -> dict[str, Judged]:
        """Return the best trial and what it is compared with, all to draw from noises that no choice rests on.

        Without its perturbation it goes on for as many minibatches and, where these differ, for as many updates.
        """
        settings, best = self.best()
        found = {"original": self.original(), "fine-tuned": self.task(PLAIN), "best": best}
        if settings["method"] != "none":
            for count, times in self._counted(best).items():
                model = self._going_on(longer(best.model.budget, times), Unperturbed())
                found[f"best, unperturbed, as many {count}"] = self._judged(model, best.scale)
        judging = self.judging.next(self.fresh)
        return {name: task.model_copy(update={"judging": judging}) for name, task in found.items()}

    @property
    @override
    def trainable(self) -> Any:
        return partial(run, self)

    @override
    def places(self, point: Point) -> tuple[Path, ...]:
        task = self.task(point)
        return self.note(point), task.folder, task.real

    def note(self, point: Point) -> Path:
        """Return the file in which a trial notes its settings."""
        return self.notes / f"{digest(point)[:16]}.json"

    @override
    def phases(self) -> Iterator[dict[str, Judged] | Sampled]:
        yield {"original": self.original()}
        yield {"fine-tuned": self.task(PLAIN)}
        yield Sampled(self.space.ranges(), self.sampling, "score", self.tuning.pictures, NEEDS)
        yield self.compared()

    @override
    def check(self) -> None:
        from tuning.training.diffusion.judge import dimension

        data = self.model.data
        wanted = dimension(self.original())
        groups = min(self.judging.noises, self.fresh)
        if (found := groups - -(-groups // self.judging.groups)) <= wanted:
            raise ValueError(
                f"judging.noises, fresh: expected more than {wanted} pictures, the features of "
                f"{self.judging.extractor.model}, without any group, found {found}"
            )
        real = len(data.rows() if self.judging.reference == "training" else data.unseen(data.source.size()))
        if real <= wanted:
            raise ValueError(f"judging.reference: expected more than {wanted} real pictures, found {real}")

    @override
    def plan(self) -> Iterator[str]:
        sampling, judging = self.sampling, self.judging
        done = sum(task.measured.is_file() for _, task in self.trials().values())
        yield f"trials     {sampling.trials} by {sampling.searcher}, stopped by {sampling.scheduler}; {done} are done"
        yield f"equal      {getattr(self.task(PLAIN).model, self.equal):,} {self.equal} each"
        yield f"start      {self.start()}"
        yield from (f"range      {name}: {values!r}" for name, values in self.space.ranges().items())
        cells = ", ".join(name for name, _ in judging.cells(None))
        yield f"drawing    {judging.noises} noises x {cells}, at {self.task(PLAIN).rungs} checkpoints"
        yield f"at last    {self.fresh} other noises, from the best and what it is compared with"
        yield f"at a time  {self.run.trials.actors}, {self.run.device}"

    @override
    def page(self) -> "Page":
        from tuning.training.diffusion.tune_page import page

        return page(self)

    @override
    def keep(self, tracker: "Tracker") -> None:
        from tuning.training.diffusion.registry import register

        if self.registered:
            register(self, self.registered, tracker)

    def _counted(self, best: Judged) -> dict[str, int]:
        """Return what a plain training may have as many of as the best, and how much longer it then is."""
        more = best.model.perturbation.updates
        return {"minibatches": 1, "updates": more} if more > 1 else {"minibatches and updates": 1}

    def _going_on(self, budget: Budget, how: AnyPerturbation) -> DiffusionSpec:
        further = {"network": Pretrained(model=self.start()), "budget": budget, "perturbation": how}
        return self.model.model_copy(update=further)

    def _judged(self, model: DiffusionSpec, scale: JsonValue = None) -> Judged:
        worth, output = model.budget.pictures, self.run.output
        settings = {"model": model, "judging": self.judging, "scale": scale, "worth": worth, "output": output}
        return Judged.model_validate({**settings, **self.run.training()})


def run(spec: AdversarialTuneSpec, point: Point) -> Iterator[Metrics]:
    """Train and judge a task, or the settings of a point, which are noted."""
    import torch

    from tuning.training.diffusion.judge import judged, tried

    torch.set_num_threads(spec.run.placed()["threads"])
    if "task" in point:
        yield from judged(Judged.model_validate(point["task"]))
        return
    spec.notes.mkdir(parents=True, exist_ok=True)
    spec.note(point).write_text(json.dumps(point) + "\n", encoding="utf-8")
    yield from tried(spec.task(point))


def shorter(budget: Budget, times: int) -> Budget:
    """Return the budget for a training whose minibatches cost so many times as much; it rises and falls alike."""
    shortened = {name: -(-getattr(budget, name) // times) for name in ("pictures", "warmup", "decay", "checkpoint")}
    return budget.model_copy(update=shortened)
