"""Rows of a factorial design -> its answers: slopes of cells, effects of factors, differences of arms."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from pipelines.answers import UNLIKELY, Answers, Family, Rows
from pipelines.factorial import Factorial
from pipelines.rows import cube
from pipelines.store import Store
from stages.metrics import Estimate, holm
from stages.metrics.factorial import (
    CellMeans,
    Effect,
    combined,
    contrast,
    effects,
    leads,
    less,
    means,
    ratios,
    single,
    slopes,
)

METRICS = {
    "top1_correct": "share",
    "top5_correct": "share",
    "judge_top1_correct": "share",
    "label_probability": "mean",
    "clip_score": "mean",
}
COLOURS = ("red_mean", "green_mean", "blue_mean")


@dataclass(frozen=True)
class Response:
    """One number for every row of a cell, whose mean the factors may change."""

    name: str
    metric: str
    cells: CellMeans
    effects: list[Effect]


class Difference(NamedTuple):
    """The second cell less the first, on the same prompts and seeds."""

    first: int
    second: int
    estimate: Estimate
    p_value: float
    p_holm: float
    """Holm's correction over all pairs of cells."""


class FactorialAnswers:
    """The answers of one design."""

    def __init__(self, question: Factorial, columns: Sequence[dict[str, np.ndarray]]) -> None:
        self.question, self.cells = question, question.cells
        measured = {column for measure in question.measures for column in measure.columns}
        self.metrics = {name: kind for name, kind in METRICS.items() if name in measured}
        grids = zip(question.grids, columns, strict=True)
        self.answers = [Answers(Rows(grid, column), self.metrics) for grid, column in grids]
        self.design = question.factors.design(self.cells)

    @property
    def headline(self) -> str:
        """Return the column that the verdict rests on."""
        return self.answers[0].headline

    @cached_property
    def clusters(self) -> np.ndarray | None:
        """Return which rows of a cell share a seed; None where every row has its own."""
        shared = self.answers[0].rows.clusters
        return None if shared is None else shared.ravel()

    @cached_property
    def alike(self) -> list[int]:
        """Return a number for every cell, the same for cells whose factors of the sampler have the same levels."""
        ways = [cell.levels[len(cell.levels) - len(self.question.spec.factors) :] for cell in self.cells]
        numbers = {way: number for number, way in enumerate(dict.fromkeys(ways))}
        return [numbers[way] for way in ways]

    def counted(self, name: Literal["drawn", "failed"], cell: int) -> int:
        """Return how many rows of a cell were drawn, or failed."""
        return int(self.answers[cell].rows.columns[name].sum())

    @cached_property
    def shifted(self) -> list[Family | None]:
        """Return the curve of every cell over the shifts; None where nothing was drawn yet."""
        return [next((f for f in a.families if f.name == "uniform_mean_shift"), None) for a in self.answers]

    def rows(self, metric: str, cell: int, perturbation: int) -> np.ndarray:
        """Return a column of one cell, the same prompt and seed at the same place in every cell."""
        return self.answers[cell].rows.of(metric, 0, perturbation).ravel().astype(np.float64)

    def unshifted(self, metric: str) -> np.ndarray:
        """Return a column of the controls, [cells rows]."""
        return np.stack([self.rows(metric, cell, 0) for cell in range(len(self.cells))])

    def changes(self, metric: str, cell: int, random: bool = False) -> np.ndarray:
        """Return the change of a column under every shift, or random direction, to its own control."""
        first = 1 + (len(self.question.strengths) if random else 0)
        count = len(self.question.directions if random else self.question.strengths)
        control = self.rows(metric, cell, 0)
        return np.stack([self.rows(metric, cell, first + i) - control for i in range(count)])

    def slopes(self, metric: str, random: bool = False) -> np.ndarray:
        """Return the change of a column per standard deviation of a channel's mean, [cells rows]."""
        strengths = self.question.directions if random else self.question.strengths
        found = [
            slopes(self.question.sigmas(cell, strengths), self.changes(metric, number, random))
            for number, cell in enumerate(self.cells)
        ]
        return np.stack(found)

    def response(self, name: str, metric: str, cells: CellMeans) -> Response:
        """Return a response with its effects."""
        return Response(name, metric, cells, effects(self.design, cells) if self.design.factors else [])

    @cached_property
    def slope(self) -> Response:
        """Return the response that the verdict rests on."""
        return self.responses[0]

    @cached_property
    def responses(self) -> list[Response]:
        """Return every response: the headline's slope first, its controls, other metrics, each strength by itself."""
        top, clusters = self.headline, self.clusters
        slope, start = self.slopes(top), self.unshifted(top)
        found = {"slope": means(slope, clusters), "relative_slope": ratios(slope, start, clusters)}
        found["unshifted"] = means(start, clusters)
        if self.question.directions:
            found["random_direction_slope"] = means(self.slopes(top, random=True), clusters)
        changes = np.stack([self.changes(top, cell) for cell in range(len(self.cells))], axis=1)
        found |= {
            f"change_at_{strength:g}": means(rows, clusters)
            for strength, rows in zip(self.question.strengths, changes, strict=True)
        }
        others = [metric for metric in self.metrics if metric != top]
        return [
            *(self.response(name, top, cells) for name, cells in found.items()),
            *(self.response("slope", metric, means(self.slopes(metric), clusters)) for metric in others),
        ]

    def named(self, name: str) -> Response | None:
        """Return a response of the headline by its name; None where it was not asked for."""
        return next((r for r in self.responses if r.name == name and r.metric == self.headline), None)

    def kept(self, cell: int) -> Estimate:
        """Return the headline of a cell without a shift."""
        return self.answers[cell].value(self.headline, 0, 0)

    def of_cell(self, response: Response, cell: int) -> Estimate:
        """Return a response of one cell."""
        return single(response.cells, cell)

    def less_judge(self, own: CellMeans | None) -> Response | None:
        """Return the slope without the judge's own; None where that is not known."""
        if own is None:
            return None
        return self.response("slope_less_judge", self.headline, less(self.slope.cells, own))

    def differences(self, response: Response) -> list[Difference]:
        """Return the difference of every two cells."""
        weights, pairs = np.eye(len(self.cells)), list(combinations(range(len(self.cells)), 2))
        found = [combined(response.cells, weights[b] - weights[a]) for a, b in pairs]
        corrected = holm(np.array([p_value for _, p_value in found]))
        return [
            Difference(*pair, *one, float(adjusted))
            for pair, one, adjusted in zip(pairs, found, corrected, strict=True)
        ]

    @cached_property
    def leads(self) -> dict[tuple[int, int], Estimate]:
        """Return by how much the factor with the largest effect on the slope, or the steepest cell, is ahead."""
        cells = self.slope.cells
        if not self.design.factors:
            return leads(cells, list(np.eye(len(self.cells))))
        mains = [(factor,) for factor in range(len(self.design.factors))]
        return leads(cells, [contrast(self.design, main, cells.known).weights for main in mains])


def read(question: Factorial) -> FactorialAnswers:
    """Return the answers from what the store holds."""
    store = Store(question.spec.store)
    wanted = {m.table: [c for c in m.columns if c in METRICS or c in COLOURS] for m in question.measures}
    return FactorialAnswers(question, [cube(store, grid, wanted, UNLIKELY) for grid in question.grids])
