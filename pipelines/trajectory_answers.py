"""Recorded trajectories -> how the way is spread over the steps, and what is left of a shift, with intervals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipelines.rows import cube, vectors
from pipelines.store import Store
from pipelines.trajectory import Trajectory, equal_norm, strongest
from pipelines.trajectory_pilot import Shown
from stages.metrics import Bootstrap, Estimate, Mean, paired_difference
from stages.perturbations import AnyPerturbation, ChannelShift, RandomDirection, UniformMeanShift
from stages.sampling.contraction import contraction, contraction_along
from stages.sampling.steps import gini, made_within, shares

FIRST_PART = 0.1
"""Of the steps: what counts as the start."""


@dataclass(frozen=True)
class Cell:
    """The rows of one arm under one perturbation, NaN where nothing was recorded."""

    arm: int
    number: int
    perturbation: AnyPerturbation
    drawn: int
    failed: int
    steps: np.ndarray
    """How far the state moved at each step, [rows k]."""
    apart: np.ndarray
    """How far it is from the control's, [rows k + 1]."""

    @cached_property
    def shares(self) -> np.ndarray:
        """Return the steps as multiples of an even share of the way, [rows k]."""
        return shares(self.steps) * self.steps.shape[1]

    @cached_property
    def left(self) -> np.ndarray:
        """Return what is left of the shift in each state, rho_k / rho_0, [rows k + 1]; NaN without a shift."""
        start = self.apart[:, :1]
        return np.divide(self.apart, start, out=np.full(self.apart.shape, np.nan), where=start > 0)


STATISTICS: Mapping[str, Callable[[Cell], np.ndarray]] = {
    "first_step": lambda cell: cell.shares[:, 0],
    "first_tenth": lambda cell: made_within(cell.steps, FIRST_PART),
    "gini": lambda cell: gini(cell.steps),
    "left": lambda cell: cell.left[:, -1],
}
"""A number a row: the first step as a multiple of its share, the share of the way made in the first tenth of the steps,
the Gini coefficient of the steps, and what is left of the shift at the end."""


