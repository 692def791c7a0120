"""The question: do different models draw the same picture from the same noise.

After "The Emergence of Reproducibility and Consistency in Diffusion Models" (Zhang et al. 2024, arXiv:2310.05264): the
reproducibility score RP is the share of noises from which two models draw pictures whose descriptors agree. The same
seed is the same noise for every model of that latent shape, whatever its parametrisation.
"""

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field
from typing_extensions import override

from pipelines.grid import Grid, Seeds
from pipelines.measure import Measure
from pipelines.named_model import NamedModel, spelled_out
from pipelines.prompts import AnyPrompts, ClassNames
from pipelines.question import Draw, Question, QuestionSpec, refuse_prompts
from pipelines.threshold import threshold
from stages.base import Spec
from stages.embed import Embed, EmbedSpec
from stages.models.descriptors.spec import pixels_side
from stages.models.outline import draws_noise, outline
from stages.models.source import fingerprint, revision
from stages.perturbations import Control, Plane
from stages.sampling import SamplerSpec

if TYPE_CHECKING:
    from pipelines.report import Page
    from pipelines.sweep import Swept, Watch


class ComparedModel(NamedModel):
    """One model of the comparison."""

    sampler: SamplerSpec | None = Field(None, description="Its own sampler; null: the common one.")


class DescriptorChoice(Spec):
    """The descriptor whose cosine says how alike two pictures are."""

    model: str = Field(description="sscd:NAME[@SHA256], zoo:descriptor, or a local folder.")
    resize: Literal["own", "short", "square"] = Field("own", description="How pictures are brought to its size.")


class MaeScore(Spec):
    """The second score: the mean absolute difference of the pixels."""

    side_px: int = Field(32, ge=1, le=512, description="Pictures are compared at this size, squeezed to a square.")
    below: float = Field(15.0, gt=0, le=255, description="Alike means less than this, on pixels of 0 to 255.")


class PlaneChoice(Spec):
    """A grid of noises on the plane through three seeds, to see which regions of noise become which picture."""

    points: int = Field(10, ge=2, le=300, description="Points a side; the paper has 100.")
    low: float = Field(0.0, ge=-10, le=10, description="Where both axes start; 0 and 1 are the seeds' noises.")
    high: float = Field(1.0, ge=-10, le=10, description="Where both axes end.")
    seed: int = Field(0, ge=0, description="Seed of the three noises.")
    prompt: int = Field(0, ge=0, description="Position of the prompt that is drawn, from 0.")
    regions: int = Field(6, ge=2, le=10, description="Representatives by which the points are coloured.")

    @property
    def axis(self) -> tuple[float, ...]:
        """Return the coordinates along one side."""
        return tuple(round(float(x), 6) for x in np.linspace(self.low, self.high, self.points))


