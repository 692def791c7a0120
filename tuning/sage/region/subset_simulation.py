"""Subset simulation: how likely a rare failure is under N(0, I), from few pictures."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from stages.base import Spec
from stages.metrics import Estimate, Proportion
from stages.randomness import rng
from tuning.sage.region.sphere import SeedLatents

Margins: TypeAlias = Callable[[SeedLatents], Float64[np.ndarray, " n"]]
"""How clearly each of some latents fails: above 0 exactly where it does; NaN, no failure, where none can tell."""

FIRST_MOVE = 0.8


class Run(NamedTuple):
    """One run of the simulation."""

    probability: float
    """0 where no latent of the last level fails: less than the run can see."""
    thresholds: tuple[float, ...]
    """The margin that each level but the last keeps latents above."""
    moves: tuple[float, ...]
    """The b of the last move of each level but the first."""
    evaluations: int


class Rare(NamedTuple):
    """A probability, and the runs that it comes from."""

    estimate: Estimate
    runs: tuple[Run, ...]
    floor: float
    """The smallest probability above 0 that a run can give."""


class SubsetSimulation(Spec):
    """Levels of rising margin, each reached by one latent in `length` of the level before.

    Au and Beck 2001 (doi:10.1016/S0266-8920(01)00019-4), with moves of the preconditioned Crank-Nicolson method in
    place of theirs, which leave N(0, I) as it is in any dimension: Cotter et al. 2013 (arXiv:1202.0709). Their length
    follows the acceptance rate, as in Papaioannou et al. 2015 (doi:10.1016/j.probengmech.2015.06.006), section 5.

    Few latents say little: of a half-space of probability 3e-5, in runs of 50 a level, the logarithm of a run has a
    standard deviation of 1.5, and that of the default 3 runs an interval over four orders. It shrinks as one over the
    square root of the chains. The mean of runs is right; single ones are mostly too small.
    """

    chains: int = Field(10, ge=2, description="Markov chains of a level, each from a latent that reaches it.")
    length: int = Field(5, ge=2, description="Latents of a chain, its first included: a level keeps one in so many.")
    levels: int = Field(7, ge=1, le=100, description="Most levels, the plain draws included.")
    runs: int = Field(3, ge=2, le=1000, description="Independent runs, whose spread is the interval.")
    acceptance: float = Field(0.44, gt=0, lt=1, description="Share of moves that should be accepted.")

    @property
    def floor(self) -> float:
        """The smallest probability above 0 that a run can give."""
        return float(self.length) ** -(self.levels - 1) / (self.chains * self.length)

    @property
    def pictures(self) -> int:
        """The most pictures that this may take."""
        return self.runs * self.chains * (self.length + (self.levels - 1) * (self.length - 1))

    def __call__(self, margins: Margins, shape: tuple[int, ...], seed: int) -> Rare:
        """Return the probability that a draw from N(0, I) of this shape fails."""
        runs = tuple(self.run(margins, shape, rng(seed, "subset simulation", number)) for number in range(self.runs))
        return Rare(self.estimate(runs), runs, self.floor)

    def estimate(self, runs: tuple[Run, ...]) -> Estimate:
        """Return what independent runs say together.

        Missing where a run has met no failure: the mean of the others would be too large.
        """
        found = np.array([run.probability for run in runs])
        if not any(run.thresholds for run in runs):  # plain draws, of which failures are no rarity
            failing = np.arange(self.chains * self.length * len(runs)) < round(found.sum() * self.chains * self.length)
            return Proportion().of(failing)
        if blind := int((found == 0).sum()):
            method = (
                f"{blind} of {len(runs)} runs of subset simulation met no failure; each sees down to {self.floor:.1e}"
            )
            return Estimate.missing(blind, method, n=len(runs) - blind)
        return mean_of_log_normal(found)

    def run(self, margins: Margins, shape: tuple[int, ...], random: np.random.Generator) -> Run:
        """Return one run."""
        level = _Level.plain(margins, (self.chains * self.length, *shape), random)
        thresholds: list[float] = []
        moves: list[float] = []
        probability, evaluations = 1.0, len(level.values)
        walker = _Walker(margins, self.length, self.acceptance, random)
        while not level.ends(self.chains) and len(thresholds) < self.levels - 1:
            threshold = level.threshold(self.chains)
            kept = np.flatnonzero(level.values > threshold)
            if not len(kept):  # all that are left are equal, so that nothing leads on
                return Run(0.0, (*thresholds, threshold), tuple(moves), evaluations)
            probability *= len(kept) / len(level.values)
            level = walker(level, np.resize(kept, self.chains), threshold)
            thresholds.append(threshold)
            moves.append(walker.move)
            evaluations += self.chains * (self.length - 1)
        return Run(probability * float((level.values > 0).mean()), tuple(thresholds), tuple(moves), evaluations)


@dataclass(frozen=True, eq=False)
class _Level:
    """Draws from N(0, I) above a margin."""

    latents: SeedLatents
    values: Float64[np.ndarray, " n"]

    @classmethod
    def plain(cls, margins: Margins, shape: tuple[int, ...], random: np.random.Generator) -> "_Level":
        latents = random.standard_normal(shape, dtype=np.float32)
        return cls(latents, _known(margins(latents)))

    def ends(self, kept: int) -> bool:
        """Whether failures are as many as the next level would keep."""
        return int((self.values > 0).sum()) >= kept

    def threshold(self, kept: int) -> float:
        """Return the largest margin that no more than `kept` draws exceed."""
        return float(np.sort(self.values)[-kept - 1])


@dataclass
class _Walker:
    """Markov chains that leave N(0, I) above a threshold as it is."""

    margins: Margins
    length: int
    acceptance: float
    random: np.random.Generator
    move: float = FIRST_MOVE
    """b of x' = sqrt(1 - b^2) x + b xi."""
    moved: int = field(default=0)

    def __call__(self, level: _Level, starts: np.ndarray, threshold: float) -> _Level:
        """Return the next level: the chains, their starts included."""
        states = [_Level(level.latents[starts], level.values[starts])]
        for _ in range(self.length - 1):
            states.append(self._step(states[-1], threshold))
        return _Level(*(np.concatenate(side) for side in zip(*((s.latents, s.values) for s in states), strict=True)))

    def _step(self, now: _Level, threshold: float) -> _Level:
        noise = self.random.standard_normal(now.latents.shape, dtype=np.float32)
        proposed = perturbed(now.latents, self.move, noise)
        values = _known(self.margins(proposed))
        accepted = values > threshold
        self._adapt(float(accepted.mean()))
        along = accepted.reshape(-1, *[1] * (proposed.ndim - 1))
        return _Level(np.where(along, proposed, now.latents), np.where(accepted, values, now.values))

    def _adapt(self, rate: float) -> None:
        self.moved += 1
        self.move = min(1.0, self.move * math.exp((rate - self.acceptance) / math.sqrt(self.moved)))


