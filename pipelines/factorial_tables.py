"""Factorial designs -> tables: one number a column, with its interval and n beside it."""

import pandas as pd

from pipelines.factorial_answers import FactorialAnswers, Response
from pipelines.tables import columns_of
from stages.metrics import Estimate
from stages.metrics.factorial import CellMeans, Effect, single


def name_of(answers: FactorialAnswers, effect: Effect) -> str:
    """Return an effect's factors."""
    return " x ".join(answers.design.factors[i] for i in effect.term)


def levels_of(answers: FactorialAnswers, effect: Effect) -> str:
    """Return what an effect compares: the second level of each factor less its first."""
    pairs = [answers.question.factors.levels[answers.design.factors[i]] for i in effect.term]
    return "; ".join(f"{second} less {first}" for first, second in pairs)


def tables(answers: FactorialAnswers, own: CellMeans | None, corrected: Response | None) -> dict[str, pd.DataFrame]:
    """Return every table; `own` is the judge's slope of each cell, `corrected` the slope without it."""
    found = {"cells": cells(answers, own), "curves": curves(answers), "differences": differences(answers)}
    if answers.design.factors:
        found["effects"] = effects(answers, corrected)
    if left := answers.question.left_out:
        found["left_out"] = pd.DataFrame([{"cell": cell.name, "reason": cell.refused} for cell in left])
    return found


def where(answers: FactorialAnswers, number: int) -> dict[str, object]:
    """Return the columns that say which cell it is."""
    cell = answers.cells[number]
    levels = dict(zip(answers.question.factors.names, cell.levels, strict=True))
    return {"cell": cell.name, "model": cell.model, "sampler": cell.sampler.canonical(), **levels}


def cells(answers: FactorialAnswers, own: CellMeans | None) -> pd.DataFrame:
    """Return a row a cell: what it keeps, how steeply it falls, where it breaks."""
    rows = []
    for number in range(len(answers.cells)):
        row, family = where(answers, number), answers.shifted[number]
        row |= {
            "sigma": answers.cells[number].sigma,
            "drawn": answers.counted("drawn", number),
            "failed": answers.counted("failed", number),
        }
        row |= columns_of(f"unshifted_{answers.headline}", answers.kept(number))
        for response in answers.responses:
            if response.name != "unshifted" and not response.name.startswith("change_at"):
                row |= columns_of(f"{response.name}_of_{response.metric}", answers.of_cell(response, number))
        if own is not None:
            row |= columns_of("judge_control_slope", single(own, number))
        if family is not None:
            row |= {"break_reached": family.breaks.reached, **columns_of("break", family.breaks.strength)}
        rows.append(row)
    return pd.DataFrame(rows)


def curves(answers: FactorialAnswers) -> pd.DataFrame:
    """Return a row a cell and perturbation: every metric, and its change to the same prompt and seed unshifted."""
    rows = []
    for number, cell in enumerate(answers.cells):
        for point in answers.answers[number].cells:
            shift = point.perturbation.strength
            row = where(answers, number) | {
                "perturbation": point.perturbation.kind,
                "shift": shift,
                "sigmas": shift / cell.sigma,
                "drawn": point.drawn,
                "failed": point.failed,
                "p_value": point.p_value,
                "p_holm": point.p_holm,
            }
            for name, estimate in point.values.items():
                row |= columns_of(name, estimate) | columns_of(f"change_of_{name}", point.changes[name])
            rows.append(row)
    return pd.DataFrame(rows)


def differences(answers: FactorialAnswers) -> pd.DataFrame:
    """Return a row a response of the headline and two cells: the second less the first."""
    rows = []
    for response in answers.responses:
        if response.metric != answers.headline or response.name.startswith("change_at"):
            continue
        for d in answers.differences(response):
            names = {"first": answers.cells[d.first].name, "second": answers.cells[d.second].name}
            row = {"response": response.name, "metric": response.metric, **names}
            rows.append(row | columns_of("difference", d.estimate) | {"p_value": d.p_value, "p_holm": d.p_holm})
    return pd.DataFrame(rows)


def effects(answers: FactorialAnswers, corrected: Response | None) -> pd.DataFrame:
    """Return a row a response and effect."""
    rows = []
    for response in (*answers.responses, *([corrected] if corrected else [])):
        for effect in response.effects:
            row = {
                "response": response.name,
                "metric": response.metric,
                "effect": name_of(answers, effect),
                "order": len(effect.term),
                "compares": levels_of(answers, effect),
                **columns_of("estimate", effect.estimate),
                "p_value": effect.p_value,
                "p_holm": effect.p_holm,
                "groups": effect.groups,
                "possible_groups": effect.possible,
                "method": effect.estimate.method,
            }
            rows.append(row)
    return pd.DataFrame(rows)


def shown_effects(answers: FactorialAnswers, corrected: Response | None) -> pd.DataFrame:
    """Return the effects on the slope as people read them."""
    others = {"random direction": answers.named("random_direction_slope"), "unshifted": answers.named("unshifted")}
    others = {"share of the unshifted": answers.named("relative_slope"), **others, "less the judge's": corrected}
    rows = []
    for place, effect in enumerate(answers.slope.effects):
        row = {
            "effect": name_of(answers, effect),
            "compares": levels_of(answers, effect),
            "change of the slope": said(effect.estimate),
            "p (Holm)": f"{effect.p_holm:.2g}" if effect.p_holm == effect.p_holm else "",
            "n": str(effect.estimate.n),
            "missing": str(effect.estimate.n_missing),
            "groups": f"{effect.groups} of {effect.possible}",
        }
        rows.append(row | {name: said(r.effects[place].estimate) for name, r in others.items() if r})
    return pd.DataFrame(rows)


def shown_cells(answers: FactorialAnswers, own: CellMeans | None) -> pd.DataFrame:
    """Return the cells as people read them."""
    named = {"slope per sigma": "slope", "share of the unshifted": "relative_slope"}
    named |= {"random direction": "random_direction_slope"}
    rows = []
    for number, cell in enumerate(answers.cells):
        row = {
            "cell": cell.name,
            "images": str(answers.counted("drawn", number)),
            "failed": str(answers.counted("failed", number)),
            "unshifted": said(answers.kept(number), ""),
        }
        for title, name in named.items():
            if response := answers.named(name):
                row[title] = said(answers.of_cell(response, number))
        if own is not None:
            row["judge's own slope"] = said(single(own, number))
        family = answers.shifted[number]
        row["half is lost at a shift of"] = str(family.breaks) if family else "-"
        rows.append(row)
    return pd.DataFrame(rows)


def said(estimate: Estimate, sign: str = "+") -> str:
    """Return an estimate of small numbers as people read it."""
    from pipelines.report import interval

    return interval(estimate, sign, digits=3)
