"""Samples and their nearest training pictures -> figures: every curve beside those of its controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.figures import CONTROL, GREY, INK, JUDGE, band, bare, from_where_they_fall, sheet, tiled
from stages.metrics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PROMPTS = 24
MAX_MEMBERS = 6
"""Samples that are shown of a group."""


STYLES = {"samples": (INK, "-"), "holdout": (CONTROL, "--"), "background": ("#15803d", ":")}
"""Colour and line of each kind of pictures."""


@dataclass(frozen=True)
class Curve:
    """A share over thresholds, of one kind of pictures."""

    name: str
    kind: str
    points: Sequence[Estimate]


@dataclass(frozen=True)
class Pair:
    """A sample beside its nearest training picture."""

    sample: np.ndarray
    training: np.ndarray | None
    score: float
    where: str


def share_curves(curves: Sequence[Curve], thresholds: Sequence[float], at: float, score: str) -> "Figure":
    """Return the share of pictures nearer to a training picture than each threshold."""
    figure, (axis,) = sheet(5.4, 3.5, 1, 1)
    for curve in curves:
        colour, line = STYLES[curve.kind]
        band(axis, np.array(thresholds), curve.points, colour, line, curve.name)
    for drawn in axis.lines:
        drawn.set_marker("")
    axis.axvline(at, color="black", linewidth=0.8)
    from_where_they_fall(axis, np.array(thresholds), [curve.points for curve in curves])
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel(f"similarity to the nearest training picture, {score}", fontsize=9)
    axis.set_ylabel("share above it (1 - GL for samples)", fontsize=9)
    axis.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def histogram(samples: np.ndarray, controls: dict[str, np.ndarray], at: float, score: str) -> "Figure":
    """Return how similar samples and controls are to their nearest training picture, each as a density."""
    parts = {"samples": samples} | controls
    parts = {name: values[np.isfinite(values)] for name, values in parts.items()}
    edges = np.histogram_bin_edges(np.concatenate([*parts.values(), [at]]), 60).tolist()
    figure, (axis,) = sheet(5.4, 2.6, 1, 1)
    for (name, values), (colour, _) in zip(parts.items(), STYLES.values(), strict=False):
        if len(values):
            axis.hist(values, edges, density=True, color=colour, alpha=0.5, label=f"{name} (n = {len(values)})")
    axis.axvline(at, color="black", linewidth=0.8)
    axis.set_xlabel(f"similarity to the nearest training picture, {score}", fontsize=8)
    axis.set_yticks([])
    axis.legend(frameon=False, fontsize=7)
    return figure


def ratios(values: np.ndarray, below: float) -> "Figure":
    """Return the ratio of the distances to the nearest and the next training picture."""
    known = values[np.isfinite(values)]
    figure, (axis,) = sheet(5.4, 2.4, 1, 1)
    axis.hist(known, np.linspace(0, 1, 51).tolist(), color=INK, alpha=0.7)
    axis.axvline(below, color="black", linewidth=0.8)
    axis.set_xlabel("distance to the nearest training picture / distance to the next other one, by pixels", fontsize=8)
    axis.set_ylabel("samples", fontsize=8)
    return figure


def gallery(rows: Mapping[str, Sequence[Pair]]) -> "Figure":
    """Return pairs of pictures, sample above training picture, a line a selection."""
    columns = max(len(pairs) for pairs in rows.values())
    figure, axes = sheet(0.95 * columns + 0.8, 2.35 * len(rows) + 0.1, 2 * len(rows), columns)
    for place, axis in enumerate(axes):
        bare(axis)
        row, column = divmod(place, columns)
        name, pairs = list(rows.items())[row // 2]
        if column >= len(pairs):
            continue
        pair, upper = pairs[column], row % 2 == 0
        picture = pair.sample if upper else pair.training
        if picture is not None:
            axis.imshow(picture, interpolation="nearest")
        if upper:
            axis.set_title(f"{pair.score:.2f}", fontsize=8, fontweight="bold", pad=3)
        else:
            axis.set_xlabel(pair.where, fontsize=5)
        if column == 0:
            axis.set_ylabel(f"{name}\nsample" if upper else "training", fontsize=7)
    return figure


def replicated_groups(groups: Sequence[tuple[np.ndarray | None, Sequence[np.ndarray], str]]) -> "Figure":
    """Return training pictures, a row each, beside the samples that replicate them."""
    columns = 1 + MAX_MEMBERS
    figure, axes = sheet(0.95 * columns + 1.0, 1.0 * len(groups) + 0.3, len(groups), columns)
    shown = [(training, *samples) for training, samples, _ in groups]
    for row, column, axis in tiled(axes, columns, lambda row, column: dict(enumerate(shown[row])).get(column)):
        if row == 0:
            axis.set_title("training" if column == 0 else "sample" if column == 1 else "", fontsize=8)
        if column == 0:
            axis.set_ylabel(groups[row][2], fontsize=7)
    return figure


def prompt_shares(names: Sequence[str], shares: Sequence[Estimate], everywhere: Estimate) -> "Figure":
    """Return the replicated share of prompts with intervals that hold for all at once, beside that of all samples."""
    shown = list(zip(names, shares, strict=True))[:MAX_PROMPTS]
    figure, (axis,) = sheet(5.4, 0.2 * len(shown) + 0.8, 1, 1)
    axis.axvspan(everywhere.low, everywhere.high, color=GREY, alpha=0.6, linewidth=0)
    for y, (_, share) in enumerate(shown):
        axis.plot([share.low, share.high], [y, y], color=INK, linewidth=1.4)
        axis.plot(share.value, y, "o", color=INK if share.low > everywhere.high else JUDGE, markersize=4)
    axis.set_yticks(range(len(shown)), [name[:44] for name, _ in shown], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("replicated share, 95 % for all at once; grey: all samples", fontsize=8)
    return figure
