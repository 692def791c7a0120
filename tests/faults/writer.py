"""Writes known rows to a store as a run does: recovers, draws what is lacking batch by batch, compacts, seals.

`python -m tests.faults.writer` says "ready"; for each line "STORE PAUSE" a process of its own fills a store, and says
"holding" and its number once the store is its own, and "done" at the end, or why it may not write.
"""

import os
import signal
import sys
import time

import numpy as np
import pyarrow as pa

from pipelines.config import UserError
from pipelines.lease import held
from pipelines.store import Store
from stages.randomness import rng

ROWS, BATCH = 40, 8
TABLES = ("samples", "measured/size")


def sample(number: int) -> dict[str, object]:
    """A row, from its number alone; pictures differ in size, so files do."""
    draw = rng(number, "row")
    return {"sample_id": f"{number:032x}", "image": draw.bytes(int(draw.integers(100, 4000))), "error": None}


def measured(number: int) -> dict[str, object]:
    return {"sample_id": f"{number:032x}", "size": float(len(sample(number)["image"]))}


MADE = {"samples": sample, "measured/size": measured}
SCHEMAS = {
    "samples": pa.schema([("sample_id", pa.string()), ("image", pa.binary()), ("error", pa.string())]),
    "measured/size": pa.schema([("sample_id", pa.string()), ("size", pa.float64())]),
}


def rows(table: str, numbers: list[int]) -> pa.Table:
    return pa.Table.from_pylist([MADE[table](n) for n in numbers], schema=SCHEMAS[table])


def stored(store: Store, table: str) -> pa.Table:
    data = store.dataset(table)
    return data.to_table().sort_by("sample_id") if data else rows(table, [])


def lacking(store: Store, table: str) -> list[int]:
    known = {int(i, 16) for i in stored(store, table)["sample_id"].to_pylist()}
    return [n for n in range(ROWS) if n not in known]


def fill(store: Store, pause: float = 0.0) -> None:
    """Bring a store up to date; each start makes its batches in another order."""
    for table in TABLES:
        store.recover(table)
    todo = [lacking(store, table) for table in TABLES]
    order = np.random.default_rng().permutation(sorted(set(todo[0]) | set(todo[1]))).tolist()
    for start in range(0, len(order), BATCH):
        for table, left in zip(TABLES, todo, strict=True):
            if batch := [n for n in order[start : start + BATCH] if n in left]:
                store.write(table, rows(table, batch))
        time.sleep(pause)
    for table in TABLES:
        store.compact(table, shard_bytes=2**16)
        store.seal(table)


def say(*words: object) -> None:
    sys.stdout.write(f"{' '.join(map(str, words))}\n")
    sys.stdout.flush()


def answer(line: str) -> None:
    uri, pause = line.split()
    try:
        with held(store := Store(uri)) as lease:
            lease.confirm()
            say("holding", os.getpid())
            fill(store, float(pause))
    except UserError as error:
        say(error)
    else:
        say("done")


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the killed are nobody's to wait for
    say("ready")
    for line in sys.stdin:
        if not os.fork():  # a process of its own without seconds of imports
            try:
                answer(line)
            finally:
                os._exit(0)


if __name__ == "__main__":
    main()
