"""What judges pictures of prompts: a classifier, a held-out one, and CLIP."""

from typing import Protocol

from pipelines.compute import Compute
from pipelines.measure import Measure
from pipelines.question import placement
from pipelines.run import RunSpec
from stages.appearance import Appearance, AppearanceSpec
from stages.classify import Classify, ClassifySpec
from stages.clip_score import ClipScore, ClipScoreSpec
from stages.models.source import fingerprint


class Judged(Protocol):
    """Settings that name what judges."""

    @property
    def classifier(self) -> str: ...  # noqa: D102

    @property
    def judge(self) -> str | None: ...  # noqa: D102

    @property
    def clip(self) -> str | None: ...  # noqa: D102

    @property
    def run(self) -> RunSpec: ...  # noqa: D102


def classifying(spec: Judged) -> tuple[Measure, ...]:
    """Return the classifier and, where there is one, the held-out judge."""
    names = [("", spec.classifier), *([("judge_", spec.judge)] if spec.judge else [])]
    specs = [ClassifySpec(model=m, prefix=prefix, **placement(spec.run)) for prefix, m in names]
    return tuple(Measure(Classify, s, fingerprint(s.model, "timm"), spec.run.measure) for s in specs)


def judging(spec: Judged) -> tuple[Measure, ...]:
    """Return every measure of what a picture shows: the classifiers, CLIP if there is one, colour and place."""
    clips = [ClipScoreSpec(model=spec.clip, **placement(spec.run))] if spec.clip else []
    return (
        *classifying(spec),
        *(Measure(ClipScore, clip, fingerprint(clip.model, "open_clip"), spec.run.measure) for clip in clips),
        Measure(Appearance, AppearanceSpec(), "", Compute(cpus=spec.run.measure.cpus)),
    )
