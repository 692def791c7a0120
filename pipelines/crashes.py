"""Rows that end their process, by a crash or without end: found by halving their batch, set aside with the reason.

A process that was never started again works as if nothing ever failed. One whose predecessor died keeps a journal of
what it works on, so that its successor knows which rows were in hand.
"""

import faulthandler
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TypeAlias

import numpy as np

from pipelines.columns import TRAVELLING
from stages.base import AnyStage, Batch, digest, objects

TRIES = 3
"""A row is set aside once so many processes have died over it, the last ones over it alone."""
LIVES = 30
"""After so many deaths over one batch the run fails."""
GRACE_S = 5.0
NAMESPACE = "seedquake crashes"
DIED, MEMORY, HUNG = "crashed or killed", "ended by Ray for lack of memory", "longer than run.batch_timeout_s"
PICTURES = ("image", "png")

Ends: TypeAlias = list[str]
"""How processes ended over some rows, one of the three texts above for each."""


@dataclass(frozen=True)
class Care:
    """What the actors of one pool share to find rows that end their process."""

    pool: str
    """Names the pool among all of the cluster."""
    limit_s: float | None = None
    """Seconds that one stage may take for one batch; None: any."""


class Journal:
    """How processes ended over which rows: kept by the head of the cluster, where it outlives them all."""

    def __init__(self, process: str) -> None:
        self.process = process

    def ends(self, key: str) -> Ends:
        """Return how processes ended over these rows, the last of them perhaps without a word."""
        from ray.experimental.internal_kv import _internal_kv_get

        found = _internal_kv_get(key, namespace=NAMESPACE)
        if not found:
            return []
        ends, process = json.loads(found)
        return ends if process is None else [*ends, end_of(process)]

    def begin(self, key: str, ends: Ends) -> None:
        """Note that this process has the rows in hand."""
        self._write(key, ends, self.process)

    def finish(self, key: str, ends: Ends) -> None:
        """Note that no process has the rows in hand."""
        self._write(key, ends, None)

    def forget(self, prefix: str) -> None:
        """Drop what is noted of the rows of a batch."""
        from ray.experimental.internal_kv import _internal_kv_del

        _internal_kv_del(prefix, del_by_prefix=True, namespace=NAMESPACE)

    def _write(self, key: str, ends: Ends, process: str | None) -> None:
        from ray.experimental.internal_kv import _internal_kv_put

        _internal_kv_put(key, json.dumps([ends, process]), namespace=NAMESPACE)


def end_of(process: str) -> str:
    """Return how a process of Ray ended, as far as Ray says."""
    from ray._private.state import state

    tables, common = (import_module(f"ray.core.generated.{name}_pb2") for name in ("gcs", "common"))
    for entry in state._connect_and_get_accessor().get_worker_table():
        worker = tables.WorkerTableData.FromString(entry)
        if worker.worker_address.worker_id.hex() == process:
            return MEMORY if worker.exit_type == common.NODE_OUT_OF_MEMORY else DIED
    return DIED


class Careful:
    """Applies stages within an actor so that rows that end its process again and again end as rows that failed."""

    def __init__(self, care: Care) -> None:
        import ray

        context = ray.get_runtime_context()
        self.care = care
        self.journal = Journal(context.get_worker_id())
        self.again = bool(context.was_current_actor_reconstructed)

    def __call__(self, stages: Sequence[AnyStage], batch: Batch) -> Batch:
        """Return the batch with every stage applied; a row is set aside from the stage on that it ends."""
        named = {name: batch[name].tolist() for name in ("sample_id", "number") if name in batch}
        prefix = f"{self.care.pool}/{digest(named)}/"
        if self.again:
            self._count(prefix, len(next(iter(named.values()), [])))
        for number, stage in enumerate(stages):
            batch = self._apply(stage, batch, f"{prefix}{number}/", [])
        if self.again:
            self.journal.forget(prefix)
        return batch

    def _count(self, key: str, rows: int) -> None:
        """Count one more process that has the batch in hand; raises RuntimeError when too many have died over it."""
        ends = self.journal.ends(key)
        if len(ends) >= LIVES:
            raise RuntimeError(f"{LIVES} processes died over a batch of {rows} rows, too many to be the fault of a few")
        self.journal.begin(key, ends)

    def _apply(self, stage: AnyStage, batch: Batch, key: str, before: Ends) -> Batch:
        """Apply a stage to rows whose place in the batch is the end of the key, half by half where they ended one."""
        rows = len(next(iter(batch.values())))
        ends = self.journal.ends(key) if self.again else []
        if ends and rows > 1 and not stage.whole:
            halves = cut(batch, 0, rows // 2), cut(batch, rows // 2, rows)
            return joined([self._apply(stage, half, f"{key}{i}", before + ends) for i, half in enumerate(halves)])
        reason = f"{type(stage).__name__}: {self._told(before + ends)}"
        if stage.whole and len(ends) >= TRIES:
            raise RuntimeError(f"{reason}, over {rows} rows of which it can leave out none")
        if rows == 1 and not stage.whole and len(before + ends) >= TRIES:
            batch = set_aside(batch, reason)
        with (
            self._journalled(key, ends),
            ended_after(self.care.limit_s, lambda: self.journal.finish(key, [*ends, HUNG])),
        ):
            return stage(batch)

    @contextmanager
    def _journalled(self, key: str, ends: Ends) -> Iterator[None]:
        if not self.again:
            yield
            return
        self.journal.begin(key, ends)
        try:
            yield
        finally:  # not reached when the process dies
            self.journal.finish(key, ends)

    def _told(self, ends: Ends) -> str:
        limit = f" ({self.care.limit_s:g} s)" if self.care.limit_s else ""
        counts = ", ".join(f"{n} x {end}{limit if end == HUNG else ''}" for end, n in Counter(ends).items())
        return f"its process died {len(ends)} times: {counts}"


@contextmanager
def ended_after(seconds: float | None, note: Callable[[], None]) -> Iterator[None]:
    """End this process, after a note, if the block takes longer than so many seconds."""
    if seconds is None:
        yield
        return

    def end() -> None:
        try:
            note()
        finally:
            os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    # A library that hangs may hold the interpreter's lock, and no thread of Python would run: this one needs none.
    faulthandler.dump_traceback_later(seconds + GRACE_S, exit=True)
    try:
        yield
    finally:
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()


def cut(batch: Batch, start: int, stop: int) -> Batch:
    """Return some rows of a batch."""
    return {name: column[start:stop] for name, column in batch.items()}


def joined(batches: Sequence[Batch]) -> Batch:
    """Return the rows of batches of the same columns, one after the other."""
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def set_aside(batch: Batch, reason: str) -> Batch:
    """Return rows as ones that failed: with the reason, and without what was drawn or measured of them."""
    empty = [name for name, column in batch.items() if column.dtype == object and name not in TRAVELLING]
    nothing = {name: objects([None] * len(batch["error"])) for name in [*empty, *PICTURES] if name in batch}
    return batch | nothing | {"error": objects([reason] * len(batch["error"]))}
