"""Answers of a memorization question -> tables: one number a column, with its interval beside it."""

import numpy as np
import pandas as pd

from pipelines.replication import THRESHOLDS, Replication, complement
from pipelines.replication_controls import Controls
from pipelines.report import interval
from pipelines.tables import columns_of
from pipelines.training_set import TrainingSet
from stages.metrics import Estimate
from stages.metrics.difference import difference

NAMES = {"holdout": "unseen real pictures", "background": "other training pictures"}


def shown(answers: Replication, controls: Controls) -> pd.DataFrame:
    """Return the table as people read it."""
    of = answers.question.index.manifest.score
    samples = answers.memorized()
    rows = [line("samples", f"{of} > {answers.threshold:g}", samples, None)]
    for kind in controls.kinds:
        share = controls.share(kind, answers.threshold)
        rows.append(line(NAMES[kind], f"{of} > {answers.threshold:g}", share, difference(share, samples)))
    if (rare := controls.rare()) is not None:
        rows.append(line("samples", f"> {rare:.4g}, rare", answers.memorized(rare), None))
    if (by_ratio := answers.memorized_by_ratio()) is not None and answers.question.spec.pixels:
        rows.append(line("samples", f"d1 / d2 < {answers.question.spec.pixels.below:.3g}", by_ratio, None))
    return pd.DataFrame(rows)


def line(pictures: str, criterion: str, share: Estimate, apart: Estimate | None) -> dict[str, str]:
    """Return one row of that table."""
    return {
        "pictures": pictures,
        "replicate": criterion,
        "share": interval(share, digits=3),
        "samples less this": interval(apart, "+", digits=3) if apart else "",
        "n": str(share.n),
        "missing": str(share.n_missing),
    }


def curve_table(answers: Replication, controls: Controls) -> pd.DataFrame:
    """Return a row a threshold: samples and controls, and GL."""
    rows = []
    for threshold, memorised in zip(THRESHOLDS, answers.curve, strict=True):
        row: dict[str, object] = {"score": answers.question.index.manifest.score, "threshold": threshold}
        row |= columns_of("memorised", memorised) | columns_of("gl", complement(memorised))
        for kind in controls.kinds:
            row |= columns_of(kind, controls.share(kind, threshold))
        rows.append(row)
    return pd.DataFrame(rows)


def sample_table(answers: Replication, training: TrainingSet) -> pd.DataFrame:
    """Return a row a sample: its nearest training picture and how near it is."""
    grid = answers.question.grid
    rows = grid.rows(np.arange(len(grid)))
    frame = pd.DataFrame({name: rows[name] for name in ("sample_id", "prompt", "seed")})
    frame = frame.assign(score=answers.best, item=answers.items[:, 0], replicated=answers.replicated)
    if answers.ratios is not None:
        frame = frame.assign(ratio=answers.ratios)
    items = np.unique(frame["item"][frame["item"] >= 0])
    known = training.of(items.tolist())[["item", "path", "row", "label"]]
    return frame.merge(known.rename(columns={"row": "row_in_path"}), on="item", how="left")


def group_table(answers: Replication, training: TrainingSet) -> pd.DataFrame:
    """Return a row a training picture that samples replicate, the most replicated first."""
    groups, count = answers.groups, len(answers.question.prompts)
    known = training.of([g.item for g in groups])
    rows = {
        "item": [g.item for g in groups],
        "samples": [len(g.rows) for g in groups],
        "prompts": [len({row % count for row in g.rows}) for g in groups],
        "best_score": [g.best for g in groups],
        "copies_in_training_set": [training.copies.get(value, 1) for value in known["hash"]],
    }
    return pd.DataFrame(rows).assign(path=known["path"], row_in_path=known["row"], label=known["label"])


def prompt_table(answers: Replication) -> pd.DataFrame:
    """Return a row a prompt, the most replicated first."""
    rows = []
    for found in answers.prompts:
        row: dict[str, object] = {"prompt": answers.question.prompts[found.prompt].text}
        row |= columns_of("replicated", found.share)
        row |= {"simultaneous_low": found.simultaneous.low, "simultaneous_high": found.simultaneous.high}
        rows.append(row | {"p_value": found.p_value, "p_holm": found.p_holm})
    return pd.DataFrame(rows)


def duplicate_table(training: TrainingSet) -> pd.DataFrame:
    """Return a row a picture that stands in the training set more than once."""
    return pd.DataFrame({"hash": list(training.copies), "copies": list(training.copies.values())})
