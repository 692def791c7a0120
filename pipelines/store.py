"""Where rows live: Parquet files, published whole, joined by `sample_id`."""

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pyarrow.parquet as pq

SHARD_BYTES = 128 * 2**20
REPLACES = b"seedquake.replaces"


@dataclass(frozen=True)
class Part:
    """One published file of a table."""

    name: str
    path: str
    size: int


class Store:
    """Tables of Parquet files under one folder of any pyarrow file system.

    A file is written aside and moved to its name, so a reader never sees half of one. Its name is the hash of the ids
    in it, so a batch that is tried again replaces its own file. Small files are merged into shards; a shard names the
    files it replaces, so that a crash between publishing it and deleting them leaves no row twice.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.fs, self.root = filesystem(uri)

    def write(self, table: str, rows: pa.Table) -> None:
        """Publish rows of a table as one file."""
        folder = self.folder(table)
        self.fs.create_dir(folder, recursive=True)
        self._publish(rows, f"{folder}/part-{name_of(rows['sample_id'].to_pylist())}.parquet")

    def dataset(self, table: str) -> pads.Dataset | None:
        """Return the rows of a table, None where there is none."""
        parts = self.parts(table)
        if not parts:
            return None
        return pads.dataset([p.path for p in parts], filesystem=self.fs, format="parquet")

    def parts(self, table: str) -> list[Part]:
        """Return the files of a table in order of name, less those that a shard has replaced."""
        found = self._files(table)
        replaced = {name for p in found if p.name.startswith("shard-") for name in self._replaces(p)}
        return [p for p in found if p.name not in replaced]

    def tables(self, under: str = "") -> list[str]:
        """Return the names of the tables below a folder of the store."""
        selector = pafs.FileSelector(self.folder(under), recursive=True, allow_not_found=True)
        paths = [i.path for i in self.fs.get_file_info(selector) if i.path.endswith(".parquet")]
        return sorted({p.removeprefix(self.root).strip("/").rpartition("/")[0] for p in paths})

    def recover(self, table: str) -> list[str]:
        """Delete what a crash left behind: torn files and files that a shard replaced. Returns their names."""
        kept = {p.name for p in self.parts(table) if self._readable(p)}
        gone = [p for p in self._files(table) if p.name not in kept]
        for part in gone:
            self.fs.delete_file(part.path)
        return [p.name for p in gone]

    def compact(self, table: str, shard_bytes: int = SHARD_BYTES) -> int:
        """Merge small files into shards of about `shard_bytes`; returns how many files were merged."""
        small = [p for p in self.parts(table) if p.size < shard_bytes // 2]
        merged = 0
        for group in grouped(small, shard_bytes):
            if len(group) < 2:
                continue
            self._merge(table, group)
            merged += len(group)
        return merged

    def folder(self, table: str) -> str:
        """Return the folder of a table."""
        return f"{self.root}/{table}".rstrip("/")

    def _merge(self, table: str, group: Sequence[Part]) -> None:
        names = [p.name for p in group]
        target = f"{self.folder(table)}/shard-{name_of(names)}.parquet"
        aside = self._aside(target)
        schema = pq.read_schema(group[0].path, filesystem=self.fs)
        metadata = {**(schema.metadata or {}), REPLACES: json.dumps(names).encode()}
        with pq.ParquetWriter(aside, schema.with_metadata(metadata), filesystem=self.fs, compression="zstd") as writer:
            for part in group:
                writer.write_table(pq.read_table(part.path, filesystem=self.fs).cast(schema))
        self.fs.move(aside, target)
        for part in group:
            self.fs.delete_file(part.path)

    def _publish(self, rows: pa.Table, path: str) -> None:
        aside = self._aside(path)
        pq.write_table(rows, aside, filesystem=self.fs, compression="zstd")
        self.fs.move(aside, path)

    @staticmethod
    def _aside(path: str) -> str:
        folder, _, name = path.rpartition("/")
        return f"{folder}/.{name}.{uuid.uuid4().hex[:8]}"

    def _files(self, table: str) -> list[Part]:
        selector = pafs.FileSelector(self.folder(table), recursive=False, allow_not_found=True)
        infos = [i for i in self.fs.get_file_info(selector) if i.base_name.endswith(".parquet")]
        parts = [Part(i.base_name, i.path, i.size) for i in infos if not i.base_name.startswith(".")]
        return sorted(parts, key=lambda p: p.name)

    def _replaces(self, shard: Part) -> list[str]:
        metadata = pq.read_schema(shard.path, filesystem=self.fs).metadata or {}
        names: list[str] = json.loads(metadata.get(REPLACES, b"[]"))
        return names

    def _readable(self, part: Part) -> bool:
        try:
            pq.read_metadata(part.path, filesystem=self.fs)
        except (pa.ArrowInvalid, OSError):
            return False
        return True


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system and the path on it, for a local path or a URI such as s3://bucket/folder."""
    if "://" in uri:
        fs, root = pafs.FileSystem.from_uri(uri)
        return fs, root.rstrip("/")
    from pathlib import Path

    return pafs.LocalFileSystem(), str(Path(uri).absolute())


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
