"""The question: from how many training pictures on does a model generalize instead of memorizing them.

After "The Emergence of Reproducibility and Consistency in Diffusion Models" (Zhang et al. 2024, arXiv:2310.05264),
section 4: the same network is trained on N pictures for many N; then all models draw from the same noises.
"""

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator
from typing_extensions import override

from stages.randomness import rng
from tuning.search import Trainable
from tuning.study import StudySpec
from tuning.training.networks import Transformer, UNet
from tuning.training.pictures import AnyPictures, TrainingSet
from tuning.training.settings import Budget, EdmSpec
from tuning.training.trial import Drawing, Task, run

if TYPE_CHECKING:
    from pipelines.report import Page


class Member(NamedTuple):
    """One model of the study."""

    size: int
    """Training pictures."""
    width: int | None
    """None: the optimal denoiser of the training pictures."""
    part: int
    """Which of the disjoint training sets."""

    def __str__(self) -> str:
        kind = "optimal denoiser" if self.width is None else f"width {self.width}"
        return f"{self.size} pictures, {kind}, set {self.part + 1}"


class TransitionSpec(StudySpec):
    """Training sets of many sizes, networks of several widths, and the noises that all of them draw from."""

    source: AnyPictures
    counts: tuple[Annotated[int, Field(ge=2)], ...] = Field(min_length=2, description="Sizes N of the training sets.")
    parts: int = Field(2, ge=1, description="Disjoint training sets of every size, where the source is large enough.")
    network: Annotated[UNet | Transformer, Field(discriminator="kind")]
    widths: tuple[int, ...] = Field(min_length=1, description="Widths of the network, in place of its own.")
    budget: Budget = Field(description="The same for every model, whatever its training set.")
    precision: Literal["float32", "bfloat16"] = "float32"

    drawing: Drawing

    asks: ClassVar = "From how many training pictures on does a model generalize instead of memorizing them?"

    @model_validator(mode="after")
    def _in_order(self) -> "TransitionSpec":
        for name, values in (("counts", self.counts), ("widths", self.widths)):
            if list(values) != sorted(set(values)):
                raise ValueError(f"{name}: expected different numbers, the smallest first, found {list(values)}")
        return self

    def members(self) -> tuple[Member, ...]:
        """Return every model, the optimal denoisers last."""
        sets = [(count, part) for count, part in product(self.counts, range(self.parts)) if self.fits(count, part)]
        trained = [Member(count, width, part) for (count, part), width in product(sets, self.widths)]
        return (*trained, *(Member(count, None, part) for count, part in sets))

    def fits(self, count: int, part: int) -> bool:
        """Return whether the source holds this training set; a set as large as that has no disjoint twin."""
        size = self.source.size()
        return count <= size // self.parts or (part == 0 and count <= size)

    def left_out(self) -> list[tuple[int, int]]:
        """Return the sizes and numbers of the training sets that the source is too small for."""
        return [(c, p) for c, p in product(self.counts, range(self.parts)) if not self.fits(c, p)]

    def data(self, member: Member) -> TrainingSet:
        """Return a member's training set. Sets of one number are nested; those of different numbers are disjoint."""
        parts = self.parts if member.size <= self.source.size() // self.parts else 1
        return TrainingSet(source=self.source, count=member.size, part=member.part, parts=parts, seed=self.budget.seed)

    def model(self, member: Member) -> EdmSpec:
        """Return what a member is trained with; each has weights, order and noise of its own."""
        seed = int(rng(self.budget.seed, "member", *map(str, member)).integers(2**31))
        width = self.widths[0] if member.width is None else member.width
        return EdmSpec(
            network=self.network.model_copy(update={"width": width}),
            data=self.data(member),
            budget=self.budget.model_copy(update={"seed": seed}),
            precision=self.precision,
        )

    def task(self, member: Member) -> Task:
        """Return the trial of a member."""
        return Task(
            model=self.model(member),
            optimal=member.width is None,
            drawing=self.drawing,
            output=self.run.output,
            **self.run.placed(),
        )

    @property
    @override
    def trainable(self) -> Trainable:
        return run

    @override
    def phases(self) -> Iterator[dict[str, Task]]:
        yield {str(member): self.task(member) for member in self.members()}

    @override
    def page(self) -> "Page":
        from tuning.training.transition_page import page

        return page(self)

    @override
    def check(self) -> None:
        if not self.fits(self.counts[-1], 0):
            raise ValueError(
                f"counts: expected at most {self.source.size()}, the pictures there are, found {self.counts[-1]}"
            )
        self.drawing.weights()
        for width in self.widths:
            type(self.network).model_validate(self.network.model_dump() | {"width": width})

    @override
    def plan(self) -> Iterator[str]:
        members, trained = self.members(), [m for m in self.members() if m.width is not None]
        done = sum(self.task(m).measured.is_file() for m in members)
        yield f"models     {len(trained)} to train, {len(members) - len(trained)} optimal denoisers; {done} are done"
        yield f"pictures   N = {', '.join(map(str, self.counts))} of {self.source.size()}, {self.parts} disjoint sets"
        yield from (f"left out   set {p + 1} of {c} pictures: the source has no more" for c, p in self.left_out())
        for width in self.widths:
            yield f"width {width:<5}{parameters(self.model(Member(self.counts[0], width, 0))) / 1e6:.2f} M parameters"
        seen, sampler = self.budget.pictures, self.drawing.sampler
        yield f"training   {seen:,} pictures a model, {seen * len(trained):,} in all, batches of {self.budget.batch}"
        yield f"drawing    {self.drawing.noises} noises, {sampler.scheduler} {sampler.steps} steps"
        yield f"trials     {self.run.trials.actors} at a time, {self.run.device}"


def parameters(model: EdmSpec) -> int:
    """Return the number of a network's parameters, without making it."""
    import torch

    pictures = model.data.source.load(model.data.rows()[:1])
    with torch.device("meta"):
        module = model.network.build(pictures.images.shape[1], len(pictures.classes))
    return sum(p.numel() for p in module.parameters())
