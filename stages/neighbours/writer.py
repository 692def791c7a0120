"""Writer: the files of an index, its manifest last."""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import Buffer, override

from stages.neighbours.found import Vectors
from stages.neighbours.manifest import NAME, IndexFile, Manifest, ShardFiles
from stages.storage import PUTS_WHOLE, filesystem, put

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

ITEM_ROWS_A_GROUP = 256
"""Few, since what is looked up is a handful of items; each comes with a small picture."""


class Hashed(io.RawIOBase):
    """A file that is being written, here or on object storage, and what a manifest says of it in the end."""

    def __init__(self, place: str, name: str) -> None:
        fs, root = filesystem(place)
        if fs.type_name not in PUTS_WHOLE:
            fs.create_dir(f"{root}/{name}".rpartition("/")[0], recursive=True)
        self.name, self.size, self.seen = name, 0, hashlib.sha256()
        self.file = fs.open_output_stream(f"{root}/{name}")

    @override
    def writable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self.size

    @override
    def write(self, data: Buffer) -> int:
        written = memoryview(data).nbytes
        self.file.write(data)
        self.seen.update(data)
        self.size += written
        return written

    @override
    def close(self) -> None:
        if not self.closed:
            self.file.close()
        super().close()

    @property
    def described(self) -> IndexFile:
        """Return what was written."""
        return IndexFile(path=self.name, bytes=self.size, sha256=self.seen.hexdigest())


class Writer:
    """Writes shards in order of their items; there is no index until `finish` has published the manifest.

    Holds the vectors of one shard in memory.
    """

    def __init__(self, place: str | Path, dimension: int, dtype: str, shard_rows: int) -> None:
        self.place, self.shards, self.count = str(place), list[ShardFiles](), 0
        self.vectors = np.empty((shard_rows, dimension), dtype)
        self.items: tuple[ParquetWriter, Hashed] | None = None
        self.rows = 0

    def add(self, vectors: np.ndarray, items: "pa.Table") -> None:
        """Take in the next items, with what is known of each."""
        while len(vectors):
            room = min(len(self.vectors) - self.rows, len(vectors))
            self.vectors[self.rows : self.rows + room] = vectors[:room]
            self._write_items(items.slice(0, room))
            self.rows += room
            vectors, items = vectors[room:], items.slice(room)
            if self.rows == len(self.vectors):
                self._close_shard()

    def finish(self, quarantine: "pa.Table", **described: str) -> Manifest:
        """Write what is left, then the manifest; `described` are its fields that say how the vectors were made."""
        import pyarrow.parquet as pq

        self._close_shard()
        if not self.count:
            raise ValueError(
                f"index {self.place}: expected at least one picture in {described['source']}, found none that can be "
                f"described and {quarantine.num_rows} in quarantine"
            )
        with Hashed(self.place, "quarantine.parquet") as file:
            pq.write_table(quarantine, file, compression="zstd")
        manifest = Manifest.model_validate(
            {
                **described,
                "dimension": self.vectors.shape[1],
                "dtype": str(self.vectors.dtype),
                "count": self.count,
                "quarantined": quarantine.num_rows,
                "shards": tuple(self.shards),
                "quarantine": file.described,
            }
        )
        fs, root = filesystem(self.place)
        put(fs, f"{root}/{NAME}", f"{manifest.model_dump_json(indent=2)}\n".encode())
        return manifest

    def _write_items(self, items: "pa.Table") -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        first = self.count + self.rows
        numbers = pa.array(np.arange(first, first + items.num_rows))
        table = items.add_column(0, pa.field("item", pa.int64()), numbers)
        if self.items is None:
            file = Hashed(self.place, f"items/{self.name}.parquet")
            self.items = pq.ParquetWriter(file, table.schema, compression="zstd", write_page_checksum=True), file
        self.items[0].write_table(table, row_group_size=ITEM_ROWS_A_GROUP)

    def _close_shard(self) -> None:
        if self.items is None:
            return
        writer, items = self.items
        writer.close()
        items.close()
        with Hashed(self.place, f"shards/{self.name}.npy") as vectors:
            np.save(vectors, self.vectors[: self.rows], allow_pickle=False)
        self.shards.append(ShardFiles(rows=self.rows, vectors=vectors.described, items=items.described))
        self.count, self.rows, self.items = self.count + self.rows, 0, None

    @property
    def name(self) -> str:
        """Return the name of the shard that is being filled."""
        return f"{len(self.shards):05d}"


def rounded(vectors: Vectors, dtype: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors as they are stored, and which of them can be: finite and, for a cosine, not zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        stored = vectors.astype(dtype)
    fine = np.isfinite(stored).all(axis=1)
    return stored, fine & (stored != 0).any(axis=1) if metric == "cosine" else fine
