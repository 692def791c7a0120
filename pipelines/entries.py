"""Source: pictures in an order that never changes, in spans that tasks read."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from stages.base import Spec, digest


class Entry(NamedTuple):
    """One picture file of a source, or the reason why there is none."""

    path: str
    row: int
    """Row in that file; -1 where the file, or the key, is the picture."""
    data: bytes | None
    label: int | None = None
    reason: str | None = None


class Span(Spec):
    """Consecutive entries that one task reads."""

    number: int
    paths: tuple[str, ...] = ()
    first: int = 0
    rows: int | None = None
    """At most so many; None where only reading tells."""


class Source(ABC):
    """Pictures in an order that never changes. It travels to Ray's tasks, so it holds no open file."""

    unit: ClassVar[str] = "pictures"
    """What progress counts."""

    def __init__(self, text: str) -> None:
        self.text = text

    @abstractmethod
    def spans(self, size: int, limit: int | None) -> list[Span]:
        """Return the spans of the first `limit` entries; `size` is the length of a piece."""

    @abstractmethod
    def entries(self, span: Span) -> Iterator[Entry]:
        """Yield the entries of a span in their order."""

    def listing(self) -> str:
        """Return what changes when files come, go or change their size."""
        return digest(self.text)


def limited(spans: Sequence[Span], limit: int | None) -> list[Span]:
    """Return the spans of the first `limit` entries."""
    kept: list[Span] = []
    left = limit
    for span in spans:
        if left is not None and span.rows is not None:
            span = span.model_copy(update={"rows": min(span.rows, left)})  # noqa: PLW2901
            left -= span.rows or 0
        if span.rows != 0:
            kept.append(span)
    return kept
