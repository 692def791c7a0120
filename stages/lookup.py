"""Lookup: the references that lie nearest to each embedding."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from stages.base import Batch, Column, Spec, Stage, objects
from stages.neighbours import AnyEngine, Exact
from stages.neighbours.found import Found
from stages.neighbours.index import Index
from stages.neighbours.search import Checked, refuse_k


class LookupSpec(Spec):
    """Which references to search, how, and what the columns are called."""

    index: str = Field(min_length=1, description="Folder or URI of an index.")
    k: int = Field(1, ge=1, le=10_000, description="Neighbours of each embedding.")
    engine: AnyEngine = Field(Exact(), description="exact, or one that may miss the nearest and so understates it.")
    prefix: str = Field("", pattern=r"^([a-z][a-z0-9_]*_)?$", description="Put before every column, such as 'sscd_'.")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(None, gt=0, description="CPU threads in the actor; null keeps its default.")

    placement: ClassVar = frozenset({"device", "threads"})
    """The fields that say where it runs. They never change an answer."""


class Lookup(Stage[LookupSpec]):
    """Find the nearest references of each embedding.

    Cosine: a larger score is nearer. l2: the score is the Euclidean distance.

    Columns, before the prefix: reads embedding float32 [d] or None [b]; writes nearest list[int] (item numbers, nearest
    first) and nearest_score list[float], both None where there is no embedding.
    """

    @override
    @classmethod
    def columns(cls, spec: LookupSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return (f"{spec.prefix}embedding",), (f"{spec.prefix}nearest", f"{spec.prefix}nearest_score")

    def __init__(self, spec: LookupSpec) -> None:
        super().__init__(spec)
        limit_threads(spec.threads)
        index = Index.open(spec.index)
        refuse_k(spec.k, index.count)
        self.search = Checked(index, spec.engine, spec.device)

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        reads, writes = self.columns(self.spec)
        vectors = batch[reads[0]]
        seen = [row for row in range(len(vectors)) if vectors[row] is not None]
        return dict(zip(writes, listed(self._found(vectors, seen), seen, len(vectors)), strict=True))

    def _found(self, vectors: Column, seen: Sequence[int]) -> Found | None:
        return self.search(stacked(vectors, seen), self.spec.k) if seen else None


def stacked(vectors: Column, rows: Sequence[int]) -> np.ndarray:
    """Return these rows of a column of embeddings as one array float32 [n d]."""
    return np.stack([np.asarray(vectors[row], np.float32) for row in rows])


def listed(found: Found | None, rows: Sequence[int], length: int) -> tuple[Column, Column]:
    """Return columns of lists with what was found for `rows`, None elsewhere."""
    items = dict(zip(rows, found.items.tolist(), strict=True)) if found else {}
    scores = dict(zip(rows, found.scores.tolist(), strict=True)) if found else {}
    return objects(items.get(row) for row in range(length)), objects(scores.get(row) for row in range(length))


def limit_threads(threads: int | None) -> None:
    """Set the CPU threads of this process, where a number is given."""
    if threads is not None:
        import faiss
        import torch

        torch.set_num_threads(threads)
        faiss.omp_set_num_threads(threads)
