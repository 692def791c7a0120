"""Spec and Stage: the only two abstractions."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

Column: TypeAlias = np.ndarray
Batch: TypeAlias = dict[str, Column]


class Spec(BaseModel):
    """Frozen description of one choice: numbers, strings and other specs, never a live object.

    Equal specs mean the same experiment. `canonical` is the text that identifies one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def canonical(self) -> str:
        """Return the canonical JSON of this spec: sorted keys, no spaces."""
        return canonical_json(self.model_dump(mode="json"))

    def fingerprint(self) -> str:
        """Return 16 hex digits of the BLAKE2 hash of the canonical JSON."""
        return digest(self.model_dump(mode="json"))[:16]


def canonical_json(value: object) -> str:
    """Return JSON with sorted keys and no spaces, so that equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: object) -> str:
    """Return 32 hex digits of the BLAKE2 hash of the canonical JSON of `value`."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


S = TypeVar("S", bound=Spec)


class Stage(ABC, Generic[S]):
    """One row in, one row out: `writes` is added, nothing else is touched.

    A stage is built once per Ray actor, so load weights in `__init__`. A row that failed earlier carries its reason in
    the column `error`; a stage must pass it on and write missing values (NaN, null) for it.
    """

    reads: ClassVar[tuple[str, ...]]
    writes: ClassVar[tuple[str, ...]]
    whole: ClassVar[bool] = False
    """Whether a row's result depends on the rows beside it, so that a batch must not be taken apart."""

    def __init__(self, spec: S) -> None:
        self.spec = spec

    @classmethod
    def columns(cls, spec: S) -> tuple[tuple[str, ...], tuple[str, ...]]:  # noqa: ARG003
        """Return what this stage reads and writes under `spec`, for stages whose names depend on it."""
        return cls.reads, cls.writes

    @abstractmethod
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        """Return the columns named in `writes`, each with one entry per row."""

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with the columns that this stage writes."""
        rows = len(next(iter(batch.values())))
        new = self.transform(batch)
        got = {name: len(column) for name, column in new.items()}
        if got != (want := dict.fromkeys(self.columns(self.spec)[1], rows)):
            raise ValueError(f"{type(self).__name__} must write {want} (column: rows), but wrote {got}")
        return batch | new


AnyStage: TypeAlias = Stage[Any]
"""A stage whose spec does not matter, as in a list of steps."""


def objects(values: Iterable[object]) -> Column:
    """Return a column of Python objects, one per row: texts, bytes, arrays of any shape; None where one is missing."""
    listed = list(values)
    column = np.empty(len(listed), dtype=object)
    for row, value in enumerate(listed):  # a slice assignment would take arrays of one shape apart
        column[row] = value
    return column


def spread(values: Iterable[float], rows: Sequence[int], length: int) -> Column:
    """Return a column of `length` numbers with `values` at `rows`, and NaN elsewhere."""
    column = np.full(length, np.nan)
    column[list(rows)] = list(values)
    return column
