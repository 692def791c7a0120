"""The transition -> figures: every curve with its interval, the controls, and what the paper found behind it."""

from typing import TYPE_CHECKING

import numpy as np

from pipelines.figures import COLOURS, CONTROL, GREY, band, sheet, tiled
from tuning.training.scores import Score, Scores
from tuning.training.transition import Member
from tuning.training.transition_scores import TransitionScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PUBLISHED_COUNTS = 2.0 ** np.arange(6, 16)
PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "RP, widths": {
        "64 and 128": (0.69, 0.655, 0.59, 0.525, 0.46, 0.42, 0.34, 0.18, 0.45, 0.67),
        "64 and 256": (0.62, 0.625, 0.545, 0.465, 0.37, 0.295, 0.10, 0.02, 0.49, 0.61),
        "128 and 256": (0.645, 0.635, 0.555, 0.48, 0.405, 0.33, 0.17, 0.17, 0.455, 0.845),
    },
    "GL": {
        "64": (0, 0, 0, 0, 0.005, 0.225, 0.87, 0.99, 0.995, 0.995),
        "128": (0, 0, 0, 0, 0, 0.01, 0.275, 0.815, 0.98, 0.99),
        "256": (0, 0, 0, 0, 0.025, 0.01, 0.05, 0.295, 0.985, 0.98),
    },
    "RP, optimal": {
        "64": (0.475, 0.455, 0.375, 0.28, 0.20, 0.12, 0.035, 0.005, 0, 0),
        "128": (0.505, 0.465, 0.37, 0.305, 0.245, 0.168, 0.112, 0.04, 0.005, 0),
        "256": (0.51, 0.46, 0.395, 0.33, 0.275, 0.21, 0.15, 0.105, 0.003, 0.003),
    },
}
"""Zhang et al. 2024 (arXiv:2310.05264): read off the figure in their repository, to 0.01; CIFAR-10, N = 64 to 32768."""

PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("RP, widths", ("floor",)),
    ("GL", ("GL, unseen",)),
    ("RP, optimal", ()),
    ("RP, sets", ()),
    ("copies", ("background",)),
)


def curves(scores: Scores) -> "Figure":
    """Return a panel a kind of score over the size of the training set."""
    panels = [(kind, controls) for kind, controls in PANELS if scores.of(kind)]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = sheet(3.7 * columns, 2.9 * rows, rows, columns)
    for axis, (kind, controls) in zip(axes, panels, strict=False):
        panel(axis, scores, kind, controls)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    return figure


def panel(axis: "Axes", scores: Scores, kind: str, controls: tuple[str, ...]) -> None:
    """Draw one kind of score."""
    for values in PUBLISHED.get(kind, {}).values():
        axis.plot(PUBLISHED_COUNTS, values, color=GREY, linewidth=1.2, zorder=0)
    for found, colour in zip(by_models(scores.of(kind)), COLOURS, strict=False):
        if found[0].of == "optimal":
            line(axis, found, CONTROL, "-.", "optimal denoiser")
        else:
            line(axis, found, colour, "-", found[0].of)
    for control in controls:
        for found in by_models(scores.of(control)):
            line(axis, found, CONTROL, ":", control)
    axis.set_xscale("log", base=2)
    axis.set_ylim(-0.03, 1.03)
    axis.set_title(kind, fontsize=9, loc="left")
    axis.set_xlabel("training pictures N", fontsize=8)
    axis.legend(frameon=False, fontsize=7)


def by_models(scores: list[Score]) -> list[list[Score]]:
    """Return the scores of each models, by size."""
    return [[s for s in scores if s.of == of] for of in dict.fromkeys(s.of for s in scores)]


def line(axis: "Axes", found: list[Score], colour: str, style: str, label: str) -> None:
    """Draw one curve."""
    band(axis, np.array([float(s.count) for s in found]), [s.estimate for s in found], colour, style, label)


def strip(scores: TransitionScores, noises: int = 8) -> "Figure":
    """Return pictures: a row a model of the first set, a column a noise."""
    spec = scores.spec
    chosen = [spec.counts[0], spec.counts[len(spec.counts) // 2], spec.counts[-1]]
    models = [Member(count, width, 0) for count in dict.fromkeys(chosen) for width in (*spec.widths, None)]
    figure, axes = sheet(0.62 * noises + 1.8, 0.62 * len(models) + 0.2, len(models), noises)
    drawn = [scores.drawn(spec.task(model)).pictures for model in models]
    for row, column, axis in tiled(axes, noises, lambda row, column: drawn[row][column], None):
        if column == 0:
            name = "optimal" if models[row].width is None else f"width {models[row].width}"
            axis.set_ylabel(f"N = {models[row].size}\n{name}", fontsize=6, rotation=0, ha="right", va="center")
    return figure
