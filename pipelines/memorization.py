"""The question: does the model draw its training pictures.

After Zhang et al. 2024 (arXiv:2310.05264): the generalization score GL is the share of samples whose nearest training
picture stays below a similarity; what is left is memorised. Beside it stands what pictures score that the model has
never seen, since in a narrow world every new picture resembles an old one.
"""

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from pipelines.grid import Grid, Seeds
from pipelines.measure import Measure
from pipelines.prompts import AnyPrompts
from pipelines.question import Draw, Question, QuestionSpec, refuse_prompts
from pipelines.threshold import threshold
from stages.base import Spec
from stages.embed import Embed, EmbedSpec
from stages.lookup import Lookup, LookupSpec
from stages.models.descriptors.spec import DescriptorSpec, score_name
from stages.models.source import fingerprint, revision
from stages.neighbours import AnyEngine, Exact, Index
from stages.neighbours.manifest import Manifest
from stages.neighbours.search import refuse_k
from stages.perturbations import Control
from stages.sampling import SamplerSpec
from stages.storage import absolute

if TYPE_CHECKING:
    from pipelines.report import Page
    from pipelines.sweep import Swept, Watch

PIXELS = "pixels_"


class PixelRatio(Spec):
    """The second criterion: much nearer to one training picture than to the next, by pixels.

    Yoon et al. 2023 and Gu et al. 2023 (arXiv:2310.02664): d1 / d2 < 1/3.
    """

    index: str = Field(description="Folder of an index of the same pictures, by pixels:SIDE.")
    below: float = Field(1 / 3, gt=0, lt=1, description="Memorised means a smaller ratio of the two distances.")
    k: int = Field(5, ge=2, le=100, description="Neighbours among which the next different picture is sought.")


