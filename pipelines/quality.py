"""The question: how good are the pictures of a model, by sampler and number of calls of its network.

The tables of "Improved Diffusion-based Generative Model with Better Adversarial Robustness" (arXiv:2502.17099): models
x samplers x calls (NFE). Every cell has the same seeds and prompts, so that two cells differ by what is compared alone.
"""

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field
from typing_extensions import override

from pipelines.grid import Grid, Seeds
from pipelines.measure import Measure
from pipelines.named_model import NamedModel, spelled_out
from pipelines.prompts import AnyPrompts
from pipelines.quality_published import DataSet
from pipelines.quality_reference import Reference, ReferenceSpec, measure
from pipelines.question import Draw, Question, QuestionSpec, placement, refuse_prompts
from stages.base import Spec
from stages.clip_score import ClipScore, ClipScoreSpec
from stages.features import Features, FeaturesSpec
from stages.models.source import fingerprint, revision
from stages.perturbations import Control
from stages.sampling import SamplerSpec

if TYPE_CHECKING:
    from pipelines.report import Page
    from pipelines.sweep import Swept, Watch

ONE_CALL = ("ddpm", "ddim", "dpmpp", "euler", "euler_ancestral", "lcm", "flow_euler", "edm_euler", "edm_dpmpp")
"""The schedulers that call the network once a step."""


class JudgedSampler(Spec):
    """One sampler of the table; its number of steps is each of `nfe` in turn."""

    name: str = Field(min_length=1, max_length=40, description="What the report calls it.")
    sampler: SamplerSpec


class ExtractorChoice(Spec):
    """Whose features are compared; its name and the resize are part of every score's name."""

    model: str = Field(description="zoo:NAME, a timm name or folder, torchvision:NAME/WEIGHTS.")
    resize: Literal["own", "bilinear", "bicubic"] = Field("own", description="How pictures are brought to its size.")