def perturbed(latents: SeedLatents, b: float, noise: SeedLatents) -> SeedLatents:
    """Return sqrt(1 - b^2) x + b xi for every row: distributed as x where x and xi are N(0, I)."""
    return np.float32(math.sqrt(1 - b**2)) * latents + np.float32(b) * noise


def mean_of_log_normal(values: Float64[np.ndarray, " n"], confidence: float = 0.95) -> Estimate:
    """Return the mean of positive numbers that are about log-normal, with Cox's interval as Olsson 2005 modifies it.

    exp(m + s^2 / 2 +- t sqrt(s^2 / n + s^4 / (2 (n - 1)))), doi:10.1080/10691898.2005.11910638, and at most 1. No
    interval where all are equal.
    """
    from scipy import stats

    logs, n = np.log(values), len(values)
    variance = float(logs.var(ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * math.sqrt(variance / n + variance**2 / (2 * (n - 1)))
    centre = float(logs.mean()) + variance / 2
    low, high = (math.exp(centre - half), math.exp(min(0.0, centre + half))) if variance else (math.nan, math.nan)
    method = f"modified Cox {confidence:.4g} over independent runs of subset simulation"
    return Estimate(value=float(values.mean()), low=low, high=high, n=n, method=method)


def _known(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return np.where(np.isnan(values), -np.inf, values)