class MemorizationSpec(QuestionSpec):
    """Samples of a model, looked up among its training pictures."""

    question: Literal["memorization"] = "memorization"
    name: str = Field("memorization", pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    model: str = Field(description="zoo:NAME, a local diffusers folder or a hub id, ORG/NAME[@REVISION].")
    prompts: AnyPrompts
    seeds: Seeds
    sampler: SamplerSpec
    reference: str = Field(min_length=1, description="Folder of an index of the training pictures.")
    holdout: str | None = Field(None, description="Folder of an index of real pictures that the model has not seen.")
    pixels: PixelRatio | None = None
    k: int = Field(5, ge=1, le=1000, description="Training pictures kept for each sample.")
    engine: AnyEngine = Field(Exact(), description="exact, or one that may miss the nearest.")
    threshold: float | None = Field(
        None, ge=-1, le=1, description="A replicate has a larger cosine; null: the descriptor's calibrated one."
    )
    controls: int = Field(1000, ge=1, le=10**6, description="Pictures of each control, drawn at random.")
    recall_queries: int = Field(200, ge=1, le=10**5, description="Samples on which an engine's recall is measured.")


class Memorization(Question[MemorizationSpec]):
    """A model's samples against an index of its training pictures, resolved."""

    asks = "Does the model draw its training pictures?"
    settings: ClassVar = MemorizationSpec

    def __init__(self, spec: MemorizationSpec) -> None:
        super().__init__(spec)
        self._prompts = spec.prompts.load()
        refuse_prompts(spec.model, spec.model, [p.text for p in self._prompts])
        self.revision = revision(spec.model, spec.run.dtype)
        self.index = opened(spec.reference, "reference")
        if self.index.metric != "cosine":
            raise ValueError(
                f"reference: expected an index whose scores are cosines, found one of {self.index.manifest.score}; "
                "give it as pixels.index"
            )
        refuse_k(spec.k, self.index.count)
        self.embed = described(self.index.manifest, "reference")
        self.holdout = self._holdout()
        self.pixel_index = self._pixels()
        self.threshold = threshold(spec.threshold, self.embed.model, spec.model, spec.sampler)

    @cached_property
    def grid(self) -> Grid:
        """Return the samples: every prompt with every seed."""
        spec = self.spec
        samplers = (spec.sampler.canonical(),)
        return Grid(spec.model, self.revision, self._prompts, spec.seeds, (Control().canonical(),), samplers)

    @cached_property
    def descriptor(self) -> Measure:
        """Return the measure of the descriptor: that of the index."""
        return self._embedding(self.embed, "")

    @cached_property
    def lookup(self) -> Measure:
        """Return the measure of the nearest training pictures."""
        return looked_up(self.index, self.spec.k, self.spec.engine, "", self.spec.run.device)

    @cached_property
    def pixel_measures(self) -> tuple[Measure, ...]:
        """Return the measures of the second criterion: none where it is not asked for."""
        if self.pixel_index is None or self.spec.pixels is None:
            return ()
        embed = described(self.pixel_index.manifest, "pixels.index")
        found = looked_up(self.pixel_index, self.spec.pixels.k, Exact(), PIXELS, self.spec.run.device)
        return self._embedding(embed, PIXELS), found

    @property
    @override
    def draws(self) -> tuple[Draw, ...]:
        spec = self.spec
        measures = (self.descriptor, self.lookup, *self.pixel_measures)
        return (Draw(spec.question, spec.model, (self.grid,), spec.run, spec.store, measures),)

    @property
    @override
    def models(self) -> tuple[str, ...]:
        return self.spec.model, self.embed.model

    @property
    @override
    def notes(self) -> tuple[str, ...]:
        found = (
            f"looked up among {self.index.count} pictures of {self.index.manifest.source} by {self.spec.engine.kind}"
        )
        return (
            f"{found}; replicate: {self.index.manifest.score} > {self.threshold.value:g} ({self.threshold.source})",
        )

    @override
    def page(self, swept: "Swept | None", watch: "Watch | None") -> "Page":
        from pipelines.memorization_page import page

        return page(self, swept, watch)

    def _embedding(self, choice: DescriptorSpec, prefix: str) -> Measure:
        run = self.spec.run
        spec = EmbedSpec(
            model=choice.model, resize=choice.resize, prefix=prefix, batch=run.batch_size, device=run.device
        )
        return Measure(Embed, spec, fingerprint(spec.model, "descriptor"), run.measure)

    def _holdout(self) -> Index | None:
        if self.spec.holdout is None:
            return None
        found, manifest = opened(self.spec.holdout, "holdout"), self.index.manifest
        found.manifest.refuse_other(manifest.score, manifest.weights, "holdout")
        return found

    def _pixels(self) -> Index | None:
        if self.spec.pixels is None:
            return None
        found, manifest = opened(self.spec.pixels.index, "pixels.index"), self.index.manifest
        if found.metric != "l2":
            raise ValueError(f"pixels.index: expected an index by pixels:SIDE, found one of {found.manifest.score}")
        if (found.manifest.source, found.count) != (manifest.source, manifest.count):
            raise ValueError(
                f"pixels.index: expected the {manifest.count} pictures of {manifest.source}, as in reference, found "
                f"the {found.count} of {found.manifest.source}"
            )
        refuse_k(self.spec.pixels.k, found.count)
        return found


def opened(folder: str, setting: str) -> Index:
    """Return the index that a setting names; raises `ValueError` with the remedy."""
    try:
        return Index.open(absolute(folder))
    except ValueError as error:
        raise ValueError(f"{setting}: {error}; `seedquake index build SOURCE --output {folder}` makes one") from None


def described(manifest: Manifest, where: str) -> DescriptorSpec:
    """Return the descriptor with which an index was made; raises `ValueError` where it is not the same any more."""
    for resize in ("own", "short", "square"):
        spec = DescriptorSpec.model_validate({"model": manifest.model, "resize": resize})
        if (manifest.metric == "cosine" or resize != "short") and score_name(spec) == manifest.score:
            manifest.refuse_other(manifest.score, fingerprint(spec.model, "descriptor"), where)
            return spec
    raise ValueError(f"{where}: expected scores that {manifest.model} gives, found {manifest.score}; build it again")


def looked_up(index: Index, k: int, engine: AnyEngine, prefix: str, device: Literal["auto", "cpu", "cuda"]) -> Measure:
    """Return the measure that looks embeddings up; what it finds depends on the index's contents, not on its place."""
    spec = LookupSpec(index=index.place, k=k, engine=engine, prefix=prefix, device=device)
    return Measure(Lookup, spec, index.fingerprint, apart=frozenset({"index"}))
