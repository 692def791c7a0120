"""Comparisons of models -> figures: every share beside the one that chance gives."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.figures import COLOURS, CONTROL, INK, band, from_where_they_fall, sheet, tiled
from pipelines.pairs import Comparison
from pipelines.plane import NoisePlane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SYMMETRIC = ("RP", "RP_cond", "MAE")
MAX_CURVES = 6


def matrices(comparisons: Sequence[Comparison], names: Sequence[str]) -> "Figure":
    """Return a matrix a kind: below the diagonal the same noise, above it independent noise."""
    kinds = list(dict.fromkeys(c.kind for c in comparisons))
    size = max(2.2, 0.55 * len(names) + 1.1)
    columns = min(2, len(kinds))
    rows = -(-len(kinds) // columns)
    figure, axes = sheet(columns * size + 0.6, rows * (size + 0.25), rows, columns)
    for axis, kind in zip(axes, kinds, strict=False):
        found = [c for c in comparisons if c.kind == kind]
        matrix(axis, found, names)
        of = found[0].criterion
        axis.set_title(f"{kind}\n{of.text}", fontsize=7, loc="left")
    for axis in axes[len(kinds) :]:
        axis.set_visible(False)
    return figure


def matrix(axis: "Axes", comparisons: Sequence[Comparison], names: Sequence[str]) -> None:
    """Draw one matrix with its numbers."""
    values = np.full((len(names), len(names)), np.nan)
    for c in comparisons:
        values[c.second, c.first] = c.agreement.value
        if c.kind in SYMMETRIC:
            values[c.first, c.second] = c.floor.value
    axis.grid(visible=False)
    axis.imshow(values, vmin=0, vmax=1, cmap="Blues", aspect="equal")
    for (row, column), value in np.ndenumerate(values):
        if value == value:  # noqa: PLR0124  NaN is not itself
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=ink_on(value))
    axis.set_xticks(range(len(names)), names, fontsize=7, rotation=30, ha="right")
    axis.set_yticks(range(len(names)), names, fontsize=7)
    if comparisons[0].kind not in SYMMETRIC:
        axis.set_xlabel("drawn without a class", fontsize=7)
        axis.set_ylabel("drawn with each class", fontsize=7)


def ink_on(value: float) -> str:
    """Return a colour that is read on that of a value."""
    return "white" if value > 0.55 else "black"


def curves(comparisons: Sequence[Comparison], names: Sequence[str]) -> "Figure":
    """Return the share of pairs beyond every threshold, from the same noise and from independent noise."""
    shown = comparisons[:MAX_CURVES]
    figure, (axis,) = sheet(5.4, 3.4, 1, 1)
    x = np.array(shown[0].criterion.thresholds)
    for c, colour in zip(shown, COLOURS, strict=False):
        band(axis, x, c.curve, colour, "-", f"{names[c.first]} | {names[c.second]}")
        band(axis, x, c.floor_curve, colour if len(shown) > 1 else CONTROL, ":", "independent noise")
    from_where_they_fall(axis, x, [curve for c in shown for curve in (c.curve, c.floor_curve)])
    for line in axis.lines:
        line.set_marker("")
    of = shown[0].criterion
    axis.axvline(of.threshold, color="black", linewidth=0.8)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel(f"threshold on {of.score}", fontsize=9)
    axis.set_ylabel(f"share of pairs {'above' if of.larger_is_closer else 'below'} it", fontsize=9)
    legend_once(axis)
    return figure


def legend_once(axis: "Axes") -> None:
    """Draw a legend with each label once."""
    handles, labels = axis.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axis.legend(once.values(), once.keys(), frameon=False, fontsize=8, loc="best")


def histograms(comparisons: Sequence[Comparison]) -> "Figure":
    """Return the scores of all pairs of models, from the same and from independent noise, each as a density."""
    kinds = list(dict.fromkeys(c.kind for c in comparisons))
    figure, axes = sheet(5.4, 1.7 * len(kinds) + 0.3, len(kinds), 1)
    for axis, kind in zip(axes, kinds, strict=True):
        found = [c for c in comparisons if c.kind == kind]
        pooled = {"same noise": [c.same for c in found], "independent noise": [c.other for c in found]}
        scores = {k: (v := np.concatenate([s.ravel() for s in p]))[np.isfinite(v)] for k, p in pooled.items()}
        edges = np.histogram_bin_edges(
            np.concatenate([*scores.values(), [0.0, found[0].criterion.threshold]]), 60
        ).tolist()
        for (name, values), colour in zip(scores.items(), (INK, CONTROL), strict=True):
            if len(values):
                axis.hist(values, edges, density=True, color=colour, alpha=0.55, label=f"{name} (n = {len(values)})")
        axis.axvline(found[0].criterion.threshold, color="black", linewidth=0.8)
        axis.set_xlabel(f"{found[0].criterion.score}, {kind}", fontsize=8)
        axis.set_yticks([])
        axis.legend(frameon=False, fontsize=7)
    return figure


def strip(
    pictures: dict[tuple[int, int], np.ndarray], names: Sequence[str], titles: Sequence[str], scores: Sequence[float]
) -> "Figure":
    """Return pictures, a row a model, a column a noise, and the first two models' score under each column."""
    columns = len(titles)
    figure, axes = sheet(0.98 * columns + 0.9, 1.02 * len(names) + 0.55, len(names), columns)
    for row, column, axis in tiled(axes, columns, lambda row, column: pictures.get((row, column))):
        if row == 0:
            axis.set_title(titles[column], fontsize=6.5)
        if row == len(names) - 1:
            axis.set_xlabel(f"{scores[column]:.2f}", fontsize=8, fontweight="bold")
        if column == 0:
            axis.set_ylabel(names[row], fontsize=8)
    return figure


