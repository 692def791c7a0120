"""Answers -> tables that pandas, DuckDB and a spreadsheet read: one number a column, with its interval beside it."""

from collections.abc import Sequence

import pandas as pd

from pipelines.answers import CONTROL_KINDS, Answers, JudgeControls
from stages.metrics import Estimate


def columns_of(name: str, estimate: Estimate) -> dict[str, float | int]:
    """Return an estimate as columns."""
    ends = {f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return {name: estimate.value, **ends, f"{name}_n": estimate.n, f"{name}_missing": estimate.n_missing}


def cells(answers: Answers, controls: JudgeControls) -> pd.DataFrame:
    """Return a row a sampler and perturbation."""
    rows = []
    for cell in answers.cells:
        row: dict[str, object] = {
            "sampler": answers.rows.grid.samplers[cell.sampler],
            "perturbation": answers.rows.grid.perturbations[cell.number],
            "family": cell.perturbation.family,
            "strength": cell.perturbation.strength,
            "drawn": cell.drawn,
            "failed": cell.failed,
            "p_value": cell.p_value,
            "p_holm": cell.p_holm,
            **cell.unlikely,
        }
        for name, estimate in cell.values.items():
            row |= columns_of(name, estimate)
        for name, estimate in cell.changes.items():
            row |= columns_of(f"change_of_{name}", estimate)
        for name, estimate in controls.get((cell.sampler, cell.number), {}).items():
            row |= columns_of(f"tinted_{name}", estimate)
        rows.append(row)
    return pd.DataFrame(rows)


def families(answers: Answers) -> pd.DataFrame:
    """Return a row a curve: where it breaks, and how steeply it falls."""
    rows = []
    for family in answers.families:
        breaks = family.breaks
        row = {"sampler": answers.rows.grid.samplers[family.sampler], "family": family.name, "reached": breaks.reached}
        tested = {"lowest_tested": breaks.lowest_tested, "highest_tested": breaks.highest_tested}
        rows.append(row | columns_of("break", breaks.strength) | tested | columns_of("slope", family.slope))
    return pd.DataFrame(rows)


def classes(answers: Answers) -> pd.DataFrame:
    """Return a row a class, the most broken first: its change of top-1 over all shifts, and any note on its label."""
    notes = {p.name: p.note for p in answers.rows.grid.prompts}
    found = answers.classes().items()
    return pd.DataFrame([{"class": n, "note": notes[n]} | columns_of("change_of_top1", e) for n, e in found])


def confusion(answers: Answers, names: Sequence[str]) -> pd.DataFrame:
    """Return how many images of each class were taken for each class, unshifted and shifted."""
    rows = []
    for shifted in (False, True):
        counts = answers.confusion(0, lambda p, s=shifted: (p.kind not in CONTROL_KINDS) == s)  # type: ignore[misc]
        for (name, index), count in counts.items():
            taken = names[index] if index < len(names) else str(index)
            rows.append({"shifted": shifted, "class": name, "taken_for": taken, "images": count})
    return pd.DataFrame(rows, columns=["shifted", "class", "taken_for", "images"])
