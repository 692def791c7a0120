"""Rows per second of a stage bound by compute on two nodes of Ray with one CPU each, against one such node.

    python benchmarks/nodes.py            # prints; about 6 minutes on 2 cores
    python benchmarks/nodes.py --write    # also writes docs/benchmarks-nodes.md

Both nodes are raylets of this machine. They alternate within one run: the second node joins and leaves again.
`--batches` and `--repeats` make it smaller, to try it.
"""

import argparse
import hashlib
import logging
import os
import platform
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pipelines.cluster import quiet
from pipelines.columns import pack
from pipelines.compute import Compute
from pipelines.flow import numbered
from pipelines.pipeline import Pipeline, Step
from pipelines.run import RunSpec, Tally, execute
from stages.base import Batch, Column, Spec, Stage, objects

ROOT = Path(__file__).parent.parent
BATCH = 4
GOAL = 1.8
MIDDLE = 0.1
"""The share of rows at either end that is not timed: while actors start, and while only one is left with a batch."""


class BurnSpec(Spec):
    """How much to compute for each row."""

    iterations: int = 100_000


class Burn(Stage[BurnSpec]):
    """Compute one number of each row, slowly, on one core.

    Columns: reads number int64; writes value float64.
    """

    reads: ClassVar = ("number",)
    writes: ClassVar = ("value",)

    def transform(self, batch: Mapping[str, Column]) -> Batch:
        """Return the numbers."""
        keys = [hashlib.pbkdf2_hmac("sha256", b"burn", str(n).encode(), self.spec.iterations) for n in batch["number"]]
        return {"value": np.array([int.from_bytes(key[:4], "little") for key in keys], dtype=np.float64)}


def run(nodes: int, batches: int) -> tuple[float, dict[int, float]]:
    """Return the rows per second of so many nodes, and every row's value."""
    rows = batches * BATCH
    pipeline = Pipeline("burn", Step(Burn, BurnSpec(), Compute(actors=nodes)), keep=("number", "error", "value"))
    work = numbered(rows, lambda n: pack({"number": n, "error": objects([None] * len(n))}), BATCH)
    seen: list[tuple[int, float]] = []
    values: dict[int, float] = {}

    def watch(tally: Tally) -> None:
        seen.append((tally.done, time.monotonic()))

    def keep(batch: Batch) -> None:
        values.update(zip(batch["number"].tolist(), batch["value"].tolist(), strict=True))

    execute(pipeline, work, rows, RunSpec(batch_size=BATCH), watch, keep)
    middle = [(done, at) for done, at in seen if MIDDLE * rows <= done <= (1 - MIDDLE) * rows]
    (first, start), (last, end) = middle[0], middle[-1]
    return (last - first) / (end - start), values


def rates(batches: int, repeats: int) -> dict[int, list[float]]:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    found: dict[int, list[float]] = {1: [], 2: []}
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        quiet()
        cluster.add_node(num_cpus=1)
        for repeat in range(repeats):
            alone, values = run(1, batches)
            second: Any = cluster.add_node(num_cpus=1)
            together, again = run(2, batches)
            cluster.remove_node(second)
            if values != again:
                raise RuntimeError("nodes: expected the rows of one node from two, found others")
            found[1].append(alone)
            found[2].append(together)
            print(f"{repeat + 1}/{repeats}: {alone:.2f} and {together:.2f} rows/s", flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()
    return found


def spread(values: list[float], digits: int = 2) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def page(batches: int, repeats: int) -> str:
    load, machine = os.getloadavg()[0], platform.processor() or platform.machine()
    found = rates(batches, repeats)
    ratios = (np.array(found[2]) / np.array(found[1])).tolist()
    verdict = "met" if statistics.median(ratios) >= GOAL else "missed"
    lines = [
        "# Benchmark: two nodes against one",
        "",
        f"`.venv/bin/python benchmarks/nodes.py` on {os.cpu_count()} cores, {machine}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, with a load of {load:.1f} before.",
        f"Medians and ranges of {repeats} alternating runs of {batches} batches of {BATCH} rows, {BurnSpec().iterations} rounds of SHA-256 a row; the first and last tenth of the rows are not timed.",
        "The nodes are raylets of this machine with one CPU each; its cores also carry the head and the driver.",
        "",
        "| nodes | rows/s | faster than one by |",
        "| --- | --- | --- |",
        f"| 1 | {spread(found[1])} | 1.00 |",
        f"| 2 | {spread(found[2])} | {spread(ratios)} |",
        "",
        f"Both gave the same rows. The goal, at least {GOAL:g}, is {verdict}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-nodes.md")
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    text = page(arguments.batches, arguments.repeats)
    print(text)
    if arguments.write:
        (ROOT / "docs" / "benchmarks-nodes.md").write_text(text)
