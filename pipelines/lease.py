"""One writer a store: a lease that its holder renews while it lives."""

import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import Field, ValidationError

from pipelines.config import UserError, one_line
from pipelines.run import RunFailed
from pipelines.store import Store
from stages.base import Spec
from stages.storage import put, read

FILE = "_lease.json"
BEAT_S, DEAD_S, SETTLE_S = 5.0, 60.0, 1.0
"""How often a holder renews its lease; for how long one of another machine must stand still to be dead; and how long a
lease that was not taken exclusively must stand before it counts."""


class Claim(Spec):
    """Who writes to a store, as it stands in the lease's file."""

    token: str = Field(min_length=1, description="Random, of this command alone.")
    beat: int = Field(0, ge=0, description="How often it was renewed; a clock of its own, compared with itself only.")
    host: str
    place: str = Field(description="Where its process number counts: the machine since it started, and the container.")
    pid: int
    started: str = Field(description="When the process started, since another one may get its number.")
    since: str = Field(description="When the store was claimed, for people.")

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


class Lease:
    """The right to write to a store: claimed, renewed by a thread, and given back.

    On a disk a claim is exclusive, by a hard link. Object storage that pyarrow writes to knows no such thing, nor can a
    dead holder's claim be replaced exclusively: there a claim is written, and counts if it still stands a second later.
    A holder that stood still for so long that another took over finds that out at its next beat and stops.
    """

    def __init__(self, store: Store, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.store, self.path = store, f"{store.root}/{FILE}"
        self.claim = new_claim()
        self.counts_at = 0.0
        self.before: Claim | None = None
        self.lost = False
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._renew, daemon=True, name="lease")

    def take(self) -> None:
        """Claim the store; raises `UserError` where another command holds it."""
        try:
            self._claim()
        except OSError as error:
            reason = one_line(error, 300)
            raise UserError(f"run.store: expected {self.store.uri} to be writable, found: {reason}") from error
        self._beats.start()

    def confirm(self) -> None:
        """Raise `RunFailed` where the store is not ours, or no longer; waits where that is not certain yet."""
        if self.counts_at:
            time.sleep(max(0.0, self.counts_at - time.monotonic()))
            self.counts_at, self.lost = 0.0, self.lost or self._taken()
        if self.lost:
            raise RunFailed(
                f"run.store: expected to be the only command that writes to {self.store.uri}, found it in use by "
                f"{self.holder() or 'another'}; finished rows are kept, run again once it is done"
            )

    def give_back(self) -> None:
        """End the lease."""
        self._ended.set()
        if self._beats.is_alive():
            self._beats.join(2 * BEAT_S)  # storage that is away must not hold up the end
            with suppress(OSError):
                if not self._taken():
                    self.store.fs.delete_file(self.path)

    def holder(self) -> Claim | None:
        """Return who holds the store; None where nobody does."""
        try:
            return Claim.model_validate_json(read(self.store.fs, self.path).to_pybytes())
        except (FileNotFoundError, ValidationError):
            return None

    def _claim(self) -> None:
        self._refuse_living()
        if not self._exclusively():
            self._refuse_living()  # the one that was faster
            self._write()
            self.counts_at = time.monotonic() + SETTLE_S

    def _refuse_living(self) -> None:
        """Raise `UserError` where the store has a holder that lives."""
        dead, self.before = self.before, self.holder()
        if self.before not in (None, dead) and not self._dead(self.before):
            raise UserError(
                f"run.store: expected a store that no other command writes to, found {self.store.uri} in use by "
                f"{self.before}; wait until it is done, or write to another run.store"
            )

    def _exclusively(self) -> bool:
        """Whether the claim was made in one step, which only the first of several commands can do."""
        if self.before is not None or self.store.fs.type_name != "local":
            return False
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        own = path.with_name(f".{FILE}.{self.claim.token}")
        own.write_text(self.claim.model_dump_json(), encoding="utf-8")
        try:
            path.hardlink_to(own)
        except OSError:  # another one was first, or a disk without links
            return False
        finally:
            own.unlink()
        return True

    def _dead(self, claim: Claim) -> bool:
        """Whether a holder is gone: here its process tells, elsewhere only that its lease stands still."""
        if claim.place == self.claim.place:
            return claim.pid == self.claim.pid or started(claim.pid) != claim.started
        self.tell(f"{self.store.uri} was in use by {claim}; waiting up to {DEAD_S:.0f} s for a sign of life")
        until = time.monotonic() + DEAD_S
        while time.monotonic() < until:
            time.sleep(BEAT_S / 5)
            if (now := self.holder()) != claim:
                return now is None
        return True

    def _taken(self) -> bool:
        """Whether the store is another's; an old claim is what a storage may answer that is not up to date."""
        now = self.holder()
        return now is not None and now.token not in (self.claim.token, self.before and self.before.token)

    def _renew(self) -> None:
        while not self._ended.wait(BEAT_S):
            with suppress(OSError):  # storage that is away for a moment; the next beat tries again
                if self._taken():
                    self.lost = True
                    return
                self.claim = self.claim.model_copy(update={"beat": self.claim.beat + 1})
                self._write()

    def _write(self) -> None:
        put(self.store.fs, self.path, self.claim.model_dump_json().encode())


HELD: dict[str, Lease] = {}
"""The leases of this process by folder of the store: questions of one command share one."""


@contextmanager
def held(store: Store, tell: Callable[[str], None] = lambda _: None) -> Iterator[Lease]:
    """Give the right to write to a store, until the end or until the process is asked to end; raises `UserError`.

    `tell` hears why it takes long.
    """
    if shared := HELD.get(store.root):
        yield shared
        return
    lease = Lease(store, tell)
    with ends_on_request():
        lease.take()
        HELD[store.root] = lease
        try:
            yield lease
        finally:
            del HELD[store.root]
            lease.give_back()


@contextmanager
def ends_on_request() -> Iterator[None]:
    """Let SIGTERM end the process as an error does, so that what is open is closed; Ray's own handler does so too."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        if ours and signal.getsignal(signal.SIGTERM) is leave:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def leave(number: int, frame: object) -> None:  # noqa: ARG001  what a handler of signals is given
    """End the process with the status that shells give to the signal."""
    raise SystemExit(128 + number)


def new_claim() -> Claim:
    """Return the claim of this process."""
    since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    host, pid = socket.gethostname(), os.getpid()
    return Claim(token=uuid.uuid4().hex, host=host, place=place(), pid=pid, started=started(pid), since=since)


def place() -> str:
    """Return what two processes share that can tell whether the other lives."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def started(pid: int) -> str:
    """Return when a process started, in the machine's own ticks where it tells; "gone" where there is none."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return "unknown"
    return "gone" if state in "ZX" else rest[18]
