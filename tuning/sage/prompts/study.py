"""The question: which natural words behind a plain prompt make a model lose what it was asked for.

Liu et al. 2023 (arXiv:2306.00974), the search over natural prompts.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator
from typing_extensions import override

from stages.models.source import fingerprint
from tuning.sage.prompts import task as prompt_task
from tuning.sage.prompts.found import PromptSearchSpec
from tuning.sage.prompts.pictures import PromptAttempt
from tuning.sage.prompts.task import PromptTask, PromptWay
from tuning.sage.surrogate import SurrogateSpec
from tuning.sage.targets import AnyTarget, Untargeted
from tuning.search import Trainable
from tuning.study import StudySpec, Task

if TYPE_CHECKING:
    from pipelines.report import Page


class PromptStudySpec(StudySpec):
    """A model, an ensemble, a language model, and the classes whose prompts are searched."""

    name: str = Field("prompts", pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    model: str = Field(min_length=1, description="zoo:NAME, a local folder, or a hub id.")
    surrogate: SurrogateSpec
    search: PromptSearchSpec = PromptSearchSpec()
    classes: tuple[str, ...] | None = Field(None, min_length=1, description="Searched classes; null: all labels.")
    repeats: int = Field(2, ge=1, le=1000, description="Searches of each class, each on seeds of its own.")
    seeds: int = Field(2, ge=1, description="Seeds of one search, over which the loss is averaged.")
    fresh_seeds: int = Field(8, ge=1, description="Other seeds, on which what is found is tried.")
    first_seed: int = Field(0, ge=0)
    targets: tuple[AnyTarget, ...] = Field((Untargeted(),), min_length=1)
    group: int = Field(6, ge=1, le=4096, description="Attempts of one trial, searched side by side.")
    controls: tuple[PromptWay, ...] = Field(
        ("random_candidates", "random_completions"),
        description="With the same number of pictures: words chosen at random in place of the gradient's, or whole "
        "completions that the language model draws.",
    )

    leaves: ClassVar = "sage"
    asks: ClassVar = "Which natural words make this model lose what it was asked for, and does a search find them?"

    @model_validator(mode="after")
    def _controls_are_random(self) -> "PromptStudySpec":
        if "search" in self.controls:
            raise ValueError(
                "controls: expected random_candidates or random_completions, found 'search', which is none"
            )
        return self

    def attempts(self) -> list[PromptAttempt]:
        """Return every search; a target that is the prompt's own class is left out."""
        found = []
        for label, repeat, target in product(self.classes or self.surrogate.labels, range(self.repeats), self.targets):
            if getattr(target, "target", None) != label:
                first = self.first_seed + repeat * self.seeds
                seeds = tuple(range(first, first + self.seeds))
                found.append(PromptAttempt(label=label, seeds=seeds, target=target))
        return found

    def unseen(self) -> tuple[int, ...]:
        """Return the fresh seeds, behind those of every search."""
        first = self.first_seed + self.repeats * self.seeds
        return tuple(range(first, first + self.fresh_seeds))

    def tasks(self, way: PromptWay) -> dict[str, PromptTask]:
        """Return the trials of the search or of a control."""
        attempts = self.attempts()
        groups = [tuple(attempts[start : start + self.group]) for start in range(0, len(attempts), self.group)]
        shared = {"way": way, "model": self.model, "surrogate": self.surrogate, "search": self.search}
        return {
            f"{way.replace('_', ' ')} {number} of {len(groups)}": PromptTask(
                attempts=group, fresh_seeds=self.unseen(), output=self.run.output, **shared, **self.run.placed()
            )
            for number, group in enumerate(groups, 1)
        }

    @property
    @override
    def trainable(self) -> Trainable:
        return prompt_task.run

    @override
    def phases(self) -> Iterator[Mapping[str, Task]]:
        for way in ("search", *self.controls):
            yield self.tasks(way)

    @override
    def check(self) -> None:
        for attempt in self.attempts():
            attempt.target.check(attempt.label, self.surrogate.labels)
        if not self.attempts():
            raise ValueError("sage: expected a target other than the class, found no attempt left; name other targets")
        self.search.gradient.cost(self.search.sampler.steps)
        # refuse models that are not there
        _ = fingerprint(self.model), self.surrogate.weights(), self.search.language.weights()

    @override
    def plan(self) -> Iterator[str]:
        attempts, search = self.attempts(), self.search
        tasks = self.tasks("search")
        done = sum(len(task.done()) for task in tasks.values())
        yield f"searches   {len(attempts)}, each on {self.seeds} seeds, at most {search.words} words; {done} are done"
        a_word = self.seeds * (search.iterations + search.verify)
        yield f"pictures   at most {a_word} a word, and 2 x {self.fresh_seeds} on fresh seeds"
        yield f"words      {search.language.model}, the {search.language.top} most probable"
        yield f"controls   {', '.join(self.controls) or 'none'}, each with as many pictures as the search"
        yield f"trials     {len(tasks)} of {self.group} searches, {self.run.trials.actors} at a time"

    @override
    def page(self) -> "Page":
        from tuning.sage.prompts.page import page

        return page(self)
