"""Speed and memory of looking pictures up in a reference set, side by side with FAISS.

    python benchmarks/lookup.py                    # prints; 10^6 x 512 references, 10^4 queries; about an hour
    python benchmarks/lookup.py --rows 100000      # the same, smaller; minutes
    python benchmarks/lookup.py --write            # also writes docs/benchmarks-lookup.md
    python benchmarks/lookup.py --scale            # what five billion references would take, from small measurements
    python benchmarks/lookup.py --rate             # the share of the matrix-product rate that exact search reaches, GPU too

Every measurement has a process of its own, so that peak memory is its own too. Ways to search alternate.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
THREADS = 1
REPEATS = 1
DIMENSION = 512
PROBES = (1, 2, 4, 8, 16, 32, 64)
HNSW_ROWS = 200_000
"""Building a graph of more takes hours on this machine."""
WANTED = 0.99
LAION = 5_000_000_000
RATES = "| device | number format | matrix products, 10^9 operations/s | exact search | share |"
RATED_ROWS = 200_000
NODE_GIB, NODE_CORES = 200, 32
"""What a machine of the estimates keeps in memory for references, and its cores."""
SOURCES = {
    "clustered": "topics hold scenes, scenes hold pictures: cosines of about 0.2 within a topic, 0.6 within a scene, "
    "0 otherwise; sizes of scenes fall as the root of their rank; 1 % near-duplicates. Queries: half are near-copies of references "
    "(cosine 0.7 to 0.98), half new pictures of known scenes",
    "isotropic": "independent directions, where nothing has a neighbourhood. Queries likewise, half of them near-copies",
}

MAKING = """
import json, resource, sys, time
import numpy as np, pyarrow as pa
from stages.neighbours.writer import Writer
from stages.randomness import rng
from pathlib import Path

def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)

def normal(count, *purpose):
    return unit(rng(0, *purpose).standard_normal((count, D), dtype=np.float32))

def mixed(share, a, b):
    return unit(share ** 0.5 * a + (1 - share) ** 0.5 * b)

