"""Answers -> figures. Every point has its interval; every curve shows its controls."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipelines.answers import Answers, Cell, Family, JudgeControls
from stages.metrics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, JUDGE, CONTROL, GREY = "#1b4f8a", "#c2571a", "#6b7280", "#d1d5db"
COLOURS = (INK, JUDGE, "#15803d", "#7c3aed", "#b91c1c", "#0e7490", "#a16207", "#be185d", "#4d7c0f", "#334155")
HEADLINES = {"top1_correct": "top-1 accuracy", "clip_score": "CLIP score"}
NAMES = {
    "uniform_mean_shift": "mean shift",
    "uniform_random_mean_shift": "random mean shift",
    "std_shift": "std shift",
    "mixed_shift": "mixed shift",
    "arrangement_shift": "arrangement shift",
    "random_direction": "random direction (control)",
    "slerp": "slerp to another seed",
    "frequency_shift": "frequency shift",
    "channel_shift": "channel shift",
    "spatial_roll": "spatial roll",
}


def title(family: str) -> str:
    """Return a family's name in words."""
    kind, bracket, rest = family.partition("(")
    return f"{NAMES.get(kind, kind)}{', ' + rest.rstrip(')') if bracket else ''}"


def whiskers(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Return how far the intervals reach below and above their values; an end that rounding puts beyond reaches 0."""
    return [[max(0.0, e.value - e.low) for e in estimates], [max(0.0, e.high - e.value) for e in estimates]]


def sheet(width: float, height: float, rows: int, columns: int, share_y: bool = False) -> "tuple[Figure, list[Axes]]":
    """Return an empty figure and its axes, in inches; no window, no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, columns, sharey=share_y)).ravel().tolist()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.grid(axis="y", color=GREY, linewidth=0.5)
    return figure, axes


def rendered(figure: "Figure", kind: Literal["png", "svg"]) -> bytes:
    """Return the figure as a file, without a date in it."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return file.getvalue()


def accuracy_curves(answers: Answers, controls: JudgeControls, sampler: int) -> "Figure":
    """Return top-1 over strength, a panel a family: classifier, held-out judge, and unbroken pictures tinted alike."""
    families = [f for f in answers.families if f.sampler == sampler]
    columns = min(3, len(families))
    rows = -(-len(families) // columns)
    figure, axes = sheet(3.6 * columns, 2.5 * rows + 0.4, rows, columns, share_y=True)
    for axis, family in zip(axes, families, strict=False):
        panel(axis, family, controls, answers.headline)
    for axis in axes[len(families) :]:
        axis.set_visible(False)
    axes[0].set_ylabel(HEADLINES[answers.headline], fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def panel(axis: "Axes", family: Family, controls: JudgeControls, headline: str) -> None:
    """Draw one family's curves."""
    x = family.strengths
    axis.set_title(title(family.name), fontsize=9, loc="left")
    axis.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    if headline != "top1_correct":
        band(axis, x, [c.values[headline] for c in family.cells], INK, "-", HEADLINES[headline])
        return
    axis.set_ylim(-0.02, 1.02)
    band(axis, x, [c.values["top1_correct"] for c in family.cells], INK, "-", "classifier")
    if "judge_top1_correct" in family.cells[0].values:
        band(axis, x, [c.values["judge_top1_correct"] for c in family.cells], JUDGE, "--", "held-out judge")
    tinted = [
        (c.perturbation.strength, controls[c.sampler, c.number])
        for c in family.cells
        if (c.sampler, c.number) in controls
    ]
    if tinted:
        label = "classifier on unbroken, tinted"
        band(axis, np.array([s for s, _ in tinted]), [e["top1_correct"] for _, e in tinted], CONTROL, ":", label)


def band(axis: "Axes", x: np.ndarray, estimates: Sequence[Estimate], colour: str, line: str, label: str) -> None:
    """Draw a curve with its intervals."""
    value, low, high = (np.array([getattr(e, name) for e in estimates]) for name in ("value", "low", "high"))
    axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.plot(x, value, line, color=colour, marker="o", markersize=3, linewidth=1.4, label=label)


def from_where_they_fall(axis: "Axes", x: np.ndarray, curves: Sequence[Sequence[Estimate]]) -> None:
    """Start the axis shortly before the first of some falling curves leaves its start."""
    starts = [np.array([e.value for e in curve]) for curve in curves]
    left = [int(np.argmax(v < v[0] - 0.02)) for v in starts if len(v) and (v < v[0] - 0.02).any()]
    first = max(0, min(left, default=0) - len(x) // 20 - 1)
    axis.set_xlim(x[first], x[-1])


def effects(answers: Answers, column: str, sampler: int) -> "Figure":
    """Return the paired change of a column under every perturbation, with its interval."""
    cells = [c for c in answers.cells if c.sampler == sampler and c.number]
    figure, (axis,) = sheet(7, 0.22 * len(cells) + 0.8, 1, 1)
    for y, cell in enumerate(cells):
        change = cell.changes[column]
        axis.plot([change.low, change.high], [y, y], color=INK, linewidth=1.5)
        axis.plot(change.value, y, "o", color=INK if cell.p_holm < 0.05 else GREY, markersize=4)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(cells)), [label(c) for c in cells], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel(f"change of {column} to the same prompt and seed unshifted (95 % interval)", fontsize=8)
    return figure


