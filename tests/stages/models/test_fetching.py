"""A file is fetched once, however many ask for it at the same time, and again after a fetch that failed."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stages.models.fetching import fetched


def test_those_who_ask_at_once_fetch_once(tmp_path: Path):
    path, fetches = tmp_path / "cache" / "weights.pt", []

    def fetch() -> None:
        fetches.append(1)
        time.sleep(0.05)
        path.write_bytes(b"weights")

    with ThreadPoolExecutor(8) as askers:
        found = list(askers.map(lambda _: fetched(path, fetch).read_bytes(), range(8)))
    assert found == [b"weights"] * 8
    assert fetches == [1]


def test_a_file_that_is_there_is_taken_as_it_is(tmp_path: Path):
    path = tmp_path / "weights.pt"
    path.touch()
    assert fetched(path, pytest.fail) == path
    assert list(tmp_path.iterdir()) == [path]


def test_a_fetch_that_failed_holds_nobody_up(tmp_path: Path):
    path = tmp_path / "weights.pt"

    def fail() -> None:
        raise OSError("no network")

    for _ in range(2):
        with pytest.raises(OSError, match="no network"):
            fetched(path, fail)
    assert fetched(path, path.touch) == path
