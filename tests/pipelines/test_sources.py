"""Sources: every kind of text to its entries, in an order that never changes."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.columns import PNG, features
from pipelines.config import UserError
from pipelines.entries import Entry, Source
from pipelines.pictures import read_picture
from pipelines.save import SaveSamples, SaveSamplesSpec
from pipelines.sources import parse
from stages.base import objects
from stages.models.zoo.world import labels, render
from tests.pipelines.damaged import encoded


def entries(source: Source, size: int = 4, limit: int | None = None) -> list[Entry]:
    source = pickle.loads(pickle.dumps(source))  # noqa: S301  as it travels to Ray's tasks
    return [entry for span in source.spans(size, limit) for entry in source.entries(span)]


def pixels(entry: Entry) -> np.ndarray:
    assert entry.data is not None
    return read_picture(entry.data).pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(["b/2.PNG", "a/1.png", "a/10.jpg", "c.webp"]):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number))
    (tmp_path / "pictures" / "README.md").write_text("words")
    (tmp_path / "pictures" / ".hidden.png").write_bytes(b"")
    (tmp_path / "pictures" / ".cache").mkdir()
    (tmp_path / "pictures" / ".cache" / "x.png").write_bytes(b"")
    return tmp_path / "pictures"


class TestFolder:
    def test_pictures_in_order_of_their_paths(self, folder: Path):
        found = entries(parse(str(folder)))
        assert [e.path for e in found] == ["a/1.png", "a/10.jpg", "b/2.PNG", "c.webp"]
        assert {e.row for e in found} == {-1}
        np.testing.assert_array_equal(pixels(found[0]), render([1])[0])

    def test_a_limit_and_spans(self, folder: Path):
        source = parse(str(folder))
        assert [len(s.paths) for s in source.spans(3, None)] == [3, 1]
        assert [e.path for e in entries(source, 2, limit=3)] == ["a/1.png", "a/10.jpg", "b/2.PNG"]

    def test_one_file_and_a_pattern(self, folder: Path):
        assert [e.path for e in entries(parse(str(folder / "a" / "1.png")))] == ["1.png"]
        assert [e.path for e in entries(parse(f"{folder}/*.png"))] == ["a/1.png"]
        assert [e.path for e in entries(parse(f"{folder}/a/1*"))] == ["1.png", "10.jpg"]
        assert [e.path for e in entries(parse(f"file://{folder}/a"))] == ["1.png", "10.jpg"]

    def test_the_listing_follows_the_files(self, folder: Path):
        before = parse(str(folder)).listing()
        assert parse(str(folder)).listing() == before
        (folder / "d.png").write_bytes(encoded(1))
        assert parse(str(folder)).listing() != before

    def test_a_file_that_has_gone_is_an_entry_with_its_reason(self, folder: Path):
        source = parse(str(folder))
        spans = source.spans(9, None)
        (folder / "c.webp").unlink()
        assert "an unreadable file" in str(list(source.entries(spans[0]))[-1].reason)


def parquet(path: Path, count: int, kind: pa.DataType = PNG, column: str = "image", rows: int = 3, **more) -> Path:
    cells = [{"bytes": encoded(i), "path": None} if pa.types.is_struct(kind) else encoded(i) for i in range(count)]
    table = pa.table({column: pa.array(cells, kind), "label": pa.array(range(count), pa.int64()), **more})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows)
    return path


class TestParquet:
    @pytest.mark.parametrize("kind", [PNG, pa.struct([("bytes", pa.large_binary())]), pa.binary(), pa.large_binary()])
    def test_pictures_in_order_of_their_rows(self, tmp_path: Path, kind):
        found = entries(parse(str(parquet(tmp_path / "x.parquet", 8, kind))))
        assert [(e.path, e.row, e.label) for e in found] == [("x.parquet", i, i) for i in range(8)]
        np.testing.assert_array_equal(pixels(found[7]), render([7])[0])

    def test_a_limit_runs_over_files(self, tmp_path: Path):
        for name in ("b", "a"):
            parquet(tmp_path / "data" / f"{name}.parquet", 5)
        source = parse(str(tmp_path / "data"))
        assert [(s.paths, s.rows) for s in source.spans(2, 7)] == [(("a.parquet",), 5), (("b.parquet",), 2)]
        assert [(e.path, e.row) for e in entries(source, 2, 7)][-2:] == [("b.parquet", 0), ("b.parquet", 1)]

    def test_the_column_is_found(self, tmp_path: Path):
        other = {"mask": pa.array([b"x"] * 3, pa.binary())}
        assert len(entries(parse(str(parquet(tmp_path / "usual.parquet", 3, **other))))) == 3
        path = parquet(tmp_path / "declared.parquet", 3, column="photo", **other)
        with pytest.raises(UserError, match=r"expected one column of pictures .* found \['photo', 'mask'\]; name one"):
            entries(parse(str(path)))
        assert len(entries(parse(str(path), "photo"))) == 3
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata(features(table.schema).metadata), path)
        assert len(entries(parse(str(path)))) == 3

    def test_a_column_that_is_not_there(self, tmp_path: Path):
        with pytest.raises(UserError, match=r"expected pictures in column label, found them in \['image'\]"):
            entries(parse(str(parquet(tmp_path / "x.parquet", 1)), "label"))

    def test_rows_without_a_picture_say_so(self, tmp_path: Path):
        cells = [{"bytes": None, "path": "far/away.png"}, None, {"bytes": encoded(1), "path": "x"}]
        pq.write_table(pa.table({"image": pa.array(cells, PNG)}), tmp_path / "x.parquet")
        found = [e.reason for e in entries(parse(str(tmp_path)))]
        assert found == ["no bytes, only the path far/away.png", "no picture in this row", None]

    def test_a_file_that_is_none(self, tmp_path: Path):
        (tmp_path / "x.parquet").write_bytes(b"PAR1nothing")
        with pytest.raises(UserError, match=r"expected Parquet in x.parquet, found:"):
            entries(parse(str(tmp_path)))


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


class TestTars:
    def test_one_picture_a_sample(self, tmp_path: Path):
        members = {}
        for i in range(5):
            members |= {f"d/{i:03}.json": b"{}", f"d/{i:03}.png": encoded(i), f"d/{i:03}.cls": b"%d" % (i % 3)}
        members |= {"d/900.txt": b"no picture", "d/901.seg.png": encoded(1), "d/901.jpg": encoded(2, "JPEG")}
        found = entries(parse(str(tar(tmp_path / "a.tar", members))))
        assert [(e.path, e.row, e.label) for e in found[:5]] == [("a.tar", i, i % 3) for i in range(5)]
        np.testing.assert_array_equal(pixels(found[4]), render([4])[0])
        assert [(e.row, e.label) for e in found[5:]] == [(5, None)]

    def test_a_limit_counts(self, tmp_path: Path):
        for name in "ab":
            tar(tmp_path / f"{name}.tar", {f"{i}.png": encoded(i) for i in range(3)})
        source = parse(str(tmp_path))
        assert [s.rows for s in source.spans(9, None)] == [None, None]
        assert [s.rows for s in source.spans(9, 4)] == [3, 1]
        assert len(entries(source, 9, 4)) == 4
        assert len(entries(source)) == 6

    def test_a_torn_tar_keeps_what_came_before(self, tmp_path: Path):
        path = tar(tmp_path / "a.tar", {f"{i}.png": encoded(i) for i in range(4)})
        path.write_bytes(path.read_bytes()[: 2 * 4096])
        found = entries(parse(str(path)))
        assert found[0].reason is None
        assert str(found[-1].reason).startswith("a damaged tar: ")

    def test_nothing_leaves_the_tar(self, tmp_path: Path):
        path = tar(tmp_path / "a.tar", {"../../evil.png": encoded(1), "/root.png": encoded(2)})
        assert len(entries(parse(str(path)))) == 2
        assert not (tmp_path.parent.parent / "evil.png").exists()


class TestSamples:
    @pytest.fixture
    def output(self, tmp_path: Path) -> Path:
        save = SaveSamples(SaveSamplesSpec(store=str(tmp_path / "runs" / "store")))
        text = objects(["m", "m", "m"])
        row = dict.fromkeys(("model", "revision", "prompt", "perturbation", "sampler", "truncated"), text)
        numbers = dict.fromkeys(("latent_mean_z", "latent_norm_z", "latent_ks_p"), np.zeros(3))
        save(
            {
                "sample_id": objects(["a", "b", "c"]),
                "label": np.array([2, -1, 0]),
                "seed": np.arange(3),
                "image": objects([render([1])[0], None, render([2])[0]]),
                "error": objects([None, "out of memory", None]),
                **row,
                **numbers,
            }
        )
        return tmp_path / "runs"

    @pytest.mark.parametrize("below", ["", "store"])
    def test_samples_by_their_ids(self, output: Path, below: str):
        found = entries(parse(f"store:{output / below}"))
        assert [(e.path, e.row, e.label) for e in found] == [("a", -1, 2), ("b", -1, None), ("c", -1, 0)]
        assert found[1].reason == "no picture in this row: out of memory"
        np.testing.assert_array_equal(pixels(found[2]), render([2])[0])

    def test_no_store(self, tmp_path: Path):
        with pytest.raises(UserError, match=r"expected samples below .*/store, found none; run a question first"):
            entries(parse(f"store:{tmp_path}"))


def test_the_world_is_drawn_by_index():
    source = parse("world:10-17")
    assert [(s.first, s.rows) for s in source.spans(4, None)] == [(10, 4), (14, 3)]
    found = entries(source, 4, limit=5)
    assert [e.row for e in found] == [10, 11, 12, 13, 14]
    assert [e.label for e in found] == labels(range(10, 15)).tolist()
    np.testing.assert_array_equal(pixels(found[3]), render([13])[0])


class TestRefused:
    def test_nothing_there(self, tmp_path: Path):
        with pytest.raises(UserError, match="expected a file or a folder, found none"):
            parse(str(tmp_path / "nowhere"))

    def test_no_pictures(self, tmp_path: Path):
        (tmp_path / "x.txt").write_text("words")
        with pytest.raises(UserError, match="expected picture files, Parquet files or tars, found 1 files of other"):
            parse(str(tmp_path))

    def test_two_kinds(self, tmp_path: Path):
        parquet(tmp_path / "x.parquet", 1)
        (tmp_path / "y.png").write_bytes(encoded(1))
        with pytest.raises(UserError, match="found Parquet and Folder; name one kind by a pattern"):
            parse(str(tmp_path))
        assert len(entries(parse(f"{tmp_path}/*.parquet"))) == 1

    def test_a_storage_that_nobody_reads(self):
        with pytest.raises(UserError, match="source ftp://x/y: expected a readable place, found: "):
            parse("ftp://x/y")
