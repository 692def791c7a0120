"""The page that answers the robustness question."""

from collections.abc import Iterator

import pandas as pd

from pipelines import tables
from pipelines.answers import CONTROL_KINDS, TOP1, UNLIKELY, Answers, Family, JudgeControls, Rows
from pipelines.figures import (
    HEADLINES,
    accuracy_curves,
    class_heat_map,
    confusion_map,
    drift,
    effects,
    label,
    picture_grid,
    title,
)
from pipelines.judge_control import judged
from pipelines.report import Page, Picture, interval, made
from pipelines.robustness import Robustness
from pipelines.rows import cube, pictures, truncated
from pipelines.store import Store
from pipelines.sweep import Swept, Watch
from pipelines.verdict import (
    fallback_sentences,
    judge_sentences,
    main_family,
    run_sentences,
    sentences,
    verdict,
)
from stages.metrics import Estimate

SHARES = ("top1_correct", "top5_correct", "judge_top1_correct")
MEANS = ("label_probability", "clip_score")
DRIFT = ("red_mean", "green_mean", "blue_mean", "brightness", "saliency_x", "saliency_y")
PRINTED = {"top-1": "top-1", "change": "change", "p (Holm)": "p"}
SHORTENED = {"judge top-1": "judge", "unbroken, tinted": "tinted", "CLIP score": "CLIP"}
"""Columns of the terminal whose intervals stand in the report only."""


def page(question: Robustness, swept: Swept | None, watch: Watch | None) -> Page:
    """Return the page: the answers from what the store holds, and the judge's own part in them."""
    answers = answer(question)
    controls = judged(question, answers, watch)
    table = shown(answers, controls)
    return Page(
        title=f"Seedquake: {question.spec.name}",
        question=question.asks,
        verdict=verdict(answers),
        sentences=(
            *sentences(answers),
            *judge_sentences(answers, controls),
            *fallback_sentences(answers, class_names(question)),
            *cut_sentences(question),
            *run_sentences(swept),
        ),
        pictures=tuple(drawn(question, answers, controls)),
        tables={
            "cells": tables.cells(answers, controls),
            "families": tables.families(answers),
            "classes": tables.classes(answers),
            "confusion": tables.confusion(answers, class_names(question)),
        },
        shown=table,
        printed=printed(table),
        facts=facts(question, swept),
        spec=question.spec.described(),
        curves=dict(curves(answers)),
        numbers=numbers(answers),
    )


def answer(question: Robustness) -> Answers:
    """Return the answers from what the store holds."""
    metrics = {name: "share" for name in SHARES if question.spec.judge or not name.startswith("judge_")}
    metrics |= dict.fromkeys((*MEANS, *DRIFT), "mean")
    wanted = {m.table: [c for c in m.columns if c in metrics or c == "top5"] for m in question.measures}
    columns = cube(Store(question.spec.store), question.grid, wanted, UNLIKELY)
    return Answers(Rows(question.grid, columns), metrics)


def class_names(question: Robustness) -> list[str]:
    """Return the class names by index, as far as the prompts name them."""
    names = {p.label: p.name for p in question.prompts if p.label >= 0}
    return [names.get(i, str(i)) for i in range(max(names, default=-1) + 1)]


def drawn(question: Robustness, answers: Answers, controls: JudgeControls) -> list[Picture]:
    """Return the figures, the two of the first screen first."""
    family = main_family(answers)
    of = f"{HEADLINES[answers.headline]} with 95 % intervals; n = {family.cells[0].drawn} images a point"
    found = [
        Picture(
            "accuracy",
            f"{of}. Dotted: unbroken pictures with the same colour cast.",
            accuracy_curves(answers, controls, family.sampler),
        ),
    ]
    if answers.class_columns():
        caption = f"Top-1 accuracy per class under a {title(family.name)}, the most broken class first."
        found.append(Picture("classes", caption, class_heat_map(answers, family)))
    prompts, images = pictures(
        Store(question.spec.store), question.grid, [c.number for c in family.cells], family.sampler
    )
    if images:
        caption = f"The same seed along each row, under a {title(family.name)}."
        found.append(Picture("pictures", caption, picture_grid(images, family, prompts)))
    counts = answers.confusion(family.sampler, lambda p: p.kind not in CONTROL_KINDS)
    if counts:
        caption = "What the classifier took the shifted pictures of each class for, over all perturbations."
        found.append(Picture("confusion", caption, confusion_map(counts, class_names(question))))
    caption = "How colour and the centre of saliency move, to the same prompt and seed unshifted, with 95 % intervals."
    found.append(Picture("drift", caption, drift(family)))
    for column, what in ((answers.headline, "accuracy"), ("clip_score", "CLIP score")):
        caption = f"Change of {what} to the same prompt and seed unshifted; blue: Holm-corrected p < 0.05."
        found.append(Picture(f"effect_{column}", caption, effects(answers, column, family.sampler)))
    return list({p.name: p for p in found}.values())


