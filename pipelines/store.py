"""Where rows live: Parquet files, published whole, joined by `sample_id`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from pipelines.published import (
    MANIFEST,
    REPLACES,
    Part,
    Sealed,
    encoded,
    footer,
    grouped,
    ids_and_failures,
    is_aside,
    is_rows,
    keys,
    name_of,
    regrouped,
    replaces,
    seal_of,
    writer,
)
from stages.storage import PUTS_WHOLE, filesystem, put, read

SHARD_BYTES = 128 * 2**20
AT_ONCE = 16
"""Small files that are read at once: object storage answers one in tens of milliseconds."""
SCANNED_TOGETHER = 1024
"""Files of one scan: until it is over Arrow keeps what each said of itself at its end, tens of kilobytes."""


class Store:
    """Tables of Parquet files under one folder of a disk or of object storage.

    A file appears whole, so a reader never sees half of one. Its name is the hash of the ids in it, so a batch that is
    tried again replaces its own file. Small files are merged into shards; a shard names the files it replaces, so that
    a crash between publishing it and deleting them leaves no row twice. A table's manifest says what a finished command
    left there.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.fs, self.root = filesystem(uri)
        self._made: set[str] = set()
        self._gone: set[str] = set()
        """Paths that a listing may still lack, or still show: what this object published, and merged into a shard."""

    @property
    def remote(self) -> bool:
        """Whether it is on object storage."""
        return self.fs.type_name in PUTS_WHOLE

    def write(self, table: str, rows: pa.Table) -> None:
        """Publish rows of a table as one file."""
        self._publish(f"{self.folder(table)}/part-{name_of(keys(rows))}.parquet", encoded(rows))

    def dataset(self, table: str) -> pads.Dataset | None:
        """Return the rows of a table, None where there is none."""
        parts = self.parts(table)
        if not parts:
            return None
        return pads.dataset([p.path for p in parts], filesystem=self.fs, format="parquet")

    def scans(self, table: str) -> Iterator[pads.Dataset]:
        """Yield the rows of a table in data sets of so many files that their footers fit the memory."""
        paths = [part.path for part in self.parts(table)]
        for start in range(0, len(paths), SCANNED_TOGETHER):
            yield pads.dataset(paths[start : start + SCANNED_TOGETHER], filesystem=self.fs, format="parquet")

    def batches(
        self, table: str, columns: Sequence[str], where: pads.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield columns of a table's rows, a batch at a time."""
        for data in self.scans(table):
            yield from data.to_batches(columns=[*columns], filter=where)

    def picked(self, table: str, ids: Sequence[str], columns: Sequence[str]) -> pa.Table | None:
        """Return columns of a few rows, `sample_id` among them; None where there is none.

        Of files without these rows only the ids are read, of the others the row groups that hold one.
        """
        wanted = pa.array(ids, type=pa.string())
        here = pc.is_in(pads.field("sample_id"), wanted)
        holding = {path for batch in self.batches(table, ["__filename"], here) for path in batch[0].to_pylist()}
        found = []
        for path in sorted(holding):
            with pq.ParquetFile(self.fs.open_input_file(path)) as file:
                for group in range(file.num_row_groups):
                    if pc.any(pc.is_in(file.read_row_group(group, ["sample_id"])["sample_id"], wanted)).as_py():
                        rows = file.read_row_group(group, [*columns])
                        found.append(rows.filter(pc.is_in(rows["sample_id"], wanted)))
        return pa.concat_tables(found) if found else None

    def parts(self, table: str) -> list[Part]:
        """Return the files of a table in order of name, less those that a shard has replaced."""
        found = self._files(table)
        replaced = {name for p in found if p.is_shard for name in replaces(self.uri, p.path)}
        return [p for p in found if p.name not in replaced]

    def tables(self, under: str = "") -> list[str]:
        """Return the names of the tables below a folder of the store."""
        selector = pafs.FileSelector(self.folder(under), recursive=True, allow_not_found=True)
        paths = [i.path for i in self.fs.get_file_info(selector) if i.path.endswith(".parquet")]
        return sorted({p.removeprefix(self.root).strip("/").rpartition("/")[0] for p in paths})

    def recover(self, table: str) -> list[str]:
        """Delete what a crash left behind: half-written and torn files, and files that a shard replaced.

        Returns their names. Only for the one command that writes to the store.
        """
        kept = self.parts(table)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            footers = pool.map(lambda part: footer(self.fs, part.path), kept)
            whole = {p.name for p, found in zip(kept, footers, strict=True) if found is not None}
        gone = [p for p in self._infos(table) if p.name not in whole and (is_rows(p.name) or is_aside(p.name))]
        self._delete(gone)
        return [p.name for p in gone]

    def compact(self, table: str, shard_bytes: int = SHARD_BYTES) -> int:
        """Merge small files into shards of about `shard_bytes`; returns how many files were merged.

        Rows that stand twice, as after two drivers or a listing that was not up to date, stand once afterwards; a drawn
        row takes the place of its earlier failure.
        """
        doubled = self._doubled(table)
        for part in self.parts(table):
            if part.name in doubled:
                self._merge(table, [part], doubled[part.name])
        small = [p for p in self.parts(table) if p.size < shard_bytes // 2]
        groups = [group for group in grouped(small, shard_bytes) if len(group) > 1]
        for group in groups:
            self._merge(table, group)
        return sum(map(len, groups))

    def seal(self, table: str) -> None:
        """Write down what the table holds, so that `pipelines.verify` can tell what became of it."""
        before, parts = self.sealed(table) or {}, self.parts(table)
        now = {p.name: before.get(p.name) if p.is_shard else None for p in parts}
        found = {p.name: now[p.name] or seal_of(read(self.fs, p.path)) for p in parts}
        if parts and found != before:
            text = json.dumps({name: asdict(file) for name, file in found.items()}, indent=1)
            put(self.fs, f"{self.folder(table)}/{MANIFEST}", text.encode())

    def sealed(self, table: str) -> dict[str, Sealed] | None:
        """Return the table's manifest by name of file; None where no command has finished."""
        try:
            text = read(self.fs, f"{self.folder(table)}/{MANIFEST}").to_pybytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return {name: Sealed(**file) for name, file in json.loads(text).items()}

    def folder(self, table: str) -> str:
        """Return the folder of a table."""
        return f"{self.root}/{table}".rstrip("/")

    def _merge(self, table: str, group: Sequence[Part], keep: np.ndarray | None = None) -> None:
        names, sink = [p.name for p in group], pa.BufferOutputStream()
        schema = pq.read_schema(group[0].path, filesystem=self.fs)
        metadata = {**(schema.metadata or {}), REPLACES: json.dumps(names).encode()}
        options = {"filesystem": self.fs, "page_checksum_verification": True}
        merged = (pq.read_table(part.path, **options).cast(schema) for part in group)
        kept = merged if keep is None else (rows.filter(pa.array(keep)) for rows in merged)
        with writer(sink, schema.with_metadata(metadata)) as shard:
            for rows in regrouped(kept):
                shard.write_table(rows)
        self._publish(f"{self.folder(table)}/shard-{name_of(names)}.parquet", sink.getvalue())
        self._delete(group)
        self._gone |= {part.path for part in group}
        self._made -= self._gone

    def _publish(self, path: str, file: pa.Buffer) -> None:
        put(self.fs, path, file)
        self._made.add(path)
        self._gone.discard(path)

    def _delete(self, parts: Sequence[Part]) -> None:
        def delete(part: Part) -> None:
            with suppress(FileNotFoundError):  # a listing may still show what is gone
                self.fs.delete_file(part.path)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(delete, parts))

    def _doubled(self, table: str) -> Mapping[str, np.ndarray]:
        """Return the files with rows that another file holds too, and which of their rows are to stay."""
        parts = self.parts(table)
        if {p.name for p in parts} <= (self.sealed(table) or {}).keys():
            return {}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(lambda part: ids_and_failures(self.fs, part.path), parts))
        ids, failed = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.argsort(failed, kind="stable")
        keep = np.zeros(len(ids), dtype=bool)
        keep[order[np.unique(ids[order], return_index=True)[1]]] = True
        masks = np.split(keep, np.cumsum([len(i) for i, _ in found])[:-1])
        return {part.name: mask for part, mask in zip(parts, masks, strict=True) if not mask.all()}

    def _infos(self, table: str) -> list[Part]:
        selector = pafs.FileSelector(self.folder(table), recursive=False, allow_not_found=True)
        infos = [i for i in self.fs.get_file_info(selector) if i.type == pafs.FileType.File]
        return sorted((Part(i.base_name, i.path, i.size) for i in infos), key=lambda p: p.name)

    def _files(self, table: str) -> list[Part]:
        """Return every file of rows; one that is known is asked for by name where a listing lacks it."""
        listed = [p for p in self._infos(table) if is_rows(p.name) and p.path not in self._gone]
        folder, named = self.folder(table), self.sealed(table) or {}
        known = {f"{folder}/{name}" for name in named} | {p for p in self._made if p.rpartition("/")[0] == folder}
        missed = sorted(known - self._gone - {p.path for p in listed})
        infos = self.fs.get_file_info(missed) if missed else []
        late = [Part(i.base_name, i.path, i.size) for i in infos if i.type == pafs.FileType.File]
        return sorted([*listed, *late], key=lambda p: p.name)
