"""A wall clock that jumps in the driver and all processes of Ray: `python -m tests.faults.clocks NAME FOLDER COUNT`."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pipelines import cluster
from pipelines.lease import held
from pipelines.store import Store
from stages.randomness import rng
from tests.faults.scenes import BATCH, BATCH_S, ROWS, begun, main, toys, wait_until
from tests.faults.toys import Toys, uninterrupted

SITE = """
import os, time
wall, steady, read = time.time, time.monotonic, [0.0, 0.0]


def shift():
    now = steady()
    if now > read[0]:
        with open(os.environ["CLOCK"]) as file:
            read[:] = now + 0.05, float(file.read())
    return read[1]


def shown(seconds=None):
    return now() if seconds is None else seconds


localtime, gmtime, strftime = time.localtime, time.gmtime, time.strftime


def now():
    return wall() + shift()


def now_ns():
    return int(now() * 1e9)


def local(seconds=None):
    return localtime(shown(seconds))


def universal(seconds=None):
    return gmtime(shown(seconds))


def told(form, at=None):
    return strftime(form, local() if at is None else at)


time.time, time.time_ns, time.localtime, time.gmtime, time.strftime = now, now_ns, local, universal, told
"""
"""Python runs it as it starts, where it finds it as `sitecustomize`: clocks are as far off as a file says. Its
functions have names, by which processes of Ray tell each other of them."""
HOUR_S = 3600.0


def shifted(folder: Path) -> dict[str, str]:
    """Return the environment of processes whose clocks are shifted."""
    (folder / "sitecustomize.py").write_text(SITE)
    shift(clock := folder / "clock", 0.0)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "CLOCK": str(clock)}


def shift(clock: Path, seconds: float) -> None:
    """Let every clock jump, at once."""
    partial = clock.with_suffix(".partial")
    partial.write_text(str(seconds))
    partial.replace(clock)


def off(clock: float) -> float:
    """Return how far a clock is off; the file system's does not jump."""
    probe = Path(os.environ["CLOCK"]).with_suffix(".probe")
    probe.touch()
    return clock - probe.stat().st_mtime


def jumps(moments: int) -> Iterator[float]:
    """Yield by how much clocks are wrong next: an hour ahead, an hour behind, or right, never as before."""
    random, before = rng(moments, "jumps"), 0.0
    for _ in range(moments):
        before = float(random.choice([s for s in (-HOUR_S, 0.0, HOUR_S) if s != before]))
        yield before


def now() -> float:
    return time.time()


def sweep(question: Toys) -> None:
    with held(Store(question.spec.store)) as lease:
        lease.confirm()
        question.sweep()
        lease.confirm()


def jumped_clocks(folder: Path, moments: int) -> dict[str, object]:
    """Let clocks jump twice in each run."""
    import ray

    clock, random, seen = Path(os.environ["CLOCK"]), rng(moments, "jumped clocks"), list[list[float]]()
    first = toys(folder, 2)
    cluster.connect(first.spec.run, [first.draw.generation])
    far = ray.remote(num_cpus=0)(now)
    left = list(jumps(moments))
    while left:
        question = toys(folder / f"{len(left)}", 2, batch_s=BATCH_S, batch_timeout_s=60)
        sweeping = threading.Thread(target=sweep, args=(question,))
        sweeping.start()
        wait_until(lambda question=question: begun(question))
        while left and sweeping.is_alive():
            shift(clock, left[0])
            time.sleep(0.1)
            seen.append([left.pop(0), off(now()), off(ray.get(far.remote()))])
            time.sleep(random.uniform(0, ROWS / BATCH / 2 * BATCH_S))
        sweeping.join(120)
        assert not sweeping.is_alive(), "the run waits for a clock"
        assert question.rows() == uninterrupted(ROWS)
    return {"seen": seen}


if __name__ == "__main__":
    main({"jumped_clocks": jumped_clocks})
