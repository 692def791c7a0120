"""The store, on a disk and on S3: whole files, no row twice, nothing lost to a crash."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pipelines.published import MANIFEST
from pipelines.store import Store
from stages.randomness import rng
from stages.storage import read, write
from tests import s3


def rows(*ids: str) -> pa.Table:
    return pa.table({"sample_id": list(ids), "n": [float(len(i)) for i in ids]})


def drawn(ids: list[str], failed: tuple[str, ...] = ()) -> pa.Table:
    errors = pa.array(["it broke" if i in failed else None for i in ids], pa.string())
    return pa.table({"sample_id": ids, "error": errors})


def ids(store: Store, table: str = "t") -> list[str]:
    data = store.dataset(table)
    return sorted(data.to_table()["sample_id"].to_pylist()) if data else []


def files(store: Store, table: str = "t") -> dict[str, bytes]:
    """Every published file by its path."""
    return {p.path: read(store.fs, p.path).to_pybytes() for p in store.parts(table)}


def put_back(store: Store, copies: dict[str, bytes]) -> None:
    for path, content in copies.items():
        write(store.fs, path, content)


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
    for i in range(6):
        store.write("t", rows(f"x{i}", f"y{i}"))
    before = ids(store)
    assert store.compact("t") == 6
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


def test_a_shard_is_read_in_pieces_that_do_not_depend_on_its_files(store: Store, monkeypatch):
    """Many small files make few pieces, one large file makes some."""
    monkeypatch.setattr("pipelines.published.ROW_GROUP_BYTES", 4096)
    noise = rng(0, "rows").bytes(64 * 512)
    table = pa.table({"sample_id": [f"{i:03d}" for i in range(512)], "n": [noise[64 * i :][:64] for i in range(512)]})
    for start in [*range(0, 256, 4), 256]:
        store.write("t", table[start : start + (4 if start < 256 else 256)])
    store.compact("t")
    (shard,) = store.parts("t")
    with pq.ParquetFile(store.fs.open_input_file(shard.path)) as file:
        assert file.read().sort_by("sample_id").equals(table)
        sizes = [file.read_row_group(i).nbytes for i in range(file.num_row_groups)]
    assert max(sizes) < 2 * 4096
    assert min(sizes[:-1]) >= 4096


def test_many_files_are_scanned_a_few_at_a_time(store: Store, monkeypatch):
    monkeypatch.setattr("pipelines.store.SCANNED_TOGETHER", 3)
    for i in range(8):
        store.write("t", rows(f"x{i}", f"y{i}"))
    assert len(list(store.scans("t"))) == 3
    found = [i for batch in store.batches("t", ["sample_id"]) for i in batch["sample_id"].to_pylist()]
    assert sorted(found) == ids(store)
    where = pads.field("sample_id") == "y5"
    assert [batch.to_pylist() for batch in store.batches("t", ["n"], where) if len(batch)] == [[{"n": 2.0}]]


def test_few_rows_are_picked_from_files_and_from_shards(store: Store, monkeypatch):
    monkeypatch.setattr("pipelines.published.ROW_GROUP_BYTES", 1)
    assert store.picked("t", ["a"], ["sample_id"]) is None
    for i in range(6):
        store.write("t", rows(f"x{i}", f"y{i}"))
    for _ in range(2):
        found = store.picked("t", ["y1", "x4", "no such"], ["sample_id", "n"]).sort_by("sample_id")
        assert found.to_pylist() == [{"sample_id": "x4", "n": 2.0}, {"sample_id": "y1", "n": 2.0}]
        assert store.picked("t", [], ["sample_id"]) is None
        store.compact("t")


def test_a_crash_between_a_shard_and_its_clean_up_leaves_no_row_twice(store: Store):
    for i in range(4):
        store.write("t", rows(f"x{i}"))
    copies = files(store)
    store.compact("t")
    put_back(store, copies)
    assert ids(store) == [f"x{i}" for i in range(4)]
    assert len(store.recover("t")) == 4
    assert ids(store) == [f"x{i}" for i in range(4)]


def test_half_written_files_are_never_seen_and_swept(store: Store):
    store.write("t", rows("a"))
    write(store.fs, f"{store.folder('t')}/.part-1.parquet.abc", b"half")
    assert ids(store) == ["a"]
    write(store.fs, f"{store.folder('t')}/part-torn.parquet", b"PAR1 torn")
    assert store.recover("t") == [".part-1.parquet.abc", "part-torn.parquet"]
    assert ids(store) == ["a"]


def test_a_torn_file_that_is_drawn_again_is_seen(store: Store):
    """The driver sweeps, an actor publishes under the same name, and the driver merges."""
    store.write("t", rows("a", "b"))
    write(store.fs, store.parts("t")[0].path, b"PAR1 torn")
    assert len(store.recover("t")) == 1
    Store(store.uri).write("t", rows("a", "b"))
    Store(store.uri).write("t", rows("c"))
    assert ids(store) == ["a", "b", "c"]
    assert store.compact("t") == 2
    assert ids(store) == ["a", "b", "c"]


def test_the_schema_of_a_shard_is_that_of_its_parts(store: Store):
    for i in range(3):
        store.write("t", rows(f"x{i}").replace_schema_metadata({"huggingface": "kept"}))
    store.compact("t")
    assert pq.read_schema(store.parts("t")[0].path, filesystem=store.fs).metadata[b"huggingface"] == b"kept"


def test_rows_that_stand_twice_stand_once_after_compaction(store: Store):
    """As after two drivers, or a driver that was shown an old listing; whatever the crash in between."""
    store.write("t", rows("a", "b", "c"))
    store.write("t", rows("c", "d"))
    store.write("t", rows("b", "e"))
    assert len(ids(store)) == 7
    store.compact("t")
    assert ids(store) == ["a", "b", "c", "d", "e"]


def test_a_drawn_row_takes_the_place_of_its_failure(store: Store):
    store.write("t", drawn(["a", "b"], failed=("a", "b")))
    store.write("t", drawn(["b"]))
    store.compact("t")
    found = store.dataset("t").to_table().sort_by("sample_id").to_pylist()
    assert found == [{"sample_id": "a", "error": "it broke"}, {"sample_id": "b", "error": None}]


def test_a_failed_batch_that_is_drawn_later_is_not_taken_for_what_a_shard_replaced(store: Store):
    for batch in (["a", "b"], ["c"]):
        store.write("t", drawn(batch, failed=tuple(batch)))
    store.compact("t")
    store.write("t", drawn(["a", "b"]))
    assert store.recover("t") == []
    store.compact("t")
    found = store.dataset("t").to_table().sort_by("sample_id").to_pylist()
    assert [row["error"] for row in found] == [None, None, "it broke"]


def test_what_the_manifest_names_is_found_though_a_listing_lacks_it(s3_port: int):
    """A store whose listing is a minute old: it shows nothing, but the manifest names the file and its key has it."""
    place = s3.bucket(s3_port)
    now = Store(s3.uri(place, s3_port))
    now.write("t", rows("a", "b"))
    now.seal("t")
    before = Store(s3.uri(place, s3.Way(s3_port, stale_s=60).port))
    assert ids(before) == ["a", "b"]
    now.write("t", rows("c"))
    now.compact("t")
    now.seal("t")
    assert ids(before) == ["a", "b", "c"]
    assert before.recover("t") == []


def test_storage_that_is_slow_and_fails_is_asked_again(s3_port: int):
    way = s3.Way(s3_port, seed=3, share=0.3, slow_s=0.02)
    store = Store(s3.uri(s3.bucket(s3_port), way.port))
    for i in range(8):
        store.write("t", rows(f"x{i}"))
    store.compact("t")
    store.seal("t")
    assert store.recover("t") == []
    assert ids(store) == [f"x{i}" for i in range(8)]
    assert way.faults > 5


def test_storage_that_does_not_answer_is_no_torn_file(s3_port: int):
    """`recover` deletes torn files: a file that could not be asked for must not be taken for one."""
    place = s3.bucket(s3_port)
    Store(s3.uri(place, s3_port)).write("t", rows("a"))
    way = s3.Way(s3_port)
    far = Store(s3.uri(place, way.port))
    assert ids(far) == ["a"]
    way.refused = "GET"
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        far.recover("t")
    assert ids(Store(s3.uri(place, s3_port))) == ["a"]


def test_a_full_disk_leaves_nothing_half(tmp_path: Path, disk_full):
    store = Store(str(tmp_path))
    store.write("t", rows("a"))
    big = pa.table({"sample_id": ["b"], "noise": [np.random.default_rng(0).bytes(50_000)]})
    with disk_full(20_000), pytest.raises(OSError, match="too large"):
        store.write("t", big)
    assert [p.name for p in Path(store.folder("t")).iterdir()] == [store.parts("t")[0].name]
    store.write("t", big)
    assert len(store.parts("t")) == 2


def test_the_manifest_is_no_row(store: Store):
    store.write("t", rows("a", "b"))
    store.seal("t")
    (name,) = [p.name for p in store.parts("t")]
    assert store.sealed("t")[name].rows == 2
    assert ids(store) == ["a", "b"]
    assert store.sealed("other") is None
    before = read(store.fs, f"{store.folder('t')}/{MANIFEST}")
    store.seal("t")
    assert read(store.fs, f"{store.folder('t')}/{MANIFEST}").equals(before)
