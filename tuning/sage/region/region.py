"""Region: whether found failures are isolated points or parts of a region, how large that is, and how likely."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int64
from pydantic import Field

from stages.arrays import Latent
from stages.base import Spec
from stages.metrics import Estimate, Proportion
from stages.randomness import rng
from tuning.sage.failures import Saved
from tuning.sage.latent import Found, LatentSearchSpec, seed_latent
from tuning.sage.region.oracle import Oracle, Query
from tuning.sage.region.paths import Pair, PathSpec, components, crossed, path, same, share
from tuning.sage.region.persistence import Persistence, PersistenceSpec, outlasts
from tuning.sage.region.radius import Fails, Radius, RadiusSpec, median, radius
from tuning.sage.region.subset_simulation import Rare, SubsetSimulation
from tuning.sage.surrogate import Surrogate

if TYPE_CHECKING:
    from stages.models.generator import Stepwise

T = TypeVar("T")


class LatentFailure(NamedTuple):
    """A latent that has been found to fail."""

    latent: Latent
    query: Query
    start: Latent | None = None
    """The seed that the search started from; None where the latent is a plain seed itself."""


class RegionSpec(Spec):
    """What is measured around found failures; every part has its own number of pictures.

    SAGE asks it as PoseExaminer does (Liu et al. 2023, arXiv:2303.07337), but says no more; the measures are ours.
    """

    search: LatentSearchSpec = Field(
        LatentSearchSpec(),
        description="Sampler, batch and tests; and how a path is bent: gradient, loss, step and box.",
    )
    failures: int = Field(12, ge=1, description="Failures that are looked at, the first ones found.")
    radius: RadiusSpec = RadiusSpec()
    paths: PathSpec = PathSpec()
    persistence: PersistenceSpec = PersistenceSpec()
    queries: int = Field(1, ge=0, description="Queries whose probability of failure is measured: those that fail most.")
    plain: int = Field(128, ge=1, description="Plain draws from N(0, I) of each.")
    subset_simulation: SubsetSimulation = SubsetSimulation()
    seed: int = Field(0, ge=0, description="Of all that is drawn here.")

    @property
    def pictures(self) -> int:
        """The most pictures that this may take."""
        chances = self.queries * (self.plain + self.subset_simulation.pictures)
        return self.failures + self.radius.pictures + self.paths.pictures + self.persistence.pictures + chances


class Chance(NamedTuple):
    """How likely a latent from N(0, I) is to fail a query."""

    query: Query
    plain: Estimate
    """From plain draws, with Wilson's interval."""
    rare: Rare
    """From subset simulation, which sees rarer failures."""


@dataclass(frozen=True, eq=False)
class RegionResult:
    """What is known of the region around found failures."""

    failures: tuple[LatentFailure, ...]
    """Those whose pictures fail, drawn again in this batch; positions below are theirs."""
    unconfirmed: int
    """Found failures that were none when drawn again, and so were left out."""
    radii: tuple[Radius, ...]
    """Of the first failures, in their order."""
    pairs: tuple[Pair, ...]
    """Failures of one query."""
    controls: tuple[Pair, ...]
    """A failure and a plain draw that does not fail its query, linked in the same way."""
    crossed: tuple[Pair, ...]
    """Failures of two queries, judged on that of the first."""
    chances: tuple[Chance, ...]
    persistence: Persistence
    """Of the first failures, in their order."""
    evaluations: dict[str, int]
    """Pictures that each part has drawn."""

    @property
    def angle(self) -> Estimate:
        """The radius in radians: the median over failures of the median over directions."""
        return median(np.array([np.median(one.angles) for one in self.radii]))

    @property
    def distance(self) -> Estimate:
        """The same as a Euclidean distance between latents of unit variance."""
        return median(np.array([np.median(one.distances) for one in self.radii]))

    @property
    def towards_start(self) -> Estimate:
        """The radius in radians towards the seed of the search, the median over failures."""
        return median(np.array([one.towards_start for one in self.radii]))

    @property
    def components(self) -> Int64[np.ndarray, " n"]:
        """The component of each failure; -1 for one that no path was tested to."""
        return components(len(self.failures), self.pairs)

    @property
    def transferred(self) -> Estimate:
        """Share of the crossed pairs whose second latent fails the first's query too."""
        return share([float(pair.path is not None) for pair in self.crossed], self.crossed)


def connected(pairs: Sequence[Pair]) -> Estimate:
    """Return the share of pairs that a path of failures connects, straight or bent."""
    return share([pair.connected for pair in pairs], pairs)


def straight(pairs: Sequence[Pair]) -> Estimate:
    """Return the share of pairs between which all of the great circle fails."""
    return share([pair.straight for pair in pairs], pairs)


def failing(pairs: Sequence[Pair]) -> Estimate:
    """Return how much of the great circle between two latents fails, the mean over pairs."""
    return share([pair.failing for pair in pairs], pairs)


def failing_bent(pairs: Sequence[Pair]) -> Estimate:
    """Return the same after bending, which mends part of any way: it means something beside the controls only."""
    return share([pair.failing_bent for pair in pairs], pairs)


