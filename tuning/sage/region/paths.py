"""Paths between failures: whether one can go from one to another over latents that all fail."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64
from pydantic import Field

from stages.arrays import Latent
from stages.base import Spec
from stages.metrics import Estimate
from tuning.sage.latent import move
from tuning.sage.region.oracle import Oracle, Query
from tuning.sage.region.sphere import SeedLatents, angle, great_circle, respaced, slerp


class PathSpec(Spec):
    """Which pairs are linked, how closely a path is tested, and how far it is bent."""

    pairs: int = Field(4, ge=0, description="Pairs of failures of one query.")
    controls: int = Field(3, ge=0, description="Pairs of a failure and a plain seed that does not fail.")
    crossed: int = Field(1, ge=0, description="Pairs of failures of two queries.")
    points: int = Field(
        6,
        ge=1,
        description="Latents between the ends of a path, each a picture; where all fail, those between them too.",
    )
    rounds: int = Field(2, ge=0, description="Times that a path which does not fail throughout is bent.")
    steps: int = Field(5, ge=1, description="Most steps up the gradient of a latent in a round, each a picture.")

    @property
    def pictures(self) -> int:
        """The most pictures that this may take."""
        path = self.points * (1 + self.rounds * (self.steps + 1)) + self.points + 1
        return (self.pairs + self.controls + self.crossed) * path + self.controls + self.crossed


@dataclass(frozen=True, eq=False)
class Path:
    """A path whose ends fail; of a control, whose first end does.

    A stretch shorter than `gap` that does not fail is not seen.
    """

    straight: Bool[np.ndarray, " k"]
    """Which latents between the ends fail on the great circle, at even spaces."""
    fails: Bool[np.ndarray, " k"]
    """Which do after bending; the same where it was not bent."""
    middles: Bool[np.ndarray, " j"]
    """Whether the path fails halfway between neighbours too; tested where all of `fails` do, else empty."""
    latents: SeedLatents
    """The path after bending, its ends included."""
    valid: float
    """Share of the latents between the ends of that path that pass the tests of N(0, I), 0 to 1."""

    @property
    def outcome(self) -> Literal["straight", "bent", "apart"]:
        """Whether all latents that were tested fail, and when they first did; apart: one does not."""
        if not (self.fails.all() and self.middles.all()):
            return "apart"
        return "straight" if self.straight.all() else "bent"

    @property
    def angle(self) -> float:
        """Radians between the ends."""
        return angle(self.latents[0], self.latents[-1])

    @property
    def gap(self) -> float:
        """The largest angle between neighbours that were tested, radians."""
        return max(angle(a, b) for a, b in pairwise(self.latents)) / (2 if len(self.middles) else 1)


class Pair(NamedTuple):
    """Two latents, and the path between them."""

    first: int
    """Position of a failure."""
    second: int | None
    """Position of another failure; None for a plain seed."""
    path: Path | None
    """None where the second end is not what the pair needs: a plain seed that fails, or another query's failure that
    does not fail this one."""

    @property
    def connected(self) -> float:
        """1 or 0: whether all of the path fails, straight or bent; NaN where there is none."""
        return np.nan if self.path is None else float(self.path.outcome != "apart")

    @property
    def straight(self) -> float:
        """1 or 0: whether all of the great circle fails; NaN where there is no path."""
        return np.nan if self.path is None else float(self.path.outcome == "straight")

    @property
    def failing(self) -> float:
        """Share of the great circle between the ends that fails, 0 to 1; NaN where there is no path."""
        return np.nan if self.path is None else float(self.path.straight.mean())

    @property
    def failing_bent(self) -> float:
        """The same after bending."""
        return np.nan if self.path is None else float(self.path.fails.mean())


def path(oracle: Oracle, query: Query, first: Latent, last: Latent, spec: PathSpec, *, control: bool = False) -> Path:
    """Return the path from one latent to another: the great circle, bent where not all of it fails.

    A round of bending moves the latents that do not fail up the search's objective, as the search does, each around its
    place on the great circle; spaces the path evenly; and tests it again. It is the string method (E, Ren and
    Vanden-Eijnden 2007, doi:10.1063/1.2720838) with the search's sign steps for its force. Next to the last end of a
    control, which does not fail, nothing more is tested.
    """
    circle = string = great_circle(first, last, spec.points)
    straight = fails = oracle(circle[1:-1], query)
    for _ in range(spec.rounds):
        if fails.all():
            break
        string = respaced(_pushed(oracle, query, string, circle, fails, spec.steps))
        fails = oracle(string[1:-1], query)
    halves = np.stack([slerp(a, b, 0.5) for a, b in pairwise(string)])[: -1 if control else None]
    middles = oracle(halves if fails.all() else halves[:0], query)
    valid = [oracle.spec.validity.accepts(latent) for latent in string[1:-1]]
    return Path(straight, fails, middles, string, float(np.mean(valid)))


def _pushed(
    oracle: Oracle, query: Query, string: SeedLatents, circle: SeedLatents, fails: Bool[np.ndarray, " k"], steps: int
) -> SeedLatents:
    """Return the path after some steps up the objective of each latent that does not fail, until it does."""
    pushed, active = string.copy(), 1 + np.flatnonzero(~fails)
    for _ in range(steps):
        slopes, margins = oracle.slopes(pushed[active], query)
        going = margins <= 0  # a picture that is not finite has no way to go
        active, slopes = active[going], slopes[going]
        for at, slope in zip(active, slopes, strict=True):
            pushed[at] = move(pushed[at], circle[at], slope, oracle.spec)
    return pushed


def same(groups: Sequence[Hashable], count: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Return at most `count` pairs of positions of one group: the groups in turn, in each a chain through all first.

    So few pairs reach many positions, and every pair comes where there is room.
    """
    queues = []
    for group in dict.fromkeys(groups):
        order = random.permutation([at for at, one in enumerate(groups) if one == group]).tolist()
        n = len(order)
        queues.append([(order[at], order[at + step]) for step in range(1, n) for at in range(n - step)])
    return [pair for turn in zip_longest(*queues) for pair in turn if pair is not None][:count]


