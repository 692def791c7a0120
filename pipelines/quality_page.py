"""The page that answers how good the pictures are."""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from pipelines.quality import Quality
from pipelines.quality_answers import Cell, QualityAnswers
from pipelines.quality_figures import curve, curves, pictures
from pipelines.quality_published import NAMES
from pipelines.quality_tables import beside_published, cell_table, column, shown
from pipelines.report import Page, Picture, interval, made
from pipelines.sweep import Swept
from stages.metrics import Estimate


def page(question: Quality, swept: Swept | None) -> Page:
    """Return the page: FID and its kin of every cell, from what the store holds."""
    answers = QualityAnswers(question)
    table = shown(answers)
    printed = ["model", "sampler", "NFE", "n", "FID", "KID", "recall"]
    return Page(
        title=f"Seedquake: {question.spec.name}",
        question=question.asks,
        verdict=verdict(answers),
        sentences=tuple(sentences(answers)),
        pictures=tuple(drawn(answers)),
        tables={"cells": cell_table(answers)} | published_table(answers),
        shown=table,
        printed=table[printed],
        heading=f"Every model, sampler and number of calls; features of {question.extractor.name}",
        others=beside(answers),
        facts=facts(question, answers, swept),
        spec=question.spec.described(),
        curves=dict(tracked(answers)),
        numbers=numbers(answers),
    )


def verdict(answers: QualityAnswers) -> str:
    """Return one sentence: what draws best with few and with many calls, beside real pictures."""
    if not answers.best:
        return f"Undecided: no cell has a FID, since each has {reason(answers)}."
    ends = answers.best[:1] if len(answers.best) == 1 else [answers.best[0], answers.best[-1]]
    said = "; ".join(f"with {calls(answers, c)} calls {called(answers, c)}, {cell_fid(c)}" for c in ends)
    real = answers.floor.get("FID")
    floor = "" if real is None or math.isnan(real.value) else f"; real pictures have {interval(real)} (n={real.n})"
    return f"Best by FID: {said}{floor}."


def reason(answers: QualityAnswers) -> str:
    """Return why the first cell has no FID."""
    first = next(iter(answers.cells.values())).scores["FID"]
    return f"{first.n} pictures: {first.method}"


def calls(answers: QualityAnswers, cell: Cell) -> int:
    """Return the number of calls of a cell."""
    return answers.spec.nfe[cell.place.nfe]


def called(answers: QualityAnswers, cell: Cell) -> str:
    """Return a cell's model and sampler."""
    return f"{answers.question.names[cell.place.model]} by {answers.sampler_names[cell.place.sampler]}"


def cell_fid(cell: Cell) -> str:
    """Return the FID of a cell."""
    return f"FID {interval(cell.scores['FID'])} (n={cell.scores['FID'].n})"


def sentences(answers: QualityAnswers) -> Iterator[str]:
    """Yield what else a reader must know, a sentence each."""
    cells = list(answers.cells.values())
    for number, name in list(enumerate(answers.sampler_names))[1:]:
        found = [c.to_sampler for c in cells if c.place.sampler == number and c.to_sampler]
        yield f"{name} against {answers.sampler_names[0]}, same noise, model and calls: {counted(found)}."
    for number, name in list(enumerate(answers.question.names))[1:]:
        found = [c.to_model for c in cells if c.place.model == number and c.to_model]
        yield f"{name} against {answers.question.names[0]}, same noise, sampler and calls: {counted(found)}."
    if answers.spec.published:
        yield (
            f"The published numbers ({NAMES[answers.spec.published]}) rest on other models, on 50,000 pictures and on "
            f"TensorFlow's Inception, ours on {answers.question.rows} pictures a cell and features of "
            f"{answers.question.extractor.name}: compare the order of rows and the ratios in a row, not the numbers."
        )
    lost = sum(c.scores["FID"].n_missing for c in cells)
    whole = answers.question.rows * len(cells)
    yield f"{lost} of {whole} pictures are missing, {unmeasured(answers)} of the reference."