class Clustered:
    def __init__(self, count):
        self.scenes = max(10, count // 50)
        topics = normal(max(5, self.scenes // 100), 'topics')
        self.centres = mixed(1 / 3, topics[np.arange(self.scenes) % len(topics)], normal(self.scenes, 'scenes'))
        size = np.arange(1, self.scenes + 1) ** -0.5
        self.share = np.cumsum(size) / size.sum()

    def pictures(self, count, *purpose):
        scene = np.minimum(np.searchsorted(self.share, rng(0, 'scene', *purpose).random(count)), self.scenes - 1)
        return mixed(0.6, self.centres[scene], normal(count, *purpose))

class Isotropic:
    def __init__(self, count): pass
    def pictures(self, count, *purpose): return normal(count, *purpose)

def references(kind, count):
    made = {'clustered': Clustered, 'isotropic': Isotropic}[kind](count)
    for start in range(0, count, 10_000):
        block = made.pictures(min(10_000, count - start), 'references', start)
        if kind == 'clustered':
            copies = len(block) // 100
            block[-copies:] = mixed(0.9, block[:copies], normal(copies, 'copies', start))
        yield block

def queries(kind, count, asked, first):
    made = {'clustered': Clustered, 'isotropic': Isotropic}[kind](count)
    copies = first[rng(0, 'which').integers(0, len(first), asked // 2)]
    near = rng(0, 'how near').uniform(0.5, 0.96, (asked // 2, 1)).astype(np.float32)
    copies = unit(near ** 0.5 * copies + (1 - near) ** 0.5 * normal(asked // 2, 'noise'))
    return np.concatenate([copies, made.pictures(asked - asked // 2, 'queries')])
"""

BUILDING = """
writer, first, seconds = Writer(Path(FOLDER), D, DTYPE, 131072), None, 0.0
for block in references(KIND, ROWS):
    first = block if first is None else first
    start = time.perf_counter()
    writer.add(block.astype(DTYPE), pa.table({'path': ['benchmark'] * len(block), 'row': np.arange(len(block))}))
    seconds += time.perf_counter() - start
start = time.perf_counter()
writer.finish(pa.table({'path': [], 'row': [], 'reason': []}), score='b@1', model='b', weights='b', metric='cosine',
              source=KIND, settings='b')
seconds += time.perf_counter() - start
np.save(FOLDER + '/queries.npy', queries(KIND, ROWS, ASKED, first))
print(json.dumps({'seconds': seconds, 'mib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""

SEARCHING = """
import json, resource, time
import numpy as np, torch, faiss
from stages.lookup import limit_threads
from stages.neighbours import *
limit_threads(THREADS)
index = Index.open(FOLDER)
queries = np.load(FOLDER + '/queries.npy')
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def timed(search):
    wall, cpu = time.perf_counter(), time.process_time()
    found = search()
    return found, {'seconds': time.perf_counter() - wall, 'cpu': time.process_time() - cpu, 'mib': peak()}
"""

OURS = """
search = Exact().open(index, DEVICE)
search(queries[:2], 1)  # learns the norms of the stored vectors, once an actor
found, told = timed(lambda: search(queries, K))
np.save(f'{FOLDER}/exact-{K}.npy', found.scores)
print(json.dumps({**told, 'look': str(search.dtype)}))
"""

PRODUCTS = """
import json, time, torch
from stages.lookup import limit_threads
limit_threads(THREADS)
side = 16384 if DEVICE == 'cuda' else 2048
x, y = (torch.randn(side, D, device=DEVICE).to(getattr(torch, LOOK)) for _ in range(2))
def seconds():
    start = time.perf_counter()
    float(torch.mm(x, y.T)[0, 0])  # waits for the device
    return time.perf_counter() - start
print(json.dumps({'rate': 2 * side * side * D / min(seconds() for _ in range(10))}))
"""

THEIRS = """
flat = faiss.IndexFlatIP(index.dimension)
for _, block in index.blocks(65536): flat.add(block)
(scores, items), told = timed(lambda: flat.search(queries, K))
want = np.load(f'{FOLDER}/exact-{K}.npy')
print(json.dumps({**told, 'off': float(np.abs(scores - want).max())}))
"""

ENGINE = """
from pydantic import TypeAdapter
from stages.neighbours.trained import TrainedSearch
engine = TypeAdapter(AnyEngine).validate_json(SPEC)
start = time.process_time()
search = engine.open(index)
built, memory = time.process_time() - start, peak()
want = np.load(f'{FOLDER}/exact-1.npy')[:, 0]
rows = []
for step in STEPS:
    tuned = engine.model_copy(update={FIELD: step})
    tuned.tune(search.index)
    found, told = timed(lambda: search(queries, 1))
    rows.append({**told, FIELD: step, 'recall': float((found.scores[:, 0] >= want).mean())})
    if rows[-1]['recall'] >= WANTED: break
print(json.dumps({'built': built, 'memory': memory, 'rows': rows}))
"""

MERGING = """
import json, time
import numpy as np
from functools import reduce
from stages.neighbours import InMemory, search
from stages.randomness import rng
def unit(count, *purpose):
    x = rng(0, *purpose).standard_normal((count, 64), dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)
queries = unit(1024, 'queries')
parts = [search(InMemory(unit(500, 'part', i), 'cosine'), queries, K) for i in range(PARTS)]
for number, part in enumerate(parts): part.items[:] += 500 * number
start = time.perf_counter()
merged = reduce(lambda a, b: a.merge(b), parts)
seconds = time.perf_counter() - start
whole = search(InMemory(np.concatenate([unit(500, 'part', i) for i in range(PARTS)]), 'cosine'), queries, K)
assert (merged.items == whole.items).all() and merged.scores.tobytes() == whole.scores.tobytes()
print(json.dumps({'seconds': seconds, 'bytes': parts[0].scores.nbytes + parts[0].items.nbytes}))
"""


def measured(code: str, **names: object) -> dict[str, object]:
    """Run code in a process of its own with some names set; what it prints last is JSON."""
    known = {"D": DIMENSION, "THREADS": THREADS, "DEVICE": "cpu", **names}
    setting = "".join(f"{name} = {value!r}\n" for name, value in known.items())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run(
        [sys.executable, "-c", setting + code], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def spread(rows: list[dict[str, float]], name: str, digits: int = 1) -> str:
    """Median, and range of several."""
    values = [row[name] for row in rows]
    ends = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.median(values):.{digits}f}{ends}"


def exact(folder: str, dtype: str, rows: int, asked: int) -> Iterator[str]:
    """The table of exact searches."""
    size = rows * DIMENSION * (2 if dtype == "float16" else 4) / 2**20
    for k in (1, 10) if dtype == "float16" else (1,):
        ways: dict[str, list[dict[str, float]]] = {"`exact`": [], "FAISS `IndexFlatIP`": []}
        for repeat in range(REPEATS):
            for name, code in zip(ways, (OURS, THEIRS), strict=True):
                ways[name].append(measured(SEARCHING + code, FOLDER=folder, K=k))
                print(f"{repeat + 1}/{REPEATS} {dtype} {k} {name}: {ways[name][-1]}", flush=True)
        for name, found in ways.items():
            faster = statistics.median(
                theirs["cpu"] / one["cpu"] for theirs, one in zip(ways["FAISS `IndexFlatIP`"], found, strict=True)
            )
            rate = 2 * rows * asked * DIMENSION / statistics.median(f["cpu"] for f in found) / 1e9
            memory = max(f["mib"] for f in found)
            yield (
                f"| {name} | {dtype} | {k} | {spread(found, 'seconds')} | {spread(found, 'cpu')} | {rate:.0f} | "
                f"{faster:.2f} | {memory:.0f} ({memory / size:.2f} of the index) |"
            )


def engines(folder: str, kind: str, rows: int) -> Iterator[str]:
    """The table of approximate searches."""
    exact = measured(SEARCHING + OURS, FOLDER=folder, K=1)["cpu"]
    tried = [({"kind": "ivf"}, "probes", PROBES)]
    if kind == "clustered":
        tried.append(({"kind": "ivf_pq"}, "probes", PROBES))
    if kind == "clustered" and rows <= HNSW_ROWS:
        tried.append(({"kind": "hnsw"}, "breadth", (16, 32, 64, 128, 256, 512)))
    for spec, field, steps in tried:
        found = measured(
            SEARCHING + ENGINE, FOLDER=folder, SPEC=json.dumps(spec), FIELD=field, STEPS=steps, WANTED=WANTED
        )
        print(kind, spec, found, flush=True)
        last = found["rows"][-1]
        yield (
            f"| {kind} | `{spec['kind']}` | {found['built']:.0f} | {found['memory']:.0f} | {field} = {last[field]} | "
            f"{last['recall']:.4f} | {last['cpu']:.2f} | {exact / last['cpu']:.1f} |"
        )


def merging() -> Iterator[str]:
    """The table of merging what simulated parts answer."""
    for k in (1, 10):
        for parts in (8, 64, 512):
            found = measured(MERGING, K=k, PARTS=parts)
            each = found["seconds"] / (parts - 1)
            yield f"| {parts} | {k} | {found['seconds'] * 1e3:.0f} | {each * 1e6 / 1024:.2f} | {found['bytes'] / 1024:.0f} |"
            print(parts, k, found, flush=True)


def scale(asked: int = 10_000) -> Iterator[str]:
    """What five billion references would take: sizes are computed, rates measured on few, the rest is division."""
    with tempfile.TemporaryDirectory() as folder:
        measured(MAKING + BUILDING, FOLDER=folder, DTYPE="float16", KIND="clustered", ROWS=100_000, ASKED=2000)
        found = measured(SEARCHING + OURS, FOLDER=folder, K=1)
    rate = 2 * 100_000 * 2000 * DIMENSION / found["cpu"]
    merge = measured(MERGING, K=1, PARTS=64)["seconds"] / 63 / 1024
    yield f"measured: {rate / 1e9:.0f} x 10^9 operations/s a core ({found['look']}), {merge * 1e6:.2f} us to merge a part"
    yield "| length | stored as | vectors, TiB | machines | core hours | minutes on those machines | merging, s |"
    for length in (512, 1024):
        for dtype, size in (("float16", 2), ("float32", 4)):
            tib = LAION * length * size / 2**40
            machines = -(-tib * 1024 // NODE_GIB)
            core_s = 2 * LAION * asked * length / rate
            yield (
                f"| {length} | {dtype} | {tib:.1f} | {machines:.0f} | {core_s / 3600:.0f} | "
                f"{core_s / machines / NODE_CORES / 60:.0f} | {merge * machines * asked:.2f} |"
            )


def share_of_rate(rows: int, asked: int) -> Iterator[str]:
    """What exact search reaches of the rate at which each device here multiplies matrices of its number format."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        measured(MAKING + BUILDING, FOLDER=folder, DTYPE="float16", KIND="clustered", ROWS=rows, ASKED=asked)
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            found = measured(SEARCHING + OURS, FOLDER=folder, K=1, DEVICE=device)
            look = str(found["look"]).removeprefix("torch.")
            fastest = measured(PRODUCTS, DEVICE=device, LOOK=look)["rate"]
            rate = 2 * rows * asked * DIMENSION / found["seconds" if device == "cuda" else "cpu"]
            yield f"| {device} | {look} | {fastest / 1e9:.0f} | {rate / 1e9:.0f} | {rate / fastest:.2f} |"


def section(title: str, text: str, head: str, rows: list[str]) -> list[str]:
    """One section of the page."""
    rule = "| " + " | ".join("---" for _ in head.split("|")[1:-1]) + " |"
    return [f"## {title}", "", text, "", head, rule, *rows, ""]


def page(rows: int, asked: int, merged: bool) -> str:
    """The text of docs/benchmarks-lookup.md."""
    with tempfile.TemporaryDirectory() as home:
        built, exactly, nearly = [], [], []
        for kind, dtype in (("clustered", "float16"), ("clustered", "float32"), ("isotropic", "float16")):
            folder = f"{home}/{kind}-{dtype}"
            made = measured(MAKING + BUILDING, FOLDER=folder, DTYPE=dtype, KIND=kind, ROWS=rows, ASKED=asked)
            print(kind, dtype, made, flush=True)
            built.append(f"| {kind} | {dtype} | {made['seconds']:.1f} | {made['mib']:.0f} |")
            if kind == "clustered":
                exactly += exact(folder, dtype, rows, asked)
            if dtype == "float16":
                nearly += engines(folder, kind, rows)
    lines = [
        "# Benchmarks of the lookup",
        "",
        (f"`python benchmarks/lookup.py --rows {rows} --queries {asked}`, {time.strftime('%Y-%m-%d')}; {rows:,} references "
        f"of {DIMENSION} numbers, {asked:,} queries; one thread on {os.cpu_count()} {platform.machine()} cores that other "
        "work kept busy: so ratios and rates are of CPU seconds."),
        "",
        "The vectors are made up:",
        "",
        *(f"- **{name}**: {text}." for name, text in SOURCES.items()),
        "",
        *section(
            "Writing the files",
            "Vectors in memory to shards, items, checksums and manifest. It holds one shard of 131,072 vectors.",
            "| references | stored as | seconds | peak MiB |",
            built,
        ),
        *section(
            "Exact search",
            "Both give the same neighbours. `exact` looks first in bfloat16 where this machine multiplies faster in it, "
            "looks again in float32 and scores in float64 where rounding could hide something, and memory-maps one shard "
            "at a time. FAISS holds all in float32. About 600 MiB of each process are PyTorch, FAISS and Arrow.",
            "| way | stored as | k | seconds | CPU seconds | 10^9 operations/s | times as fast as FAISS | peak MiB |",
            exactly,
        ),
        *section(
            "Share of the matrix-product rate",
            f"What exact search of up to {RATED_ROWS:,} references reaches of the rate at which each device here multiplies.",
            RATES,
            list(share_of_rate(min(rows, RATED_ROWS), asked)),
        ),
        *section(
            "Approximate search",
            f"The smallest setting that finds the nearest of {WANTED:.0%} of the queries, or the largest tried. Candidates "
            f"are scored again exactly. `hnsw` only up to {HNSW_ROWS:,} references: building more takes hours.",
            "| references | engine | built in CPU s | MiB | setting | recall | CPU seconds | times as fast as `exact` |",
            nearly,
        ),
    ]  # fmt: skip
    if merged:
        lines += section(
            "Merging parts",
            "1,024 queries over simulated parts; the merged answer equals that of one search, bit for bit.",
            "| parts | k | milliseconds | microseconds a query and part | KiB a part sends |",
            list(merging()),
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--scale", action="store_true", help="only say what five billion references would take")
    parser.add_argument("--rate", action="store_true", help="only say what exact search reaches of each device's rate")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-lookup.md")
    given = parser.parse_args()
    if given.scale:
        print("\n".join(scale()))
        sys.exit()
    if given.rate:
        print("\n".join([RATES, *share_of_rate(given.rows, given.queries)]))
        sys.exit()
    text = page(given.rows, given.queries, merged=True)
    print(text)
    if given.write:
        (ROOT / "docs" / "benchmarks-lookup.md").write_text(text)