def class_heat_map(answers: Answers, family: Family) -> "Figure":
    """Return top-1 per class along one family, the most broken class first, one without a picture last."""
    shares = answers.class_accuracy(family.sampler, family.cells)
    order = sorted(shares, key=lambda name: average(shares[name]))
    values = np.array([[e.value for e in shares[name]] for name in order])
    figure, (axis,) = sheet(5.2, 0.26 * len(order) + 1.1, 1, 1)
    axis.grid(visible=False)
    picture = axis.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axis.set_yticks(range(len(order)), order, fontsize=8 if len(order) < 30 else 5)
    axis.set_xticks(range(len(family.cells)), [f"{s:g}" for s in family.strengths], fontsize=8)
    axis.set_xlabel(title(family.name), fontsize=9)
    n = max((e.n for e in next(iter(shares.values()))), default=0)
    figure.colorbar(picture, ax=axis, label=f"top-1 (up to n = {n} a cell)", shrink=0.8)
    return figure


def average(shares: Sequence[Estimate]) -> float:
    """Return the mean of those that are known; infinity where none is."""
    known = [share.value for share in shares if not math.isnan(share.value)]
    return sum(known) / len(known) if known else math.inf


def confusion_map(counts: dict[tuple[str, int], int], names: Sequence[str]) -> "Figure":
    """Return what the pictures of each class were taken for, as shares of the class."""
    classes = list(dict.fromkeys(name for name, _ in counts))
    taken = sorted({index for _, index in counts})
    values = np.array([[counts.get((name, index), 0) for index in taken] for name in classes], dtype=float)
    figure, (axis,) = sheet(5.2, 0.26 * len(classes) + 1.4, 1, 1)
    axis.grid(visible=False)
    picture = axis.imshow(values / values.sum(axis=1, keepdims=True), vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axis.set_yticks(range(len(classes)), classes, fontsize=8 if len(classes) < 30 else 5)
    labels = [names[index] if index < len(names) else str(index) for index in taken]
    axis.set_xticks(range(len(taken)), labels, fontsize=8 if len(taken) < 30 else 4, rotation=90)
    axis.set_ylabel("asked for", fontsize=9)
    figure.colorbar(picture, ax=axis, label="share taken for", shrink=0.8)
    return figure


def drift(family: Family) -> "Figure":
    """Return how colour and position move along one family, to the same prompt and seed unshifted."""
    figure, (colour, place) = sheet(7, 2.8, 1, 2)
    for axis, names, colours in (
        (colour, ("red_mean", "green_mean", "blue_mean"), ("#b91c1c", "#15803d", "#1d4ed8")),
        (place, ("saliency_x", "saliency_y"), (INK, JUDGE)),
    ):
        for name, shade in zip(names, colours, strict=True):
            band(axis, family.strengths, [c.changes[name] for c in family.cells], shade, "-", name.replace("_", " "))
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_xlabel(title(family.name), fontsize=9)
        axis.legend(frameon=False, fontsize=8)
    colour.set_ylabel("change of colour, 0 to 255", fontsize=9)
    place.set_ylabel("change of position, 1 = the picture's side", fontsize=8)
    return figure


def bare(axis: "Axes") -> None:
    """Remove everything but the picture."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)


def tiled(
    axes: Sequence["Axes"],
    columns: int,
    picture: Callable[[int, int], np.ndarray | None],
    interpolation: str | None = "nearest",
) -> Iterator[tuple[int, int, "Axes"]]:
    """Draw the picture of every row and column, where there is one, and yield each place for its titles."""
    for place, axis in enumerate(axes):
        row, column = divmod(place, columns)
        bare(axis)
        if (found := picture(row, column)) is not None:
            axis.imshow(found, interpolation=interpolation)
        yield row, column, axis


def picture_grid(pictures: dict[tuple[str, int], np.ndarray], family: Family, prompts: Sequence[str]) -> "Figure":
    """Return pictures, a row a prompt, a column a strength, the same seed along a row."""
    columns = len(family.cells)
    figure, axes = sheet(1.05 * columns + 0.9, 1.1 * len(prompts) + 0.35, len(prompts), columns)
    numbers = [cell.number for cell in family.cells]
    for row, column, axis in tiled(
        axes, columns, lambda row, column: pictures.get((prompts[row], numbers[column])), None
    ):
        if row == 0:
            axis.set_title(f"{family.strengths[column]:g}", fontsize=8)
        if column == 0:
            axis.set_ylabel(prompts[row].removeprefix("a photo of ").removeprefix("A photo of "), fontsize=7)
    return figure


def label(cell: Cell) -> str:
    """Return a cell's name in words, with its strength."""
    return f"{title(cell.perturbation.family)} {cell.perturbation.strength:g}"
