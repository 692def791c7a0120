"""Files of a cache, fetched once a machine however many of its processes ask at the same time."""

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def fetched(path: Path, fetch: Callable[[], None]) -> Path:
    """Return the path, after `fetch` made a file there unless there was one: one process does, others wait for it.

    `fetch` makes it whole or not at all. Its content is the caller's to check.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                fetch()
    return path
