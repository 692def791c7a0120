"""Rows of a robustness sweep -> its answers: every one an `Estimate`, every difference paired with the control."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from pipelines.grid import Grid
from stages.metrics import (
    Bootstrap,
    BreakPoint,
    Curve,
    Estimate,
    Mean,
    Proportion,
    break_point,
    holm,
    mcnemar,
    paired_difference,
    proportion_difference,
    slope,
)
from stages.perturbations import AnyPerturbation, parse

TOP1 = "top1_correct"
CONTROL_KINDS = {"none", "random_direction"}
BROKEN = 0.5
"""A model counts as broken where half of its unshifted accuracy is lost."""

JudgeControls: TypeAlias = dict[tuple[int, int], dict[str, Estimate]]
"""What the classifiers make of unbroken pictures, by sampler and perturbation, then by column."""


@dataclass(frozen=True)
class Cell:
    """One perturbation under one sampler."""

    sampler: int
    number: int
    perturbation: AnyPerturbation
    drawn: int
    failed: int
    values: dict[str, Estimate]
    """What was measured, by column."""
    changes: dict[str, Estimate]
    """The paired difference to the control, by column."""
    p_value: float
    p_holm: float
    unlikely: dict[str, float]
    """Median z-score of the channel means and of the norm, and median KS p-value, of the shifted latents."""


@dataclass(frozen=True)
class Family:
    """One curve: a kind of perturbation over its strengths."""

    name: str
    sampler: int
    cells: tuple[Cell, ...]
    breaks: BreakPoint
    slope: Estimate

    @property
    def strengths(self) -> np.ndarray:
        """Return the strengths, ascending; the control stands at 0."""
        return np.array([cell.perturbation.strength for cell in self.cells])


@dataclass(frozen=True)
class Rows:
    """Everything measured on the rows of a grid, as arrays over seeds, samplers, perturbations and prompts."""

    grid: Grid
    columns: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        shape = (self.grid.seeds.count, *self.grid.inner)
        object.__setattr__(self, "columns", {name: column.reshape(shape) for name, column in self.columns.items()})

    def of(self, name: str, sampler: int, perturbation: int) -> np.ndarray:
        """Return one column of one cell, [seeds prompts]."""
        column: np.ndarray = self.columns[name][:, sampler, perturbation]
        return column

    def tried(self, sampler: int, perturbation: int) -> np.ndarray:
        """Say which rows of a cell were tried, whether they failed or not."""
        return self.of("drawn", sampler, perturbation) | self.of("failed", sampler, perturbation)

    @cached_property
    def clusters(self) -> np.ndarray | None:
        """Return which rows share a seed, [seeds prompts]; None where every row has its own."""
        if not self.grid.seeds.shared:
            return None
        return np.broadcast_to(
            np.arange(self.grid.seeds.count)[:, None], (self.grid.seeds.count, len(self.grid.prompts))
        )


class Answers:
    """The answers of one sweep."""

    def __init__(self, rows: Rows, metrics: dict[str, str], bootstrap: Bootstrap = Bootstrap()) -> None:  # noqa: B008
        self.rows = rows
        self.metrics = metrics
        self.bootstrap = bootstrap
        self.perturbations = [parse(text) for text in rows.grid.perturbations]

    @cached_property
    def cells(self) -> list[Cell]:
        """Return every cell that has rows, controls first, with Holm's correction over all tests of a sampler."""
        return [cell for sampler in range(len(self.rows.grid.samplers)) for cell in self._cells(sampler)]

    def _cells(self, sampler: int) -> Iterator[Cell]:
        numbers = [p for p in range(len(self.perturbations)) if self.rows.tried(sampler, p).any()]
        p_values = np.array([self._p_value(sampler, p) for p in numbers])
        for p, raw, adjusted in zip(numbers, p_values, holm(p_values), strict=True):
            yield Cell(
                sampler=sampler,
                number=p,
                perturbation=self.perturbations[p],
                drawn=int(self.rows.of("drawn", sampler, p).sum()),
                failed=int(self.rows.of("failed", sampler, p).sum()),
                values={name: self.value(name, sampler, p) for name in self.metrics},
                changes={name: self.change(name, sampler, p) for name in self.metrics},
                p_value=float(raw),
                p_holm=float(adjusted),
                unlikely={n: median(self.rows.of(n, sampler, p)) for n in UNLIKELY},
            )

    def value(self, name: str, sampler: int, perturbation: int) -> Estimate:
        """Return the mean of a column over one cell."""
        keep = self.rows.tried(sampler, perturbation)
        column = self.rows.of(name, sampler, perturbation)[keep].astype(np.float64)
        if self.rows.clusters is not None:
            return paired_difference(np.zeros_like(column), column, self.bootstrap, self.rows.clusters[keep])
        return Proportion().of(column) if self.metrics[name] == "share" else Mean().of(column)

    def change(self, name: str, sampler: int, perturbation: int) -> Estimate:
        """Return the mean paired difference of a column to the control."""
        before, after, clusters = self.pair(name, sampler, perturbation)
        if self.metrics[name] == "share" and clusters is None:
            return proportion_difference(before, after)
        return paired_difference(before, after, self.bootstrap, clusters)

    def pair(self, name: str, sampler: int, perturbation: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return a column of the control and of a cell on the rows that were tried in both, and their clusters."""
        keep = self.rows.tried(sampler, 0) & self.rows.tried(sampler, perturbation)
        before, after = (self.rows.of(name, sampler, p)[keep].astype(np.float64) for p in (0, perturbation))
        return before, after, None if self.rows.clusters is None else self.rows.clusters[keep]

    def _p_value(self, sampler: int, perturbation: int) -> float:
        """Return the p-value of no change in top-1; NaN for the control itself, and where rows share seeds."""
        if perturbation == 0 or "top1_correct" not in self.metrics or self.rows.clusters is not None:
            return float("nan")
        before, after, _ = self.pair("top1_correct", sampler, perturbation)
        return mcnemar(before, after).p_value

    @cached_property
    def headline(self) -> str:
        """Return the column that the verdict rests on: top-1 where prompts name classes, else the CLIP score."""
        return "top1_correct" if any(p.label >= 0 for p in self.rows.grid.prompts) else "clip_score"

    @cached_property
    def families(self) -> list[Family]:
        """Return every curve with at least one strength besides the control."""
        groups: dict[tuple[int, str], list[Cell]] = {}
        for cell in self.cells:
            if cell.number:
                groups.setdefault((cell.sampler, cell.perturbation.family), []).append(cell)
        return [self._family(sampler, name, cells) for (sampler, name), cells in groups.items()]

    def _family(self, sampler: int, name: str, cells: list[Cell]) -> Family:
        curve = self.curve(sampler, cells)
        if joins_control(cells[0].perturbation):
            cells = [*cells, next(c for c in self.cells if c.sampler == sampler and c.number == 0)]
        ordered = tuple(sorted(cells, key=lambda cell: cell.perturbation.strength))
        breaks = break_point(curve, BROKEN, self.bootstrap)
        return Family(name, sampler, ordered, breaks, slope(curve, self.bootstrap))

    def curve(self, sampler: int, cells: list[Cell]) -> Curve:
        """Return the headline column of a family over its strengths, every row matched to its control."""
        keep = self.rows.tried(sampler, 0)
        control, *perturbed = (
            self.rows.of(self.headline, sampler, p)[keep].astype(np.float64) for p in (0, *(c.number for c in cells))
        )
        return Curve(
            strengths=np.array([cell.perturbation.strength for cell in cells]),
            control=control,
            perturbed=np.stack(perturbed),
            clusters=None if self.rows.clusters is None else self.rows.clusters[keep],
        )

    def classes(self, sampler: int = 0) -> dict[str, Estimate]:
        """Return the mean change of top-1 per class over all shifted rows, the most broken class first."""
        shifted = [p for p, spec in enumerate(self.perturbations) if spec.kind not in CONTROL_KINDS]
        change = self._mean_change(sampler, shifted)
        out = {name: self._of_class(change, at) for name, at in self.class_columns().items()}
        return dict(sorted(out.items(), key=lambda item: np.nan_to_num(item[1].value, nan=np.inf)))

    def _mean_change(self, sampler: int, shifted: list[int]) -> np.ndarray:
        """Return each row's change of top-1, averaged over the shifts that it was tried under, [seeds prompts]."""
        top1 = self.rows.columns["top1_correct"][:, sampler].astype(np.float64)
        change = top1[:, shifted] - top1[:, :1]
        present = np.isfinite(change)
        total = np.where(present, change, 0).sum(axis=1)
        return np.divide(total, present.sum(axis=1), out=np.full(total.shape, np.nan), where=present.any(axis=1))

    def _of_class(self, change: np.ndarray, at: list[int]) -> Estimate:
        column = change[:, at].ravel()
        if self.rows.clusters is None:
            return Mean().of(column)  # a bootstrap of the few rows of one class would be too sure
        return paired_difference(np.zeros_like(column), column, self.bootstrap, self.rows.clusters[:, at].ravel())

    def class_accuracy(self, sampler: int, cells: tuple[Cell, ...]) -> dict[str, list[Estimate]]:
        """Return top-1 per class along a curve."""
        top1 = self.rows.columns["top1_correct"][:, sampler].astype(np.float64)
        return {
            name: [Proportion().of(top1[:, cell.number, at].ravel()) for cell in cells]
            for name, at in self.class_columns().items()
        }

    def class_columns(self) -> dict[str, list[int]]:
        """Return the prompt positions of each class."""
        out: dict[str, list[int]] = {}
        for at, prompt in enumerate(self.rows.grid.prompts):
            if prompt.label >= 0:
                out.setdefault(prompt.name, []).append(at)
        return out

    def confusion(self, sampler: int, keep: Callable[[AnyPerturbation], bool]) -> dict[tuple[str, int], int]:
        """Return how many images of each class were taken for each class index, over the kept perturbations."""
        numbers = [p for p, spec in enumerate(self.perturbations) if keep(spec)]
        taken_for = self.rows.columns["top5"][:, sampler][:, numbers]
        out: dict[tuple[str, int], int] = {}
        for name, at in self.class_columns().items():
            found = taken_for[:, :, at]
            for index, count in zip(*np.unique(found[np.isfinite(found)], return_counts=True), strict=True):
                out[name, int(index)] = int(count)
        return out


UNLIKELY = ("latent_mean_z", "latent_norm_z", "latent_ks_p")


def joins_control(perturbation: AnyPerturbation) -> bool:
    """Say whether a curve passes through the control at strength 0: a mixed shift that also shrinks does not."""
    others = {k: v for k, v in perturbation.mildest.items() if k != perturbation.strength_field}
    return all(getattr(perturbation, name) == value for name, value in others.items())


def median(column: np.ndarray) -> float:
    """Return the median of the present entries; NaN where there is none."""
    present = column[np.isfinite(column)]
    return float(np.median(present)) if len(present) else float("nan")