class Region:
    """The measures, over one generator and one ensemble; call it on found failures.

    Raises ValueError for a query that cannot be drawn or judged, and for a sampler that a gradient cannot follow.
    """

    def __init__(self, spec: RegionSpec, generator: "Stepwise", surrogate: Surrogate) -> None:
        self.spec, self.oracle = spec, Oracle(spec.search, generator, surrogate)

    def __call__(self, failures: Sequence[LatentFailure]) -> RegionResult:
        """Return what is known of the region around these failures, the first `spec.failures` of them."""
        spent: dict[str, int] = {}

        def part(name: str, work: Callable[[], T]) -> T:
            before = self.oracle.evaluations
            found = work()
            spent[name] = self.oracle.evaluations - before
            return found

        first = failures[: self.spec.failures]
        kept = part("confirmation", lambda: self._confirmed(first))
        return RegionResult(
            failures=kept,
            unconfirmed=len(first) - len(kept),
            radii=part("radius", lambda: self._radii(kept)),
            pairs=part("pairs", lambda: self._pairs(kept)),
            controls=part("controls", lambda: self._controls(kept)),
            crossed=part("crossed", lambda: self._crossed(kept)),
            chances=part("chances", lambda: self._chances(kept)),
            persistence=part("persistence", lambda: self._persistence(kept)),
            evaluations=spent,
        )

    def _fails(self, query: Query) -> Fails:
        return lambda latents: self.oracle(latents, query)

    def _random(self, *purpose: str | int) -> np.random.Generator:
        return rng(self.spec.seed, "region", *purpose)

    def _draws(self, count: int, purpose: str) -> np.ndarray:
        return self._random(purpose).standard_normal((count, *self.oracle.shape), dtype=np.float32)

    def _confirmed(self, failures: Sequence[LatentFailure]) -> tuple[LatentFailure, ...]:
        good = np.zeros(len(failures), dtype=bool)
        for query in dict.fromkeys(one.query for one in failures):
            rows = [at for at, one in enumerate(failures) if one.query == query]
            good[rows] = self.oracle(np.stack([failures[at].latent for at in rows]), query)
        return tuple(one for one, still in zip(failures, good, strict=True) if still)

    def _radii(self, failures: Sequence[LatentFailure]) -> tuple[Radius, ...]:
        spec = self.spec.radius
        return tuple(
            radius(self._fails(one.query), one.latent, one.start, spec, self._random("radius", at))
            for at, one in enumerate(failures[: spec.failures])
        )

    def _pairs(self, failures: Sequence[LatentFailure]) -> tuple[Pair, ...]:
        spec = self.spec.paths
        ends = same([one.query for one in failures], spec.pairs, self._random("pairs"))
        return tuple(
            Pair(a, b, path(self.oracle, failures[a].query, failures[a].latent, failures[b].latent, spec))
            for a, b in ends
        )

    def _controls(self, failures: Sequence[LatentFailure]) -> tuple[Pair, ...]:
        """Link failures, in random order, to plain draws."""
        order, spec = self._random("controls").permutation(len(failures)).tolist(), self.spec.paths
        seeds = self._draws(spec.controls if order else 0, "control seeds")
        found = []
        for number, seed in enumerate(seeds):
            one = failures[at := order[number % len(order)]]
            natural = self.oracle(seed[None], one.query)[0]
            linked = None if natural else path(self.oracle, one.query, one.latent, seed, spec, control=True)
            found.append(Pair(at, None, linked))
        return tuple(found)

    def _crossed(self, failures: Sequence[LatentFailure]) -> tuple[Pair, ...]:
        spec, found = self.spec.paths, []
        for a, b in crossed([one.query for one in failures], spec.crossed, self._random("crossed")):
            query, latent = failures[a].query, failures[b].latent
            too = self.oracle(latent[None], query)[0]
            found.append(Pair(a, b, path(self.oracle, query, failures[a].latent, latent, spec) if too else None))
        return tuple(found)

    def _chances(self, failures: Sequence[LatentFailure]) -> tuple[Chance, ...]:
        most = Counter(one.query for one in failures).most_common(self.spec.queries)
        return tuple(self._chance(query) for query, _ in most)

    def _chance(self, query: Query) -> Chance:
        plain = self.oracle(self._draws(self.spec.plain, "plain draws"), query)
        simulation = self.spec.subset_simulation
        rare = simulation(lambda latents: self.oracle.margins(latents, query), self.oracle.shape, self.spec.seed)
        return Chance(query, Proportion().of(plain), rare)

    def _persistence(self, failures: Sequence[LatentFailure]) -> Persistence:
        spec = self.spec.persistence
        fails = [
            outlasts(self._fails(one.query), one.latent, spec, self._random("persistence", at))
            for at, one in enumerate(failures[: spec.failures])
        ]
        shape = (len(fails), len(spec.strengths), spec.draws)
        return Persistence(spec.strengths, np.array(fails, dtype=bool).reshape(shape))


def of_searches(found: Sequence[Found]) -> list[LatentFailure]:
    """Return the failures that searches have accepted."""
    return [
        LatentFailure(
            one.accepted.latent,
            Query(prompt=one.attempt.prompt, label=one.attempt.label, target=one.attempt.target),
            None if one.natural else one.start,
        )
        for one in found
        if one.accepted is not None
    ]


def of_saved(saved: Sequence[Saved], generator: "Stepwise") -> list[LatentFailure]:
    """Return the saved failures of plain prompts: those of searches over latents, with the seeds they started from."""
    return [
        LatentFailure(
            one.latent,
            Query(prompt=one.failure.prompt, label=one.failure.label, target=one.failure.target),
            seed_latent(generator, one.failure.sampler, one.failure.seed) if one.failure.search == "latent" else None,
        )
        for one in saved
        if one.vectors is None
    ]
