"""What the models of a study drew -> shares with intervals: reproducibility, generalization, and what chance gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Literal, TypeAlias

import numpy as np

from pipelines.pairs import Criterion
from stages.metrics import Bootstrap, Estimate, paired_difference
from stages.metrics.clustered import share
from stages.metrics.frechet import frechet
from stages.models.descriptors.spec import pixels_side, score_name
from stages.neighbours.found import pair_scores
from tuning.training.drawn import Drawn, read
from tuning.training.transition import Member, TransitionSpec

Kind: TypeAlias = Literal["RP, widths", "RP, sets", "RP, optimal", "GL", "copies", "floor", "GL, unseen", "background"]
SAME_NOISE = "drawn from the same noise"
WORDS: dict[Kind, str] = {
    "RP, widths": f"reproducibility: two widths, one training set, {SAME_NOISE}",
    "RP, sets": f"reproducibility: one width, disjoint training sets, {SAME_NOISE}",
    "RP, optimal": f"a model and the optimal denoiser of its training set, {SAME_NOISE}",
    "GL": "generalization: the share that is not alike any training picture",
    "copies": "the share whose nearest training picture is 3 times nearer than the next, in pixels",
    "floor": "two widths, one training set, independent noise: what chance gives",
    "GL, unseen": "pictures of the source that are in no training set: what a perfect model would score as GL",
    "background": "training pictures that are alike another one",
}


@dataclass(frozen=True, eq=False)
class Score:
    """One measured number, with all scores that it was made of."""

    kind: Kind
    count: int
    """Training pictures."""
    of: str
    """Which models."""
    scores: np.ndarray
    """[sets n], NaN where a picture is missing."""
    outcomes: np.ndarray
    """[sets n], 0, 1 or NaN."""
    noises: bool = True
    """Whether column i is noise i of every set, so that a column's rows are not independent."""

    @cached_property
    def estimate(self) -> Estimate:
        """Return the share over all sets."""
        sets, n = self.outcomes.shape
        return share(self.outcomes.ravel(), np.tile(np.arange(n), sets) if self.noises and sets > 1 else None)


class Scores:
    """Every score of a study whose models have drawn."""

    def __init__(self, spec: TransitionSpec) -> None:
        self.spec = spec
        descriptor = spec.drawing.described("cpu")
        self.metric: Literal["cosine", "l2"] = "cosine" if pixels_side(descriptor.model) is None else "l2"
        self.alike = Criterion(score_name(descriptor), spec.drawing.threshold, self.metric == "cosine")
        self.copied = Criterion("d1/d2", 1 / 3, larger_is_closer=False)
        self.members = spec.members()
        self.read = lru_cache(maxsize=16)(self._read)

    @cached_property
    def all(self) -> tuple[Score, ...]:
        """Return the shares, size by size."""
        return tuple(score for count in self.spec.counts for score in self._of(count))

    def of(self, kind: Kind) -> list[Score]:
        """Return the shares of one kind."""
        return [score for score in self.all if score.kind == kind]

    def difference(self, first: Score, other: Score, confidence: float) -> Estimate:
        """Return other less first of one kind at two sizes, paired by set and noise; noises are resampled."""
        sets = min(len(first.outcomes), len(other.outcomes))
        a, b = (score.outcomes[:sets].ravel() for score in (first, other))
        noise = np.tile(np.arange(first.outcomes.shape[1]), sets)
        return paired_difference(a, b, Bootstrap(confidence=confidence), noise)

    def fid(self, reference: np.ndarray) -> dict[Member, Estimate]:
        """Return the FID of every model to the features of the source."""
        return {member: frechet(self.read(member).features, reference) for member in self.members}

    def _read(self, member: Member) -> Drawn:
        return read(self.spec.task(member))

    def _of(self, count: int) -> Iterator[Score]:
        widths, parts = self.spec.widths, [p for p in range(self.spec.parts) if self.spec.fits(count, p)]
        for a, b in combinations(widths, 2):
            pairs = [(self._vectors(count, a, p), self._vectors(count, b, p)) for p in parts]
            yield self._pairs("RP, widths", count, f"{a} and {b}", pairs)
            yield self._pairs("floor", count, f"{a} and {b}", [(x, np.roll(y, -1, axis=0)) for x, y in pairs])
        for width in widths:
            own = [self._vectors(count, width, p) for p in parts]
            if len(parts) > 1:
                yield self._pairs("RP, sets", count, f"{width}", list(combinations(own, 2)))
            optimal = [self._vectors(count, None, p) for p in parts]
            yield self._pairs("RP, optimal", count, f"{width}", list(zip(own, optimal, strict=True)))
        for model in (*widths, None):
            drawn = [self.read(Member(count, model, p)) for p in parts]
            named = "optimal" if model is None else f"{model}"
            yield self._novel("GL", count, named, [d.nearest for d in drawn])
            yield self._score("copies", count, named, [d.ratio for d in drawn], self.copied)
        yield self._novel("GL, unseen", count, "source", [d.unseen for d in drawn], noises=False)
        background = self._score("background", count, "source", [d.background for d in drawn], self.alike)
        yield Score(background.kind, count, "source", background.scores, background.outcomes, noises=False)

    def _vectors(self, count: int, width: int | None, part: int) -> np.ndarray:
        return self.read(Member(count, width, part)).embeddings

    def _pairs(self, kind: Kind, count: int, of: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Score:
        return self._score(kind, count, of, [pair_scores(a, b, self.metric) for a, b in pairs], self.alike)

    def _novel(self, kind: Kind, count: int, of: str, nearest: Sequence[np.ndarray], noises: bool = True) -> Score:
        found = self._score(kind, count, of, nearest, self.alike)
        return Score(kind, count, of, found.scores, 1 - found.outcomes, noises)

    def _score(self, kind: Kind, count: int, of: str, scores: Sequence[np.ndarray], criterion: Criterion) -> Score:
        rows = np.stack(scores)
        return Score(kind, count, of, rows, criterion.met(rows))
