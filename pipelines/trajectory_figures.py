"""Answers about trajectories -> figures: every curve with its band, every shift beside its control."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.figures import COLOURS, CONTROL, INK, JUDGE, band, bare, sheet, title
from pipelines.save import decode
from pipelines.trajectory_answers import TrajectoryAnswers
from stages.perturbations import AnyPerturbation, RandomDirection
from stages.sampling.recording import spread_over

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHIFTED = (JUDGE, "#7c3aed", "#15803d", "#b91c1c", "#0e7490")
MAX_FILMS = 24


def step_lengths(answers: TrajectoryAnswers) -> "Figure":
    """Return the unshifted rows' steps, as multiples of an even share, over the way through the steps."""
    figure, (axis,) = sheet(5.6, 3.4, 1, 1)
    axis.axhline(1, color="black", linewidth=0.8)
    for arm, name in enumerate(answers.names):
        cell = answers.cells[arm, 0]
        k = cell.shares.shape[1]
        line = "--" if arm % 2 else "-"  # arms often lie on each other
        smooth(axis, (np.arange(k) + 0.5) / k, answers, cell.shares, COLOURS[arm % len(COLOURS)], line, name)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("share of the steps done", fontsize=9)
    axis.set_ylabel("step length, even steps = 1", fontsize=9)
    axis.legend(frameon=False, fontsize=8)
    return figure


def smooth(axis: "Axes", x: np.ndarray, answers: TrajectoryAnswers, rows: np.ndarray, colour: str, *look: str) -> None:
    """Draw the mean of rows with its band, without a mark at each point; `look` is the line's style and its label."""
    line, label = look
    band(axis, x, answers.curve(rows), colour, line, label)
    axis.lines[-1].set_marker("")


def colour_of(perturbation: AnyPerturbation, place: int) -> str:
    """Return the colour of a perturbation: grey for a control."""
    return CONTROL if isinstance(perturbation, RandomDirection) else SHIFTED[place % len(SHIFTED)]


def called(perturbation: AnyPerturbation) -> str:
    """Return a perturbation in words, with its strength."""
    if perturbation.strength_field is None:
        return "unshifted"
    return f"{title(perturbation.family)} of {perturbation.strength:g}"


def contraction_curves(answers: TrajectoryAnswers) -> "Figure":
    """Return what is left of the strongest shifts in each state, a panel an arm, beside the closed form."""
    names = answers.names
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure, axes = sheet(3.0 * columns, 2.3 * rows + 0.4, rows, columns, share_y=True)
    for arm, axis in enumerate(axes[: len(names)]):
        axis.set_title(names[arm], fontsize=8, loc="left")
        axis.axhline(1, color="black", linewidth=0.8)
        for place, number in enumerate(answers.shown):
            perturbation, left = answers.perturbations[number], answers.cells[arm, number].left
            x = np.linspace(0, 1, left.shape[1])
            line = ":" if isinstance(perturbation, RandomDirection) else "-"
            colour, name = colour_of(perturbation, place), called(perturbation)
            smooth(axis, x, answers, left, colour, line, name)
            if (reference := answers.reference(arm, number)) is not None:
                axis.plot(x, reference, "--", color=colour, linewidth=1, label=f"{name}, Gaussian data")
        axis.set_ylim(bottom=0)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    axes[0].set_ylabel("distance to the control, start = 1", fontsize=8)
    axes[len(names) - 1].set_xlabel("share of the steps done", fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    return figure


def left_by_strength(answers: TrajectoryAnswers) -> "Figure":
    """Return what is left of each shift at the end over its strength, a panel a family."""
    families = list(dict.fromkeys(p.family for p in answers.perturbations[1:]))
    figure, axes = sheet(2.9 * len(families) + 1.8, 2.9, 1, len(families), share_y=True)
    for axis, family in zip(axes, families, strict=True):
        numbers = [n for n, p in enumerate(answers.perturbations) if n and p.family == family]
        numbers.sort(key=lambda n: answers.perturbations[n].strength)
        x = np.array([answers.perturbations[n].strength for n in numbers])
        for arm, name in enumerate(answers.names):
            found = [answers.value("left", arm, n) for n in numbers]
            band(axis, x, found, COLOURS[arm % len(COLOURS)], "-", name)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_title(title(family), fontsize=9, loc="left")
        axis.set_xlabel("strength", fontsize=8)
        axis.set_ylim(bottom=0)
    axes[0].set_ylabel("left at the end, start = 1", fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    return figure


def planes(answers: TrajectoryAnswers, paths: Sequence[np.ndarray | None]) -> "Figure":
    """Return the ways on the plane, a panel an arm: a few rows thin, the mean of all bold, from circle to square."""
    columns = min(4, len(paths))
    rows = -(-len(paths) // columns)
    figure, axes = sheet(3.1 * columns, 2.9 * rows + 0.3, rows, columns)
    for axis, name, path in zip(axes, answers.names, paths, strict=False):
        axis.set_title(name, fontsize=8, loc="left")
        for place, number in enumerate([0, *answers.shown]):
            perturbation = answers.perturbations[number]
            colour = INK if number == 0 else colour_of(perturbation, place - 1)
            if path is not None:
                ways(axis, path[:, number].reshape(-1, *path.shape[-2:]), colour, called(perturbation))
        axis.set_xlabel("first component", fontsize=7)
    for axis in axes[len(paths) :]:
        axis.set_visible(False)
    axes[0].set_ylabel("second component", fontsize=7)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def ways(axis: "Axes", rows: np.ndarray, colour: str, label: str) -> None:
    """Draw the ways of rows, [rows states 2]: the first few thin, the mean of all bold."""
    for way in rows[:4]:
        axis.plot(*way.T, color=colour, linewidth=0.5, alpha=0.5)
    present = rows[np.isfinite(rows).all(axis=(1, 2))]
    if len(present):
        x, y = present.mean(axis=0).T
        axis.plot(x, y, color=colour, linewidth=1.6, label=label)
        axis.plot(x[0], y[0], "o", color=colour, markersize=4)
        axis.plot(x[-1], y[-1], "s", color=colour, markersize=4)


def strips(answers: TrajectoryAnswers, films: Sequence[dict[int, bytes]], frames: int) -> "Figure":
    """Return the predicted clean pictures along the steps: shifted below unshifted, an arm below the other."""
    shown = [(arm, number) for arm, found in enumerate(films) for number in found][:MAX_FILMS]
    figure, axes = sheet(1.0 * frames + 2.2, 1.04 * len(shown) + 0.3, len(shown), 1)
    for axis, (arm, number) in zip(axes, shown, strict=True):
        picture = decode(films[arm][number])
        bare(axis)
        axis.imshow(picture, interpolation="nearest", aspect="equal")
        axis.set_anchor("W")
        name = f"{answers.names[arm]}\n" if number == 0 else ""
        label = name + called(answers.perturbations[number]).replace(" (", "\n(")
        axis.set_ylabel(label, fontsize=7, rotation=0, ha="right", va="center")
        if number == 0:
            calls = spread_over(answers.cells[arm, 0].steps.shape[1], frames)
            side = picture.shape[1] / len(calls)
            axis.set_xticks([(i + 0.5) * side for i in range(len(calls))], [f"call {n + 1}" for n in calls], fontsize=6)
            axis.xaxis.tick_top()
            axis.tick_params(length=0)
    return figure
