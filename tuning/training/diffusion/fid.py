"""FID of what a model drew: of every cell and their mean, in groups that hold the same noises for every model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from safetensors.numpy import load_file

from stages.metrics import Estimate
from stages.metrics.frechet import Reference, distance
from stages.metrics.quality.distance import fid, fixed, undefined
from stages.metrics.quality.jackknife import jackknife
from stages.metrics.quality.moments import Moments, merged
from stages.randomness import rng
from tuning.training.diffusion.judging import Judged


@dataclass(frozen=True, eq=False)
class Drawn:
    """The statistics of a model's pictures by cell, in random groups of noises, and of real ones."""

    cells: dict[str, list[Moments]]
    missing: dict[str, int]
    """Pictures that are not finite."""
    real: Reference | None

    def fid(self, cell: str) -> Estimate:
        """Return the distance of one cell."""
        return fid(self.cells[cell], self.real, self.missing[cell])

    @property
    def value(self) -> float:
        """Return the mean distance over cells; NaN where one has too few pictures, or there are too few real ones."""
        if self.real is None or any(undefined(parts, self.real) for parts in self.cells.values()):
            return math.nan
        return _mean([merged(parts) for parts in self.cells.values()], self.real)

    def mean(self) -> Estimate:
        """Return the mean distance over cells; each group of noises is left out of all of them at once."""
        return jackknife(self.value, self._without(), self._rows())

    def less(self, other: "Drawn") -> Estimate:
        """Return this mean less another model's; what the common noises give to both cancels."""
        without = [mine - theirs for mine, theirs in zip(self._without(), other._without(), strict=True)]
        (n, missing), (m, lacking) = self._rows(), other._rows()
        return jackknife(self.value - other.value, without, (min(n, m), max(missing, lacking)))

    def _without(self) -> list[float]:
        """Return the mean distance without each group; NaN where there is none with all of them."""
        groups = len(next(iter(self.cells.values())))
        if self.real is None or math.isnan(self.value):
            return [math.nan] * groups
        whole = [(merged(parts), parts) for parts in self.cells.values()]
        return [_mean([every - parts[group] for every, parts in whole], self.real) for group in range(groups)]

    def _rows(self) -> tuple[int, int]:
        return min(merged(parts).n for parts in self.cells.values()), max(self.missing.values())


def read(task: Judged, step: int | None = None) -> Drawn:
    """Return what the model of a task drew after so many minibatches, at the end unless told otherwise."""
    found = load_file(task.measured if step is None else task.at(step))
    whole = {name: np.isfinite(rows).all(axis=1) for name, rows in found.items()}
    cells = {name: grouped(rows, task.judging.groups) for name, rows in found.items()}
    missing = {name: int((~rows).sum()) for name, rows in whole.items()}
    return Drawn(cells, missing, fixed(real(task)))


def grouped(rows: Float[np.ndarray, "n d"], groups: int) -> list[Moments]:
    """Return the statistics of random groups of rows, which depend on n alone; rows of NaN are left out."""
    group = rng(0, "frechet").permutation(len(rows)) % groups
    present = np.isfinite(rows).all(axis=1)
    return [Moments.of(rows[present & (group == number)]) for number in range(groups)]


def real(task: Judged) -> Moments:
    """Return the statistics of the real pictures of a task."""
    found = load_file(task.real)
    return Moments(int(found["n"][0]), found["total"], found["outer"])


def _mean(cells: Sequence[Moments], reference: Reference) -> float:
    return float(np.mean([distance(cell, reference) for cell in cells]))
