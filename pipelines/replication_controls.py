"""What a memorization question compares its samples with: other pictures, looked up in the same training pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field
from typing_extensions import override

from pipelines.columns import pack
from pipelines.flow import numbered
from pipelines.measure import KEEP
from pipelines.memorization import Memorization, looked_up
from pipelines.pipeline import Pipeline, Step
from pipelines.replication import beyond
from pipelines.rows import measured, vectors
from pipelines.run import execute
from pipelines.store import Store
from pipelines.sweep import Watch
from stages.base import Batch, Column, Spec, Stage, digest, objects
from stages.lookup import Lookup
from stages.metrics import Estimate, Proportion
from stages.neighbours import Exact, Index
from stages.randomness import rng

if TYPE_CHECKING:
    from ray.data import Dataset

COLUMNS = ("kind", "item", "score", "nearest")
RARE = 0.01
"""A score that so few unseen pictures pass is rare, whatever the threshold in the config."""


@dataclass(frozen=True)
class Controls:
    """The similarity of pictures that the model did not draw to their nearest training pictures."""

    frames: dict[str, pd.DataFrame]
    """Training pictures, each against all others (background); unseen real pictures where there are any (holdout).

    Empty where nothing was measured yet.
    """
    recall: Estimate | None = None
    """The share of samples for which the engine found the nearest; None where it always does."""

    @property
    def kinds(self) -> list[str]:
        """Return the controls that there are, the one that the verdict rests on first."""
        return [kind for kind in ("holdout", "background") if kind in self.frames]

    def scores(self, kind: str) -> np.ndarray:
        """Return the scores of a control."""
        return self.frames[kind]["score"].to_numpy(dtype=np.float64)

    def share(self, kind: str, threshold: float) -> Estimate:
        """Return the share of a control that is nearer to a training picture than a threshold."""
        return Proportion().of(beyond(self.scores(kind), threshold))

    def rare(self, share: float = RARE) -> float | None:
        """Return the lowest score that no more than a share of the first control passes; None where it is too small."""
        scores = self.scores(self.kinds[0]) if self.kinds else np.empty(0)
        known = scores[np.isfinite(scores)]
        return float(np.quantile(known, 1 - share, method="higher")) if len(known) * share >= 1 else None


class GatherSpec(Spec):
    """Whose vectors to look up."""

    index: str = Field(min_length=1, description="Folder of an index.")


class Gather(Stage[GatherSpec]):
    """Read the vectors of pictures that an index holds.

    Columns: reads item int64 [b]; writes embedding float32 [d].
    """

    reads: ClassVar = ("item",)
    writes: ClassVar = ("embedding",)

    def __init__(self, spec: GatherSpec) -> None:
        super().__init__(spec)
        self.index = Index.open(spec.index)

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        return {"embedding": objects(self.index.gather(np.asarray(batch["item"], dtype=np.int64)))}


def controls(question: Memorization, watch: Watch | None) -> Controls:
    """Return the controls; kept in the report's folder under the hash of what determines them.

    Without `watch` only what is kept is returned, so that a report is made again without Ray.
    """
    file, key = Path(question.spec.folder) / "controls.parquet", key_of(question)
    frame = read_kept(file, key)
    if frame is None and watch is not None:
        frame = pd.concat([look(question, kind, watch) for kind in kinds(question)], ignore_index=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        frame.assign(key=key).to_parquet(file, index=False)
    if frame is None:
        return Controls({})
    parts = {str(kind): rows.reset_index(drop=True) for kind, rows in frame.groupby("kind")}
    exact = parts.pop("recall", None)
    return Controls(parts, None if exact is None else recall(question, exact))


def kinds(question: Memorization) -> list[str]:
    """Return the controls that a question has."""
    found = ["background"] + (["holdout"] if question.holdout else [])
    return found + ([] if question.spec.engine.exact else ["recall"])


def key_of(question: Memorization) -> str:
    """Return the hash of everything that determines the controls."""
    spec = question.spec
    indexes = [index.fingerprint if index else None for index in (question.index, question.holdout)]
    queries = None if spec.engine.exact else spec.identity()
    return digest([indexes, spec.engine.model_dump(mode="json"), spec.controls, spec.recall_queries, queries])


def look(question: Memorization, kind: str, watch: Watch) -> pd.DataFrame:
    """Return the nearest training picture of each picture of a control."""
    run, found = question.spec.run, list[Batch]()
    if kind == "recall":
        ids = queries(question)
        rows, todo = measured(Store(question.spec.store), question.descriptor, set(ids), run.batch_size), len(ids)
    else:
        index = question.holdout if kind == "holdout" and question.holdout else question.index
        items = chosen(index, question.spec.controls, kind)
        rows, todo = numbered_items(items, run.batch_size), len(items)
    execute(pipeline(question, kind), rows, todo, run, lambda tally: watch(kind, tally), found.append)
    return together(kind, found)


def pipeline(question: Memorization, kind: str) -> Pipeline:
    """Return the pipeline that looks the pictures of a control up; its few numbers come back to the driver."""
    compute, device = question.spec.run.measure, question.spec.run.device
    keep, name = (*KEEP, "nearest", "nearest_score"), f"memorization, {kind}"
    if kind == "recall":
        exact = looked_up(question.index, 1, Exact(), "", device)
        return Pipeline(name, Step(Lookup, exact.spec, compute), keep=("sample_id", *keep))
    index = question.holdout if kind == "holdout" and question.holdout else question.index
    k = min(2, question.index.count) if kind == "background" else 1  # the nearest of a training picture is itself
    search = looked_up(question.index, k, question.spec.engine, "", device)
    gather = Step(Gather, GatherSpec(index=index.place), compute)
    return Pipeline(name, gather, Step(Lookup, search.spec, compute), keep=("item", *keep))


def numbered_items(items: np.ndarray, batch_size: int) -> "Dataset":
    """Return the items as rows."""

    def expand(numbers: np.ndarray) -> pa.Table:
        return pack({"number": numbers, "item": items[numbers], "error": objects([None] * len(numbers))})

    return numbered(len(items), expand, batch_size)


def together(kind: str, found: list[Batch]) -> pd.DataFrame:
    """Return what was found as one table, in order of the items; a picture is not its own neighbour."""
    rows = []
    for batch in found:
        names = batch["item"] if "item" in batch else batch["sample_id"]
        for name, nearest, scores in zip(names, batch["nearest"], batch["nearest_score"], strict=True):
            place = 1 if kind == "background" and nearest[0] == name and len(nearest) > 1 else 0
            alone = kind == "background" and len(nearest) == 1
            score, item = (np.nan, -1) if alone else (float(scores[place]), int(nearest[place]))
            rows.append((kind, str(name), score, item))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.sort_values("item", key=lambda c: c if kind == "recall" else c.astype(np.int64), ignore_index=True)


def chosen(index: Index, count: int, purpose: str) -> np.ndarray:
    """Return items drawn at random without replacement, always the same ones, in order."""
    drawn = rng(0, purpose, index.count).choice(index.count, min(count, index.count), replace=False)
    return np.sort(drawn)


def queries(question: Memorization) -> list[str]:
    """Return the ids of the samples on which an engine's recall is measured: the first that were looked up."""
    best = vectors(Store(question.spec.store), question.grid, question.lookup, "nearest_score")[:, 0]
    rows = np.flatnonzero(~np.isnan(best))[: question.spec.recall_queries]
    ids: list[str] = question.grid.rows(rows)["sample_id"].tolist()
    return ids


def recall(question: Memorization, exact: pd.DataFrame) -> Estimate:
    """Return the share of samples for which the engine's best score is the best there is."""
    best = vectors(Store(question.spec.store), question.grid, question.lookup, "nearest_score")[:, 0]
    rows = np.flatnonzero(~np.isnan(best))[: question.spec.recall_queries]
    got = dict(zip(question.grid.rows(rows)["sample_id"].tolist(), best[rows].tolist(), strict=True))
    pairs = zip(exact["item"], exact["score"], strict=True)
    hits = [float(got[name] >= score) if name in got else np.nan for name, score in pairs]
    return Proportion().of(np.array(hits, dtype=np.float64))


def read_kept(file: Path, key: str) -> pd.DataFrame | None:
    """Return the kept numbers if they answer the same question."""
    if not file.is_file():
        return None
    frame = pd.read_parquet(file)
    return frame if len(frame) and frame["key"].iloc[0] == key else None
