"""The memorization answer in words: how much is replicated, and is it more than for pictures never trained on."""

from collections.abc import Iterator
from typing import NamedTuple

from pipelines.memorization_tables import NAMES
from pipelines.replication import Replication
from pipelines.replication_controls import Controls
from pipelines.report import interval
from pipelines.training_set import TrainingSet
from stages.metrics.difference import difference

FEW = 0.01
"""A share that is surely below counts as none."""


def verdict(answers: Replication, controls: Controls) -> str:
    """Return one sentence: does the model draw its training pictures."""
    share = answers.memorized()
    if not share.n:
        return "Undecided: no sample was looked up."
    at = f"{share.value:.1%} of samples replicate a training picture"
    gl = f"(GL = {answers.generalization()})"
    if not controls.kinds:
        return f"{at[0].upper()}{at[1:]} {gl}; there is no control to compare with."
    other = controls.share(controls.kinds[0], answers.threshold)
    said = f"{at} {gl}; of {NAMES[controls.kinds[0]]} {other.value:.1%} do"
    if difference(other, share).low > 0:
        return f"It memorizes: {said}."
    if (tail := rare(answers, controls)) and tail.more:
        return f"It memorizes: {tail.said}, though at the threshold {said}."
    if share.high < FEW:
        return f"No replication found: {said}."
    return f"No more than pictures that it cannot have copied: {said}."


class Tail(NamedTuple):
    """How many samples score as only few unseen pictures do."""

    said: str
    more: bool


def rare(answers: Replication, controls: Controls) -> Tail | None:
    """Return how many samples pass the score that one in a hundred control pictures passes; None with too few."""
    at = controls.rare()
    if at is None:
        return None
    kind = controls.kinds[0]
    share, other = answers.memorized(at), controls.share(kind, at)
    said = f"{interval(share, digits=3)} of samples score above {at:.3f}, which {other.value:.1%} of {NAMES[kind]} do"
    return Tail(said, difference(other, share).low > 0)


def sentences(answers: Replication, controls: Controls, training: TrainingSet) -> Iterator[str]:
    """Yield what else a reader must know, a sentence each."""
    question = answers.question
    score = question.index.manifest.score
    yield f"A replicate is a sample with {score} above {answers.threshold:g} ({question.threshold.source})."
    yield from compared(answers, controls)
    yield from engine(answers, controls)
    if (by_ratio := answers.memorized_by_ratio()) is not None and question.spec.pixels:
        yield (
            f"By pixels, d1 / d2 < {question.spec.pixels.below:.3g}: {interval(by_ratio, digits=3)} of samples "
            f"(n={by_ratio.n}, {by_ratio.n_missing} missing)."
        )
    yield from repeated(answers, training)
    yield from telling_prompts(answers)
    share = answers.memorized()
    among = f"{question.index.count} training pictures"
    yield f"{share.n} samples were looked up among {among}, {share.n_missing} are missing."


def compared(answers: Replication, controls: Controls) -> Iterator[str]:
    """Yield how the samples differ from each control."""
    share = answers.memorized()
    for kind in controls.kinds:
        other = controls.share(kind, answers.threshold)
        apart = interval(difference(other, share), "+", digits=3)
        yield f"Control, {NAMES[kind]}: {interval(other, digits=3)} (n={other.n}); samples less these {apart}."
    if tail := rare(answers, controls):
        yield f"Whatever the threshold: {tail.said}."
    if not controls.kinds:
        yield "The controls were not measured; run the question again to have them."
    elif "holdout" not in controls.kinds:
        yield "Without unseen real pictures (holdout) a narrow world cannot be told from memorization."


def engine(answers: Replication, controls: Controls) -> Iterator[str]:
    """Yield what an approximate search means for the numbers."""
    used = answers.question.spec.engine
    if used.exact:
        return
    found = controls.recall
    known = f"it found the nearest for {interval(found, digits=3)} of {found.n} samples" if found else "recall unknown"
    yield f"The search is approximate ({used.kind}; {known}), so GL is an upper bound and replication a lower one."


def repeated(answers: Replication, training: TrainingSet) -> Iterator[str]:
    """Yield which training pictures are replicated again and again, and which are in the set more than once."""
    groups = answers.groups
    if groups and len(groups[0].rows) > 1:
        top = groups[0]
        known = training.of([top.item]).iloc[0]
        times = training.copies.get(known["hash"], 1)
        yield (
            f"{len(groups)} training pictures are replicated, most often {known['path']} {known['row']}: "
            f"{len(top.rows)} samples; it stands in the training set {times} time{'s' if times > 1 else ''}."
        )
    yield f"{training.extra} of {training.index.count} training pictures are exact copies of others."


def telling_prompts(answers: Replication) -> Iterator[str]:
    """Yield the prompts that are replicated more than the others."""
    more = [p for p in answers.prompts if p.p_holm < 0.05 and p.share.value > answers.memorized().value]
    if more:
        names = ", ".join(f"{answers.question.prompts[p.prompt].text!r} {interval(p.share)}" for p in more[:3])
        yield f"{len(more)} prompts are replicated more than the others (Holm-corrected p < 0.05): {names}."
