"""What became of a store: every file and row that was published, compared with the manifests."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipelines.config import one_line
from pipelines.published import Part, Sealed, failures, keys, name_of, replaces, seal_of
from pipelines.store import Store
from stages.storage import read

SETTINGS = "spec.yaml"
FILES_AT_ONCE = 4
"""Files in memory at a time, of at most some 200 MiB each."""


@dataclass
class Verified:
    """What a store holds, and what is wrong with it: one sentence a defect."""

    rows: int = 0
    files: int = 0
    defects: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be checked."""


@dataclass(frozen=True)
class Checked:
    """What one file holds."""

    defect: str | None
    rows: int = 0
    drawn: tuple[str, ...] = ()
    """Ids of the rows that did not fail."""


def store_of(run: str) -> Store:
    """Return the store of a run's folder or of an output folder, or the one that is meant itself.

    Raises `ValueError` for a run without settings.
    """
    if (Path(run) / SETTINGS).is_file():
        return Store(named_store(run) or str(Path(run).parent / "store"))
    inside = Path(run) / "store"
    return Store(str(inside) if inside.is_dir() else run)


def named_store(run: str) -> str | None:
    """Return what the settings in a run's folder say of `run.store`; None where they, or it, are not there."""
    path = Path(run) / SETTINGS
    if not path.is_file():
        return None
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        where: str | None = settings.get("run", {}).get("store")
    except (yaml.YAMLError, AttributeError):
        raise ValueError(
            f"verify: expected the settings of a run in {path}, found another text; name the store instead"
        ) from None
    return where


def verify(store: Store) -> Verified:
    """Read every file of a store and compare it with what was published; raises `ValueError` for an empty store."""
    found = Verified()
    for table in store.tables():
        verify_table(store, table, found)
    if not found.files and not found.defects:
        raise ValueError(f"verify: expected rows in {store.uri}, found none; run a question first")
    return found


def verify_table(store: Store, table: str, found: Verified) -> None:
    """Check the files of a table, and that no row stands twice in them."""
    parts, sealed = store.parts(table), store.sealed(table)
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        checked = list(pool.map(lambda part: check(store, part, (sealed or {}).get(part.name)), parts))
    found.files += len(parts)
    found.rows += sum(file.rows for file in checked)
    found.defects += [f"{table}/{p.name}: {c.defect}" for p, c in zip(parts, checked, strict=True) if c.defect]
    found.defects += missing(store, table, sealed or {}, parts)
    ids = np.array([i for file in checked for i in file.drawn], dtype="S")
    if twice := len(ids) - len(np.unique(ids)):
        found.defects.append(
            f"{table}: expected every row once, found {twice} of {len(ids)} again; run the question again to drop them"
        )
    if sealed is None:
        found.notes.append(f"{table} has no manifest, so a missing or a replaced file could not be noticed")


def check(store: Store, part: Part, sealed: Sealed | None) -> Checked:
    """Compare a file with its manifest; one that is younger, with its own name and checksums."""
    try:
        file = read(store.fs, part.path)
    except FileNotFoundError:
        return Checked("expected it to stay while it is read, found it gone; verify again when no command runs")
    if sealed is not None and file.size != sealed.bytes:
        return Checked(f"expected {sealed.bytes} bytes, found {file.size}: it was cut or replaced")
    try:
        rows = content(file)
        if sealed is not None and seal_of(file) != sealed:
            return Checked(f"expected the {sealed.rows} rows as published, found other content: it was altered")
    except (pa.ArrowException, OSError) as error:
        return Checked(f"expected a whole Parquet file, found {one_line(error)}")
    if "sample_id" not in rows.column_names or (sealed is None and part.name not in own_names(store, part, rows)):
        return Checked(f"expected files that a command published, found one of {len(rows)} rows with another name")
    drawn = rows["sample_id"].filter(pa.array(~failures(rows)))
    return Checked(None, len(rows), tuple(drawn.to_pylist()))


def content(file: pa.Buffer) -> pa.Table:
    """Return the ids and errors in a Parquet file, after reading every column against the checksums of its pages."""
    source = pq.ParquetFile(pa.BufferReader(file), page_checksum_verification=True)
    named = [name for name in ("sample_id", "error") if name in source.schema_arrow.names]
    kept = [pa.Table.from_batches([batch]).select(named) for batch in source.iter_batches(batch_size=4096)]
    return pa.concat_tables(kept) if kept else source.schema_arrow.empty_table().select(named)


def own_names(store: Store, part: Part, rows: pa.Table) -> Iterator[str]:
    """Yield the names that a command would give to a file with these rows."""
    yield f"part-{name_of(keys(rows))}.parquet"
    if part.is_shard:
        yield f"shard-{name_of(replaces(store.uri, part.path))}.parquet"


def missing(store: Store, table: str, sealed: dict[str, Sealed], parts: list[Part]) -> Iterator[str]:
    """Yield a sentence for every published file that is gone, and that no shard has replaced."""
    shards = [part for part in parts if part.is_shard]
    there = {part.name for part in parts} | {name for shard in shards for name in replaces(store.uri, shard.path)}
    for name in sorted(sealed.keys() - there):
        rows = sealed[name].rows
        yield f"{table}/{name}: expected its {rows} rows, found no such file; run the question again to draw them"
