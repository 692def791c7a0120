"""The question: which factor of a model and its sampler carries the robustness to a shift of the seed.

"The brittle latent space of diffusion models" (arXiv:2312.11473) finds GLIDE robust and Stable Diffusion not, and
credits the learned variance; the two also differ in space, sampler, guidance and noise schedule. Here those vary one at
a time, in a factorial design. Without factors it compares models side by side: the paper's experiment 2.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field
from typing_extensions import override

from pipelines.factorial_arms import Arm, Cell, Change, cells_of, factors_of
from pipelines.grid import Grid, Seeds
from pipelines.judges import classifying, judging
from pipelines.measure import Measure
from pipelines.named_model import spelled_out
from pipelines.prompts import AnyPrompts
from pipelines.question import Draw, Question, QuestionSpec, refuse_prompts
from pipelines.robustness import JudgeControl
from stages.models.source import revision
from stages.perturbations import AnyPerturbation, Control, RandomDirection, UniformMeanShift
from stages.sampling import SamplerSpec

if TYPE_CHECKING:
    from pipelines.report import Page
    from pipelines.sweep import Swept, Watch


LARGEST_SHIFT = 10
"""In standard deviations of an entry."""


class FactorialSpec(QuestionSpec):
    """Arms x factors, all under the same shifts of the seed's mean."""

    question: Literal["factorial"] = "factorial"
    name: str = Field("factorial", pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    arms: Annotated[tuple[Arm, ...], BeforeValidator(spelled_out)] = Field(
        min_length=1, description="The models: a name, or `model`, `name`, `sampler` and `levels`."
    )
    factors: dict[str, dict[str, Change]] = Field(
        {}, description="Factors of the sampler: the two levels of each, and the settings that they change."
    )
    sampler: SamplerSpec = Field(description="How latents become pictures, where an arm has no own one.")
    prompts: AnyPrompts
    seeds: Seeds
    strengths: tuple[float, ...] = Field(description="Shifts of the latent's mean; one is 0, the control.")
    unit: Literal["sigma", "shift"] = Field(
        "sigma",
        description="sigma: of a channel's mean over the seeds, the same for every latent; shift: added to each entry.",
    )
    random_direction: Literal["largest", "all", "none"] = Field(
        "largest", description="The shifts at which a random direction of the same norm is drawn, too."
    )
    infeasible: Literal["refuse", "leave_out"] = Field(
        "refuse", description="What becomes of cells that cannot be drawn; left out, they are named in the report."
    )
    classifier: str = Field(description="zoo:NAME, a timm name, torchvision:NAME/WEIGHTS.")
    judge: str | None = Field(None, description="A second classifier that shares nothing with the first.")
    clip: str | None = Field(None, description="zoo:NAME, or open_clip's MODEL/PRETRAINED; null: no CLIP score.")
    judge_control: JudgeControl | None = Field(
        JudgeControl(), description="How much of a drop is the judge's; null switches it off."
    )


class Factorial(Question[FactorialSpec]):
    """A factorial design, resolved: its cells, and the same rows for each."""

    asks = "Which factor of the model and its sampler carries the robustness to a shift of the seed?"
    settings: ClassVar = FactorialSpec

    def __init__(self, spec: FactorialSpec) -> None:
        super().__init__(spec)
        refuse_strengths(spec.strengths)
        self._prompts = spec.prompts.load()
        self.factors = factors_of(spec.arms, spec.factors)
        cells = cells_of(spec.arms, spec.factors, spec.sampler)
        self.left_out = tuple(cell for cell in cells if cell.refused)
        self.cells = tuple(cell for cell in cells if not cell.refused)
        self._refuse_cells()
        for arm in spec.arms:
            refuse_prompts(arm.model, arm.called, [p.text for p in self._prompts])
        self.revisions = {arm.model: revision(arm.model, spec.run.dtype) for arm in spec.arms}
        self.grids = tuple(self._grid(cell) for cell in self.cells)

    def _refuse_cells(self) -> None:
        """Raise `ValueError` where a cell cannot be drawn and may not be left out, or none is left to compare."""
        if self.left_out and self.spec.infeasible == "refuse":
            first = self.left_out[0]
            raise ValueError(
                f"cell {first.name!r}: {first.refused} (or infeasible=leave_out; {len(self.left_out)} of "
                f"{len(self.left_out) + len(self.cells)} cells)"
            )
        if len(self.cells) < 2:
            raise ValueError(f"arms: expected at least two cells to compare, found {len(self.cells)}; add arms")

    @property
    def strengths(self) -> tuple[float, ...]:
        """Return the strengths without the control, in order, in the config's unit."""
        return tuple(sorted(s for s in self.spec.strengths if s))

    @property
    def directions(self) -> tuple[float, ...]:
        """Return the strengths of the random direction, in the config's unit."""
        sizes = sorted({abs(s) for s in self.strengths})
        return {"largest": tuple(sizes[-1:]), "all": tuple(sizes), "none": ()}[self.spec.random_direction]

    def shift(self, cell: Cell, strength: float) -> float:
        """Return what is added to each entry of a cell's latent."""
        found = round(strength * cell.sigma, 9) if self.spec.unit == "sigma" else strength
        if abs(found) > LARGEST_SHIFT:
            raise ValueError(
                f"strengths: expected shifts of at most {LARGEST_SHIFT} an entry, found {found:g} in {cell.name}"
            )
        return found

    def sigmas(self, cell: Cell, strengths: tuple[float, ...]) -> np.ndarray:
        """Return the sizes of strengths in standard deviations of a channel's mean."""
        return np.abs([self.shift(cell, s) / cell.sigma for s in strengths])

    def perturbations(self, cell: Cell) -> tuple[AnyPerturbation, ...]:
        """Return the control, the shifts, and the random directions of the same norms."""
        shifts = (UniformMeanShift(shift=self.shift(cell, s)) for s in self.strengths)
        return Control(), *shifts, *(RandomDirection(rms=self.shift(cell, s)) for s in self.directions)

    def _grid(self, cell: Cell) -> Grid:
        return Grid(
            model=cell.model,
            revision=self.revisions[cell.model],
            prompts=self._prompts,
            seeds=self.spec.seeds,
            perturbations=tuple(p.canonical() for p in self.perturbations(cell)),
            samplers=(cell.sampler.canonical(),),
        )

    @cached_property
    def classifying(self) -> tuple[Measure, ...]:
        """Return the classifier and, where there is one, the held-out judge."""
        return classifying(self.spec)

    @cached_property
    def measures(self) -> tuple[Measure, ...]:
        """Return every measure of the question."""
        return judging(self.spec)

    @property
    @override
    def draws(self) -> tuple[Draw, ...]:
        """Return one a model, so that its weights load once."""
        spec, found = self.spec, dict[str, list[Grid]]()
        for grid in self.grids:
            found.setdefault(grid.model, []).append(grid)
        return tuple(
            Draw(spec.question, model, tuple(grids), spec.run, spec.store, self.measures)
            for model, grids in found.items()
        )

    @property
    @override
    def models(self) -> tuple[str, ...]:
        spec = self.spec
        drawing = dict.fromkeys(cell.model for cell in self.cells)
        return tuple(filter(None, (*drawing, spec.classifier, spec.judge, spec.clip)))

    @property
    @override
    def notes(self) -> tuple[str, ...]:
        per = len(self.grids[0])
        return (
            f"{len(self.cells)} cells of {per}: {'; '.join(cell.name for cell in self.cells)}",
            *(f"left out {cell.name}: {cell.refused}" for cell in self.left_out),
        )

    @override
    def page(self, swept: "Swept | None", watch: "Watch | None") -> "Page":
        from pipelines.factorial_page import page

        return page(self, swept, watch)


def refuse_strengths(strengths: tuple[float, ...]) -> None:
    """Raise `ValueError` where there is no control, no shift, or one twice."""
    if 0 not in strengths:
        raise ValueError(f"strengths: expected 0 among them, the control of every row, found {list(strengths)}")
    if len(set(strengths)) != len(strengths):
        raise ValueError(f"strengths: expected every strength once, found {list(strengths)}")
    if len(strengths) < 2:
        raise ValueError(f"strengths: expected at least one that shifts the latent, found {list(strengths)}")
