"""Factorial designs: what each factor of two levels, and each two factors together, change in the mean of a cell.

A cell is one combination of levels. Row i is the same prompt and seed in every cell, so cells are correlated; every
interval here is that of a linear contrast of cell means, with the variance between clusters of rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from stages.arrays import Clusters
from stages.metrics.bootstrap import cluster_index, cluster_sums
from stages.metrics.estimate import Estimate
from stages.metrics.multiplicity import holm

NOTHING = 1e-12
"""Rounding of a standard error of zero."""


class CellMeans(NamedTuple):
    """A number for every cell, and each cluster's part in its error; the parts of a cell add up to 0."""

    values: Float64[np.ndarray, " c"]
    """NaN where a cell has no row."""
    parts: Float64[np.ndarray, "c g"]
    n: Int64[np.ndarray, " c"]
    n_missing: Int64[np.ndarray, " c"]

    @property
    def known(self) -> Bool[np.ndarray, " c"]:
        """Say which cells have a number."""
        return ~np.isnan(self.values)


@dataclass(frozen=True)
class Design:
    """Which level of every factor each cell has: 0 or 1, a cell only once in a block."""

    factors: tuple[str, ...]
    levels: Int64[np.ndarray, "c f"]
    blocks: Int64[np.ndarray, " c"]
    """Cells of different blocks are never compared, such as those of different models that no factor tells apart."""

    def __post_init__(self) -> None:
        if not np.isin(self.levels, (0, 1)).all():
            raise ValueError(f"a Design expects levels 0 and 1, but found {np.unique(self.levels).tolist()}")
        rows = np.column_stack([self.blocks, self.levels])
        if len(np.unique(rows, axis=0)) != len(rows):
            raise ValueError("a Design expects every combination of levels once in a block, but found one twice")

    @property
    def terms(self) -> list[tuple[int, ...]]:
        """Return the main effects and the two-way interactions, each by its factors."""
        return [term for size in (1, 2) for term in combinations(range(len(self.factors)), size)]


class Contrast(NamedTuple):
    """A weight for every cell, and the groups of cells that it averages over."""

    weights: Float64[np.ndarray, " c"]
    groups: int
    """Groups of cells that differ in the contrast's factors alone, and have all their combinations."""
    possible: int
    """Such groups in the full design."""


class Effect(NamedTuple):
    """What a factor, or two together, change."""

    term: tuple[int, ...]
    estimate: Estimate
    p_value: float
    p_holm: float
    """Holm's correction over all effects of one call."""
    groups: int
    possible: int


def slopes(distance: Float64[np.ndarray, " k"], changes: Float64[np.ndarray, "k n"]) -> Float64[np.ndarray, " n"]:
    """Return each row's change per unit of distance: least squares through its strengths and its control.

    The control lies at distance 0 and has changed by exactly 0. A row that lacks a strength has no slope. The mean of
    the slopes is the slope of the mean, as `slope` of a curve has it.
    """
    x = np.append(distance, 0.0)
    centred = x - x.mean()
    if not centred.any():
        raise ValueError(f"slopes expect a distance above 0, but found {distance.tolist()}")
    found: np.ndarray = np.sum(centred[:-1, None] * changes, axis=0) / np.sum(centred**2)
    return found


def means(rows: Float64[np.ndarray, "c n"], clusters: Clusters | None = None) -> CellMeans:
    """Return the mean of every cell's rows; NaN is a missing row."""
    return ratios(rows, np.ones_like(rows), clusters)


def ratios(
    rows: Float64[np.ndarray, "c n"], base: Float64[np.ndarray, "c n"], clusters: Clusters | None = None
) -> CellMeans:
    """Return the mean of every cell's rows over that of its base; NaN where the base's mean is not above 0.

    The parts are those of the linearised ratio. A row counts where it and its base are present.
    """
    present = ~np.isnan(rows) & ~np.isnan(base)
    seen = present.any(axis=0)
    present, rows, base = present[:, seen], rows[:, seen], base[:, seen]
    n = present.sum(axis=1)
    top, bottom = (np.where(present, side, 0.0) for side in (rows, base))
    total = bottom.sum(axis=1)
    values = np.divide(top.sum(axis=1), total, out=np.full(len(rows), np.nan), where=total > 0)
    residuals = np.where(present, top - np.nan_to_num(values)[:, None] * bottom, 0.0)
    residuals /= np.where(total > 0, total, 1.0)[:, None]
    index, groups = cluster_index(None if clusters is None else clusters[seen], int(seen.sum()))
    return CellMeans(values, cluster_sums(residuals, index, groups), n, len(seen) - n)


def less(cells: CellMeans, others: CellMeans) -> CellMeans:
    """Return what the cells have more than others of the same design, which share no cluster with them."""
    parts = np.concatenate([cells.parts, -others.parts], axis=1)
    return CellMeans(cells.values - others.values, parts, cells.n + others.n, cells.n_missing + others.n_missing)


