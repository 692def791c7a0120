"""The judge's own part in an effect: what the classifier loses on unbroken pictures that are tinted alike."""

from pathlib import Path

import numpy as np

from pipelines.answers import TOP1
from pipelines.factorial import Factorial
from pipelines.factorial_answers import COLOURS, FactorialAnswers
from pipelines.judge_control import Cast, measured, read_kept, unbroken
from pipelines.store import Store
from pipelines.sweep import Watch
from stages.base import digest
from stages.metrics.factorial import CellMeans, means, slopes

UNTINTED = Cast(-1, 0, 0.0, 0.0, 0.0)


def judged(question: Factorial, answers: FactorialAnswers, watch: Watch | None) -> CellMeans | None:
    """Return the classifier's slope of every cell on unbroken pictures; None where it was not asked for.

    Kept in the report's folder under the hash of casts and pictures. Without `watch` only what is kept is returned, so
    that a report is made again without Ray.
    """
    control = question.spec.judge_control
    if control is None or answers.headline != TOP1:
        return None
    casts = [UNTINTED, *casts_of(answers)]
    store, table = Store(question.spec.store), question.classifying[0].table
    pictures = unbroken(control, store, question.grids[0], table)
    count = len(pictures["label"])
    if not count or not all(cast.known for cast in casts):
        return None
    file = Path(question.spec.folder) / "judge_control.parquet"
    key = digest([[list(vars(c).values()) for c in casts], control.model_dump(), table])
    frame = read_kept(file, key)
    if frame is None and watch is not None:
        frame = measured(question.classifying[:1], question.spec.run, (casts, pictures), watch)
        file.parent.mkdir(parents=True, exist_ok=True)
        frame.assign(key=key).to_parquet(file, index=False)
    if frame is None:
        return None
    right = np.full(len(casts) * count, np.nan)
    right[frame["number"].to_numpy()] = frame[TOP1].to_numpy()
    return own_slopes(question, right.reshape(len(casts), count))


def casts_of(answers: FactorialAnswers) -> list[Cast]:
    """Return the mean change of colour of every cell under every shift."""
    found = []
    for cell in range(len(answers.cells)):
        means_of = [mean_change(answers.changes(colour, cell)) for colour in COLOURS]
        found += [Cast(cell, 1 + i, *map(float, np.round(rgb, 2))) for i, rgb in enumerate(np.transpose(means_of))]
    return found


def mean_change(changes: np.ndarray) -> np.ndarray:
    """Return the mean over the rows that lack no strength; NaN where there is none."""
    whole = changes[:, np.isfinite(changes).all(axis=0)]
    return whole.mean(axis=1) if whole.shape[1] else np.full(len(changes), np.nan)


def own_slopes(question: Factorial, right: np.ndarray) -> CellMeans:
    """Return the slopes of what the classifier got right, [casts pictures], to the same picture without a tint."""
    strengths = question.strengths
    by_cell = np.split(right[1:] - right[:1], len(question.cells))
    found = [slopes(question.sigmas(cell, strengths), rows) for cell, rows in zip(question.cells, by_cell, strict=True)]
    return means(np.stack(found))
