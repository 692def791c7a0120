"""Measures: stages whose columns are stored beside the samples, under a table of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.columns import SAMPLE
from pipelines.compute import ONE_ACTOR, Compute
from pipelines.pipeline import Pipeline, Step
from pipelines.save import LoadImages, SaveMeasured, SaveMeasuredSpec, SaveSamples, SaveSamplesSpec
from stages.base import AnyStage, Spec, digest

KEEP = ("number", "error")


@dataclass(frozen=True)
class Measure:
    """A measuring stage, and the fingerprint of the weights that it uses.

    The stage that draws measures too: what it keeps of a row besides its sample, such as its trajectory.
    """

    stage: type[AnyStage]
    spec: Spec
    weights: str = ""
    compute: Compute = ONE_ACTOR
    apart: frozenset[str] = frozenset()
    """Settings for which `weights` stands: where something lies, not what it is."""
    called: str = ""
    """What its table is called after; empty: its stage."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Return the columns that it reads."""
        return self.stage.columns(self.spec)[0]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that it adds to those of a sample."""
        return tuple(name for name in self.stage.columns(self.spec)[1] if name not in SAMPLE.names)

    @property
    def draws(self) -> bool:
        """Whether only drawing a row, or drawing it again, measures it."""
        return "image" in self.stage.columns(self.spec)[1]

    @property
    def sees_pictures(self) -> bool:
        """Whether it looks at pictures, rather than at what another measure wrote."""
        return "image" in self.reads

    @property
    def table(self) -> str:
        """Return the table's name: the stage, and the hash of everything that determines its numbers."""
        apart = {*self.apart, *getattr(self.spec, "placement", ())}
        settings = self.spec.model_dump(mode="json", exclude=apart)
        return f"measured/{(self.called or self.stage.__name__).lower()}-{digest([settings, self.weights])[:16]}"

    def steps(self, store: str) -> tuple[Step, ...]:
        """Return the steps that measure and publish; what drawing measures is there already."""
        save = Step(SaveMeasured, SaveMeasuredSpec(store=store, table=self.table, measured=self.columns), None)
        return (save,) if self.draws else (Step(self.stage, self.spec, self.compute), save)


def generation(name: str, draw: Step, measures: Sequence[Measure], store: str) -> Pipeline:
    """Return the pipeline that draws samples, publishes them at once, then measures and publishes what was measured."""
    save = Step(SaveSamples, SaveSamplesSpec(store=store), None)
    measuring = [step for measure in measures for step in measure.steps(store)]
    return Pipeline(name, draw, save, *measuring, keep=KEEP)


def redrawing(name: str, draw: Step, measures: Sequence[Measure], store: str) -> Pipeline:
    """Return the pipeline that draws samples again which are in the store, for what only drawing measures."""
    publishing = [step for measure in measures for step in measure.steps(store)]
    return Pipeline(name, draw, *publishing, keep=KEEP)


def measurement(name: str, measures: Sequence[Measure], store: str) -> Pipeline:
    """Return the pipeline that measures samples which are in the store already."""
    measuring = [step for measure in measures for step in measure.steps(store)]
    return Pipeline(name, Step(LoadImages, Spec()), *measuring, keep=KEEP)


def derivation(name: str, measure: Measure, store: str) -> Pipeline:
    """Return the pipeline that makes one measure of the stored columns of another."""
    return Pipeline(name, *measure.steps(store), keep=KEEP)
