"""The figures of a search over latents."""

from typing import TYPE_CHECKING

import numpy as np

from pipelines.figures import COLOURS, CONTROL, GREY, INK, JUDGE, sheet, whiskers
from stages.metrics import Proportion
from tuning.sage.outcomes import Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tuning.sage.latents.page import Answers

COLOUR = {"search": INK, "fresh_seeds": CONTROL, "random_perturbations": JUDGE}
NAMES = {"search": "gradient search", "fresh_seeds": "fresh seeds", "random_perturbations": "random perturbations"}


def budgets(answers: "Answers") -> "Figure":
    """Return the share of attempts with a failure by pictures drawn, and the controls' share at the same budgets."""
    figure, (axis,) = sheet(4.6, 3.2, 1, 1)
    search = [one for one in answers.of("search") if not one.natural]
    most = 1 + answers.spec.search.iterations
    axis.step(range(1, most + 1), shares(search, most), where="post", color=INK, label=NAMES["search"])
    for way in answers.found:
        found = [float(one.success) for one in answers.of(way) if not one.natural]
        if not found:
            continue
        rate = Proportion().of(np.array(found))
        ends = whiskers([rate])
        axis.errorbar(
            [most], [rate.value], yerr=ends, fmt="o", color=COLOUR[way], capsize=3, label=f"{NAMES[way]}, 95 %"
        )
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel("pictures drawn for an attempt, at most", fontsize=8)
    axis.set_ylabel("attempts with a failure", fontsize=8)
    axis.legend(frameon=False, fontsize=7)
    return figure


def shares(search: list[Outcome], most: int) -> list[float]:
    """Return the share of the searches that had succeeded after 1, 2, ... pictures."""
    ends = np.array([one.evaluations if one.success else np.inf for one in search])
    return [float((ends <= drawn).mean()) if len(ends) else float("nan") for drawn in range(1, most + 1)]


def curves(answers: "Answers") -> "Figure":
    """Return the objective of every search, a colour a class."""
    figure, (axis,) = sheet(4.6, 3.2, 1, 1)
    classes = answers.spec.classes or answers.spec.surrogate.labels
    colour = {label: COLOURS[number % len(COLOURS)] for number, label in enumerate(classes)}
    for one in answers.of("search"):
        values = [np.nan if value is None else value for value in one.curve]
        axis.plot(values, color=colour[one.attempt.label], linewidth=0.7, alpha=0.7)
        if one.success:
            axis.plot(len(values) - 1, values[-1], "o", color=colour[one.attempt.label], markersize=3)
    axis.axhline(0, color=GREY, linewidth=0.8)
    axis.set_xlabel("iteration", fontsize=8)
    axis.set_ylabel(f"objective ({answers.spec.search.loss.kind})", fontsize=8)
    for label in classes[: len(COLOURS)]:
        axis.plot([], [], color=colour[label], label=label)
    axis.legend(frameon=False, fontsize=6, ncols=2)
    return figure
