"""Faults of storage and of those that write to it, at seeded random moments; afterwards every row is there once.

Each test has a quick version with a few moments, and a slow one with those that docs/reliability.md counts.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from pipelines.store import Store
from pipelines.verify import verify
from stages.randomness import rng
from tests import s3
from tests.faults.writer import ROWS, TABLES, fill, rows, stored

MOMENTS = [pytest.param(3, id="quick"), pytest.param(24, id="many", marks=pytest.mark.slow)]
PAUSE_S = 0.03
UNINTERRUPTED_S = 0.4
"""What a writer takes for its rows, pauses included: moments are spread over it."""


def assert_whole(store: Store) -> None:
    """Every row once, equal to the uninterrupted run's, and every file as published."""
    for table in TABLES:
        assert stored(store, table).equals(rows(table, list(range(ROWS)))), table
    found = verify(store)
    assert (found.rows, found.defects, found.notes) == (len(TABLES) * ROWS, [], [])


class Writer:
    """Processes that fill stores, one after the other."""

    def __init__(self) -> None:
        command, here = [sys.executable, "-m", "tests.faults.writer"], Path(__file__).parents[2]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1, cwd=here)
        assert self.said() == "ready"

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def fill(self, store: Store) -> str:
        """Let one begin, and return what it says first."""
        self.process.stdin.write(f"{store.uri} {PAUSE_S}\n")
        while (first := self.said()) == "done":  # of one that was killed too late
            pass
        return first

    def hold(self, store: Store) -> int:
        """Let one begin that finds the store free, and return the number of its process."""
        word, number = self.fill(store).split()
        assert word == "holding"
        return int(number)

    def said(self) -> str:
        return self.process.stdout.readline().strip()


@pytest.mark.parametrize("moments", MOMENTS)
def test_a_killed_writer_goes_on_where_it_stopped(tmp_path: Path, moments: int):
    """Some stores see several kills; the lease that is left behind is taken over at once."""
    draw, store, killed = rng(1, "moments"), Store(mkdtemp(dir=tmp_path)), 0
    with Writer() as writer:
        while killed < moments:
            process = writer.hold(store)
            time.sleep(draw.uniform(0, UNINTERRUPTED_S))
            with suppress(ProcessLookupError):  # it was done
                os.kill(process, signal.SIGKILL)
                killed += 1
                while True:  # it is gone a little later
                    os.kill(process, 0)
            if killed % 3 == 0:
                writer.hold(store)
                assert writer.said() == "done"
                assert_whole(store)
                store = Store(mkdtemp(dir=tmp_path))


@pytest.mark.parametrize("moments", MOMENTS)
def test_of_two_drivers_the_second_says_so(tmp_path: Path, moments: int):
    """Moments count where the first still wrote; how many do is the machine's speed."""
    draw, refused = rng(2, "moments"), 0
    with Writer() as first, Writer() as second:
        while refused < moments:
            store = Store(mkdtemp(dir=tmp_path))
            process = first.hold(store)
            time.sleep(draw.uniform(0, UNINTERRUPTED_S))
            if (said := second.fill(store)).startswith("holding"):  # the first was done
                assert second.said() == "done"
            else:
                expected = f"run.store: expected a store that no other command writes to, found {store.uri} in use by "
                assert said.startswith(f"{expected}process {process} on ")
                refused += 1
            assert first.said() == "done"
            assert_whole(store)


@pytest.mark.parametrize("moments", MOMENTS)
def test_a_full_disk_loses_what_was_being_written_and_no_more(tmp_path: Path, moments: int, disk_full):
    draw, failed = rng(3, "moments"), 0
    for moment in range(moments):
        store = Store(str(tmp_path / str(moment)))
        try:
            with disk_full(int(draw.integers(1_000, 40_000))):
                fill(store)
        except OSError:
            failed += 1
        for table in TABLES:
            known = stored(store, table)
            assert known.equals(rows(table, [int(i, 16) for i in known["sample_id"].to_pylist()]))
        fill(store)
        assert_whole(store)
        assert not list(Path(store.root).rglob(".*"))
    assert failed > moments / 2


def spells(draw: np.random.Generator, count: int) -> Iterator[tuple[float, float]]:
    """Yield for how long the server answers, and for how long it then does not."""
    for _ in range(count):
        yield draw.uniform(0.05, 0.4), draw.uniform(0.05, 0.6)


@pytest.mark.parametrize("moments", MOMENTS)
def test_a_server_that_is_killed_and_started_again_is_waited_for(s3_port: int, moments: int):
    draw, left, way = rng(4, "moments"), moments, s3.Way(s3_port)
    while left:
        store = Store(s3.uri(s3.bucket(s3_port), way.port))
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(fill, store)
            for up, down in spells(draw, min(left, 3)):
                time.sleep(up)
                if writing.done():
                    break
                way.cut()
                left -= 1
                time.sleep(down)
                way.restore()
            writing.result()
        assert_whole(store)


@pytest.mark.parametrize("moments", MOMENTS)
def test_a_run_that_storage_refuses_goes_on_when_it_is_allowed_again(s3_port: int, moments: int):
    """From some request on nothing is allowed, as when a key expires; no try helps, so the writer fails."""
    draw, way, failed = rng(5, "moments"), s3.Way(s3_port), 0
    while failed < moments:
        store = Store(s3.uri(s3.bucket(s3_port), way.port))
        for _ in range(3):
            way.refuse_after(int(draw.integers(40)))
            try:
                fill(store)
            except OSError:
                failed += 1
        way.refuse_after(None)
        fill(store)
        assert_whole(store)


@pytest.mark.parametrize("moments", MOMENTS)
def test_a_server_that_fails_often_and_lists_late_loses_nothing(s3_port: int, moments: int):
    """A fifth of the answers fail, and listings are half a second old: rows may be drawn again, but stand once."""
    for seed in range(max(1, moments // 6)):
        way = s3.Way(s3_port, seed=seed, share=0.2, stale_s=0.5, slow_s=0.05)
        place = s3.bucket(s3_port)
        for _ in range(3):
            fill(Store(s3.uri(place, way.port)))
            time.sleep(way.stale_s)
        assert_whole(Store(s3.uri(place, s3_port)))
        assert way.faults > 10
