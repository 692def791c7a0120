"""Pieces: a thousand entries of a source, embedded together and published as one file."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from pipelines.columns import PNG
from pipelines.entries import Entry, Source, Span
from pipelines.pictures import Picture, read_picture
from stages.base import objects
from stages.embed import Embed, EmbedSpec
from stages.neighbours.writer import rounded
from stages.storage import filesystem, put

PIECE = pa.schema(
    [
        ("span", pa.int32()),
        ("piece", pa.int32()),
        ("last", pa.bool_()),
        (
            "entries",
            pa.list_(
                pa.struct(
                    [
                        ("path", pa.string()),
                        ("row", pa.int64()),
                        ("data", pa.large_binary()),
                        ("label", pa.int64()),
                        ("reason", pa.string()),
                    ]
                )
            ),
        ),
    ]
)
"""A piece on its way to an actor: one row, so that nothing takes it apart."""

PART = pa.schema(
    [
        ("path", pa.string()),
        ("row", pa.int64()),
        ("label", pa.int64()),
        ("hash", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("image", PNG),
        ("vector", pa.binary()),
        ("reason", pa.string()),
    ]
)
"""A published piece; a row in quarantine has a reason and no vector."""


class Key(NamedTuple):
    """Which piece."""

    span: int
    piece: int


class Parts:
    """The published pieces in a folder, here or on object storage, each under a name that says which piece it is."""

    def __init__(self, folder: str) -> None:
        self.fs, self.root = filesystem(folder)

    def publish(self, key: Key, last: bool, rows: pa.Table) -> None:
        """Publish one piece; again, if a task is tried again."""
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, compression="none")  # pictures and vectors do not shrink
        name = f"{key.span:08d}-{key.piece:06d}{'.end' if last else ''}.parquet"
        put(self.fs, f"{self.root}/{name}", sink.getvalue())

    def published(self) -> dict[Key, str]:
        """Return the paths of all pieces, in order."""
        paths = sorted(path for path in self._paths() if path.endswith(".parquet") and not is_aside(path))
        return {Key(*map(int, base_name(path).partition(".")[0].split("-"))): path for path in paths}

    def sweep(self) -> None:
        """Delete what a crash left half written."""
        for path in filter(is_aside, self._paths()):
            with suppress(FileNotFoundError):
                self.fs.delete_file(path)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete all pieces, these among them, which a listing may lack."""
        for path in paths:
            self.fs.delete_file(path)
        with suppress(FileNotFoundError):
            self.fs.delete_dir(self.root)

    def _paths(self) -> list[str]:
        return [info.path for info in self.fs.get_file_info(pafs.FileSelector(self.root, allow_not_found=True))]


def whole(pieces: Mapping[Key, str]) -> set[int]:
    """Return the spans whose every piece is among these, by key and path."""
    ends = {key.span: key.piece for key, path in pieces.items() if path.endswith(".end.parquet")}
    counts = Counter(key.span for key in pieces)
    return {span for span, end in ends.items() if counts[span] == end + 1}


def base_name(path: str) -> str:
    """Return the last part of a path."""
    return path.rpartition("/")[2]


def is_aside(path: str) -> bool:
    """Whether a file was never published."""
    return base_name(path).startswith(".")


def read_pieces(source: Source, span: Span, size: int, done: frozenset[int]) -> Iterator[pa.Table]:
    """Yield the pieces of a span that are not done, one row each."""
    entries = source.entries(span)
    number, piece = 0, list(islice(entries, size))
    while True:
        following = list(islice(entries, size))
        if number not in done:
            row = {"span": span.number, "piece": number, "last": not following}
            yield pa.Table.from_pylist([{**row, "entries": [e._asdict() for e in piece]}], schema=PIECE)
        if not following:
            return
        number, piece = number + 1, following


class EmbedPieces:
    """The actor of an index's build: decodes, embeds and publishes pieces.

    Pictures are decoded by threads while those before them are embedded.
    """

    def __init__(self, spec: EmbedSpec, stored: str, thumbnail_px: int, folder: str, decoders: int) -> None:
        self.embed, self.stored, self.parts = Embed(spec), stored, Parts(folder)
        self.pool, self.read = ThreadPoolExecutor(decoders), partial(picture_or_reason, thumbnail_px=thumbnail_px)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Publish these pieces; returns how many entries each has, how many are in quarantine, whether it is last."""
        return pa.Table.from_pylist([self._published(row) for row in rows.to_pylist()])

    def _published(self, row: dict[str, Any]) -> dict[str, int]:
        entries = [Entry(**entry) for entry in row["entries"]]
        batch = self.embed.spec.batch
        groups = [entries[start : start + batch] for start in range(0, len(entries), batch)]
        ahead = self._decoding(groups[:1])
        tables = []
        for number, group in enumerate(groups):
            ready, ahead = ahead, self._decoding(groups[number + 1 : number + 2])
            tables.append(self._embedded(group, [f.result() for f in ready]))
        table = pa.concat_tables([PART.empty_table(), *tables])
        made = {"metric": self.embed.descriptor.metric, "dimension": str(self.embed.descriptor.dimension)}
        self.parts.publish(Key(row["span"], row["piece"]), row["last"], table.replace_schema_metadata(made))
        quarantined = len(entries) - table["reason"].null_count
        return {"entries": len(entries), "quarantined": quarantined, "last": int(row["last"])}

    def _decoding(self, groups: Sequence[list[Entry]]) -> list["Future[Picture | str]"]:
        return [self.pool.submit(self.read, entry) for group in groups for entry in group]

    def _embedded(self, entries: Sequence[Entry], pictures: Sequence[Picture | str]) -> pa.Table:
        column = objects(p.pixels if isinstance(p, Picture) else None for p in pictures)
        name = self.embed.columns(self.embed.spec)[1][0]
        vectors = self.embed({"image": column})[name]
        return part(entries, pictures, self._storable(vectors))

    def _storable(self, vectors: np.ndarray) -> list[bytes | None]:
        """Return the vectors as they are stored, None where there is none or it cannot be compared."""
        found: list[bytes | None] = [None] * len(vectors)
        seen = [row for row in range(len(vectors)) if vectors[row] is not None]
        if seen:
            stored, fine = rounded(np.stack(vectors[seen].tolist()), self.stored, self.embed.descriptor.metric)
            for row, vector, good in zip(seen, stored, fine, strict=True):
                found[row] = vector.tobytes() if good else None
        return found


def picture_or_reason(entry: Entry, thumbnail_px: int) -> Picture | str:
    """Return the decoded picture of an entry, or why there is none."""
    if entry.data is None:
        return entry.reason or "no picture"
    try:
        return read_picture(entry.data, thumbnail_px)
    except ValueError as error:
        return str(error)


def part(entries: Sequence[Entry], pictures: Sequence[Picture | str], vectors: Sequence[bytes | None]) -> pa.Table:
    """Return a published piece's rows."""
    rows = []
    for entry, picture, vector in zip(entries, pictures, vectors, strict=True):
        row: dict[str, object] = {"path": entry.path, "row": entry.row, "label": entry.label}
        if isinstance(picture, str):
            row["reason"] = picture
        elif vector is None:
            row["reason"] = "a descriptor that is zero, not finite, or too large to be stored"
        else:
            height, width = picture.pixels.shape[:2]
            row |= {"hash": picture.hash, "width": width, "height": height, "vector": vector}
            row["image"] = picture.thumbnail and {"bytes": picture.thumbnail, "path": None}
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=PART)
