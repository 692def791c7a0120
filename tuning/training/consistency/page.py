"""The page that answers what adversarial distillation changes."""

from typing import TYPE_CHECKING

import numpy as np

from pipelines.figures import COLOURS, band, sheet
from pipelines.quality_figures import scaled
from pipelines.report import Page, Picture, interval
from tuning.training.consistency.study import DistillationSpec
from tuning.training.table import Compared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stages.metrics import Estimate


def page(spec: DistillationSpec) -> Page:
    """Return the page of a study whose students have all been trained and judged."""
    question = spec.table()
    drawn = Compared(question, spec.controls())
    headings = iter(drawn.tables().items())
    heading, first = next(headings)
    count = question.rows
    return Page(
        title=f"Seedquake: {spec.name}",
        question=spec.asks,
        verdict=verdict(drawn, spec),
        sentences=tuple(drawn.sentences()),
        pictures=(Picture("students", f"FID over calls, n = {count} a point; 95 % intervals.", curves(drawn)),),
        tables={"students": first},
        shown=first,
        heading=heading,
        others=dict(headings),
        facts={
            "Model": f"{len(spec.students())} students of zoo:{spec.student.teacher}",
            "Size": f"{spec.student.loop.steps:,} minibatches of {spec.student.loop.batch}; {count} pictures a cell",
            "Students": f"{spec.run.output}/trained, folders of diffusers",
        },
        spec=spec.model_dump(mode="json"),
        numbers=numbers(drawn),
    )


def verdict(drawn: Compared, spec: DistillationSpec) -> str:
    """Return one sentence: what the attack changes with the fewest calls, against the same updates without it."""
    sampler, calls = drawn.answers.sampler_names[0], min(spec.quality.nfe)
    change = drawn.change(spec.headline(), sampler, calls)
    said = f"against the same updates without the attack, FID with {calls} calls {interval(change, '+')} (n={change.n})"
    if change.high < 0:
        return f"Adversarial distillation draws better: {said}."
    if change.low > 0:
        return f"Adversarial distillation draws worse: {said}."
    return f"Undecided at this size: {said}."


def numbers(drawn: Compared) -> dict[str, float]:
    """Return what is tracked: the FID of every cell."""
    answers = drawn.answers
    return {
        f"{drawn.names[place.model]} {answers.sampler_names[place.sampler]} {answers.spec.nfe[place.nfe]} calls": (
            cell.scores["FID"].value
        )
        for place, cell in answers.cells.items()
    }


def curves(drawn: Compared) -> "Figure":
    """Return a panel a sampler, a curve a student, over the calls."""
    answers = drawn.answers
    samplers = answers.sampler_names
    figure, axes = sheet(4.5 * len(samplers), 3.4, 1, len(samplers), share_y=True)
    for number, axis in enumerate(axes):
        for model, colour in zip(range(len(drawn.names)), COLOURS, strict=False):
            cells = [c for p, c in answers.cells.items() if (p.model, p.sampler) == (model, number)]
            found: list[Estimate] = [cell.scores["FID"] for cell in cells]
            band(axis, np.array([answers.spec.nfe[c.place.nfe] for c in cells]), found, colour, "-", drawn.names[model])
        scaled(axis, answers, "FID")
        axis.set_title(samplers[number], fontsize=9, loc="left")
    axes[0].set_ylabel("FID", fontsize=9)
    axes[0].legend(frameon=False, fontsize=7)
    return figure