def crossed(groups: Sequence[Hashable], count: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Return at most `count` ordered pairs of positions of two groups, at random."""
    n = len(groups)
    every = [(a, b) for a in range(n) for b in range(n) if groups[a] != groups[b]]
    return [every[at] for at in random.permutation(len(every))[:count]]


def share(outcomes: Sequence[float], pairs: Sequence[Pair], confidence: float = 0.95) -> Estimate:
    """Return the share of pairs of which something is true, with Wilson's interval at the number of disjoint ones.

    Pairs with a common end are not independent; their share varies at most as much as that of half as many pairs as
    there are ends (Hoeffding 1948, doi:10.1214/aoms/1177730196, theorem 5.2). Shares from 0 to 1 in place of outcomes
    vary less: their interval is too wide. NaN is a missing pair.
    """
    from statsmodels.stats.proportion import proportion_confint

    present = [(value, pair) for value, pair in zip(outcomes, pairs, strict=True) if not np.isnan(value)]
    n, apart = len(present), disjoint([pair for _, pair in present])
    method, missing = f"Wilson {confidence:.4g} at {apart} disjoint pairs of {n}", len(pairs) - n
    if n == 0:
        return Estimate.missing(missing, method)
    value = float(np.mean([value for value, _ in present]))
    low, high = proportion_confint(value * apart, apart, alpha=1 - confidence, method="wilson")
    return Estimate(value=value, low=float(low), high=float(high), n=n, n_missing=missing, method=method)


def disjoint(pairs: Sequence[Pair]) -> int:
    """Return how many of the pairs have no failure in common, taken in turn."""
    used: set[int] = set()
    found = 0
    for pair in pairs:
        ends = {end for end in (pair.first, pair.second) if end is not None}
        if not used & ends:
            used, found = used | ends, found + 1
    return found


def components(n: int, pairs: Sequence[Pair]) -> Int64[np.ndarray, " n"]:
    """Return a number for each of n failures, the same for those that connected pairs link; -1 for one in no pair.

    Pairs that were not tested may link more, so that there are at most so many components.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    tested = [(pair.first, pair.second) for pair in pairs if pair.path is not None]
    linked = [(pair.first, pair.second) for pair in pairs if pair.connected == 1]
    rows, columns = np.array(linked, dtype=np.int64).reshape(-1, 2).T
    _, found = connected_components(coo_array((np.ones(len(linked)), (rows, columns)), shape=(n, n)), directed=False)
    return np.where(np.isin(np.arange(n), np.array(tested, dtype=np.int64)), found, -1)
