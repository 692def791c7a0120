"""Radius of a failure: how far along great circles its pictures still fail."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64
from pydantic import Field

from stages.arrays import Latent, Outcomes
from stages.base import Spec
from stages.metrics import Estimate
from tuning.sage.region.sphere import Direction, SeedLatents, angle, chord, tangent, walk

Fails: TypeAlias = Callable[[SeedLatents], Bool[np.ndarray, " n"]]
"""Whether each of some latents fails, at a picture each."""


class RadiusSpec(Spec):
    """How far is walked from a failure, and how closely the boundary is met."""

    failures: int = Field(3, ge=0, description="Failures whose radius is measured.")
    directions: int = Field(5, ge=1, description="Random directions from each.")
    farthest: float = Field(
        math.pi / 2, gt=0, le=math.pi, description="Largest angle, radians; at pi/2 nothing of the failure is left."
    )
    doublings: int = Field(5, ge=0, le=30, description="Steps outwards after the first, each to twice the angle.")
    bisections: int = Field(4, ge=0, le=30, description="Halvings of the last step.")

    @property
    def pictures(self) -> int:
        """The most pictures that this may take."""
        return self.failures * (self.directions + 1) * (self.doublings + 1 + self.bisections)


@dataclass(frozen=True, eq=False)
class Radius:
    """How far from one failure pictures still fail, radians along great circles, on which mean and norm stay."""

    angles: Float64[np.ndarray, " m"]
    """One a random direction; infinite where the picture at the largest angle still fails."""
    distances: Float64[np.ndarray, " m"]
    """The same as Euclidean distances between latents of unit variance."""
    towards_start: float
    """Towards the seed of the search, which does not fail; NaN where there is none, or it fails."""

    @property
    def censored(self) -> int:
        """Directions along which no end was met."""
        return int(np.isinf(self.angles).sum())

    @property
    def angle(self) -> Estimate:
        """The median over the directions, radians."""
        return median(self.angles)

    @property
    def distance(self) -> Estimate:
        """The median over the directions, Euclidean."""
        return median(self.distances)


def radius(fails: Fails, latent: Latent, start: Latent | None, spec: RadiusSpec, random: np.random.Generator) -> Radius:
    """Return how far `latent`, which fails, can go in random directions, and back towards the seed it came from."""
    ways = [tangent(latent, random.standard_normal(latent.shape)) for _ in range(spec.directions)]
    farthest = [spec.farthest] * spec.directions
    if start is not None:
        ways.append(tangent(latent, start))
        farthest.append(angle(latent, start))
    found = exits(fails, latent, ways, np.array(farthest), spec)
    angles, back = found[: spec.directions], float(found[-1])
    return Radius(angles, chord(latent, angles), back if start is not None and math.isfinite(back) else math.nan)


def exits(
    fails: Fails, latent: Latent, directions: list[Direction], farthest: Float64[np.ndarray, " m"], spec: RadiusSpec
) -> Float64[np.ndarray, " m"]:
    """Return the angle at which each walk from a failure first stops failing; infinite where it does not.

    The first of the steps outwards that does not fail is halved with the one before it, so that a gap between two steps
    that both fail is not seen. The answer is the middle of the last halves.
    """
    inside, outside = np.zeros(len(directions)), np.full(len(directions), np.inf)

    def test(rows: np.ndarray, angles: np.ndarray) -> None:
        if len(rows):
            failing = fails(np.stack([walk(latent, directions[row], by) for row, by in zip(rows, angles, strict=True)]))
            inside[rows[failing]], outside[rows[~failing]] = angles[failing], angles[~failing]

    for halvings in range(spec.doublings, -1, -1):
        rows = np.flatnonzero(np.isinf(outside))
        test(rows, farthest[rows] / 2**halvings)
    for _ in range(spec.bisections):
        rows = np.flatnonzero(np.isfinite(outside))
        test(rows, (inside[rows] + outside[rows]) / 2)
    return (inside + outside) / 2


def median(values: Outcomes, confidence: float = 0.95) -> Estimate:
    """Return the median between two order statistics that hold it: Conover 1999, section 3.2.

    An infinite value is one beyond all others: it counts by its rank, and an end that lies there is NaN, as is one that
    so few values do not give. NaN is a missing value.
    """
    from scipy import stats

    present = np.sort(values[~np.isnan(values)].astype(np.float64))
    n, censored = len(present), int(np.isinf(present).sum())
    missing, method = len(values) - n, f"order statistics {confidence:.4g}, {censored} censored"
    if n == 0:
        return Estimate.missing(missing, method)
    rank = int(stats.binom.ppf((1 - confidence) / 2, n, 0.5))  # the largest whose tail is no more than that
    ends = (present[rank - 1], present[n - rank]) if rank else (math.nan, math.nan)
    value, low, high = (float(x) if math.isfinite(x) else math.nan for x in (np.median(present), *ends))
    return Estimate(value=value, low=low, high=high, n=n, n_missing=missing, method=method)
