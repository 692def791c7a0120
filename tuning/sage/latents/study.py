"""The question: which likely seed latents make a model fail, and does a search find them sooner than chance.

Liu et al. 2023 (arXiv:2306.00974), the search over latents. Every rate stands beside that of random search with as many
pictures, and beside that of plain seeds.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator
from typing_extensions import override

from stages.models.source import fingerprint
from tuning.sage.latent import Attempt, LatentSearchSpec
from tuning.sage.latents import elsewhere, trial
from tuning.sage.latents.elsewhere import ElsewhereSpec, ElsewhereTask
from tuning.sage.latents.trial import LatentTask, Way
from tuning.sage.region import task as region_task
from tuning.sage.region.region import RegionSpec
from tuning.sage.region.task import RegionTask
from tuning.sage.surrogate import SurrogateSpec
from tuning.sage.targets import AnyTarget, Untargeted
from tuning.search import Metrics, Point, Trainable
from tuning.study import StudySpec, Task

if TYPE_CHECKING:
    from pipelines.report import Page

TEMPLATE = "a photo of {article} {label}"


class LatentStudySpec(StudySpec):
    """A model, an ensemble of classifiers, and what is searched: class x seed x target x restart."""

    name: str = Field("sage", pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    model: str = Field(min_length=1, description="zoo:NAME, a local folder, or a hub id.")
    surrogate: SurrogateSpec
    search: LatentSearchSpec = LatentSearchSpec()
    template: str = Field(TEMPLATE, pattern=r"\{label\}", description="The prompt of a class.")
    classes: tuple[str, ...] | None = Field(None, min_length=1, description="Searched classes; null: all labels.")
    seeds: int = Field(4, ge=1, le=100_000, description="Seeds of each class.")
    first_seed: int = Field(0, ge=0)
    targets: tuple[AnyTarget, ...] = Field((Untargeted(),), min_length=1)
    restarts: int = Field(1, ge=1, le=1000, description="Searches of each seed; all but the first start beside it.")
    group: int = Field(8, ge=1, le=4096, description="Attempts of one trial, searched side by side.")
    controls: tuple[Way, ...] = Field(
        ("fresh_seeds", "random_perturbations"), description="Random searches with the same number of pictures."
    )
    region: RegionSpec | None = Field(None, description="What is measured around the failures found; null: nothing.")
    elsewhere: ElsewhereSpec | None = Field(
        None, description="How the latents found are tried with the prompts of other classes; null: not at all."
    )

    leaves: ClassVar = "sage"
    asks: ClassVar = "Which likely seeds make this model fail, and does a search find them sooner than chance?"

    @model_validator(mode="after")
    def _controls_are_random(self) -> "LatentStudySpec":
        if "search" in self.controls:
            raise ValueError("controls: expected fresh_seeds or random_perturbations, found 'search', which is none")
        return self

    def attempts(self) -> list[Attempt]:
        """Return every search; a target that is the prompt's own class is left out."""
        found = []
        for label, seed, target, restart in product(
            self.classes or self.surrogate.labels, range(self.seeds), self.targets, range(self.restarts)
        ):
            if getattr(target, "target", None) != label:
                seen = {"label": label, "seed": self.first_seed + seed, "target": target, "restart": restart}
                found.append(Attempt.model_validate({"prompt": self.prompt(label), **seen}))
        return found

    def prompt(self, label: str) -> str:
        """Return the prompt of a class."""
        return self.template.format(article="an" if label[0] in "aeiou" else "a", label=label)

    def tasks(self, way: Way) -> dict[str, LatentTask]:
        """Return the trials of the search or of a control."""
        attempts = self.attempts()
        groups = [tuple(attempts[start : start + self.group]) for start in range(0, len(attempts), self.group)]
        shared = {"way": way, "model": self.model, "surrogate": self.surrogate, "search": self.search}
        return {
            f"{way.replace('_', ' ')} {number} of {len(groups)}": LatentTask(
                attempts=group, output=self.run.output, **shared, **self.run.placed()
            )
            for number, group in enumerate(groups, 1)
        }

    @property
    @override
    def trainable(self) -> Trainable:
        return work

    @override
    def phases(self) -> Iterator[Mapping[str, Task]]:
        yield self.tasks("search")
        for way in self.controls:
            yield self.tasks(way)
        if self.region:
            yield {"region": self.around(self.region)}
        if self.elsewhere:
            yield {"elsewhere": self.abroad(self.elsewhere)}

    def around(self, region: RegionSpec) -> RegionTask:
        """Return the trial that looks around what the searches have found."""
        return RegionTask(region=region, searches=self.searches())

    def abroad(self, elsewhere: ElsewhereSpec) -> ElsewhereTask:
        """Return the trial that draws what the searches have found with other prompts."""
        prompts = {label: self.prompt(label) for label in self.surrogate.labels}
        return ElsewhereTask(elsewhere=elsewhere, prompts=prompts, searches=self.searches())

    def searches(self) -> LatentTask:
        """Return every search as one task."""
        (task, *_) = self.tasks("search").values()
        return task.model_copy(update={"attempts": tuple(self.attempts())})

    @override
    def check(self) -> None:
        self.refuse_attempts()
        fingerprint(self.model)

    def refuse_attempts(self) -> None:
        """Refuse what no model could be searched for; raises `ValueError`."""
        for attempt in self.attempts():
            attempt.target.check(attempt.label, self.surrogate.labels)
        if not self.attempts():
            raise ValueError("sage: expected a target other than the class, found no attempt left; name other targets")
        self.search.gradient.cost(self.search.sampler.steps)
        self.surrogate.weights()  # refuse models that are not there

    @override
    def plan(self) -> Iterator[str]:
        attempts, budget = self.attempts(), 1 + self.search.iterations
        done = sum(len(task.done()) for task in self.tasks("search").values())
        cost = self.search.gradient.cost(self.search.sampler.steps)
        yield f"searches   {len(attempts)}, at most {budget} pictures each; {done} are done"
        steps = f"{cost.forwards} steps forward and {cost.backwards} back"
        yield f"gradient   {self.search.gradient.kind}: {steps} a picture"
        yield f"controls   {', '.join(self.controls) or 'none'}, each with as many pictures as the search"
        if self.region:
            yield f"region     at most {self.region.pictures} pictures around what is found"
        if self.elsewhere:
            yield f"elsewhere  at most {self.elsewhere.pictures} pictures of what is found, with other prompts"
        yield f"trials     {len(self.tasks('search'))} of {self.group} searches, {self.run.trials.actors} at a time"

    @override
    def page(self) -> "Page":
        from tuning.sage.latents.page import page

        return page(self)


def work(point: Point) -> Iterator[Metrics]:
    """Work on the task of a point, whichever it is."""
    task = point["task"]
    kind = task["kind"] if isinstance(task, dict) else None
    runs = {"region": region_task.run, "elsewhere": elsewhere.run}
    yield from runs.get(str(kind), trial.run)(point)