def plane_map(plane: NoisePlane, mosaics: Sequence[np.ndarray | None], names: Sequence[str]) -> "Figure":
    """Return what each model draws on the plane, its regions, and where the first two models agree."""
    count = len(names)
    figure, axes = sheet(2.5 * (count + 1), 5.2, 2, count + 1)
    low, high = plane.axis[0], plane.axis[-1]
    half = (high - low) / (len(plane.axis) - 1) / 2
    extent = (low - half, high + half, low - half, high + half)
    for number, name in enumerate(names):
        top, bottom = axes[number], axes[count + 1 + number]
        top.set_title(name, fontsize=9)
        for axis in (top, bottom):
            axis.grid(visible=False)
        if (mosaic := mosaics[number]) is not None:
            top.imshow(mosaic, extent=extent, interpolation="nearest")
        shown = np.ma.masked_less(plane.regions[number], 0)
        bottom.imshow(shown, extent=extent, origin="lower", cmap="tab10", vmin=0, vmax=9, interpolation="nearest")
        seeds_on(bottom)
        bottom.set_xlabel("a", fontsize=8)
    axes[0].set_ylabel("pictures, b", fontsize=8)
    axes[count + 1].set_ylabel("nearest representative, b", fontsize=8)
    pairs = list(plane.agreement)
    first = " and ".join(names[i] for i in pairs[0])
    agreement_map(figure, axes[count], plane.agreement[pairs[0]], f"agreement of {first}", extent)
    axes[-1].set_visible(len(pairs) > 1)
    if len(pairs) > 1:
        least = np.min(list(plane.agreement.values()), axis=0)
        agreement_map(figure, axes[-1], least, "least of all pairs", extent)
    return figure


def agreement_map(
    figure: "Figure", axis: "Axes", scores: np.ndarray, title: str, extent: tuple[float, float, float, float]
) -> None:
    """Draw the cosine of models' pictures over the plane."""
    axis.grid(visible=False)
    image = axis.imshow(scores, extent=extent, origin="lower", vmin=-0.2, vmax=1, cmap="viridis")
    axis.set_title(title, fontsize=8)
    axis.set_xlabel("a", fontsize=8)
    seeds_on(axis)
    figure.colorbar(image, ax=axis, shrink=0.75)


def seeds_on(axis: "Axes") -> None:
    """Mark the three noises that are seeds."""
    axis.plot([0, 1, 0], [0, 0, 1], linestyle="none", marker="o", markersize=5, color="white", markeredgecolor="black")
