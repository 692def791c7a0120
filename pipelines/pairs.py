"""What models drew from the same noise -> how often they agree, beside how often they agree by chance."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import Literal, TypeAlias

import numpy as np

from pipelines.measure import Measure
from pipelines.reproducibility import Reproducibility
from pipelines.rows import vectors
from pipelines.store import Store
from stages.metrics import Estimate, proportion_difference
from stages.metrics.clustered import share
from stages.metrics.detection import Pairs as Scored
from stages.metrics.detection import auc
from stages.metrics.difference import difference
from stages.models.descriptors.spec import score_name
from stages.neighbours.found import pair_scores

Kind: TypeAlias = Literal["RP", "RP_cond", "RP_between", "MAE"]
PAIRS_AT_ONCE = 4096
WORDS = {
    "RP": "RP, same noise",
    "RP_cond": "RP_cond, same noise and class",
    "RP_between": "RP_between, no class against the nearest of all classes, same noise",
    "MAE": "P(MAE < t), same noise",
}


@dataclass(frozen=True)
class Criterion:
    """What counts as alike."""

    score: str
    """Its name: only scores of one name can be compared."""
    threshold: float
    larger_is_closer: bool = True

    def met(self, scores: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Return whether each score is beyond the threshold, 0 or 1, NaN where there is no score."""
        at = self.threshold if threshold is None else threshold
        beyond = scores > at if self.larger_is_closer else scores < at
        found: np.ndarray = np.where(np.isnan(scores), np.nan, beyond)
        return found

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Return the thresholds at which curves are drawn: of a cosine, or of a difference on pixels of 0 to 255."""
        return tuple(round(i / 100, 2) for i in range(101)) if self.larger_is_closer else tuple(map(float, range(101)))

    @property
    def text(self) -> str:
        """Return it in words."""
        return f"{self.score} {'>' if self.larger_is_closer else '<'} {self.threshold:g}"


@dataclass(frozen=True)
class Comparison:
    """The scores of two models' pictures, [seeds prompts], NaN where a picture is missing."""

    kind: Kind
    first: int
    second: int
    criterion: Criterion
    same: np.ndarray
    """From the same noise."""
    other: np.ndarray
    """The first model's picture against the second's from the next seed: the same pictures, paired by chance."""
    shared: bool
    """Whether the prompts of a row share their noise."""

    @cached_property
    def agreement(self) -> Estimate:
        """Return the share that agrees, from the same noise."""
        return self.share(self.criterion.met(self.same))

    @cached_property
    def floor(self) -> Estimate:
        """Return the share that agrees from independent noise."""
        return self.share(self.criterion.met(self.other))

    @cached_property
    def gain(self) -> Estimate:
        """Return what the same noise adds: the difference of the two shares, paired where rows are independent.

        In clusters it is made of both intervals: a paired bootstrap has none where every outcome is the same.
        """
        if self.clusters is not None:
            return difference(self.floor, self.agreement)
        before, after = (self.criterion.met(scores).ravel() for scores in (self.other, self.same))
        return proportion_difference(before, after)

    @cached_property
    def separation(self) -> Estimate:
        """Return the chance that a pair from the same noise is closer than one from independent noise."""
        sign = 1.0 if self.criterion.larger_is_closer else -1.0
        picture = np.arange(self.same.size) if self.clusters is None else self.clusters
        same, other = (Scored(sign * scores.ravel(), picture) for scores in (self.same, self.other))
        return auc(same, other)

    @cached_property
    def curve(self) -> list[Estimate]:
        """Return the share that agrees at each of the criterion's thresholds, from the same noise."""
        return [self.share(self.criterion.met(self.same, t)) for t in self.criterion.thresholds]

    @cached_property
    def floor_curve(self) -> list[Estimate]:
        """Return the share that agrees at each of the criterion's thresholds, from independent noise."""
        return [self.share(self.criterion.met(self.other, t)) for t in self.criterion.thresholds]

    def share(self, outcomes: np.ndarray) -> Estimate:
        """Return the share of true outcomes, [seeds prompts]; rows of one seed are one cluster."""
        return share(outcomes.ravel(), self.clusters)

    @cached_property
    def clusters(self) -> np.ndarray | None:
        """Return the seed of each row; None where every row has its own."""
        seeds, prompts = self.same.shape
        return np.repeat(np.arange(seeds), prompts) if self.shared and prompts > 1 else None


