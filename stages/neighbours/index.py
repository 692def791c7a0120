"""Index: references that lie in files, here or on object storage."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from stages.base import digest
from stages.neighbours import fetching
from stages.neighbours.manifest import Manifest, read_manifest
from stages.neighbours.references import Part, References
from stages.storage import filesystem, sha256

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.dataset import Dataset
    from pyarrow.parquet import ParquetFile


class Index(References):
    """Reference vectors that are memory-mapped, and what is known of each, in a folder or behind a URI.

    Of an index behind a URI each file of vectors is fetched once a machine, when it is first read; what is known of
    items is read where it lies. `shards` names those that this process holds; all by default.
    """

    def __init__(self, place: str | Path, manifest: Manifest, shards: Sequence[int] | None = None) -> None:
        self.place, self.manifest = str(place), manifest
        self.folder = fetching.folder(manifest) if self.is_remote else Path(place)
        """Where files lie that a process opens by their path, and those that engines keep."""
        self.metric, self.dimension, self.dtype = manifest.metric, manifest.dimension, manifest.dtype
        rows = [shard.rows for shard in manifest.shards]
        firsts = accumulate(rows, initial=0)
        every = [Part(number, first, count) for number, (first, count) in enumerate(zip(firsts, rows, strict=False))]
        self.parts = tuple(every[number] for number in (range(len(every)) if shards is None else sorted(shards)))

    @classmethod
    def open(cls, place: str | Path, shards: Sequence[int] | None = None) -> "Index":
        """Return the index in a folder or at a URI, its files' sizes checked; raises `ValueError`."""
        index = cls(place, read_manifest(str(place)), shards)
        index.verify(deep=False)
        return index

    @property
    def is_remote(self) -> bool:
        """Whether it lies behind a URI."""
        return "://" in self.place

    @property
    def fingerprint(self) -> str:
        """Return what changes whenever the references, or the shards that are here, do."""
        return digest([self.manifest.model_dump(mode="json"), [part.number for part in self.parts]])[:16]

    def verify(self, deep: bool = True) -> None:
        """Raise `ValueError` at the first file whose size, or checksum if `deep`, is not the manifest's."""
        fs, root = filesystem(self.place)
        files = self.manifest.files
        infos = fs.get_file_info([f"{root}/{file.path}" for file in files])
        for file, info in zip(files, infos, strict=True):
            file.refuse_size(self.place, info.size)
            if deep:
                file.refuse_contents(self.place, sha256(fs, info.path))

    def dataset(self) -> "Dataset":
        """Return what is known of all items."""
        import pyarrow.dataset as pads

        fs, root = filesystem(self.place)
        paths = [f"{root}/{shard.items.path}" for shard in self.manifest.shards]
        return pads.dataset(paths, filesystem=fs, format="parquet")

    def quarantine(self) -> "pa.Table":
        """Return the entries of the source that gave no reference, with their reasons."""
        import pyarrow.parquet as pq

        fs, root = filesystem(self.place)
        return pq.read_table(f"{root}/{self.manifest.quarantine.path}", filesystem=fs)

    @override
    def vectors(self, part: Part) -> np.ndarray:
        file = self.manifest.shards[part.number].vectors
        path = fetching.fetch(self.place, file, self.folder) if self.is_remote else self.folder / file.path
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        want = (part.rows, self.dimension), np.dtype(self.manifest.dtype)
        if (stored.shape, stored.dtype) != want:
            raise ValueError(f"index: expected {path} to hold {want}, found {(stored.shape, stored.dtype)}")
        return stored

    def items(self, numbers: Sequence[int], columns: Sequence[str] | None = None) -> "pa.Table":
        """Return what is known of these items, one row each, in their order."""
        import pyarrow as pa

        wanted = np.asarray(numbers, np.int64)
        tables, places = [self._known(self.parts[0], wanted[:0], columns)], [wanted[:0]]
        for part in self.parts:
            inside = np.flatnonzero((wanted >= part.first) & (wanted < part.first + part.rows))
            if len(inside):
                tables.append(self._known(part, wanted[inside] - part.first, columns))
                places.append(inside)
        if sum(map(len, places)) != len(wanted):
            raise ValueError(f"index {self.place}: expected items of 0 to {self.manifest.count - 1}, found {numbers}")
        return pa.concat_tables(tables).take(np.argsort(np.concatenate(places)))

    def _known(self, part: Part, rows: np.ndarray, columns: Sequence[str] | None) -> "pa.Table":
        import pyarrow.parquet as pq

        fs, root = filesystem(self.place)
        with fs.open_input_file(f"{root}/{self.manifest.shards[part.number].items.path}") as file:
            return take(pq.ParquetFile(file, page_checksum_verification=True), rows, columns)


def take(file: "ParquetFile", rows: np.ndarray, columns: Sequence[str] | None = None) -> "pa.Table":
    """Return rows of a Parquet file in their order; only their row groups are read."""
    sizes = np.array([file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)])
    ends = np.cumsum(sizes)
    group = np.searchsorted(ends, rows, side="right")
    needed = np.unique(group)
    starts = np.cumsum([0, *sizes[needed]])[np.searchsorted(needed, group)]
    return file.read_row_groups(needed.tolist(), columns=columns).take(rows - (ends - sizes)[group] + starts)
