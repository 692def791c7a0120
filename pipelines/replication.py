"""Samples and their nearest training pictures -> how many replicate one, which ones, and from which prompts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipelines.memorization import PIXELS, Memorization
from pipelines.rows import vectors
from pipelines.store import Store
from stages.metrics import Estimate, Proportion, holm
from stages.metrics.clustered import share

THRESHOLDS = tuple(round(i / 100, 2) for i in range(101))
SAME = 1e-6
"""Two distances that differ by less, in proportion, are to the same picture."""


@dataclass(frozen=True)
class PromptShare:
    """How many samples of one prompt replicate a training picture."""

    prompt: int
    share: Estimate
    simultaneous: Estimate
    """With an interval that holds for all prompts at once (Bonferroni)."""
    p_value: float
    """Of no difference to the other prompts: Fisher's exact test."""
    p_holm: float


@dataclass(frozen=True)
class Group:
    """A training picture that several samples replicate."""

    item: int
    rows: tuple[int, ...]
    """The samples, the closest first."""
    best: float


class Replication:
    """The answers of a memorization question, over the rows of its grid."""

    def __init__(self, question: Memorization) -> None:
        self.question = question
        self.store = Store(question.spec.store)
        self.threshold = question.threshold.value

    @cached_property
    def scores(self) -> np.ndarray:
        """Return the similarity of each sample to its nearest training pictures, best first, [rows k]; NaN: none."""
        return vectors(self.store, self.question.grid, self.question.lookup, "nearest_score")

    @cached_property
    def items(self) -> np.ndarray:
        """Return the item numbers of those pictures, [rows k]; -1: none."""
        found = vectors(self.store, self.question.grid, self.question.lookup, "nearest")
        return found if found.dtype.kind == "i" else np.full(found.shape, -1)

    @property
    def best(self) -> np.ndarray:
        """Return the similarity of each sample to its nearest training picture."""
        best: np.ndarray = self.scores[:, 0]
        return best

    @cached_property
    def replicated(self) -> np.ndarray:
        """Return whether each sample replicates a training picture, 0 or 1; NaN where it was not looked up."""
        return beyond(self.best, self.threshold)

    @cached_property
    def clusters(self) -> np.ndarray | None:
        """Return the seed of each row; None where every row has its own."""
        seeds, prompts = self.question.spec.seeds, len(self.question.prompts)
        return np.repeat(np.arange(seeds.count), prompts) if seeds.shared and prompts > 1 else None

    def memorized(self, threshold: float | None = None) -> Estimate:
        """Return the share of samples whose nearest training picture is closer than a threshold."""
        return share(beyond(self.best, self.threshold if threshold is None else threshold), self.clusters)

    def generalization(self, threshold: float | None = None) -> Estimate:
        """Return GL: what is not memorised, Zhang et al. 2024 (arXiv:2310.05264)."""
        return complement(self.memorized(threshold))

    @cached_property
    def curve(self) -> list[Estimate]:
        """Return the memorised share at each of `THRESHOLDS`."""
        return [self.memorized(t) for t in THRESHOLDS]

    @cached_property
    def ratios(self) -> np.ndarray | None:
        """Return d1 / d2 of each sample: how much nearer, by pixels, the nearest picture is than the next other one.

        Copies of the nearest picture in the training set are passed over: by the letter they would make every ratio 1.
        """
        if not self.question.pixel_measures:
            return None
        _, lookup = self.question.pixel_measures
        return ratio(vectors(self.store, self.question.grid, lookup, f"{PIXELS}nearest_score"))

    def memorized_by_ratio(self) -> Estimate | None:
        """Return the share of samples whose ratio is below the limit; None where it was not asked for."""
        if self.ratios is None or self.question.spec.pixels is None:
            return None
        below = np.where(np.isnan(self.ratios), np.nan, self.ratios < self.question.spec.pixels.below)
        return share(below, self.clusters)

    @cached_property
    def prompts(self) -> list[PromptShare]:
        """Return the replicated share of every prompt, the largest first."""
        count = len(self.question.prompts)
        by_prompt = self.replicated.reshape(-1, count)
        p_values = np.array([self._p_value(by_prompt, p) for p in range(count)])
        found = [
            PromptShare(
                prompt=p,
                share=Proportion().of(by_prompt[:, p]),
                simultaneous=Proportion(confidence=1 - 0.05 / count).of(by_prompt[:, p]),
                p_value=float(p_values[p]),
                p_holm=float(adjusted),
            )
            for p, adjusted in enumerate(holm(p_values))
        ]
        return sorted(found, key=lambda s: -np.nan_to_num(s.share.value, nan=-1))

    @staticmethod
    def _p_value(by_prompt: np.ndarray, prompt: int) -> float:
        from scipy import stats

        own, others = by_prompt[:, prompt], np.delete(by_prompt, prompt, axis=1).ravel()
        table = [[int(np.nansum(side == 1)), int(np.nansum(side == 0))] for side in (own, others)]
        return float(stats.fisher_exact(table).pvalue) if all(map(sum, table)) else float("nan")

    @cached_property
    def groups(self) -> list[Group]:
        """Return the training pictures that samples replicate, the most replicated first."""
        rows = np.flatnonzero(self.replicated == 1)
        rows = rows[np.argsort(-self.best[rows], kind="stable")]
        of: dict[int, list[int]] = {}
        for row in rows.tolist():
            of.setdefault(int(self.items[row, 0]), []).append(row)
        found = [Group(item, tuple(members), float(self.best[members[0]])) for item, members in of.items()]
        return sorted(found, key=lambda g: (-len(g.rows), -g.best))


def beyond(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Return whether each score is above the threshold, 0 or 1; NaN where there is none."""
    found: np.ndarray = np.where(np.isnan(scores), np.nan, scores > threshold)
    return found


def complement(estimate: Estimate) -> Estimate:
    """Return one less a share."""
    ends = {"low": 1 - estimate.high, "high": 1 - estimate.low}
    return estimate.model_copy(update={"value": 1 - estimate.value, **ends})


def ratio(distances: np.ndarray) -> np.ndarray:
    """Return the nearest distance over the next that is not to the same picture, [rows k] to [rows].

    An exact copy has ratio 0. Where all k are the same picture the next is not known: NaN.
    """
    nearest = distances[:, :1]
    other = distances > nearest * (1 + SAME)
    first = np.take_along_axis(distances, np.argmax(other, axis=1)[:, None], axis=1)
    known = other.any(axis=1, keepdims=True)
    return np.divide(nearest, first, out=np.full(nearest.shape, np.nan, distances.dtype), where=known)[:, 0]
