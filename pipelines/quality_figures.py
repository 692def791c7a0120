"""Answers about quality -> figures: every curve beside that of real pictures, and the pictures themselves."""

import math
from typing import TYPE_CHECKING

import numpy as np

from pipelines.figures import COLOURS, CONTROL, band, sheet, tiled
from pipelines.quality import Place
from pipelines.quality_answers import QualityAnswers
from pipelines.rows import images_of
from pipelines.save import decode
from stages.metrics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_ROWS = 12
DECADE = 10


def curves(answers: QualityAnswers, score: str) -> "Figure":
    """Return a score over the calls, a panel a model, a curve a sampler, dotted the real pictures."""
    names = answers.question.names
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = sheet(3.4 * columns + 0.4, 2.6 * rows + 0.5, rows, columns, share_y=True)
    for model, axis in enumerate(axes[: len(names)]):
        axis.set_title(names[model], fontsize=9, loc="left")
        for sampler, name in enumerate(answers.sampler_names):
            found = curve(answers, score, model, sampler)
            line = "--" if sampler % 2 else "-"  # curves often lie on each other
            band(axis, *found, COLOURS[sampler % len(COLOURS)], line, name)
        scaled(axis, answers, score)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    axes[0].set_ylabel(score, fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def curve(answers: QualityAnswers, score: str, model: int, sampler: int) -> tuple[np.ndarray, list[Estimate]]:
    """Return the numbers of calls, ascending, and a score of one model and sampler at each."""
    order = sorted(range(len(answers.spec.nfe)), key=lambda n: answers.spec.nfe[n])
    calls = np.array([answers.spec.nfe[n] for n in order])
    return calls, [answers.cells[Place(model, sampler, n)].scores[score] for n in order]


def scaled(axis: "Axes", answers: QualityAnswers, score: str) -> None:
    """Draw the line of real pictures, and set the scales: both logarithmic for distances."""
    from matplotlib.ticker import LogLocator

    real = answers.floor.get(score)
    if real is not None and not math.isnan(real.value):
        axis.axhline(real.value, color=CONTROL, linestyle=":", linewidth=1.2, label="real pictures")
    axis.set_xscale("log")
    axis.set_xticks(sorted(answers.spec.nfe), [str(n) for n in sorted(answers.spec.nfe)], fontsize=8)
    axis.minorticks_off()
    axis.set_xlabel("calls of the network", fontsize=8)
    known = [c.scores[score].value for c in answers.cells.values() if not math.isnan(c.scores[score].value)]
    if score == "FID" and known and min(known) > 0:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
        if max(known) > DECADE * min(known):
            axis.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))  # more would write over each other


def pictures(answers: QualityAnswers, calls: int, columns: int = 8) -> "Figure | None":
    """Return the first pictures of every model and sampler with some calls, a seed and prompt a column."""
    wanted = [place for place in answers.cells if place.nfe == calls][:MAX_ROWS]
    found = {place: first_pictures(answers, place, columns) for place in wanted}
    if not any(found.values()):
        return None
    figure, axes = sheet(0.8 * columns + 1.6, 0.84 * len(wanted) + 0.2, len(wanted), columns)
    for row, column, axis in tiled(axes, columns, lambda row, column: found[wanted[row]].get(column)):
        if column == 0:
            place = wanted[row]
            label = f"{answers.question.names[place.model]}\n{answers.sampler_names[place.sampler]}"
            axis.set_ylabel(label, fontsize=7, rotation=0, ha="right", va="center")
    return figure


def first_pictures(answers: QualityAnswers, place: Place, count: int) -> dict[int, np.ndarray]:
    """Return the pictures of the first rows of a cell, by column; prompts evenly chosen."""
    grid = answers.question.grids[place.model]
    pairs = np.linspace(0, answers.question.rows - 1, min(count, answers.question.rows)).astype(np.int64)
    block, prompt = np.divmod(pairs, len(grid.prompts))
    sampler = np.full(len(pairs), answers.question.set_of(place) % len(grid.samplers))
    numbers = np.ravel_multi_index((block, sampler, 0 * block, prompt), (grid.seeds.count, *grid.inner))
    ids = grid.rows(numbers)["sample_id"].tolist()
    png = images_of(answers.store, ids)
    return {column: decode(png[i]) for column, i in enumerate(ids) if i in png}
