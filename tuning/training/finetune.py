"""The question: what does it change to fine-tune the attention layers alone instead of the whole network.

After Zhang et al. 2024 (arXiv:2310.05264): a model trained on one kind of picture goes on with N of another kind. The
paper does not say which two models its reproducibility score compares here; ours are two fine-tunings of one model that
differ in the order of pictures and the noise.
"""

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, TypeAlias

from pydantic import Field
from typing_extensions import override

from stages.randomness import rng
from tuning.search import Trainable
from tuning.study import StudySpec
from tuning.training.networks import AnyNetwork, Pretrained
from tuning.training.pictures import AnyPictures, TrainingSet
from tuning.training.settings import Budget, EdmSpec
from tuning.training.trial import Drawing, Task, run

if TYPE_CHECKING:
    from pipelines.report import Page

Layers: TypeAlias = Literal["all", "attention"]
KINDS: tuple[Layers, ...] = ("all", "attention")
REPEATS = (0, 1)


class Tuned(NamedTuple):
    """One fine-tuned model."""

    size: int
    """Training pictures."""
    layers: Layers | None
    """What was trained; None: the optimal denoiser of the training pictures."""
    repeat: int

    def __str__(self) -> str:
        kind = "optimal denoiser" if self.layers is None else f"{self.layers} layers, repeat {self.repeat + 1}"
        return f"{self.size} pictures, {kind}"


class FinetuneSpec(StudySpec):
    """A model, how it was trained, and the other pictures with which it goes on."""

    name: str = Field("finetune", pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    network: AnyNetwork = Field(description="The model to start from; `kind: pretrained` takes one that is there.")
    source: AnyPictures = Field(description="What the model was trained on first.")
    budget: Budget = Field(description="How it was trained first.")
    target: AnyPictures = Field(description="The other pictures.")
    counts: tuple[Annotated[int, Field(ge=2)], ...] = Field(min_length=1, description="Sizes N of the new sets.")
    tuning: Budget = Field(description="How it goes on; the same for every N and both kinds of layers.")

    drawing: Drawing

    asks: ClassVar = "What does it change to fine-tune the attention layers alone instead of the whole network?"

    def members(self) -> tuple[Tuned, ...]:
        """Return every fine-tuned model, the optimal denoisers last."""
        tuned = [Tuned(*member) for member in product(self.counts, KINDS, REPEATS)]
        return (*tuned, *(Tuned(size, None, 0) for size in self.counts))

    def base(self) -> Task:
        """Return the first training."""
        return self._task(EdmSpec(network=self.network, data=TrainingSet(source=self.source), budget=self.budget))

    def start(self) -> str:
        """Return the model that all go on from."""
        return self.network.model if self.network.kind == "pretrained" else str(self.base().folder / "model")

    def task(self, member: Tuned) -> Task:
        """Return the trial of a member. The sets are nested."""
        seed = int(rng(self.tuning.seed, "tuned", *map(str, member)).integers(2**31))
        model = EdmSpec(
            network=Pretrained(model=self.start(), layers=member.layers or "all"),
            data=TrainingSet(source=self.target, count=member.size),
            budget=self.tuning.model_copy(update={"seed": seed}),
        )
        return self._task(model, optimal=member.layers is None)

    @property
    @override
    def trainable(self) -> Trainable:
        return run

    @override
    def phases(self) -> Iterator[dict[str, Task]]:
        if self.network.kind != "pretrained":
            yield {"first training": self.base()}
        yield {str(member): self.task(member) for member in self.members()}

    @override
    def check(self) -> None:
        for source, count in ((self.source, 1), (self.target, max(self.counts))):
            TrainingSet(source=source, count=count).rows()
        self.drawing.weights()

    @override
    def plan(self) -> Iterator[str]:
        tasks = [task for phase in self.phases() for task in phase.values()]
        done = sum(task.measured.is_file() for task in tasks)
        yield f"models     {len(tasks)} with the optimal denoisers; {done} are done"
        yield f"start      {self.start()}"
        yield f"pictures   N = {', '.join(map(str, self.counts))} of {self.target.size()}"
        yield f"training   {self.budget.pictures:,} pictures at first, then {self.tuning.pictures:,} a model"
        yield f"trials     {self.run.trials.actors} at a time, {self.run.device}"

    @override
    def page(self) -> "Page":
        from tuning.training.finetune_page import page

        return page(self)

    def _task(self, model: EdmSpec, optimal: bool = False) -> Task:
        return Task(model=model, optimal=optimal, drawing=self.drawing, output=self.run.output, **self.run.placed())