def contrast(design: Design, term: tuple[int, ...], usable: Bool[np.ndarray, " c"]) -> Contrast:
    """Return the contrast of one or two factors over the usable cells.

    One factor: its second level less its first. Two: how much more the first does at the second's second level. Each is
    the mean over the groups of cells that differ in these factors alone and lack none of their combinations, so that no
    other factor can stand behind it, whichever cells are missing; where factors act together, fewer groups have another
    mean than all of them.
    """
    others = np.column_stack([design.blocks, np.delete(design.levels, term, axis=1)])
    grouped: dict[tuple[int, ...], list[int]] = {}
    for cell in np.flatnonzero(usable):
        grouped.setdefault(tuple(others[cell].tolist()), []).append(int(cell))
    complete = [cells for cells in grouped.values() if len(cells) == 2 ** len(term)]
    weights = np.zeros(len(others))
    for cells in complete:
        weights[cells] = np.prod(2 * design.levels[np.ix_(cells, term)] - 1, axis=1) / len(complete)
    possible = len(np.unique(design.blocks)) * 2 ** (len(design.factors) - len(term))
    return Contrast(weights, len(complete), possible)


def combined(cells: CellMeans, weights: Float64[np.ndarray, " c"], confidence: float = 0.95) -> tuple[Estimate, float]:
    """Return a weighted sum of cell means with its interval, and the p-value of no difference from 0.

    Student's t with the cluster-robust variance of Liang and Zeger 1986 (doi:10.1093/biomet/73.1.13), scaled by
    g / (g - 1), on g - 1 degrees of freedom for g clusters. Where clusters do not vary there is no interval.
    """
    from scipy import stats

    used, groups = weights != 0, cells.parts.shape[1]
    n, missing = int(cells.n[used].sum()), int(cells.n_missing[used].sum())
    method = f"t {confidence:.4g}, robust over {groups} clusters"
    if not used.any() or not cells.known[used].all():
        return Estimate.missing(missing, method, n=n), math.nan
    value = float(weights[used] @ cells.values[used])
    squares = float(np.sum((weights[used] @ cells.parts[used]) ** 2))
    error = math.sqrt(squares * groups / (groups - 1)) if groups > 1 else 0.0
    if error < NOTHING:
        ends, p_value = (math.nan, math.nan), math.nan
    else:
        half = float(stats.t.ppf((1 + confidence) / 2, groups - 1)) * error
        ends, p_value = (value - half, value + half), float(2 * stats.t.sf(abs(value) / error, groups - 1))
    return Estimate(value=value, low=ends[0], high=ends[1], n=n, n_missing=missing, method=method), p_value


def effects(design: Design, cells: CellMeans, confidence: float = 0.95) -> list[Effect]:
    """Return every main effect and two-way interaction; one that no group of cells shows has no value."""
    contrasts = [contrast(design, term, cells.known) for term in design.terms]
    found = [combined(cells, c.weights, confidence) for c in contrasts]
    corrected = holm(np.array([p_value for _, p_value in found], dtype=np.float64))
    parts = zip(design.terms, found, corrected, contrasts, strict=True)
    return [Effect(term, e, p, float(h), c.groups, c.possible) for term, (e, p), h, c in parts]


def single(cells: CellMeans, cell: int, confidence: float = 0.95) -> Estimate:
    """Return the mean of one cell."""
    return combined(cells, np.eye(len(cells.values))[cell], confidence)[0]


def leads(
    cells: CellMeans, contrasts: Sequence[Float64[np.ndarray, " c"]], confidence: float = 0.95
) -> dict[tuple[int, int], Estimate]:
    """Return by how much the largest contrast is larger, in size, than each other one; by both their numbers.

    The intervals hold together, Bonferroni's correction taken over both signs of all pairs, so also for the largest
    having been looked for. Contrasts without a value take no part.
    """
    found = {i: combined(cells, weights)[0].value for i, weights in enumerate(contrasts)}
    sizes = {i: value for i, value in found.items() if not math.isnan(value)}
    if len(sizes) < 2:
        return {}
    first = max(sizes, key=lambda i: abs(sizes[i]))
    level = 1 - (1 - confidence) / (len(sizes) * (len(sizes) - 1))
    largest = contrasts[first] * (-1 if sizes[first] < 0 else 1)
    return {(first, i): _lead(cells, largest, contrasts[i], level) for i in sizes if i != first}


def _lead(
    cells: CellMeans, largest: Float64[np.ndarray, " c"], other: Float64[np.ndarray, " c"], level: float
) -> Estimate:
    """Return `largest` less the size of `other`: the smaller of their difference and their sum."""
    both = [combined(cells, largest + sign * other, level)[0] for sign in (-1, 1)]
    low, value, high = (float(np.min([getattr(e, end) for e in both])) for end in ("low", "value", "high"))
    method = f"{both[0].method}, simultaneous"
    count, missing = max(e.n for e in both), max(e.n_missing for e in both)
    return Estimate(value=value, low=low, high=high, n=count, n_missing=missing, method=method)
