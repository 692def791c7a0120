"""The page that answers the memorization question."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.memorization import Memorization
from pipelines.memorization_figures import (
    MAX_MEMBERS,
    Curve,
    Pair,
    gallery,
    histogram,
    prompt_shares,
    ratios,
    replicated_groups,
    share_curves,
)
from pipelines.memorization_tables import (
    NAMES,
    curve_table,
    duplicate_table,
    group_table,
    prompt_table,
    sample_table,
    shown,
)
from pipelines.memorization_verdict import sentences, verdict
from pipelines.replication import THRESHOLDS, Replication, complement
from pipelines.replication_controls import Controls, controls
from pipelines.report import Page, Picture, made
from pipelines.rows import images_of
from pipelines.save import decode
from pipelines.sweep import Swept, Watch
from pipelines.training_set import TrainingSet, source
from stages.randomness import rng

PAIRS = 6
GROUPS = 5


@dataclass(frozen=True)
class Found:
    """Everything that the page is made of."""

    question: Memorization
    replication: Replication
    training: TrainingSet
    controls: Controls


def page(question: Memorization, swept: Swept | None, watch: Watch | None) -> Page:
    """Return the page: what replicates a training picture, from what the store holds."""
    found = Found(question, Replication(question), TrainingSet(question.index), controls(question, watch))
    answers, training, control = found.replication, found.training, found.controls
    table = shown(answers, control)
    return Page(
        title=f"Seedquake: {question.spec.name}",
        question=question.asks,
        verdict=verdict(answers, control),
        sentences=tuple(sentences(answers, control, training)),
        pictures=tuple(drawn(found)),
        tables={
            "curve": curve_table(answers, control),
            "samples": sample_table(answers, training),
            "groups": group_table(answers, training),
            "prompts": prompt_table(answers),
            "duplicates": duplicate_table(training),
        },
        shown=table,
        printed=table,
        heading="Samples and controls",
        facts=facts(question, swept),
        spec=question.spec.described(),
        curves={
            "memorised over the threshold": dict(zip(THRESHOLDS, answers.curve, strict=True)),
            "GL over the threshold": {t: complement(e) for t, e in zip(THRESHOLDS, answers.curve, strict=True)},
        },
        numbers={"GL": answers.generalization().value, "memorised": answers.memorized().value},
    )


def drawn(found: Found) -> Iterator[Picture]:
    """Yield the figures, the two of the first screen first."""
    question, answers, control = found.question, found.replication, found.controls
    score = question.index.manifest.score
    n = answers.memorized().n
    caption = f"Share nearer to a training picture than each threshold, with 95 % intervals; n = {n} samples."
    lines = [Curve("samples of the model", "samples", answers.curve)]
    for kind in control.kinds:
        lines.append(Curve(NAMES[kind], kind, [control.share(kind, t) for t in THRESHOLDS]))
    yield Picture("memorised", caption, share_curves(lines, THRESHOLDS, question.threshold.value, score))
    if rows := chosen_pairs(found):
        caption = "Samples above their nearest training pictures: those closest to one, and some drawn at random."
        yield Picture("pairs", caption, gallery(rows))
    if groups := shown_groups(found):
        caption = "The training pictures that most samples replicate, beside the closest of those samples."
        yield Picture("groups", caption, replicated_groups(groups))
    others = {NAMES[kind]: control.scores(kind) for kind in control.kinds}
    yield Picture("scores", "Every score.", histogram(answers.best, others, question.threshold.value, score))
    if len(question.prompts) > 1 and answers.memorized().n:
        ordered = answers.prompts
        names = [question.prompts[p.prompt].text or "no prompt" for p in ordered]
        figure = prompt_shares(names, [p.simultaneous for p in ordered], answers.memorized())
        yield Picture("prompts", "Which prompts are replicated, the most replicated first.", figure)
    if answers.ratios is not None and question.spec.pixels is not None and np.isfinite(answers.ratios).any():
        caption = (
            "The second criterion: a sample left of the line is far nearer to one training picture than to others."
        )
        yield Picture("ratios", caption, ratios(answers.ratios, question.spec.pixels.below))


def chosen_pairs(found: Found) -> dict[str, list[Pair]]:
    """Return the pairs to be shown: the samples closest to a training picture, and some at random."""
    best = found.replication.best
    known = np.flatnonzero(np.isfinite(best))
    if not len(known):
        return {}
    highest = known[np.argsort(-best[known], kind="stable")][:PAIRS]
    random = np.sort(rng(0, "gallery").choice(known, min(PAIRS, len(known)), replace=False))
    return {"closest": pairs(found, highest), "at random": pairs(found, random)}


def pairs(found: Found, rows: np.ndarray) -> list[Pair]:
    """Return samples beside their nearest training pictures."""
    answers = found.replication
    items = [int(answers.items[row, 0]) for row in rows]
    samples, training = samples_of(answers, rows), found.training.pictures(items)
    known = found.training.of(items)
    where = [source(path, row) for path, row in zip(known["path"], known["row"], strict=True)]
    scores = [float(answers.best[row]) for row in rows]
    parts = zip(samples, items, scores, where, strict=True)
    return [Pair(s, training.get(i), score, w) for s, i, score, w in parts if s is not None]


def samples_of(answers: Replication, rows: np.ndarray) -> list[np.ndarray | None]:
    """Return the pictures of these few rows."""
    ids = answers.question.grid.rows(np.asarray(rows, dtype=np.int64))["sample_id"].tolist()
    png = images_of(answers.store, ids)
    return [decode(png[i]) if i in png else None for i in ids]


def shown_groups(found: Found) -> list[tuple[np.ndarray | None, Sequence[np.ndarray], str]]:
    """Return the training pictures that most samples replicate, with some of those samples."""
    answers = found.replication
    groups = [g for g in answers.groups if len(g.rows) > 1][:GROUPS]
    training = found.training.pictures([g.item for g in groups]) if groups else {}
    rows: list[tuple[np.ndarray | None, Sequence[np.ndarray], str]] = []
    for group in groups:
        samples = [s for s in samples_of(answers, np.array(group.rows[:MAX_MEMBERS])) if s is not None]
        rows.append((training.get(group.item), samples, f"{len(group.rows)} samples"))
    return rows


def facts(question: Memorization, swept: Swept | None) -> dict[str, str]:
    """Return how the answers were made."""
    spec, manifest = question.spec, question.index.manifest
    found = {
        "Model": f"{spec.model}, weights {question.revision}",
        "Training pictures": f"{manifest.count} of {manifest.source}, {manifest.quarantined} in quarantine",
        "Index": f"{question.index.place}, {question.index.fingerprint}",
        "Descriptor": f"{manifest.score}, weights {manifest.weights}",
        "Search": f"{spec.engine}, {spec.k} neighbours",
        "Threshold": f"{question.threshold.value:g}, {question.threshold.source}",
        "Grid": f"{len(question.prompts)} prompts x {spec.seeds.count} seeds = {len(question.grid)} images",
    }
    if question.holdout:
        found["Unseen pictures"] = f"{question.holdout.count} of {question.holdout.manifest.source}"
    return found | made(spec.store, swept)
