"""The page that answers the transition question."""

import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

from pipelines.report import Page, Picture, interval
from pipelines.tables import columns_of
from stages.metrics import Estimate
from tuning.training.features import features
from tuning.training.scores import Score
from tuning.training.transition import Member, TransitionSpec
from tuning.training.transition_figures import curves, strip
from tuning.training.transition_scores import WORDS, TransitionScores

REFERENCE = 10_000
"""Pictures of the source that FID compares with, at most."""


def page(spec: TransitionSpec) -> Page:
    """Return the page of a study whose models have all drawn."""
    scores = TransitionScores(spec)
    fid = scores.fid(reference(spec)) if spec.drawing.features else {}
    return Page(
        title=f"Seedquake: {spec.name}",
        question=spec.asks,
        verdict=verdict(scores),
        sentences=tuple(sentences(scores)),
        pictures=(
            Picture("transition", caption(scores), curves(scores)),
            Picture("pictures", "The same noises down each column, by training pictures and model.", strip(scores)),
        ),
        tables={"scores": scores.table(WORDS), "fid": fid_table(fid), "distributions": scores.distributions()},
        shown=shown(scores, fid),
        printed=printed(scores, fid),
        heading="Every size of the training set",
        facts=facts(spec),
        spec=spec.model_dump(mode="json"),
        curves=scores.curves(),
    )


def verdict(scores: TransitionScores) -> str:
    """Return one sentence: do reproducibility and generalization pass through the transition that the paper found."""
    rp, gl = headline(scores)
    ends = f"GL {interval(gl[0].estimate)} at N = {gl[0].count}, {interval(gl[-1].estimate)} at N = {gl[-1].count}"
    rises = gl[0].estimate.high < 0.5 < gl[-1].estimate.low
    if not rises:
        return f"No transition within these sizes: {ends}."
    if not rp:
        return f"Generalization emerges ({ends}); reproducibility needs two widths."
    low = min(rp, key=lambda s: s.estimate.value)
    path = " -> ".join(f"{interval(s.estimate)} at N = {s.count}" for s in dict.fromkeys((rp[0], low, rp[-1])))
    if valleys(rp):
        return f"Reproduced at this size: {ends}, and reproducibility falls and rises again: RP {path}."
    return f"Partly reproduced: {ends}, but reproducibility does not provably fall and rise again: RP {path}."


def valleys(rp: list[Score]) -> list[int]:
    """Return the sizes at which RP lies below both ends, with 95 % confidence over all sizes together (Bonferroni)."""
    inner = rp[1:-1]
    confidence = 1 - 0.05 / max(1, len(inner))
    return [s.count for s in inner if all(s.difference(end, confidence).low > 0 for end in (rp[0], rp[-1]))]


def headline(scores: TransitionScores) -> tuple[list[Score], list[Score]]:
    """Return RP of the first two widths and GL of the largest, by size."""
    rp = scores.of("RP, widths")
    largest = f"{scores.spec.widths[-1]}"
    return [s for s in rp if s.of == rp[0].of], [s for s in scores.of("GL") if s.of == largest]


def sentences(scores: TransitionScores) -> Iterator[str]:
    """Yield what else a reader must know, a sentence each."""
    yield f"Alike means {scores.alike.text}; no number here compares with one of another descriptor."
    rp, gl = headline(scores)
    for below, above in pairwise(gl):
        if below.estimate.value < 0.5 <= above.estimate.value:
            yield f"GL of width {below.of} passes one half between N = {below.count} and {above.count}."
    if rp:
        found = valleys(rp)
        where = f"at N = {', '.join(map(str, found))}" if found else "at no size"
        yield f"RP of widths {rp[0].of} lies below both of its ends {where} (95 % over all sizes together)."
    floor = max((s.estimate for s in scores.of("floor")), key=lambda e: e.value, default=None)
    if floor:
        yield f"Independent noise: at most {interval(floor)} alike."
    unseen, background = (scores.of(kind)[-1] for kind in ("GL, unseen", "background"))
    yield (
        f"At N = {unseen.count}, pictures that no model was trained on score GL = {interval(unseen.estimate)}, and "
        f"{interval(background.estimate)} of the training pictures are alike another one."
    )
    if missing := sum(s.estimate.n_missing for s in scores.of("GL")):
        yield f"{missing} pictures are missing, since they are not finite."


