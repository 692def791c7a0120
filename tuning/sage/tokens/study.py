"""The question: can one vector behind any prompt make a model draw a class that the prompt does not name.

Liu et al. 2023 (arXiv:2306.00974), the universal token. It is trained on some prompts and seeds, and tried on others.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator
from typing_extensions import override

from stages.models.source import fingerprint
from tuning.sage.surrogate import SurrogateSpec
from tuning.sage.targets import Targeted
from tuning.sage.tokens import task as token_task
from tuning.sage.tokens.found import LabelledPrompt, PromptGrid, TokenAttempt, TokenSearchSpec, TokenSettings
from tuning.sage.tokens.task import TokenTask
from tuning.search import Trainable
from tuning.study import StudySpec, Task

if TYPE_CHECKING:
    from pipelines.report import Page


class TokenStudySpec(StudySpec):
    """A model, an ensemble, the classes to be drawn, and prompts to train on and to try."""

    name: str = Field("token", pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    model: str = Field(min_length=1, description="zoo:NAME, a local folder, or a hub id.")
    surrogate: SurrogateSpec
    clip: str | None = Field(None, description="CLIP that scores pictures against the original prompts; null: none.")
    search: TokenSettings = TokenSettings()
    targets: tuple[str, ...] = Field(min_length=1, description="Classes to be drawn, each by a token of its own.")
    template: str = Field(
        "a photo of {article} {colour} {label}", pattern=r"\{label\}", description="The prompt of a class and a colour."
    )
    classes: tuple[str, ...] = Field(min_length=1, description="Of the prompts that the tokens are trained on.")
    held_out_classes: tuple[str, ...] = Field(min_length=1, description="Of those that they are tried on.")
    colours: tuple[str, ...] = Field(("",), min_length=1, description="Words before the class.")
    seeds: int = Field(2, ge=1, description="Seeds that they are trained on.")
    held_out_seeds: int = Field(2, ge=1, description="Seeds that they are tried on.")
    first_seed: int = Field(0, ge=0)

    leaves: ClassVar = "sage"
    asks: ClassVar = "Can one vector behind any prompt make the model draw what the prompt does not name?"

    @property
    @override
    def trainable(self) -> Trainable:
        return token_task.run

    @model_validator(mode="after")
    def _search_is_whole(self) -> "TokenStudySpec":
        self.token_search()
        return self

    def token_search(self) -> TokenSearchSpec:
        """Return the settings of the search with its prompts and seeds."""
        seeds = range(self.first_seed, self.first_seed + self.seeds + self.held_out_seeds)
        grids = {
            "train": PromptGrid(prompts=self.prompts(self.classes), seeds=tuple(seeds[: self.seeds])),
            "held_out": PromptGrid(prompts=self.prompts(self.held_out_classes), seeds=tuple(seeds[self.seeds :])),
        }
        return TokenSearchSpec.model_validate(self.search.model_dump(mode="json") | grids)

    def prompts(self, classes: tuple[str, ...]) -> tuple[LabelledPrompt, ...]:
        """Return the prompt of every class in every colour."""
        return tuple(LabelledPrompt(text=self.prompt(label, c), label=label) for label in classes for c in self.colours)

    def prompt(self, label: str, colour: str) -> str:
        """Return the prompt of a class in a colour."""
        article = "an" if (colour or label)[0] in "aeiou" else "a"
        return " ".join(self.template.format(article=article, colour=colour, label=label).split())

    def task(self, target: str) -> TokenTask:
        """Return the trial of a target."""
        return TokenTask(
            model=self.model,
            surrogate=self.surrogate,
            clip=self.clip,
            search=self.token_search(),
            attempts=(TokenAttempt(target=Targeted(target=target)),),
            output=self.run.output,
            **self.run.placed(),
        )

    @override
    def phases(self) -> Iterator[Mapping[str, Task]]:
        yield {target: self.task(target) for target in self.targets}

    @override
    def check(self) -> None:
        search = self.token_search()
        for target in self.targets:
            TokenAttempt(target=Targeted(target=target)).check(search, self.surrogate.labels)
        _ = fingerprint(self.model), self.surrogate.weights()  # refuse models that are not there
        search.gradient.cost(search.sampler.steps)

    @override
    def plan(self) -> Iterator[str]:
        tasks, search = [self.task(target) for target in self.targets], self.token_search()
        done = sum(task.measured.is_file() for task in tasks)
        yield f"tokens     {len(tasks)}, one a target; {done} are done"
        yield f"trained    on {len(search.train.prompts)} prompts and {len(search.train.seeds)} seeds"
        yield f"tried      on {len(search.held_out.prompts)} other prompts and {len(search.held_out.seeds)} other seeds"
        yield f"pictures   about {tasks[0].pictures} a token"

    @override
    def page(self) -> "Page":
        from tuning.sage.tokens.page import page

        return page(self)
