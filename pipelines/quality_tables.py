"""Answers about quality -> tables: as people read them, as programs do, and ours beside the published numbers."""

import math
from collections.abc import Mapping

import pandas as pd

from pipelines.quality import Place
from pipelines.quality_answers import SCORES, Cell, QualityAnswers
from pipelines.quality_published import CALLS, PUBLISHED, DataSet
from pipelines.report import interval
from pipelines.tables import columns_of
from stages.metrics import Estimate

DIGITS = {"KID": 4, "CLIP score": 1}
NAMES = {"FID": "fid", "FID at infinity": "fid_infinity", "KID": "kid", "classifier score": "classifier_score"}


def column(score: str) -> str:
    """Return what a table calls a score."""
    return NAMES.get(score, score.lower().replace(" ", "_"))


def said(score: str, estimate: Estimate | None) -> str:
    """Return a score with its interval, a dash where there is none, nothing where it was not asked for."""
    if estimate is None:
        return ""
    return "-" if math.isnan(estimate.value) else interval(estimate, digits=DIGITS.get(score, 2))


def shown(answers: QualityAnswers) -> pd.DataFrame:
    """Return the table as people read it, real pictures last."""
    asked = [name for name in SCORES if name != "CLIP score" or answers.question.clip]
    rows = []
    for place, cell in answers.cells.items():
        first = cell.scores["FID"]
        row = named(answers, place) | {"n": str(first.n), "missing": str(first.n_missing)}
        row |= {name: said(name, cell.scores.get(name)) for name in asked}
        row["FID, to the first sampler"] = "" if cell.to_sampler is None else interval(cell.to_sampler, "+")
        row["FID, to the first model"] = "" if cell.to_model is None else interval(cell.to_model, "+")
        rows.append(row)
    if floor := answers.floor:
        row = {"model": "real pictures", "n": str(floor["FID"].n), "missing": str(floor["FID"].n_missing)}
        rows.append(row | {name: said(name, floor.get(name)) for name in asked})
    return pd.DataFrame(rows).fillna("")


def named(answers: QualityAnswers, place: Place) -> dict[str, str]:
    """Return the columns that name a cell, as people read them."""
    return {
        "model": answers.question.names[place.model],
        "sampler": answers.sampler_names[place.sampler],
        "NFE": str(answers.spec.nfe[place.nfe]),
    }


def cell_table(answers: QualityAnswers) -> pd.DataFrame:
    """Return a row a cell, and one for real pictures: every score with n, its interval and how that was made."""
    question, rows = answers.question, []
    for place, cell in answers.cells.items():
        grid = question.grids[place.model]
        settings = grid.samplers[question.set_of(place) % len(grid.samplers)]
        row: dict[str, object] = {**named(answers, place), "NFE": answers.spec.nfe[place.nfe]}
        rows.append(row | {"weights": grid.model, "settings": settings} | numbers(cell))
    if floor := answers.floor:
        rows.append({"model": "real pictures"} | estimates(floor))
    return pd.DataFrame(rows).assign(extractor=question.extractor.name)


def numbers(cell: Cell) -> dict[str, object]:
    """Return the scores of a cell, and its differences to the first sampler and the first model."""
    nothing = Estimate.missing(0, "no comparison")
    return {
        **estimates(cell.scores),
        **columns_of("fid_to_first_sampler", cell.to_sampler or nothing),
        **columns_of("fid_to_first_model", cell.to_model or nothing),
    }


def estimates(scores: Mapping[str, Estimate]) -> dict[str, object]:
    """Return scores as columns, each with the method of its interval."""
    found: dict[str, object] = {}
    for name, estimate in scores.items():
        found |= columns_of(column(name), estimate)
        found[f"{column(name)}_method"] = estimate.method
    return found


def beside_published(answers: QualityAnswers, data: DataSet) -> pd.DataFrame:
    """Return FIDs by calls: ours, then the published ones, sampler by sampler; a dash where there is none."""
    calls = sorted({*CALLS, *answers.spec.nfe})
    rows = []
    for sampler in dict.fromkeys((*answers.sampler_names, *PUBLISHED[data])):
        rows += ours(answers, sampler, calls)
        for model, values in PUBLISHED[data].get(sampler, {}).items():
            known = dict(zip(CALLS, values, strict=True))
            row = {"sampler": sampler, "model": model, "from": "published"}
            rows.append(row | {str(c): f"{known[c]:.2f}" if c in known else "-" for c in calls})
    return pd.DataFrame(rows)


def ours(answers: QualityAnswers, sampler: str, calls: list[int]) -> list[dict[str, str]]:
    """Return our FIDs of a sampler, a row a model; none where we have no such sampler."""
    if sampler not in answers.sampler_names:
        return []
    number, rows = answers.sampler_names.index(sampler), []
    for model, name in enumerate(answers.question.names):
        row = {"sampler": sampler, "model": name, "from": "ours"}
        for count in calls:
            nfe = answers.spec.nfe.index(count) if count in answers.spec.nfe else None
            cell = None if nfe is None else answers.cells[Place(model, number, nfe)]
            row[str(count)] = "-" if cell is None else said("FID", cell.scores["FID"])
        rows.append(row)
    return rows