def caption(scores: TransitionScores) -> str:
    """Return what the figure shows."""
    sets = f", {scores.spec.parts} disjoint sets of each size together" if scores.spec.parts > 1 else ""
    return (
        f"{scores.spec.drawing.noises} noises a point, 95 % intervals{sets}. Grey: the paper's own curves, which SSCD "
        "at 0.6 judges on CIFAR-10 with networks of 64, 128 and 256 channels."
    )


def fid_table(fid: dict[Member, Estimate]) -> pd.DataFrame:
    """Return a row a model."""
    rows = [{**member._asdict()} | columns_of("fid", estimate) for member, estimate in fid.items()]
    return pd.DataFrame(rows, columns=None if rows else ["size", "width", "part", "fid"])


def shown(scores: TransitionScores, fid: dict[Member, Estimate]) -> pd.DataFrame:
    """Return the table as people read it: a row a size, the sets together."""
    rows = []
    for count in scores.spec.counts:
        row = {"N": str(count)}
        for s in scores.all:
            if s.count == count and s.of != "optimal":
                row[f"{s.kind} {s.of}".removesuffix(" source")] = interval(s.estimate)
        for width in scores.spec.widths:
            if found := fid.get(Member(count, width, 0)):
                row[f"FID {width}"] = interval(found, digits=1)
        rows.append(row)
    return pd.DataFrame(rows).fillna("-")


def printed(scores: TransitionScores, fid: dict[Member, Estimate]) -> pd.DataFrame:
    """Return the table as a terminal has room for it: the intervals of the two headlines only."""
    rp, gl = headline(scores)
    width = scores.spec.widths[-1]
    rows = []
    for place, novel in enumerate(gl):
        plain = {s.kind: f"{s.estimate.value:.2f}" for s in scores.all if s.count == novel.count and s.of != "optimal"}
        row = {"N": str(novel.count)}
        if rp:
            row |= {f"RP {rp[0].of}": interval(rp[place].estimate), "floor": plain["floor"]}
        row |= {f"GL {width}": interval(novel.estimate), "GL, unseen": plain["GL, unseen"], "copies": plain["copies"]}
        row |= {name: plain[name] for name in ("RP, sets", "RP, optimal") if name in plain}
        if found := fid.get(Member(novel.count, width, 0)):
            row["FID"] = f"{found.value:.1f}"
        rows.append(row)
    return pd.DataFrame(rows).fillna("-")


def reference(spec: TransitionSpec) -> np.ndarray:
    """Return the features of the source."""
    pictures = spec.source.load(np.arange(min(REFERENCE, spec.source.size()), dtype=np.int64))
    return features(pictures.images, spec.drawing.features, spec.run.device)


def facts(spec: TransitionSpec) -> dict[str, str]:
    """Return how the answer was made."""
    found = {
        "Pictures": f"{spec.source.kind}, {spec.source.side_px} px, {spec.source.size()}; {spec.parts} disjoint sets",
        "Training": f"{spec.budget.pictures:,} pictures seen by each model, batch {spec.budget.batch}",
        "Drawing": f"{spec.drawing.noises} noises, {spec.drawing.sampler.scheduler} {spec.drawing.sampler.steps} steps",
        "Models": f"{spec.run.output}/trained, folders of diffusers",
        "Written": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }
    if spec.drawing.features:
        found["FID"] = f"features of {spec.drawing.features}, to {min(REFERENCE, spec.source.size())} of the pictures"
    return found
