"""Pieces: every entry in exactly one, published whole, in any order."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.entries import Entry, Source, Span
from pipelines.pieces import PART, EmbedPieces, Key, Parts, read_pieces, whole
from stages.embed import EmbedSpec
from tests.pipelines.damaged import DAMAGED, encoded


class Numbers(Source):
    """So many entries that are only numbered."""

    def __init__(self, count: int) -> None:
        super().__init__("numbers")
        self.count = count

    def spans(self, size, limit):  # noqa: ARG002
        return [Span(number=0)]

    def entries(self, span):  # noqa: ARG002
        return (Entry(str(i), i, b"") for i in range(self.count))


def pieces(count: int, size: int, done: frozenset[int] = frozenset()) -> list[dict]:
    return [row for table in read_pieces(Numbers(count), Span(number=7), size, done) for row in table.to_pylist()]


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (9, [4, 4, 1])])
def test_every_entry_is_in_one_piece_and_the_last_says_so(count: int, sizes: list[int]):
    found = pieces(count, 4)
    assert [len(p["entries"]) for p in found] == sizes
    assert [e["row"] for p in found for e in p["entries"]] == list(range(count))
    assert [p["last"] for p in found] == [False] * (len(sizes) - 1) + [True]
    assert {(p["span"], p["piece"]) for p in found} == {(7, i) for i in range(len(sizes))}


def test_pieces_that_are_done_are_left_out():
    assert [p["piece"] for p in pieces(20, 4, frozenset({0, 3}))] == [1, 2, 4]


def publish(parts: Parts, *keys: tuple[int, int, bool]) -> None:
    for span, piece, last in keys:
        parts.publish(Key(span, piece), last, PART.empty_table())


def test_a_span_is_whole_when_all_its_pieces_are_there(tmp_path: Path):
    parts = Parts(str(tmp_path / "parts"))
    assert whole(parts.published()) == set()
    publish(parts, (1, 0, True), (0, 1, True), (2, 0, False))
    assert whole(parts.published()) == {1}
    publish(parts, (0, 0, False))
    assert whole(parts.published()) == {0, 1}
    assert list(parts.published()) == [(0, 0), (0, 1), (1, 0), (2, 0)]


def test_a_half_written_piece_is_none(tmp_path: Path):
    parts = Parts(str(tmp_path))
    publish(parts, (0, 0, True))
    (tmp_path / ".00000001-000000.end.parquet.abc").write_bytes(b"half")
    assert list(parts.published()) == [(0, 0)]
    parts.sweep()
    assert [p.name for p in tmp_path.iterdir()] == ["00000000-000000.end.parquet"]


def embedded(folder: Path, files: list[bytes], model: str = "pixels:4") -> pa.Table:
    actor = EmbedPieces(EmbedSpec(model=model, batch=4, threads=1), "float16", 64, str(folder), 2)
    entries = [Entry(str(i), i, data)._asdict() for i, data in enumerate(files)]
    row = pa.Table.from_pylist([{"span": 0, "piece": 0, "last": True, "entries": entries}])
    told = actor(row).to_pylist()
    table = pq.read_table(folder / "00000000-000000.end.parquet")
    assert told == [{"entries": len(files), "quarantined": len(files) - table["reason"].null_count, "last": 1}]
    return table


def test_damaged_pictures_are_quarantined_and_the_others_are_not(tmp_path: Path):
    damaged = [data for data, _ in DAMAGED.values()]
    table = embedded(tmp_path, [encoded(1), *damaged, encoded(2)])
    assert [reason is None for reason in table["reason"].to_pylist()] == [True, *[False] * len(damaged), True]
    assert [vector is None for vector in table["vector"].to_pylist()] == [False, *[True] * len(damaged), False]
    assert table.schema.metadata == {b"metric": b"l2", b"dimension": b"48"}


def test_nothing_but_damage(tmp_path: Path):
    assert embedded(tmp_path, [b"", b"x"])["reason"].null_count == 0


def test_a_vector_does_not_depend_on_the_pictures_beside_it(tmp_path: Path):
    whole = embedded(tmp_path / "a", [encoded(i) for i in range(9)])
    alone = [embedded(tmp_path / f"b{i}", [encoded(i)]) for i in range(9)]
    assert whole["vector"].to_pylist() == [one["vector"][0].as_py() for one in alone]
