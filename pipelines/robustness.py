"""The question: does the model break when its seed is shaken, at what strength, which classes first.

After "The brittle latent space of diffusion models" (arXiv:2312.11473): images from shifted seed latents, judged by a
classifier (top-1, top-5) and CLIP. Each difference is to the same prompt and seed without the shift.
"""

from collections.abc import Iterator
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, JsonValue
from typing_extensions import override

from pipelines.grid import Grid, Seeds
from pipelines.judges import classifying, judging
from pipelines.measure import Measure
from pipelines.pipeline import Pipeline
from pipelines.prompts import AnyPrompts
from pipelines.question import Draw, Question, QuestionSpec
from pipelines.store import Store
from stages.base import Spec
from stages.models.source import revision
from stages.perturbations import AnyPerturbation, Control
from stages.sampling import SamplerSpec

if TYPE_CHECKING:
    from pipelines.report import Page
    from pipelines.sweep import Swept, Watch


def swept(entries: JsonValue) -> JsonValue:
    """Return the entries with every one that holds lists replaced by one entry per combination, in order."""
    if isinstance(entries, dict):
        entries = [entries]
    if not isinstance(entries, list | tuple):
        return entries
    return [one for entry in entries for one in (combinations(entry) if isinstance(entry, dict) else [entry])]


def combinations(entry: dict[str, JsonValue]) -> Iterator[dict[str, JsonValue]]:
    """Yield one entry per combination of the values that are lists; the last list changes fastest."""
    axes = [value if isinstance(value, list | tuple) else [value] for value in entry.values()]
    for values in product(*axes):
        yield dict(zip(entry, values, strict=True))


class Adaptive(Spec):
    """Add seeds, in blocks, only where the interval of the top-1 accuracy is still too wide."""

    target_half_width: float = Field(gt=0, lt=0.5, description="Half width of the 95 % interval to reach.")
    block: int = Field(10, ge=1, description="Seeds per prompt in a block.")


class JudgeControl(Spec):
    """How much of a drop is the judge's: unbroken pictures with the same change of colour and brightness."""

    source: Literal["world", "control"] = Field(
        "control", description="world: real renders of the embedded models' world. control: the unshifted pictures."
    )
    images: int = Field(240, ge=1, description="Pictures per perturbation.")


class RobustnessSpec(QuestionSpec):
    """A robustness sweep: prompts x seeds x perturbations x samplers, and what judges the pictures."""

    question: Literal["robustness"] = "robustness"
    name: str = Field("robustness", pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    model: str = Field(description="zoo:NAME, a local diffusers folder or a hub id, ORG/NAME[@REVISION].")
    prompts: AnyPrompts
    seeds: Seeds
    perturbations: Annotated[tuple[AnyPerturbation, ...], BeforeValidator(swept)] = Field(
        min_length=1, description="Changes to the seed latent; a list in a setting stands for each of its values."
    )
    sampler: Annotated[tuple[SamplerSpec, ...], BeforeValidator(swept)] = Field(
        min_length=1, description="How latents become pictures; lists as above."
    )
    classifier: str = Field(description="zoo:NAME, a timm name, torchvision:NAME/WEIGHTS.")
    judge: str | None = Field(None, description="A second classifier that shares nothing with the first.")
    clip: str = Field(description="zoo:NAME, or open_clip's MODEL/PRETRAINED.")
    adaptive: Adaptive | None = None
    judge_control: JudgeControl | None = JudgeControl()


class Robustness(Question[RobustnessSpec]):
    """A sweep, resolved: its grid, its measures and its pipelines."""

    asks = "Does the model break when its seed is shaken, at what strength, and which classes first?"
    settings: ClassVar = RobustnessSpec

    def __init__(self, spec: RobustnessSpec) -> None:
        super().__init__(spec)
        self._prompts = spec.prompts.load()
        self.revision = revision(spec.model, spec.run.dtype)
        if all(p.is_mildest for p in spec.perturbations):
            raise ValueError("perturbations: expected at least one that changes the latent, found only the control")

    @cached_property
    def grid(self) -> Grid:
        """Return the whole grid; perturbation 0 is the control."""
        shifts = [p for p in self.spec.perturbations if not p.is_mildest]
        return Grid(
            model=self.spec.model,
            revision=self.revision,
            prompts=self._prompts,
            seeds=self.spec.seeds,
            perturbations=tuple(dict.fromkeys(p.canonical() for p in [Control(), *shifts])),
            samplers=tuple(dict.fromkeys(s.canonical() for s in self.spec.sampler)),
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
        spec = self.spec
        return (Draw(spec.question, spec.model, (self.grid,), spec.run, spec.store, self.measures),)

    @property
    def generation(self) -> Pipeline:
        """Return the pipeline over samples that are not in the store."""
        return self.draws[0].generation

    @property
    @override
    def models(self) -> tuple[str, ...]:
        spec = self.spec
        return tuple(filter(None, (spec.model, spec.classifier, spec.judge, spec.clip)))

    @property
    @override
    def notes(self) -> tuple[str, ...]:
        if self.spec.adaptive is None:
            return ()
        return (f"at most; stops where half widths reach {self.spec.adaptive.target_half_width:g}",)

    @override
    def blocks(self, draw: Draw, store: Store) -> Iterator[tuple[Grid, ...]]:
        from pipelines.adaptive import blocks

        return blocks(self, store) if self.spec.adaptive else super().blocks(draw, store)

    @override
    def page(self, swept: "Swept | None", watch: "Watch | None") -> "Page":
        from pipelines.robustness_page import page

        return page(self, swept, watch)
