"""An index in files: what is written is read; damage is named."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages.neighbours import Index
from stages.neighbours.manifest import Manifest
from stages.neighbours.writer import Writer, rounded
from tests.stages.neighbours.make import unit, write


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return write(tmp_path / "index", unit(250, 8))


def test_what_is_written_is_read(index: Index):
    manifest = index.manifest
    assert (manifest.count, manifest.quarantined, manifest.dimension) == (250, 1, 8)
    assert [shard.rows for shard in manifest.shards] == [100, 100, 50]
    np.testing.assert_array_equal(np.concatenate([b for _, b in index.blocks(64)]), unit(250, 8))
    assert [first for first, _ in index.blocks(64)] == [0, 64, 100, 164, 200]
    index.verify()


def test_vectors_and_items_come_in_the_order_asked_for(index: Index):
    numbers = [240, 3, 3, 101, 99, 100]
    np.testing.assert_array_equal(index.gather(np.array(numbers)), unit(250, 8)[numbers])
    items = index.items(numbers)
    assert items["item"].to_pylist() == numbers
    assert items["path"].to_pylist() == [f"{n}.png" for n in numbers]
    assert index.items([7], columns=["row"]).to_pydict() == {"row": [7]}
    assert index.items([]).num_rows == 0


def test_items_of_many_row_groups(tmp_path: Path):
    index = write(tmp_path, unit(1000, 2), shard_rows=900)
    numbers = np.random.default_rng(0).permutation(1000)
    assert index.items(numbers.tolist(), ["row"])["row"].to_pylist() == numbers.tolist()


def test_an_item_that_is_not_there_is_refused(index: Index):
    with pytest.raises(ValueError, match="expected items of 0 to 249, found"):
        index.items([250])


def test_some_shards_keep_their_numbers(index: Index):
    part = Index.open(index.folder, shards=[2, 1])
    assert part.count == 150
    assert part.numbers().tolist() == list(range(100, 250))
    assert part.fingerprint != index.fingerprint
    np.testing.assert_array_equal(part.gather(np.array([249, 100])), unit(250, 8)[[249, 100]])


def test_the_fingerprint_follows_the_contents(index: Index, tmp_path: Path):
    assert write(tmp_path / "again", unit(250, 8)).fingerprint == index.fingerprint
    assert write(tmp_path / "other", unit(250, 8, "other")).fingerprint != index.fingerprint


def test_without_its_manifest_there_is_no_index(tmp_path: Path):
    writer = Writer(tmp_path, 4, "float32", 10)
    writer.add(unit(25, 4), pa.table({"path": ["x"] * 25}))
    with pytest.raises(ValueError, match=r"expected index.json, found none; build the index, or let its build finish"):
        Index.open(tmp_path)


def test_an_empty_set_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"expected at least one picture in toys, found none .* 1 in quarantine"):
        write(tmp_path, unit(0, 4))


class TestDamage:
    def test_no_folder(self, tmp_path: Path):
        with pytest.raises(ValueError, match="expected the folder of an index, found none"):
            Index.open(tmp_path / "nowhere")

    @pytest.mark.parametrize("text", ["{", '{"version": 2}', "[]", "\xff"])
    def test_an_unreadable_manifest(self, index: Index, text: str):
        (index.folder / "index.json").write_text(text, encoding="latin-1")
        with pytest.raises(ValueError, match=r"expected a manifest in index.json, found another text \(") as error:
            Index.open(index.folder)
        assert "\n" not in str(error.value)

    def test_a_file_cut_short(self, index: Index):
        path = index.folder / "shards" / "00001.npy"
        path.write_bytes(path.read_bytes()[:-7])
        with pytest.raises(ValueError, match=r"expected shards/00001.npy to have \d+ bytes, found \d+; copy or build"):
            Index.open(index.folder)

    def test_a_file_gone(self, index: Index):
        (index.folder / "items" / "00002.parquet").unlink()
        with pytest.raises(ValueError, match=r"expected items/00002.parquet, found none"):
            Index.open(index.folder)

    def test_a_file_changed(self, index: Index):
        path = index.folder / "shards" / "00000.npy"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"shards/00000.npy to have SHA-256 \w+, found"):
            Index.open(index.folder).verify()

    def test_a_manifest_that_leads_out_of_its_folder(self, index: Index):
        path = index.folder / "index.json"
        path.write_text(path.read_text().replace("shards/00000.npy", "../00000.npy"))
        with pytest.raises(ValueError, match="found another text"):
            Index.open(index.folder)

    def test_a_shard_of_another_shape(self, index: Index):
        shard = index.manifest.shards[0].model_copy(update={"rows": 99})
        shards = (shard, *index.manifest.shards[1:])
        other = Index(index.folder, index.manifest.model_copy(update={"shards": shards}))
        with pytest.raises(ValueError, match=r"00000.npy to hold \(\(99, 8\)"):
            other.gather(np.array([0]))


class TestWeights:
    def test_other_scores(self, index: Index):
        with pytest.raises(ValueError, match="lookup: expected an index of toy@16, found one of toy@8"):
            index.manifest.refuse_other("toy@16", "w", "lookup")

    def test_other_weights(self, index: Index):
        with pytest.raises(ValueError, match="made with the weights v of toy, found one of w; build it again"):
            index.manifest.refuse_other("toy@8", "v", "lookup")

    def test_the_same(self, index: Index):
        index.manifest.refuse_other("toy@8", "w", "lookup")


def test_what_cannot_be_stored_is_told():
    vectors = np.array([[1, 0], [0, 0], [np.nan, 1], [1e6, 0], [1e-9, 0]], np.float32)
    assert rounded(vectors, "float16", "cosine")[1].tolist() == [True, False, False, False, False]
    assert rounded(vectors, "float32", "l2")[1].tolist() == [True, True, False, True, True]


def test_a_manifest_survives_json(index: Index):
    assert Manifest.model_validate_json(index.manifest.model_dump_json()) == index.manifest