class QualitySpec(QuestionSpec):
    """Models x samplers x calls, and the real pictures that they are compared with."""

    question: Literal["quality"] = "quality"
    name: str = Field("quality", pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    models: Annotated[tuple[NamedModel, ...], BeforeValidator(spelled_out)] = Field(
        min_length=1, description="The models: a name, or `model` and `name`; the first is what others are compared to."
    )
    samplers: tuple[JudgedSampler, ...] = Field(
        min_length=1, description="`name` and `sampler`; the first is what others are compared to."
    )
    nfe: tuple[Annotated[int, Field(gt=0, le=1000)], ...] = Field(
        min_length=1, description="Calls of the network a picture."
    )
    prompts: AnyPrompts
    seeds: Seeds
    extractor: ExtractorChoice
    clip: str | None = Field(None, description="zoo:NAME, or open_clip's MODEL/PRETRAINED; null: no CLIP score.")
    reference: ReferenceSpec
    groups: int = Field(
        20, ge=4, le=100, description="Random groups of the jackknife; each holds d x d numbers a cell."
    )
    kept: int = Field(
        5000, ge=10, le=100_000, description="Pictures a cell whose features KID, precision and recall compare."
    )
    published: DataSet | None = Field(None, description="The paper's table to print beside ours.")


class Place(NamedTuple):
    """Which cell of the table."""

    model: int
    sampler: int
    nfe: int
    """Position in the list of calls."""


class Quality(Question[QualitySpec]):
    """A table of models, samplers and calls, resolved: its rows, their features, and the reference's."""

    asks = "How good are the pictures, by model, sampler and number of calls?"
    settings: ClassVar = QualitySpec

    def __init__(self, spec: QualitySpec) -> None:
        super().__init__(spec)
        self._prompts = spec.prompts.load()
        self.names = tuple(entry.called for entry in spec.models)
        refuse_twice("models", self.names)
        refuse_twice("samplers", tuple(entry.name for entry in spec.samplers))
        refuse_twice("nfe", tuple(map(str, spec.nfe)))
        for entry in spec.samplers:
            refuse_sampler(entry)
        for model in spec.models:
            refuse_prompts(model.model, model.called, [p.text for p in self._prompts])
        self.revisions = tuple(revision(entry.model, spec.run.dtype) for entry in spec.models)
        self.reference = Reference(spec.reference, self.features, spec.store, spec.run.generate)
        self.reference_id = self.reference.fingerprint  # a source that is not there is said now

    @cached_property
    def samplers(self) -> tuple[SamplerSpec, ...]:
        """Return the samplers of a grid, all calls of the first one first."""
        return tuple(
            entry.sampler.model_copy(update={"steps": calls}) for entry in self.spec.samplers for calls in self.spec.nfe
        )

    @cached_property
    def grids(self) -> tuple[Grid, ...]:
        """Return the grid of each model: the same prompts, seeds and samplers."""
        return tuple(
            Grid(
                model=entry.model,
                revision=weights,
                prompts=self._prompts,
                seeds=self.spec.seeds,
                perturbations=(Control().canonical(),),
                samplers=tuple(sampler.canonical() for sampler in self.samplers),
            )
            for entry, weights in zip(self.spec.models, self.revisions, strict=True)
        )

    @property
    def rows(self) -> int:
        """Return the number of pictures of a cell."""
        return self.spec.seeds.count * len(self._prompts)

    @property
    def places(self) -> tuple[Place, ...]:
        """Return every cell: number i is set i of the features, counted as in `set_of`."""
        sizes = len(self.spec.models), len(self.spec.samplers), len(self.spec.nfe)
        return tuple(Place(m, s, n) for m in range(sizes[0]) for s in range(sizes[1]) for n in range(sizes[2]))

    def set_of(self, place: Place) -> int:
        """Return the number of a cell's set."""
        return place.model * len(self.samplers) + place.sampler * len(self.spec.nfe) + place.nfe

    @property
    def extractor(self) -> FeaturesSpec:
        """Return the extractor and where it runs."""
        choice = self.spec.extractor
        return FeaturesSpec(model=choice.model, resize=choice.resize, **placement(self.spec.run))

    @cached_property
    def features(self) -> Measure:
        """Return the measure of the extractor."""
        weights = fingerprint(self.extractor.model, "timm")
        return Measure(Features, self.extractor, weights, self.spec.run.measure)

    @cached_property
    def clip(self) -> Measure | None:
        """Return the measure of the CLIP score; None where none is asked for."""
        if self.spec.clip is None:
            return None
        spec = ClipScoreSpec(model=self.spec.clip, **placement(self.spec.run))
        return Measure(ClipScore, spec, fingerprint(self.spec.clip, "open_clip"), self.spec.run.measure)

    @property
    @override
    def draws(self) -> tuple[Draw, ...]:
        spec, measures = self.spec, tuple(filter(None, (self.features, self.clip)))
        return tuple(
            Draw(spec.question, name, (grid,), spec.run, spec.store, measures)
            for name, grid in zip(self.names, self.grids, strict=True)
        )

    @property
    @override
    def models(self) -> tuple[str, ...]:
        named = (*(entry.model for entry in self.spec.models), self.spec.extractor.model, self.spec.clip)
        return tuple(dict.fromkeys(filter(None, named)))

    @property
    @override
    def notes(self) -> tuple[str, ...]:
        whole = self.reference.whole
        found = "to be measured" if whole is None else f"{whole} pictures in the store"
        return (
            f"{len(self.places)} cells of {self.rows} pictures",
            f"reference {self.spec.reference.source}: {found}",
        )

    @override
    def prepare(self, draw: Draw, watch: "Watch") -> None:
        measure(self.reference, self.spec.run, watch)

    @override
    def page(self, swept: "Swept | None", watch: "Watch | None") -> "Page":
        from pipelines.quality_page import page

        return page(self, swept)


def refuse_twice(what: str, names: tuple[str, ...]) -> None:
    """Raise `ValueError` where two entries could not be told apart."""
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"{what}: expected each once, by a name of its own, found {twice[0]!r} twice; rename one")


def refuse_sampler(entry: JudgedSampler) -> None:
    """Raise `ValueError` where calls and steps differ, or the pictures would not be draws from the model."""
    if entry.sampler.scheduler not in ONE_CALL:
        raise ValueError(
            f"samplers, {entry.name}: expected a scheduler that calls the network once a step, one of "
            f"{', '.join(ONE_CALL)}, found {entry.sampler.scheduler!r}"
        )
    if entry.sampler.measurement:
        raise ValueError(f"samplers, {entry.name}: expected a sampler without measurement; leave it out")
