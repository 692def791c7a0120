"""The folder that a command is run in, entered by its actors and tasks too.

A process of Ray starts where Ray was started: elsewhere, where a running one was joined. Relative paths, to be written
to or of a model, are the same to it as to the command once it works in the command's folder.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

_BRING: ContextVar[Callable[[], None] | None] = ContextVar("bring", default=None)


@dataclass(frozen=True)
class Workplace:
    """Where an actor works, a value that travels to it."""

    folder: Path
    bring: Callable[[], None] | None
    """Brings to a machine what actors open by its path, and is called by each of them: machines may join late."""

    def enter(self) -> None:
        """Work there from now on, and bring what is needed."""
        enter(self.folder)
        if self.bring:
            self.bring()


def workplace() -> Workplace:
    """Return where this command works."""
    return Workplace(Path.cwd(), _BRING.get())


@contextmanager
def bringing(bring: Callable[[], None] | None) -> Iterator[None]:
    """Let the actors that the block starts first bring what they need; `bring` travels to each of them."""
    before = _BRING.set(bring)
    try:
        yield
    finally:
        _BRING.reset(before)


def enter(folder: Path) -> None:
    """Work in a folder from now on; on a machine that lacks it nothing relative could be shared, so nothing happens."""
    if os.access(folder, os.X_OK):
        os.chdir(folder)
