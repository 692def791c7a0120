"""What `seedquake verify` finds: each defect is one sentence, and what is whole has none."""

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.published import MANIFEST
from pipelines.store import Store
from pipelines.verify import store_of, verify
from stages.storage import read, write
from tests import s3


def rows(*ids: str) -> pa.Table:
    noise = [f"{i} {n}" for i in ids for n in range(200)]
    return pa.table({"sample_id": list(ids), "text": [" ".join(noise[:200]) for _ in ids]})


def finished(store: Store) -> Store:
    """Two tables of a shard and a part, as a finished command leaves them."""
    for table in ("samples", "measured/x"):
        for i in range(4):
            store.write(table, rows(f"a{i}", f"b{i}"))
        store.compact(table)
        store.write(table, rows("c"))
        store.seal(table)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return finished(Store(str(tmp_path / "store")))


def shard(store: Store) -> str:
    (found,) = [p.path for p in store.parts("samples") if p.name.startswith("shard-")]
    return found


def cut(store: Store) -> None:
    write(store.fs, shard(store), read(store.fs, shard(store)).to_pybytes()[:-100])


def flip(store: Store) -> None:
    content = bytearray(read(store.fs, shard(store)).to_pybytes())
    content[200] ^= 1
    write(store.fs, shard(store), bytes(content))


def edit(store: Store) -> None:
    """Every checksum of the file is right, and its size; the rows are not those that were published."""
    found = pq.read_table(shard(store), filesystem=store.fs)
    index = found.column_names.index("text")
    changed = found.set_column(index, "text", [[*found["text"].to_pylist()[:-1], found["text"][0].as_py()]])
    sink = pa.BufferOutputStream()
    pq.write_table(changed, sink, compression="zstd", write_page_checksum=True)
    write(store.fs, shard(store), sink.getvalue())


def lose(store: Store) -> None:
    store.fs.delete_file(shard(store))


def plant(store: Store) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(rows("z"), sink)
    write(store.fs, f"{store.folder('samples')}/extra.parquet", sink.getvalue())


def double(store: Store) -> None:
    store.write("samples", rows("c", "d"))


DEFECTS: list[tuple[Callable[[Store], None], str]] = [
    (cut, r"samples/shard-\w+.parquet: expected \d+ bytes, found \d+: it was cut or replaced"),
    (flip, r"samples/shard-\w+.parquet: expected a whole Parquet file, found .*"),
    (edit, r"samples/shard-\w+.parquet: expected .*(it was altered|it was cut or replaced)"),
    (lose, r"samples/shard-\w+.parquet: expected its 8 rows, found no such file; run the question again to draw them"),
    (plant, "samples/extra.parquet: expected files that a command published, found one of 1 rows with another name"),
    (double, "samples: expected every row once, found 1 of 11 again; run the question again to drop them"),
]


def test_a_finished_store_is_whole(store: Store):
    found = verify(store)
    assert (found.rows, found.files, found.defects, found.notes) == (18, 4, [], [])


def test_object_storage_is_verified_too(s3_port: int):
    store = finished(Store(s3.uri(s3.bucket(s3_port), s3_port)))
    assert (verify(store).rows, verify(store).defects) == (18, [])
    cut(store)
    (defect,) = verify(store).defects
    assert "it was cut or replaced" in defect


def test_what_a_killed_command_published_since_is_whole(store: Store):
    store.write("samples", rows("d"))
    store.compact("samples")
    assert verify(store).defects == []
    assert verify(store).rows == 19


@pytest.mark.parametrize(("damage", "said"), DEFECTS, ids=[damage.__name__ for damage, _ in DEFECTS])
def test_each_defect_is_one_sentence(store: Store, damage: Callable[[Store], None], said: str):
    damage(store)
    (defect,) = verify(store).defects
    assert re.fullmatch(said, defect), defect


def test_without_a_manifest_it_says_what_cannot_be_known(store: Store):
    store.fs.delete_file(f"{store.folder('samples')}/{MANIFEST}")
    lose(store)
    found = verify(store)
    assert found.defects == []
    assert found.notes == ["samples has no manifest, so a missing or a replaced file could not be noticed"]
    plant(store)
    assert len(verify(store).defects) == 1


def test_an_empty_store_is_no_store(tmp_path: Path):
    with pytest.raises(ValueError, match=r"verify: expected rows in .*, found none; run a question first"):
        verify(Store(str(tmp_path)))


def test_a_run_names_its_store(tmp_path: Path):
    run = tmp_path / "runs" / "demo-12345678"
    run.mkdir(parents=True)
    (tmp_path / "runs" / "store").mkdir()
    (run / "spec.yaml").write_text("run: {store: null}")
    there = str(tmp_path / "runs" / "store")
    assert [store_of(str(place)).root for place in (run, tmp_path / "runs", there)] == [there] * 3
    (run / "spec.yaml").write_text("run: {store: rows}")
    assert store_of(str(run)).uri == "rows"


@pytest.mark.parametrize("text", ["", "- run", "run: [", "run: 3"])
def test_settings_that_are_none_are_named(tmp_path: Path, text: str):
    (tmp_path / "spec.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"expected the settings of a run in .*spec\.yaml, found another text"):
        store_of(str(tmp_path))