class Pairs:
    """Every comparison of the models of a question."""

    def __init__(self, question: Reproducibility) -> None:
        self.question = question
        self.store = Store(question.spec.store)
        self.cosine = Criterion(score_name(question.embed), question.threshold.value)

    @cached_property
    def all(self) -> tuple[Comparison, ...]:
        """Return the comparisons, kind by kind."""
        return (*self._by_descriptor(), *self._by_pixels())

    def of(self, kind: Kind) -> list[Comparison]:
        """Return the comparisons of one kind."""
        return [c for c in self.all if c.kind == kind]

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """Return the kinds that there are, the headline first."""
        return tuple(dict.fromkeys(c.kind for c in self.all))

    @property
    def headline(self) -> list[Comparison]:
        """Return the comparisons that the verdict rests on."""
        return self.of(self.kinds[0])

    @cached_property
    def plain(self) -> list[int]:
        """Return the positions of the prompts that name no class; all where prompts are texts."""
        prompts = self.question.prompts
        return [i for i, p in enumerate(prompts) if not self.question.conditional or not p.text]

    @cached_property
    def classes(self) -> list[int]:
        """Return the positions of the prompts that are classes."""
        return [i for i in range(len(self.question.prompts)) if i not in self.plain]

    def _by_descriptor(self) -> Iterator[Comparison]:
        drawn = self._drawn(self.question.descriptor)
        if self.plain:
            yield from self._matched("RP", drawn, self.plain, self.cosine)
        if self.classes:
            yield from self._matched("RP_cond", drawn, self.classes, self.cosine)
        if self.plain and self.classes:
            for first, second in product(range(len(drawn)), repeat=2):
                same, other = (self._between(drawn[first], drawn[second], by) for by in (0, 1))
                yield Comparison("RP_between", first, second, self.cosine, same, other, self.question.spec.seeds.shared)

    def _by_pixels(self) -> list[Comparison]:
        mae, measure = self.question.spec.mae, self.question.pixels
        if mae is None or measure is None:
            return []
        criterion = Criterion(f"mae@{mae.side_px}", mae.below, larger_is_closer=False)
        return self._matched("MAE", self._drawn(measure), self.plain or self.classes, criterion)

    def _drawn(self, measure: Measure) -> list[np.ndarray]:
        """Return the vectors of what each model drew, [seeds prompts d]."""
        (column,) = measure.columns
        shape = (self.question.spec.seeds.count, len(self.question.prompts), -1)
        return [vectors(self.store, grid, measure, column).reshape(shape) for grid in self.question.grids]

    def _matched(
        self, kind: Kind, drawn: list[np.ndarray], prompts: list[int], criterion: Criterion
    ) -> list[Comparison]:
        score = cosines if criterion.larger_is_closer else absolute_differences
        found = []
        for first, second in combinations(range(len(drawn)), 2):
            a, b = drawn[first][:, prompts], drawn[second][:, prompts]
            same, other = score(a, b), score(a, shifted(b))
            found.append(Comparison(kind, first, second, criterion, same, other, self.question.spec.seeds.shared))
        return found

    def _between(self, a: np.ndarray, b: np.ndarray, by: int) -> np.ndarray:
        """Return the largest cosine of each picture without a class to those of all classes, [seeds 1]."""
        alone = a[:, self.plain]
        named = shifted(b[:, self.classes]) if by else b[:, self.classes]
        return cosines(np.broadcast_to(alone, named.shape), named).max(axis=1, keepdims=True)


def shifted(drawn: np.ndarray) -> np.ndarray:
    """Return each seed's pictures in the place of the one before; nothing where there is only one seed."""
    return np.roll(drawn, -1, axis=0) if len(drawn) > 1 else np.full_like(drawn, np.nan)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of unit vectors, [seeds prompts d] to [seeds prompts]."""
    left, right = (x.reshape(-1, x.shape[-1]) for x in (a, b))
    rows = [slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(left), PAIRS_AT_ONCE)]
    return np.concatenate([pair_scores(left[r], right[r], "cosine") for r in rows]).reshape(a.shape[:-1])


def absolute_differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference of each pair of pictures in [0, 1], on pixels of 0 to 255."""
    return np.stack([np.abs(x.astype(np.float64) - y).mean(axis=-1) for x, y in zip(a, b, strict=True)]) * 255
