"""One writer a store: who holds it, who is told so, who takes over, and when it is given back."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import lease
from pipelines.config import UserError
from pipelines.lease import FILE, Claim, Lease, held, new_claim
from pipelines.run import RunFailed
from pipelines.store import Store
from stages.storage import put

HOLDS = """
import signal, sys, time
from pipelines.lease import held
from pipelines.store import Store
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
with held(Store(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hearts beat fast in tests."""
    for name, seconds in (("BEAT_S", 0.1), ("DEAD_S", 1.0), ("SETTLE_S", 0.3)):
        monkeypatch.setattr(lease, name, seconds)


def lease_of(store: Store) -> Lease:
    return Lease(store, lambda _: None)


def elsewhere(**changes) -> Claim:
    return new_claim().model_copy(update={"host": "far", "place": "another machine", "token": "theirs", **changes})


def leave(store: Store, claim: Claim) -> None:
    put(store.fs, f"{store.root}/{FILE}", claim.model_dump_json().encode())


def test_a_lease_is_taken_and_given_back(store: Store):
    with held(store) as ours:
        ours.confirm()
        assert ours.holder().token == ours.claim.token
        with held(Store(store.uri)) as shared:
            assert shared is ours
        assert ours.holder() is not None
    assert ours.holder() is None


def test_it_is_given_back_after_a_failure(store: Store):
    with pytest.raises(ValueError, match="broke"), held(store):
        raise ValueError("it broke")
    assert lease_of(store).holder() is None


def test_a_holder_elsewhere_that_beats_is_named(store: Store):
    other = lease_of(store)
    other.claim = elsewhere()
    other.take()
    with pytest.raises(UserError, match=r"run\.store: .* in use by process \d+ on far since 20.*; wait"), held(store):
        pass
    other.give_back()
    with held(store) as ours:
        ours.confirm()


@pytest.mark.parametrize("since", ["1999-01-01 00:00:00 UTC", "2999-01-01 00:00:00 UTC"])
def test_a_holder_elsewhere_that_stands_still_is_dead_whatever_the_clocks_say(store: Store, since: str):
    leave(store, elsewhere(since=since))
    told: list[str] = []
    start = time.monotonic()
    with held(store, told.append) as ours:
        ours.confirm()
        assert time.monotonic() - start >= lease.DEAD_S
    assert len(told) == 1
    assert "in use by process" in told[0]
    assert "waiting up to 1 s for a sign of life" in told[0]


def test_a_clock_that_jumps_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 10**12, 10**9))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    other = lease_of(store)
    other.claim = elsewhere()
    other.take()
    with pytest.raises(UserError, match="in use by"), held(store):
        pass
    other.give_back()


def test_of_two_that_take_over_one_holds(store: Store):
    leave(store, elsewhere())
    first, second = lease_of(store), lease_of(store)
    for one in (first, second):
        one.before = one.holder()
        one._write()
        one.counts_at = time.monotonic() + lease.SETTLE_S
    with pytest.raises(RunFailed, match=r"run\.store: expected to be the only command .* in use by process"):
        first.confirm()
    second.confirm()


def test_of_two_that_start_at_once_one_holds(tmp_path: Path):
    """On a disk the second cannot even write its claim: a hard link is made once."""
    first, second = (lease_of(Store(str(tmp_path))) for _ in range(2))
    assert first._exclusively()
    assert not second._exclusively()
    assert first.holder().token == first.claim.token
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_holder_that_was_taken_for_dead_finds_out_and_stops(store: Store):
    with held(store) as ours:
        ours.confirm()
        leave(store, elsewhere())
        deadline = time.monotonic() + 10
        while not ours.lost:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(RunFailed, match=r"in use by process \d+ on far"):
            ours.confirm()
    assert lease_of(store).holder().host == "far"


def test_a_torn_lease_is_nobody_s(store: Store):
    put(store.fs, f"{store.root}/{FILE}", b"{")
    with held(store) as ours:
        ours.confirm()
    assert lease_of(store).holder() is None


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"run\.store: expected .* to be writable, found: "),
        held(Store(str(tmp_path / "file" / "store"))),
    ):
        pass


def test_a_lease_costs_no_time(tmp_path: Path):
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        with held(Store(str(tmp_path))) as ours:
            ours.confirm()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


def holding(store: Store) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, store.uri], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("ended", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_another_process_holds_it_until_it_ends(tmp_path: Path, ended: signal.Signals):
    """A killed one leaves its lease, which is taken over at once: its process is known to be gone."""
    store = Store(str(tmp_path / "s"))
    with holding(store) as process:
        with pytest.raises(UserError, match=f"in use by process {process.pid} on "), held(store):
            pass
        process.send_signal(ended)
        process.wait(timeout=20)
    assert (lease_of(store).holder() is None) == (ended != signal.SIGKILL)
    start = time.monotonic()
    with held(store):
        assert time.monotonic() - start < 0.5


def test_a_stopped_process_keeps_its_lease(tmp_path: Path):
    store = Store(str(tmp_path / "s"))
    with holding(store) as process:
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(UserError, match="in use by"), held(store):
            pass
        process.kill()