class TrajectoryAnswers:
    """What the store holds of every arm."""

    def __init__(self, question: Trajectory) -> None:
        self.question = question
        self.names, self.perturbations = question.names, question.perturbations
        self._read: dict[tuple[int, str], np.ndarray] = {}
        self.cells = {(arm, cell.number): cell for arm in range(len(self.names)) for cell in self._cells(arm)}

    def _cells(self, arm: int) -> list[Cell]:
        grid = self.question.grids[arm]
        became = cube(Store(self.question.spec.store), grid, {}, ())
        steps, apart = (self._recorded(arm, name).astype(np.float64) for name in ("step_distance", "control_distance"))
        drawn, failed = (became[name].reshape(steps.shape[:3]) for name in ("drawn", "failed"))
        return [
            Cell(
                arm=arm,
                number=p,
                perturbation=self.perturbations[p],
                drawn=int(drawn[:, p].sum()),
                failed=int(failed[:, p].sum()),
                steps=steps[:, p].reshape(-1, steps.shape[-1]),
                apart=apart[:, p].reshape(-1, apart.shape[-1]),
            )
            for p in range(len(self.perturbations))
        ]

    @cached_property
    def clusters(self) -> np.ndarray | None:
        """Return which rows of a cell share a seed; None where every prompt has its own."""
        seeds, prompts = self.question.spec.seeds, len(self.question.prompts)
        return np.repeat(np.arange(seeds.count), prompts) if seeds.shared and prompts > 1 else None

    @cached_property
    def main(self) -> int:
        """Return the perturbation that the verdict is about: the strongest mean shift, else the first family's."""
        shown = [p for p in strongest(self.perturbations) if p.strength_field]
        shifts = [p for p in shown if isinstance(p, UniformMeanShift)]
        others = [p for p in shown if not isinstance(p, RandomDirection)]
        return self.perturbations.index((shifts or others or shown)[0])

    @cached_property
    def shown(self) -> list[int]:
        """Return the perturbations of the figures: the strongest of each family."""
        return [self.perturbations.index(p) for p in strongest(self.perturbations)][1:]

    def control_of(self, number: int) -> int | None:
        """Return the random direction as long as a mean shift; None for another perturbation."""
        norm = equal_norm(self.perturbations[number])
        same = [i for i, p in enumerate(self.perturbations) if isinstance(p, RandomDirection) and p.rms == norm]
        return same[0] if norm and same else None

    def mean(self, column: np.ndarray, confidence: float = 0.95) -> Estimate:
        """Return the mean over the rows of a cell; rows that share a seed are one cluster."""
        if self.clusters is None:
            return Mean(confidence=confidence).of(column)
        return paired_difference(np.zeros_like(column), column, Bootstrap(confidence=confidence), self.clusters)

    def curve(self, rows: np.ndarray) -> list[Estimate]:
        """Return the mean of each column."""
        return [self.mean(column) for column in rows.T]

    def value(self, name: str, arm: int, number: int) -> Estimate:
        """Return the mean of a statistic over a cell."""
        return self.mean(STATISTICS[name](self.cells[arm, number]))

    def to_first_arm(self, name: str, arm: int, number: int) -> Estimate:
        """Return a statistic less that of the first arm, on the same prompts and seeds.

        The intervals of all arms hold together, with 95 % (Bonferroni).
        """
        first, other = (STATISTICS[name](self.cells[a, number]) for a in (0, arm))
        return self.mean(other - first, confidence=1 - 0.05 / max(1, len(self.names) - 1))

    def to_random(self, arm: int, number: int) -> Estimate | None:
        """Return what is left of a mean shift less that of a random direction of its length; None for others."""
        control = self.control_of(number)
        if control is None:
            return None
        random, shift = (self.cells[arm, n].left[:, -1] for n in (control, number))
        return self.mean(shift - random)

    def reference(self, arm: int, number: int) -> np.ndarray | None:
        """Return what Gaussian data would leave of a shift in each state; None where there is no closed form.

        Of a mean shift: data whose channel means vary as those of the unshifted pictures of a prompt do. Of a random
        direction: data of unit variance.
        """
        perturbation, signal = self.perturbations[number], self.signal(arm)
        if signal is None:
            return None
        eta, covariance = self.question.spec.arms[arm].eta, self.covariance(arm)
        if isinstance(perturbation, RandomDirection):
            return contraction(signal, 1.0, eta)
        direction = shifted_channels(perturbation, len(covariance))
        if direction is None or not np.isfinite(covariance).all():
            return None
        return contraction_along(signal, covariance, direction, eta)

    def signal(self, arm: int) -> list[float] | None:
        """Return alpha-bar of an arm's states; None where it is not known, or nothing of a picture is in the first."""
        found = self._recorded(arm, "signal")[:, 0].reshape(-1, self.cells[arm, 0].apart.shape[1])
        known = found[np.isfinite(found).all(axis=1) & (found > 0).all(axis=1)]
        return known[0].tolist() if len(known) else None

    def covariance(self, arm: int) -> np.ndarray:
        """Return how the channel means of the unshifted ends vary, within prompts where they have several seeds."""
        ends = self._recorded(arm, "channel_z")[:, 0]  # [seeds prompts (states channels)]
        ends = ends.reshape(*ends.shape[:2], self.cells[arm, 0].apart.shape[1], -1)[:, :, -1].astype(np.float64)
        middle = np.nanmean(ends, axis=0 if len(ends) > 1 else (0, 1), keepdims=True)
        off = (ends - middle).reshape(-1, ends.shape[-1])
        off = off[np.isfinite(off).all(axis=1)]
        freedom = len(off) - (ends.shape[1] if len(ends) > 1 else 1)
        return off.T @ off / freedom if freedom > 0 else np.full((ends.shape[-1],) * 2, np.nan)

    def _recorded(self, arm: int, column: str) -> np.ndarray:
        """Return a recorded column, [seeds perturbations prompts d]."""
        grid = self.question.grids[arm]
        if (arm, column) not in self._read:
            found = vectors(Store(self.question.spec.store), grid, self.question.distances(grid.model), column)
            shape = (grid.seeds.count, len(self.perturbations), len(grid.prompts), -1)
            self._read[arm, column] = found.reshape(shape)
        return self._read[arm, column]

    @cached_property
    def _shown(self) -> dict[str, Shown]:
        """Return what the pilots show of their rows, by sample."""
        return {i: row for pilot in self.question.pilots.values() for i, row in pilot.shown().items()}

    def _pilot_of(self, arm: int) -> dict[int, Shown]:
        """Return what the pilot shows of an arm's first prompt and seed, by perturbation."""
        grid = self.question.grids[arm]
        pilot = self.question.pilots.get(grid.model)
        if pilot is None:
            return {}
        ids = grid.rows(pilot.first)["sample_id"]
        return {p: self._shown[i] for p, i in zip(pilot.perturbations, ids, strict=True) if i in self._shown}

    def paths(self, arm: int) -> np.ndarray | None:
        """Return every row's way on the plane, [seeds perturbations prompts states 2]; None where there is none."""
        grid = self.question.grids[arm]
        measure = self.question.projections(grid.model)
        if measure is None:
            return None
        found = vectors(Store(self.question.spec.store), grid, measure, "projection")
        if found.shape[1] < 2:
            return None
        return found.reshape(grid.seeds.count, len(self.perturbations), len(grid.prompts), -1, 2)

    def explained(self) -> Estimate:
        """Return the share of the spread of the pilot's states that lies in their plane."""
        return Mean().of(np.array([row.explained for row in self._shown.values()], dtype=np.float64))

    def films(self, arm: int) -> dict[int, bytes]:
        """Return the strips of the first prompt and seed by perturbation, as PNG files."""
        return {p: row.film for p, row in self._pilot_of(arm).items() if row.film}


def shifted_channels(perturbation: AnyPerturbation, channels: int) -> np.ndarray | None:
    """Return the direction of a shift of channel means; None for another perturbation."""
    if isinstance(perturbation, UniformMeanShift):
        return np.ones(channels)
    return np.eye(channels)[perturbation.channel] if isinstance(perturbation, ChannelShift) else None