class ReproducibilitySpec(QuestionSpec):
    """Models to compare on the same prompts and noises."""

    question: Literal["reproducibility"] = "reproducibility"
    name: str = Field("reproducibility", pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    models: Annotated[tuple[ComparedModel, ...], BeforeValidator(spelled_out)] = Field(
        description="Two or more: a name, or `model`, `name` and `sampler`."
    )
    prompts: AnyPrompts
    seeds: Seeds
    sampler: SamplerSpec = Field(description="How latents become pictures, where a model has no own one.")
    descriptor: DescriptorChoice
    threshold: float | None = Field(
        None, ge=-1, le=1, description="Alike means a larger cosine; null: the descriptor's calibrated one."
    )
    mae: MaeScore | None = MaeScore()
    plane: PlaneChoice | None = None
    allow_noisy_samplers: bool = Field(
        False, description="Also compare samplers that draw noise at every step, from each row's own stream."
    )


class Reproducibility(Question[ReproducibilitySpec]):
    """A comparison of models, resolved: the same grid for each, and the descriptors of what they draw."""

    asks = "Do different models draw the same picture from the same noise?"
    settings: ClassVar = ReproducibilitySpec

    def __init__(self, spec: ReproducibilitySpec) -> None:
        super().__init__(spec)
        self._prompts = spec.prompts.load()
        self.revisions = tuple(revision(entry.model, spec.run.dtype) for entry in spec.models)
        self.names = tuple(entry.called for entry in spec.models)
        refuse_names(self.names)
        for number, entry in enumerate(spec.models):
            refuse_model(entry, self.sampler(number), spec)
        refuse_shapes([(entry.called, entry.model, self.sampler(n).size_px) for n, entry in enumerate(spec.models)])
        self._refuse_prompts()
        if pixels_side(spec.descriptor.model) is not None:
            raise ValueError(
                f"descriptor: expected a descriptor that is compared by its cosine, found {spec.descriptor.model}; "
                "pixels are the second score, mae"
            )

        self.threshold = threshold(spec.threshold, spec.descriptor.model, spec.models[0].model, self.sampler(0))

    @property
    def conditional(self) -> bool:
        """Whether the prompts are classes, not texts."""
        return isinstance(self.spec.prompts, ClassNames)

    def sampler(self, number: int) -> SamplerSpec:
        """Return the sampler of a model."""
        return self.spec.models[number].sampler or self.spec.sampler

    @cached_property
    def grids(self) -> tuple[Grid, ...]:
        """Return the grid of each model: the same prompts and seeds."""
        return tuple(
            Grid(
                model=entry.model,
                revision=self.revisions[number],
                prompts=self._prompts,
                seeds=self.spec.seeds,
                perturbations=(Control().canonical(),),
                samplers=(self.sampler(number).canonical(),),
            )
            for number, entry in enumerate(self.spec.models)
        )

    @cached_property
    def planes(self) -> tuple[Grid, ...]:
        """Return the noise plane of each model, row by row from the low end; empty where none is asked for."""
        plane = self.spec.plane
        if plane is None:
            return ()
        texts = tuple(Plane(a=a, b=b).canonical() for b in plane.axis for a in plane.axis)
        seeds = Seeds(first=plane.seed, count=1, shared=True)
        return tuple(
            Grid(g.model, g.revision, (g.prompts[plane.prompt],), seeds, texts, g.samplers) for g in self.grids
        )

    @property
    def embed(self) -> EmbedSpec:
        """Return the descriptor and where it runs."""
        choice, run = self.spec.descriptor, self.spec.run
        return EmbedSpec(model=choice.model, resize=choice.resize, batch=run.batch_size, device=run.device)

    @cached_property
    def descriptor(self) -> Measure:
        """Return the measure of the descriptor."""
        return Measure(Embed, self.embed, fingerprint(self.embed.model, "descriptor"), self.spec.run.measure)

    @cached_property
    def pixels(self) -> Measure | None:
        """Return the measure of the pixels; None where no second score is asked for."""
        if self.spec.mae is None:
            return None
        spec = EmbedSpec(model=f"pixels:{self.spec.mae.side_px}", prefix="pixels_")
        return Measure(Embed, spec, fingerprint(spec.model, "descriptor"), self.spec.run.measure)

    @property
    @override
    def draws(self) -> tuple[Draw, ...]:
        spec, measures = self.spec, tuple(filter(None, (self.descriptor, self.pixels)))
        grids = [(grid, *self.planes[n : n + 1]) for n, grid in enumerate(self.grids)]
        return tuple(
            Draw(spec.question, name, parts, spec.run, spec.store, measures)
            for name, parts in zip(self.names, grids, strict=True)
        )

    @property
    @override
    def models(self) -> tuple[str, ...]:
        return (*(entry.model for entry in self.spec.models), self.spec.descriptor.model)

    @override
    def page(self, swept: "Swept | None", watch: "Watch | None") -> "Page":
        from pipelines.reproducibility_page import page

        return page(self, swept)

    def _refuse_prompts(self) -> None:
        """Raise `ValueError` where a model cannot draw a prompt, or the noises would not be the same."""
        texts = [p.text for p in self._prompts]
        for entry in self.spec.models:
            refuse_prompts(entry.model, entry.called, texts)
        if self.conditional and "" in texts and not self.spec.seeds.shared:
            raise ValueError(
                "seeds.shared: expected true, so that pictures with and without a class come from the same noise, "
                "found false"
            )
        if self.spec.plane and self.spec.plane.prompt >= len(texts):
            raise ValueError(f"plane.prompt: expected 0 to {len(texts) - 1}, found {self.spec.plane.prompt}")


def refuse_names(names: tuple[str, ...]) -> None:
    """Raise `ValueError` where there is nothing to compare, or two models could not be told apart."""
    if len(names) < 2:
        raise ValueError(f"models: expected at least two models to compare, found {len(names)}")
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"models: expected a name of its own for each, found {twice[0]!r} twice; set `name`")


def refuse_model(entry: ComparedModel, sampler: SamplerSpec, spec: ReproducibilitySpec) -> None:
    """Raise `ValueError` where a picture is not a function of its first noise."""
    if not spec.allow_noisy_samplers and draws_noise(entry.model, sampler):
        raise ValueError(
            f"models, {entry.called}: expected a deterministic sampler, found {sampler.scheduler!r} with "
            f"eta={sampler.eta:g}, which draws noise at every step; change it, or set allow_noisy_samplers=true"
        )


def refuse_shapes(models: list[tuple[str, str, int | None]]) -> None:
    """Raise `ValueError` where two models start from noises of different shapes."""
    shapes = {name: shape for name, model, size in models if (shape := outline(model).latent_shape(size))}
    names = list(shapes)
    for name in names[1:]:
        if shapes[name] != shapes[names[0]]:
            raise ValueError(
                f"models: expected latents of one shape, since only the same noise can be compared, found "
                f"{shapes[names[0]]} of {names[0]} and {shapes[name]} of {name}"
            )
