"""A published file of rows: how it is written and named, and what it says of itself."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from stages.storage import filesystem, tail

REPLACES = b"seedquake.replaces"
MANIFEST = "_manifest.json"
FOOTER_BYTES, MAX_FOOTER_BYTES = 2**16, 2**26
ROW_GROUP_BYTES = 8 * 2**20
"""Of a shard, before compression: the least of it that is read. Each group has its lines in the footer."""


@dataclass(frozen=True)
class Part:
    """One published file of a table."""

    name: str
    path: str
    size: int

    @property
    def is_shard(self) -> bool:
        """Whether it was merged from others."""
        return self.name.startswith("shard-")


@dataclass(frozen=True)
class Sealed:
    """What a published file held at the end of the command that left it."""

    rows: int
    bytes: int
    blake2b: str


def encoded(rows: pa.Table) -> pa.Buffer:
    """Return the Parquet file of rows, each page with its checksum."""
    sink = pa.BufferOutputStream()
    with writer(sink, rows.schema) as file:
        file.write_table(rows)
    return sink.getvalue()


def writer(sink: pa.BufferOutputStream, schema: pa.Schema) -> pq.ParquetWriter:
    """Return what writes a Parquet file, each page with its checksum."""
    return pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True)


def regrouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows in the same order, in tables of about ROW_GROUP_BYTES."""
    held, size = list[pa.Table](), 0
    for rows in tables:
        step = max(1, len(rows) * ROW_GROUP_BYTES // max(1, rows.nbytes))
        for start in range(0, len(rows), step):
            held.append(rows.slice(start, step))
            size += held[-1].nbytes
            if size >= ROW_GROUP_BYTES:
                yield pa.concat_tables(held)
                held, size = [], 0
    if held:
        yield pa.concat_tables(held)


def seal_of(file: pa.Buffer) -> Sealed:
    """Return what a manifest says of a file."""
    rows = pq.read_metadata(pa.BufferReader(file)).num_rows
    return Sealed(rows, file.size, hashlib.blake2b(file, digest_size=16).hexdigest())


@lru_cache(maxsize=4096)
def replaces(uri: str, shard: str) -> tuple[str, ...]:
    """Return the names of the files that a shard took the place of; its own name is made of them."""
    found = footer(filesystem(uri)[0], shard)
    return tuple(json.loads(((found and found.metadata) or {}).get(REPLACES, b"[]")))


def footer(fs: pafs.FileSystem, path: str) -> pq.FileMetaData | None:
    """Return what a Parquet file says of itself at its end; None for a torn file.

    Raises `OSError` where storage does not answer, which says nothing of the file.
    """
    end = tail(fs, path, FOOTER_BYTES)
    length = int.from_bytes(end[-8:-4].to_pybytes(), "little") + 8
    if FOOTER_BYTES < length <= MAX_FOOTER_BYTES:
        end = tail(fs, path, length)
    try:
        return pq.read_metadata(pa.BufferReader(end))
    except (pa.ArrowInvalid, OSError):
        return None


def ids_and_failures(fs: pafs.FileSystem, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids in a file, and which of its rows failed."""
    with pq.ParquetFile(fs.open_input_file(path)) as file:
        known = [name for name in ("sample_id", "error") if name in file.schema_arrow.names]
        rows = file.read(columns=known, use_threads=False)
    return np.array(rows["sample_id"].to_pylist(), dtype="S"), failures(rows)


def keys(rows: pa.Table) -> list[str]:
    """Return what names a file of these rows: their ids, and which failed.

    Rows that failed and are drawn later must not take the name of a file that a shard has replaced.
    """
    ids: list[str] = rows["sample_id"].to_pylist()
    return [f"{i} failed" if failed else i for i, failed in zip(ids, failures(rows), strict=True)]


def failures(rows: pa.Table) -> np.ndarray:
    """Return which rows failed; none of a table that has no errors."""
    return rows["error"].is_valid().to_numpy() if "error" in rows.column_names else np.zeros(len(rows), dtype=bool)


def is_rows(name: str) -> bool:
    """Whether a file of this name holds rows."""
    return name.endswith(".parquet") and not name.startswith(".")


def is_aside(name: str) -> bool:
    """Whether a file of this name was never published."""
    return name.startswith(".") and (".parquet." in name or MANIFEST in name)


def name_of(ids: Sequence[str]) -> str:
    """Return the name of a file that holds these ids."""
    return hashlib.blake2b("\n".join(ids).encode(), digest_size=12).hexdigest()


def grouped(parts: Sequence[Part], size: int) -> Iterator[list[Part]]:
    """Yield runs of parts of about `size` bytes together."""
    starts, total = [], 0
    for part in parts:
        starts.append(total // size)
        total += part.size
    for _, group in groupby(zip(starts, parts, strict=True), key=lambda pair: pair[0]):
        yield [part for _, part in group]
