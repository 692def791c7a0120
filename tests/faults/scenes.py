"""Faults that need a Ray of their own, in a process of their own: `python -m tests.faults.scenes NAME FOLDER COUNT`.

What happened is in FOLDER/found.json afterwards; Ray prints too much to be read from.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines import cluster
from pipelines.compute import Compute
from pipelines.config import UserError
from pipelines.lease import held
from pipelines.run import RunSpec
from pipelines.store import Store
from stages.randomness import rng
from tests.faults.toys import PoisonSpec, Toys, uninterrupted

ROWS, BATCH, BATCH_S = 32, 4, 0.3
LIMIT_S = 120
SPARE_MIB = 1500
NODE = {"num_cpus": 1, "num_gpus": 1}
SOON = {"health_check_period_ms": 1000}
"""How Ray finds out that a node is gone: in a third of its usual time."""


@contextmanager
def nodes(count: int) -> Iterator[Any]:
    """Start a Ray of a head without CPUs and so many nodes of one, and a logical GPU."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": SOON}
    started = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(count):
            started.add_node(**NODE)
        ray.init(address=started.address, log_to_driver=False, logging_level=logging.ERROR)
        cluster.quiet()
        yield started
    finally:
        ray.shutdown()
        started.shutdown()


def toys(folder: Path, actors: int, rows: int = ROWS, **more: object) -> Toys:
    log = folder / "log"
    log.mkdir(parents=True, exist_ok=True)
    run = {"output": str(folder), "batch_size": BATCH, "generate": Compute(actors=actors)}
    poison = {name: more.pop(name) for name in [*more] if name in PoisonSpec.model_fields}
    return Toys(RunSpec.model_validate(run | more), rows, PoisonSpec.model_validate({"log": str(log)} | poison))


def begun(question: Toys) -> int:
    """Return how many batches were begun, among them those that a fault cost."""
    return sum(len(file.read_text().splitlines()) for file in Path(question.draw.poison.log).iterdir())


def wait_until(true: Callable[[], object]) -> None:
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < LIMIT_S, "waited in vain"
        time.sleep(0.02)


def lost_nodes(folder: Path, moments: int) -> dict[str, object]:
    """Lose one of two nodes at a random moment of each run; the next run has two again."""
    again, seconds = list[int](), list[float]()
    random = rng(moments, "lost nodes")
    with nodes(2) as started:
        refused = refusal(toys(folder, 1), Compute(gpus=2))
        while len(again) < moments:
            question = toys(folder / f"{random.integers(2**40)}", 2, batch_s=BATCH_S)
            sweeping = threading.Thread(target=question.sweep)
            sweeping.start()
            wait_until(lambda question=question: begun(question))
            time.sleep(random.uniform(0, ROWS / BATCH / 2 * BATCH_S))
            if sweeping.is_alive():  # or else the run was over sooner than on another machine
                lost = time.monotonic()
                started.remove_node(sorted(started.worker_nodes, key=id)[random.integers(2)], allow_graceful=False)
                sweeping.join(LIMIT_S)
                again.append(begun(question) - ROWS // BATCH)
                seconds.append(round(time.monotonic() - lost, 1))
                started.add_node(**NODE)
            assert not sweeping.is_alive(), "the run waits for the lost node"
            assert question.rows() == uninterrupted(ROWS)
    return {"moments": moments, "again": again, "seconds": seconds, "refused": refused}


def refusal(question: Toys, compute: Compute) -> str:
    """Return what is said of actors that no node can hold."""
    run = question.spec.run.model_copy(update={"generate": compute})
    try:
        cluster.connect(run, [replace(question.draw, run=run).generation])
    except UserError as error:
        return str(error)
    return ""


def killed_drivers(folder: Path, moments: int) -> dict[str, object]:
    """Kill the driver at a random moment, and start it again at once, so many times; then let it finish."""
    question, command, killed = long(folder, moments), driver(folder, moments), 0
    with nodes(2) as started:
        environment = os.environ | {"RAY_ADDRESS": started.address}
        for wait in waits(moments, "killed drivers"):
            before = begun(question)
            process = subprocess.Popen(command, env=environment)
            wait_until(lambda before=before: begun(question) > before)
            time.sleep(wait)
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
        subprocess.run(command, env=environment, check=True, timeout=LIMIT_S + 10 * moments)
    return finished(question, killed)


def long(folder: Path, moments: int, **more: object) -> Toys:
    """Return a question that is not finished after so many interrupted runs."""
    return toys(folder, 2, 6 * BATCH * (moments + 1), batch_s=BATCH_S, **more)


def driver(folder: Path, moments: int) -> list[str]:
    return [sys.executable, "-m", "tests.faults.scenes", "drive", str(folder), str(moments)]


def waits(moments: int, purpose: str) -> list[float]:
    """Return how long after its first batch each run is interrupted."""
    return rng(moments, purpose).uniform(0, 6 / 2 * BATCH_S, moments).tolist()


def finished(question: Toys, killed: int) -> dict[str, object]:
    rows = len(question.draw.grid)
    assert question.rows() == uninterrupted(rows)
    return {"moments": killed, "again": begun(question) - rows // BATCH}


def drive(folder: Path, moments: int) -> None:
    """Bring the store up to date, as a driver of the Ray in RAY_ADDRESS."""
    question = long(folder, moments)
    cluster.start(question.spec.run, 0)
    cluster.quiet()
    with held(Store(question.spec.store)) as lease:
        lease.confirm()
        question.sweep()


def out_of_memory(folder: Path, greedy: int) -> dict[str, object]:
    """Draw rows, so many of which take memory until Ray ends their process: it may give them SPARE_MIB in all."""
    import psutil

    memory = psutil.virtual_memory()
    used = memory.total - memory.available
    threshold = str((used + SPARE_MIB * 2**20) / memory.total)
    os.environ.update(RAY_memory_usage_threshold=threshold, RAY_memory_monitor_refresh_ms="50")
    count = ROWS // 4 * greedy
    devour = rng(greedy, "memory").choice(count, size=greedy, replace=False).tolist()
    question = toys(folder, 1, count, devour=devour, max_failed_share=0.2)
    cluster.connect(question.spec.run, [question.draw.generation])
    question.sweep()
    rows = question.rows()
    errors = []
    for number in devour:
        pixel, error, shade = rows.pop(number)
        assert (pixel, shade) == (None, None)
        errors.append(error)
    assert rows == {n: row for n, row in uninterrupted(count).items() if n not in devour}
    return {"errors": errors}


Scene = Callable[[Path, int], Mapping[str, object] | None]
SCENES: dict[str, Scene] = {f.__name__: f for f in (lost_nodes, killed_drivers, drive, out_of_memory)}


def play(
    name: str, folder: Path, count: int, module: str = "tests.faults.scenes", **environment: str
) -> dict[str, Any]:
    """Play a scene in a process of its own, with a place of its own for Ray, and return what it found."""
    command = [sys.executable, "-m", module, name, str(folder), str(count)]
    with tempfile.TemporaryDirectory(prefix="ray") as place:  # its sockets' paths are short
        environment = {**os.environ, "RAY_TMPDIR": place, **environment}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


def main(scenes: Mapping[str, Scene]) -> None:
    """Play the scene that the command line names."""
    name, place, count = sys.argv[1:]
    if (found := scenes[name](Path(place), int(count))) is not None:
        Path(place, "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(SCENES)
