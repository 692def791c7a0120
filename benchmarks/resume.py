"""How long a command takes to find out that a million rows are finished, and in how much memory.

    python -m benchmarks.resume                   # prints; 10^6 rows; some minutes and 1 GB of disk
    python -m benchmarks.resume --rows 100000     # the same, smaller
    python -m benchmarks.resume --batch 4096      # with larger files, as `run.batch_size` makes them
    python -m benchmarks.resume --write           # also writes docs/benchmarks-resume.md

The rows are looked for twice: in the small files of a command that was killed before it merged them, and in the shards of
one that ended. Every measurement has a process of its own, so that peak memory is its own too.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.nothing import Nothing
from pipelines.columns import SAMPLE, schema_of, table
from pipelines.grid import Grid, Seeds
from pipelines.measure import Measure
from pipelines.prompts import Prompt
from pipelines.rows import done, lacking
from pipelines.save import SAMPLES
from pipelines.store import Store
from stages.base import Spec, objects
from stages.randomness import rng

ROOT = Path(__file__).parent.parent
PROMPTS, PERTURBATIONS = 20, 5
PNG_BYTES = 300
MEASURE = Measure(Nothing, Spec())


def grid(rows: int) -> Grid:
    """A sweep of so many rows, and a hundredth more that are to be drawn."""
    prompts = tuple(Prompt(f"a photo of a thing of kind {i}", i, f"kind {i}") for i in range(PROMPTS))
    perturbations = tuple(f'{{"kind":"uniform_mean_shift","shift":{i / 10}}}' for i in range(PERTURBATIONS))
    seeds = Seeds(count=-(-rows * 101 // (100 * PROMPTS * PERTURBATIONS)))
    return Grid("zoo:text-to-image", "0" * 16, prompts, seeds, perturbations, ('{"scheduler":"ddim","steps":20}',))


def fill(store: Store, rows: int, size: int) -> None:
    """Publish rows as a run does, a file a batch."""
    noise, sweep = rng(0, "pictures").bytes(PNG_BYTES + rows), grid(rows)
    for start in range(0, rows, size):
        numbers = np.arange(start, min(rows, start + size))
        batch = sweep.rows(numbers)
        pictures = objects({"bytes": noise[n : n + PNG_BYTES], "path": None} for n in numbers)
        nothing = objects([None] * len(numbers))
        zeros = dict.fromkeys(("latent_mean_z", "latent_norm_z", "latent_ks_p"), np.zeros(len(numbers)))
        whole = {**batch, "image": pictures, "truncated": nothing, "error": nothing, **zeros}
        store.write(SAMPLES, table(whole, SAMPLE))
        store.write(MEASURE.table, table(batch, schema_of(MEASURE.columns)))


def steps(store: Store, rows: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """What a command does before its first new row is drawn, and what it does after its last one."""
    sweep = grid(rows)
    yield "sweep away what a crash left", lambda: [store.recover(name) for name in (SAMPLES, MEASURE.table)]
    yield "find the finished rows", lambda: expect(int(np.bitwise_count(done(store, sweep)).sum()), rows)
    yield "find rows without a measure", lambda: expect(len(lacking(store, sweep, MEASURE)), 0)


def expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise RuntimeError(f"resume: expected {wanted} rows, found {found}")


def measure(folder: str, rows: int) -> None:
    """Print what each step takes, as JSON."""
    told = {}
    for name, step in steps(Store(folder), rows):
        start = time.monotonic()
        step()
        told[name] = (time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(told))


def measured(folder: str, rows: int) -> dict[str, tuple[float, float]]:
    command = [sys.executable, "-m", "benchmarks.resume", "--measure", folder, "--rows", str(rows)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        raise RuntimeError(found.stderr[-2000:])
    return json.loads(found.stdout.strip().splitlines()[-1])


def timed(what: Callable[[], object]) -> float:
    start = time.monotonic()
    what()
    return time.monotonic() - start


def merge(store: Store) -> None:
    for name in (SAMPLES, MEASURE.table):
        store.compact(name)
        store.seal(name)


def page(rows: int, size: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        filling = timed(lambda: fill(store, rows, size))
        ways = {f"{-(-rows // size):,} files of a killed command": measured(folder, rows)}
        merging = timed(lambda: merge(store))
        ways[f"{len(store.parts(SAMPLES))} large files of a finished command"] = measured(folder, rows)
    machine = (
        f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    )
    load = f"{time.strftime('%Y-%m-%d')}, with a load of {os.getloadavg()[0]:.1f}"
    lines = [
        "# Benchmark: going on with a sweep",
        "",
        f"`.venv/bin/python -m benchmarks.resume` on {machine}, {load}.",
        f"{rows:,} rows are finished, a hundredth more are to be drawn. One measurement each, on a local disk. The first two",
        "steps come before the first new row, the third after the last one.",
        "",
        "| rows in | step | seconds | peak memory so far, MiB |",
        "| --- | --- | --- | --- |",
    ]
    for way, told in ways.items():
        lines += [f"| {way} | {step} | {seconds:.1f} | {mib:.0f} |" for step, (seconds, mib) in told.items()]
    return "\n".join(
        [
            *lines,
            "",
            f"Publishing took {filling / rows * 1000:.2f} ms a row and two tables, merging {merging:.0f} s.",
            "",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--batch", type=int, default=32, help="rows of a file")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-resume.md")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        pa.set_cpu_count(1)
        measure(given.measure, given.rows)
        sys.exit()
    text = page(given.rows, given.batch)
    print(text)
    if given.write:
        (ROOT / "docs" / "benchmarks-resume.md").write_text(text)
