"""Writer: the files of an index, its manifest last."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.neighbours.found import Vectors
from stages.neighbours.manifest import NAME, IndexFile, Manifest, ShardFiles, sha256

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

ITEM_ROWS_A_GROUP = 256
"""Few, since what is looked up is a handful of items; each comes with a small picture."""


class Writer:
    """Writes shards in order of their items; there is no index until `finish` has published the manifest.

    Holds the vectors of one shard in memory.
    """

    def __init__(self, folder: Path, dimension: int, dtype: str, shard_rows: int) -> None:
        self.folder, self.shards, self.count = folder, list[ShardFiles](), 0
        self.vectors = np.empty((shard_rows, dimension), dtype)
        self.items: ParquetWriter | None = None
        self.rows = 0
        for name in ("shards", "items"):
            (folder / name).mkdir(parents=True, exist_ok=True)

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

        if self.rows:
            self._close_shard()
        if not self.count:
            raise ValueError(
                f"index {self.folder}: expected at least one picture in {described['source']}, found none that can be "
                f"described and {quarantine.num_rows} in quarantine"
            )
        pq.write_table(quarantine, self.folder / "quarantine.parquet", compression="zstd")
        manifest = Manifest.model_validate(
            {
                **described,
                "dimension": self.vectors.shape[1],
                "dtype": str(self.vectors.dtype),
                "count": self.count,
                "quarantined": quarantine.num_rows,
                "shards": tuple(self.shards),
                "quarantine": self._file("quarantine.parquet"),
            }
        )
        aside = self.folder / f".{NAME}"
        aside.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        os.replace(aside, self.folder / NAME)  # noqa: PTH105  it says that an older one goes
        return manifest

    def _write_items(self, items: "pa.Table") -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        first = self.count + self.rows
        numbers = pa.array(np.arange(first, first + items.num_rows))
        table = items.add_column(0, pa.field("item", pa.int64()), numbers)
        if self.items is None:
            self.items = pq.ParquetWriter(self.folder / f"items/{self.name}.parquet", table.schema, compression="zstd")
        self.items.write_table(table, row_group_size=ITEM_ROWS_A_GROUP)

    def _close_shard(self) -> None:
        name = self.name
        np.save(self.folder / f"shards/{name}.npy", self.vectors[: self.rows], allow_pickle=False)
        if self.items:
            self.items.close()
        files = self._file(f"shards/{name}.npy"), self._file(f"items/{name}.parquet")
        self.shards.append(ShardFiles(rows=self.rows, vectors=files[0], items=files[1]))
        self.count, self.rows, self.items = self.count + self.rows, 0, None

    @property
    def name(self) -> str:
        """Return the name of the shard that is being filled."""
        return f"{len(self.shards):05d}"

    def _file(self, name: str) -> IndexFile:
        path = self.folder / name
        return IndexFile(path=name, bytes=path.stat().st_size, sha256=sha256(path))


def rounded(vectors: Vectors, dtype: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors as they are stored, and which of them can be: finite and, for a cosine, not zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        stored = vectors.astype(dtype)
    fine = np.isfinite(stored).all(axis=1)
    return stored, fine & (stored != 0).any(axis=1) if metric == "cosine" else fine
