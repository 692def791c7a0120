"""What the models of a study drew -> shares with intervals, each with all the scores that it was made of."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import pandas as pd

from pipelines.pairs import Criterion
from pipelines.tables import columns_of
from stages.metrics import Bootstrap, Estimate, paired_difference
from stages.metrics.clustered import share
from stages.models.descriptors.spec import pixels_side, score_name
from stages.neighbours.found import pair_scores
from tuning.training.drawn import Drawn, read
from tuning.training.trial import Drawing, Task


@dataclass(frozen=True, eq=False)
class Score:
    """One measured share."""

    kind: str
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

    def difference(self, other: "Score", confidence: float = 0.95) -> Estimate:
        """Return other less this of the same noises, paired by set and noise; noises are resampled."""
        sets = min(len(self.outcomes), len(other.outcomes))
        before, after = (score.outcomes[:sets].ravel() for score in (self, other))
        noise = np.tile(np.arange(self.outcomes.shape[1]), sets)
        return paired_difference(before, after, Bootstrap(confidence=confidence), noise)


class Scores(ABC):
    """Every score of a study whose models have drawn."""

    def __init__(self, drawing: Drawing, counts: Sequence[int]) -> None:
        self.counts = counts
        descriptor = drawing.described("cpu")
        self.metric: Literal["cosine", "l2"] = "cosine" if pixels_side(descriptor.model) is None else "l2"
        self.alike = Criterion(score_name(descriptor), drawing.threshold, self.metric == "cosine")
        self.copied = Criterion("d1/d2", 1 / 3, larger_is_closer=False)
        self.drawn = lru_cache(maxsize=16)(self._drawn)

    @abstractmethod
    def at(self, count: int) -> Iterator[Score]:
        """Yield the scores of the models that were trained on so many pictures."""

    @cached_property
    def all(self) -> tuple[Score, ...]:
        """Return the scores, size by size."""
        return tuple(score for count in self.counts for score in self.at(count))

    def of(self, kind: str) -> list[Score]:
        """Return the scores of one kind."""
        return [score for score in self.all if score.kind == kind]

    def like(self, score: Score) -> list[Score]:
        """Return the scores of the same kind and models, by size."""
        return [s for s in self.of(score.kind) if s.of == score.of]

    def pairs(self, kind: str, count: int, of: str, pairs: Sequence[tuple[Drawn, Drawn]]) -> Score:
        """Return how often pictures from the same noise are alike."""
        rows = [pair_scores(a.embeddings, b.embeddings, self.metric) for a, b in pairs]
        return self.share(kind, count, of, rows)

    def chance(self, kind: str, count: int, of: str, pairs: Sequence[tuple[Drawn, Drawn]]) -> Score:
        """Return how often pictures are alike from independent noise: each with that of the next noise."""
        rows = [pair_scores(a.embeddings, np.roll(b.embeddings, -1, axis=0), self.metric) for a, b in pairs]
        return self.share(kind, count, of, rows)

    def novel(self, kind: str, count: int, of: str, nearest: Sequence[np.ndarray], noises: bool = True) -> Score:
        """Return how often a picture is not alike the nearest training picture."""
        found = self.share(kind, count, of, nearest)
        return Score(kind, count, of, found.scores, 1 - found.outcomes, noises)

    def copies(self, count: int, of: str, drawn: Sequence[Drawn]) -> Score:
        """Return how often the nearest training picture is three times nearer than the next."""
        rows = np.stack([d.ratio for d in drawn])
        return Score("copies", count, of, rows, self.copied.met(rows))

    def share(self, kind: str, count: int, of: str, scores: Sequence[np.ndarray], noises: bool = True) -> Score:
        """Return how often scores count as alike."""
        rows = np.stack(scores)
        return Score(kind, count, of, rows, self.alike.met(rows), noises)

    def table(self, words: dict[str, str]) -> pd.DataFrame:
        """Return a row a number."""
        rows = [{"score": s.kind, "pictures": s.count, "of": s.of, "meaning": words[s.kind]} for s in self.all]
        return pd.DataFrame([row | columns_of("value", s.estimate) for row, s in zip(rows, self.all, strict=True)])

    def distributions(self) -> pd.DataFrame:
        """Return every single score, so that other thresholds can be tried."""
        parts = []
        for s in self.all:
            for part, values in enumerate(s.scores):
                named = {"score": s.kind, "pictures": s.count, "of": s.of, "set": part}
                parts.append(pd.DataFrame({**named, "row": np.arange(len(values)), "value": values}))
        return pd.concat(parts, ignore_index=True)

    def curves(self) -> dict[str, dict[float, Estimate]]:
        """Return every kind of score over the size of the training set."""
        return {f"{s.kind}/{s.of}": {float(c.count): c.estimate for c in self.like(s)} for s in self.all}

    def _drawn(self, task: Task) -> Drawn:
        return read(task)
