"""Factorial designs -> figures: effects with their intervals, the curves of the cells, pictures of one seed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pipelines.factorial_answers import FactorialAnswers
from pipelines.figures import COLOURS, CONTROL, GREY, HEADLINES, INK, band, sheet, tiled
from stages.metrics import Estimate

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = {"top1_correct": "top-1 accuracy", "top5_correct": "top-5 accuracy"} | HEADLINES
LINES = ("-", "--", ":", "-.")

Series: TypeAlias = Mapping[str, Sequence[Estimate]]
"""Estimates of the same things under several names; the first is the one that counts."""


def forest(names: Sequence[str], series: Series, sure: Sequence[bool], said: str) -> "Figure":
    """Return estimates with their intervals, a row a name; hollow where nothing is sure after Holm's correction."""
    figure, (axis,) = sheet(6.4, 0.34 * len(names) + 1.2, 1, 1)
    axis.grid(visible=False)
    colours = (INK, CONTROL, COLOURS[1])
    for place, ((label, estimates), colour) in enumerate(zip(series.items(), colours, strict=False)):
        y = np.arange(len(names)) + (place - (len(series) - 1) / 2) * 0.22
        value, low, high = (np.array([getattr(e, end) for e in estimates]) for end in ("value", "low", "high"))
        axis.hlines(y, low, high, color=colour, linewidth=1.6 if place == 0 else 1.0)
        filled = [colour if place or one else "white" for one in sure]
        axis.scatter(value, y, s=26 if place == 0 else 14, c=filled, edgecolors=colour, label=label, zorder=3)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlabel(said, fontsize=8)
    if len(series) > 1:
        figure.legend(loc="outside lower center", ncols=len(series), frameon=False, fontsize=8)
    return figure


def curves(answers: FactorialAnswers) -> "Figure":
    """Return what is kept over the strengths: a panel a model where there are factors, else a panel a metric."""
    return by_arm(answers) if answers.design.factors else by_metric(answers)


def by_metric(answers: FactorialAnswers) -> "Figure":
    """Return a panel a metric, a line a cell."""
    metrics = [name for name in METRICS if name in answers.metrics and answers.headline in (name, "top1_correct")]
    figure, axes = sheet(4.4 * len(metrics), 3.6, 1, len(metrics))
    for axis, metric in zip(axes, metrics, strict=True):
        lines(axis, answers, range(len(answers.cells)), metric)
        axis.set_ylabel(METRICS[metric], fontsize=9)
    legend(figure, axes[0])
    return figure


def by_arm(answers: FactorialAnswers) -> "Figure":
    """Return a panel a model, a line each way of sampling it."""
    arms = list(dict.fromkeys(cell.arm for cell in answers.cells))
    figure, axes = sheet(3.3 * len(arms), 3.8, 1, len(arms), share_y=True)
    for axis, arm in zip(axes, arms, strict=True):
        lines(axis, answers, [n for n, cell in enumerate(answers.cells) if cell.arm == arm], answers.headline)
        axis.set_title(answers.question.spec.arms[arm].called, fontsize=9, loc="left")
    axes[0].set_ylabel(METRICS[answers.headline], fontsize=9)
    legend(figure, *axes)
    return figure


def lines(axis: "Axes", answers: FactorialAnswers, cells: Sequence[int], metric: str) -> None:
    """Draw the curves of some cells; those that are sampled alike look alike."""
    arms = bool(answers.design.factors)
    for place, number in enumerate(cells):
        family, cell = answers.shifted[number], answers.cells[number]
        if family is None:
            continue
        look = answers.alike[number] if arms else place
        label = cell.name.partition(", ")[2] or "as it is" if arms else cell.name
        estimates = [c.values[metric] for c in family.cells]
        strengths = [0.0 if c.number == 0 else answers.question.strengths[c.number - 1] for c in family.cells]
        line = LINES[look // len(COLOURS) % len(LINES)]
        band(axis, np.array(strengths), estimates, COLOURS[look % len(COLOURS)], line, label)
    axis.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    if metric.endswith("correct"):
        axis.set_ylim(-0.02, 1.02)
    unit = answers.question.spec.unit
    axis.set_xlabel("mean shift, sigma of a channel's mean" if unit == "sigma" else "mean shift", fontsize=9)


def legend(figure: "Figure", *axes: "Axes") -> None:
    """Draw one legend for all panels, each label once."""
    found: dict[str, Artist] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    widest = max(map(len, found), default=1) * 0.075 + 0.5  # inches, at this size of letters
    columns = max(1, min(len(found), int(figure.get_figwidth() / widest)))
    figure.legend(
        list(found.values()), list(found), loc="outside lower center", ncols=columns, frameon=False, fontsize=8
    )


def strip(pictures: dict[tuple[int, int], np.ndarray], names: Sequence[str], strengths: Sequence[float]) -> "Figure":
    """Return pictures of one prompt and seed, a row a cell, a column a strength."""
    columns = len(strengths)
    figure, axes = sheet(0.98 * columns + 1.9, 1.0 * len(names) + 0.35, len(names), columns)
    for row, column, axis in tiled(axes, columns, lambda row, column: pictures.get((row, column))):
        if row == 0:
            axis.set_title(f"{strengths[column]:g}", fontsize=8)
        if column == 0:
            axis.set_ylabel(names[row].replace(", ", "\n"), fontsize=7, rotation=0, ha="right", va="center")
    return figure
