"""Loading: one process after the other on few cores, and never a reason not to load."""

import gc
import threading
import time
from pathlib import Path

import pytest

from pipelines.starting import loading


def at_once(folder: Path, cores: int, processes: int = 4) -> int:
    """Return how many of so many blocks were ever within `loading` together."""
    inside, most, lock = 0, 0, threading.Lock()

    def load() -> None:
        nonlocal inside, most
        with loading(folder, cores):
            with lock:
                inside, most = inside + 1, max(most, inside + 1)
            time.sleep(0.2)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=load) for _ in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 1), (5, 2), (64, 4)])
def test_one_process_loads_for_each_two_cores(tmp_path: Path, cores: int, expected: int) -> None:
    assert at_once(tmp_path, cores) == expected


def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    with loading(tmp_path, 2):
        start = time.monotonic()
        with loading(tmp_path, 2, wait_s=0.3):
            assert 0.3 <= time.monotonic() - start < 5


def test_a_folder_that_cannot_be_written_is_no_reason_to_wait(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    entered = False
    with loading(tmp_path / "file", 2):
        entered = True
    assert entered


def test_the_collector_pauses_and_comes_back_after_a_failure(tmp_path: Path) -> None:
    def fail() -> None:
        assert not gc.isenabled()
        raise ValueError("no model")

    with pytest.raises(ValueError, match="no model"), loading(tmp_path, 2):
        fail()
    assert gc.isenabled()
    gc.unfreeze()