def counted(found: Sequence[Estimate]) -> str:
    """Return in how many cells a difference is clear, and in which direction."""
    lower, higher = sum(e.high < 0 for e in found), sum(e.low > 0 for e in found)
    return (
        f"the FID is lower in {lower}, higher in {higher} and not clearly either in {len(found) - lower - higher} of "
        f"{len(found)} cells (95 % intervals, each for itself)"
    )


def unmeasured(answers: QualityAnswers) -> int:
    """Return how many pictures of the reference have no features."""
    return len(answers.question.reference.ids()) - answers.n_real


def drawn(answers: QualityAnswers) -> Iterator[Picture]:
    """Yield the figures, the two of the first screen first."""
    n = max(c.scores["FID"].n for c in answers.cells.values())
    caption = f"FID with 95 % intervals, up to n = {n} a point; dotted: real pictures against real pictures."
    yield Picture("fid", caption, curves(answers, "FID"))
    caption = "Recall, how much of the real pictures is covered, with 95 % intervals; dotted: real pictures."
    yield Picture("recall", caption, curves(answers, "recall"))
    caption = "Precision, how many pictures lie among real ones, with 95 % intervals; dotted: real pictures."
    yield Picture("precision", caption, curves(answers, "precision"))
    if answers.question.clip:
        yield Picture("clip", "CLIP score with 95 % intervals.", curves(answers, "CLIP score"))
    least = min(range(len(answers.spec.nfe)), key=lambda n: answers.spec.nfe[n])
    if (figure := pictures(answers, least)) is not None:
        caption = f"Pictures with {answers.spec.nfe[least]} calls, not chosen by their looks; a column is a noise."
        yield Picture("pictures", caption, figure, wide=True)


def published_table(answers: QualityAnswers) -> dict[str, pd.DataFrame]:
    """Return the published numbers beside ours as a table to be stored; empty where none are asked for."""
    data = answers.spec.published
    return {"published": beside_published(answers, data)} if data else {}


def beside(answers: QualityAnswers) -> dict[str, pd.DataFrame]:
    """Return the same table under its heading."""
    data = answers.spec.published
    found = published_table(answers)
    return {f"FID by calls, ours and as published for {NAMES[data]}": found["published"]} if data else {}


def facts(question: Quality, answers: QualityAnswers, swept: Swept | None) -> dict[str, str]:
    """Return how the answers were made."""
    spec = question.spec
    models = zip(question.names, spec.models, question.revisions, strict=True)
    return {
        **{f"Model {name}": f"{entry.model}, weights {weights}" for name, entry, weights in models},
        **{f"Sampler {entry.name}": entry.sampler.canonical() for entry in spec.samplers},
        "Extractor": f"{question.extractor.name}, weights {question.features.weights}",
        "Reference": f"{spec.reference.source}, {answers.n_real} pictures, fingerprint {question.reference_id}",
        "Grid": f"{len(question.places)} cells of {len(question.prompts)} prompts x {spec.seeds.count} seeds = "
        f"{question.rows} pictures",
        **made(spec.store, swept),
    }


def tracked(answers: QualityAnswers) -> Iterator[tuple[str, dict[float, Estimate]]]:
    """Yield FID over the calls, by its name in MLflow."""
    for model, name in enumerate(answers.question.names):
        for sampler, other in enumerate(answers.sampler_names):
            numbers_of, found = curve(answers, "FID", model, sampler)
            yield slug(f"{name} {other} FID"), dict(zip(map(float, numbers_of), found, strict=True))


def numbers(answers: QualityAnswers) -> dict[str, float]:
    """Return every score, by its name in MLflow."""
    return {
        f"{slug(called(answers, c))} {calls(answers, c)}/{column(name)}": estimate.value
        for c in answers.cells.values()
        for name, estimate in c.scores.items()
    }


def slug(name: str) -> str:
    """Return a name as MLflow accepts it."""
    return "".join(c if c.isalnum() or c in "._- " else "_" for c in name)
