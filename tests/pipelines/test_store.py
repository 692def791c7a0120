"""The store: whole files, no row twice, nothing lost to a crash."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.store import Store


def rows(*ids: str) -> pa.Table:
    return pa.table({"sample_id": list(ids), "n": [float(len(i)) for i in ids]})


def ids(store: Store, table: str = "t") -> list[str]:
    data = store.dataset(table)
    return sorted(data.to_table()["sample_id"].to_pylist()) if data else []


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "s"))


def test_what_is_written_is_read(store: Store):
    assert store.dataset("t") is None
    store.write("t", rows("a", "b"))
    store.write("t", rows("c"))
    assert ids(store) == ["a", "b", "c"]
    assert store.tables() == ["t"]


def test_a_batch_that_is_tried_again_replaces_itself(store: Store):
    for _ in range(3):
        store.write("t", rows("a", "b"))
    assert ids(store) == ["a", "b"]


def test_compaction_keeps_every_row_once(store: Store):
    for i in range(10):
        store.write("t", rows(f"x{i}", f"y{i}"))
    before = ids(store)
    assert store.compact("t") == 10
    assert ids(store) == before
    assert len(store.parts("t")) == 1
    store.write("t", rows("z"))
    store.compact("t")
    assert ids(store) == sorted([*before, "z"])


def test_shards_have_the_stated_size(store: Store):
    for i in range(12):
        store.write("t", rows(f"x{i}"))
    size = store.parts("t")[0].size
    store.compact("t", shard_bytes=4 * size)
    assert 2 <= len(store.parts("t")) <= 4
    assert len(ids(store)) == 12


def test_a_crash_between_a_shard_and_its_clean_up_leaves_no_row_twice(store: Store):
    for i in range(4):
        store.write("t", rows(f"x{i}"))
    copies = {path: path.read_bytes() for path in Path(store.folder("t")).glob("*.parquet")}
    store.compact("t")
    for path, content in copies.items():
        path.write_bytes(content)
    assert len(list(Path(store.folder("t")).glob("*.parquet"))) == 5
    assert ids(store) == [f"x{i}" for i in range(4)]
    assert len(store.recover("t")) == 4
    assert ids(store) == [f"x{i}" for i in range(4)]


def test_half_written_files_are_never_seen_and_torn_ones_are_swept(store: Store):
    store.write("t", rows("a"))
    folder = Path(store.folder("t"))
    (folder / ".part-1.parquet.abc").write_bytes(b"half")
    assert ids(store) == ["a"]
    (folder / "part-torn.parquet").write_bytes(b"PAR1 torn")
    assert store.recover("t") == ["part-torn.parquet"]
    assert ids(store) == ["a"]


def test_the_schema_of_a_shard_is_that_of_its_parts(store: Store):
    for i in range(3):
        store.write("t", rows(f"x{i}").replace_schema_metadata({"huggingface": "kept"}))
    store.compact("t")
    assert pq.read_schema(store.parts("t")[0].path).metadata[b"huggingface"] == b"kept"
