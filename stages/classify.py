"""Classify: what a classifier sees in each picture."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy.special import softmax
from typing_extensions import override

from stages.base import Batch, Column, Stage, objects, spread
from stages.models.chunks import chunks
from stages.models.spec import ModelSpec


class ClassifySpec(ModelSpec):
    """Which classifier, and what its columns are called."""

    top: int = Field(5, gt=1, le=1000, description="Number of classes kept per picture; part of the column names.")
    prefix: str = Field("", pattern=r"^([a-z][a-z0-9_]*_)?$", description="Put before every column, such as 'judge_'.")


class Classify(Stage[ClassifySpec]):
    """Say which classes a classifier sees in each picture, and whether the intended one is among them.

    All logits compete. `label` is a class index of this classifier; -1 where the prompt names no class. Without a
    picture every column is missing; without a label the last three are.

    Columns, for top = 5 and before the prefix: reads image uint8 [h w 3] or None [b], label int64 [b]; writes top5
    list[int] or None [b], top5_probability list[float] or None [b] (both from most to least likely), label_probability,
    top1_correct, top5_correct float64 [b] (0 or 1, NaN where missing).
    """

    reads: ClassVar = ("image", "label")

    @override
    @classmethod
    def columns(cls, spec: ClassifySpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
        top = f"top{spec.top}"
        names = (top, f"{top}_probability", "label_probability", "top1_correct", f"{top}_correct")
        return cls.reads, tuple(spec.prefix + name for name in names)

    def __init__(self, spec: ClassifySpec) -> None:
        from stages.models.classifiers import load_classifier

        super().__init__(spec)
        self.classifier = load_classifier(spec)
        if self.classifier.classes < spec.top:
            raise ValueError(
                f"classifier {spec.model!r} has {self.classifier.classes} classes, fewer than top={spec.top}"
            )

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        pictures, length = batch["image"], len(batch["image"])
        seen = [row for row in range(length) if pictures[row] is not None]
        labels = self._labels(batch["label"])[seen]
        probability = self._probability([pictures[row] for row in seen])
        best = np.argsort(-probability, axis=1, kind="stable")[:, : self.spec.top]
        hits, named = best == labels[:, None], labels >= 0
        lists = [best, np.take_along_axis(probability, best, axis=1)]
        numbers = [probability[np.arange(len(seen)), labels], hits[:, 0], hits.any(axis=1)]
        columns = [_lists(values, seen, length) for values in lists]
        columns += [spread(np.where(named, values, np.nan), seen, length) for values in numbers]
        return dict(zip(self.columns(self.spec)[1], columns, strict=True))

    def _probability(self, pictures: list[np.ndarray]) -> np.ndarray:
        """Return the probability of every class, by row: the softmax of all logits."""
        logits = np.zeros((0, self.classifier.classes))
        for chunk, real in chunks(pictures, self.spec.batch):
            logits = np.concatenate([logits, self.classifier.logits(chunk).numpy()[:real]])
        probability: np.ndarray = softmax(logits, axis=1)
        return probability

    def _labels(self, column: Column) -> np.ndarray:
        labels = column.astype(np.int64)
        if (labels >= self.classifier.classes).any():
            raise ValueError(
                f"classify: label {labels.max()} is none of {self.classifier.classes} classes of {self.spec.model!r}; "
                "the labels of the grid must be class indices of this classifier"
            )
        return labels


def _lists(values: np.ndarray, rows: list[int], length: int) -> Column:
    found = dict(zip(rows, values.tolist(), strict=True))
    return objects(found.get(row) for row in range(length))
