"""Processes that load libraries and models: on few cores one after the other, and without looking for garbage."""

import gc
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

CORES_TO_LOAD = 2
WAIT_S = 60.0
LOOK_S = 0.1


@contextmanager
def loading(folder: Path | None = None, cores: int | None = None, wait_s: float = WAIT_S) -> Iterator[None]:
    """Let the block load at a time when few others of this machine do.

    Loading keeps a core busy, so two processes on two busy cores would both be ready late, and the first row with
    them. As many load at once as there are pairs of `cores`, holding a lock in `folder`; the others wait, `wait_s`
    seconds at most. What is loaded stays: Python's collector, which would walk it again and again, pauses meanwhile
    and leaves it out afterwards.
    """
    with ExitStack() as held:
        with suppress(OSError):  # another user's folder, a full disk: no reason not to load
            wait_for_turn(folder or own_folder(), max(1, (cores or os.cpu_count() or 1) // CORES_TO_LOAD), wait_s, held)
        held.enter_context(without_collector())
        yield


def own_folder() -> Path:
    """Return the folder of this machine's locks of this user."""
    return Path(tempfile.gettempdir()) / f"seedquake-{os.getuid()}"


def wait_for_turn(folder: Path, turns: int, wait_s: float, held: ExitStack) -> None:
    """Take one of so many locks for as long as `held` lasts, or none when all are taken for too long."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    locks = [FileLock(folder / f"loading-{turn}.lock") for turn in range(turns)]
    deadline = time.monotonic() + wait_s
    while True:
        for lock in locks:
            with suppress(Timeout):
                held.enter_context(lock.acquire(blocking=False))
                return
        if time.monotonic() >= deadline:
            return
        time.sleep(LOOK_S)


@contextmanager
def without_collector() -> Iterator[None]:
    """Pause Python's garbage collector; what is there at the end it never looks at again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()
