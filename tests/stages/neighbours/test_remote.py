"""An index on object storage: the same answers as from a folder, its vectors fetched once, checked."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stages.base import objects
from stages.lookup import Lookup, LookupSpec
from stages.neighbours import Index, Ivf
from stages.neighbours.manifest import NAME
from stages.storage import filesystem, put, read
from tests import s3
from tests.stages.neighbours.make import unit, write


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "seedquake" / "indexes"


@pytest.fixture
def place(s3_port: int) -> str:
    return s3.uri(s3.bucket(s3_port), s3_port)


def fetched(cache: Path) -> list[str]:
    return sorted(str(path.relative_to(cache).as_posix())[17:] for path in cache.rglob("*.npy"))


def test_it_is_the_same_index_as_in_a_folder(place: str, tmp_path: Path, cache: Path):
    here, there = write(tmp_path / "index", unit(250, 8)), write(place, unit(250, 8))
    assert there.manifest == here.manifest
    assert there.fingerprint == here.fingerprint
    there.verify()
    assert fetched(cache) == []
    np.testing.assert_array_equal(there.gather(np.array([240, 3, 101])), unit(250, 8)[[240, 3, 101]])
    assert there.items([240, 3]).equals(here.items([240, 3]))
    assert there.dataset().to_table().equals(here.dataset().to_table())
    assert there.quarantine().equals(here.quarantine())


def test_only_the_shards_that_are_read_are_fetched_and_only_once(place: str, cache: Path):
    write(place, unit(250, 8))
    part = Index.open(place, shards=[1])
    np.testing.assert_array_equal(part.gather(part.numbers()), unit(250, 8)[100:200])
    assert fetched(cache) == ["shards/00001.npy"]
    fs, root = filesystem(place)
    before = read(fs, f"{root}/shards/00001.npy")
    put(fs, f"{root}/shards/00001.npy", bytes(before.size))  # nobody asks for it again
    np.testing.assert_array_equal(Index.open(place).gather(np.array([150])), unit(250, 8)[[150]])


def test_many_readers_fetch_a_file_once(place: str, s3_port: int):
    write(place, unit(250, 8))
    counted = s3.Way(s3_port)
    asked = s3.uri(place.partition("?")[0], counted.port)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: Index.open(asked).gather(np.array([n])), range(8)))
    np.testing.assert_array_equal(np.concatenate(found), unit(250, 8)[:8])
    assert len([one for one in counted.asked if one.startswith("GET") and "00000.npy" in one]) == 1


def test_a_lookup_finds_the_same(place: str, tmp_path: Path):
    write(tmp_path / "index", unit(300, 8))
    write(place, unit(300, 8))
    rows = {"embedding": objects(unit(7, 8, "queries"))}
    for engine in ({"kind": "exact"}, Ivf(lists=4, probes=4)):
        looked = [
            Lookup(LookupSpec(index=str(i), k=3, threads=1, engine=engine))(rows) for i in (tmp_path / "index", place)
        ]
        assert looked[0]["nearest"].tolist() == looked[1]["nearest"].tolist()


class TestTroubles:
    def test_a_server_that_fails_now_and_then(self, place: str, s3_port: int):
        way = s3.Way(s3_port, seed=3, share=0.2, slow_s=0.02)
        asked = s3.uri(place.partition("?")[0], way.port)
        index = write(asked, unit(250, 8))
        np.testing.assert_array_equal(index.gather(index.numbers()), unit(250, 8))
        index.verify()
        assert way.faults

    def test_a_file_changed(self, place: str, cache: Path):
        index = write(place, unit(250, 8))
        fs, root = filesystem(place)
        data = bytearray(read(fs, f"{root}/shards/00000.npy").to_pybytes())
        data[-1] ^= 1
        put(fs, f"{root}/shards/00000.npy", bytes(data))
        for read_it in (index.verify, lambda: index.gather(np.array([0]))):
            with pytest.raises(ValueError, match=r"index s3://.*: expected shards/00000.npy to have SHA-256"):
                read_it()
        assert fetched(cache) == []

    def test_a_file_gone(self, place: str):
        index = write(place, unit(250, 8))
        fs, root = filesystem(place)
        fs.delete_file(f"{root}/shards/00001.npy")
        for read_it in (index.verify, lambda: index.gather(np.array([150]))):
            with pytest.raises(ValueError, match=r"index s3://.*: expected shards/00001.npy, found none; build"):
                read_it()

    def test_no_index(self, place: str):
        with pytest.raises(ValueError, match=r"index s3://.*: expected the folder of an index, found none"):
            Index.open(place)

    def test_one_that_is_not_finished(self, place: str):
        write(place, unit(250, 8))
        fs, root = filesystem(place)
        fs.delete_file(f"{root}/{NAME}")
        with pytest.raises(ValueError, match=r"expected index.json, found none; build the index, or let its build"):
            Index.open(place)

    def test_a_storage_that_refuses(self, place: str, s3_port: int):
        way = s3.Way(s3_port)
        write(place, unit(250, 8))
        way.refused = "GET"
        with pytest.raises(ValueError, match=r"index s3://.*: expected to be able to read it, found .*ACCESS_DENIED"):
            Index.open(s3.uri(place.partition("?")[0], way.port))