def cut_sentences(question: Robustness) -> list[str]:
    """Return which prompts the text encoder did not see whole."""
    cut = truncated(Store(question.spec.store), question.grid)
    if not cut:
        return []
    prompt, end = next(iter(cut.items()))
    return [f"The text encoder cut {len(cut)} of {len(question.grid.prompts)} prompts: {prompt!r} lost {end!r}."]


def facts(question: Robustness, swept: Swept | None) -> dict[str, str]:
    """Return how the answers were made."""
    spec, grid = question.spec, question.grid
    return {
        "Model": f"{spec.model}, weights {question.revision}",
        "Judges": ", ".join(filter(None, (spec.classifier, spec.judge, spec.clip))),
        "Grid": f"{len(grid.prompts)} prompts x {grid.seeds.count} seeds x {len(grid.perturbations)} perturbations "
        f"x {len(grid.samplers)} samplers = {len(grid)} images",
        **made(spec.store, swept),
    }


def shown(answers: Answers, controls: JudgeControls) -> pd.DataFrame:
    """Return the table as people read it."""
    rows = []
    for cell in answers.cells:
        row = {
            "perturbation": label(cell),
            "n": str(cell.drawn),
            "failed": str(cell.failed),
            "top-1": interval(cell.values[TOP1]),
            "change": interval(cell.changes[TOP1], "+") if cell.number else "",
            "p (Holm)": f"{cell.p_holm:.2g}" if cell.p_holm == cell.p_holm else "",
            "top-5": interval(cell.values["top5_correct"]),
            "judge top-1": interval(cell.values["judge_top1_correct"]) if "judge_top1_correct" in cell.values else "",
            "unbroken, tinted": interval(controls[key][TOP1])
            if (key := (cell.sampler, cell.number)) in controls
            else "",
            "CLIP score": interval(cell.values["clip_score"], digits=1),
            "z of the latent's mean": f"{cell.unlikely['latent_mean_z']:.1f}",
        }
        if len(answers.rows.grid.samplers) > 1:
            row = {"sampler": answers.rows.grid.samplers[cell.sampler]} | row
        rows.append(row)
    return pd.DataFrame(rows)


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Return what the terminal shows of the table."""
    short = table[list(SHORTENED)].apply(lambda column: column.str.partition(" ")[0])
    return pd.concat([table[["perturbation", "n", *PRINTED]], short], axis=1).rename(columns=PRINTED | SHORTENED)


def curves(answers: Answers) -> Iterator[tuple[str, dict[float, Estimate]]]:
    """Yield every measured curve, by its name in MLflow."""
    for family in answers.families:
        for name in answers.metrics:
            yield f"{place(answers, family)}/{name}", {c.perturbation.strength: c.values[name] for c in family.cells}


def numbers(answers: Answers) -> dict[str, float]:
    """Return where each curve breaks and how steeply it falls, by their names in MLflow."""
    found = {}
    for family in answers.families:
        found[f"{place(answers, family)}/break"] = family.breaks.strength.value
        found[f"{place(answers, family)}/slope"] = family.slope.value
    return found


def place(answers: Answers, family: Family) -> str:
    """Return the name under which MLflow keeps a curve."""
    slug = "".join(c if c.isalnum() or c in "._- " else "_" for c in family.name).strip("_")
    return slug if len(answers.rows.grid.samplers) == 1 else f"sampler {family.sampler}/{slug}"
