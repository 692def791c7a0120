"""What a command would do, without starting anything."""

import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines import joining
from pipelines.cluster import amount, numbers, refuse_impossible, reserved
from pipelines.compute import Compute
from pipelines.config import UserError
from pipelines.fitting import fitted
from pipelines.pipeline import Pipeline
from pipelines.question import AnyQuestion
from pipelines.rates import rate_key, rates_of, read_rates
from pipelines.rows import done
from pipelines.run import RunSpec
from pipelines.save import SAMPLES
from pipelines.store import Store
from pipelines.sweep import unmeasured

UNKNOWN = "not known before a first run; try seeds.count=1"


@dataclass(frozen=True)
class Plan:
    """How much there is to do, and what it should cost."""

    rows: int
    stored: int
    again: int
    """Stored rows to draw again, for what only drawing measures."""
    seconds: float
    """Expected seconds; NaN where no earlier run measured a rate."""
    disk_bytes: float
    """Expected new bytes; NaN where the store has no such picture yet."""
    weights_bytes: int
    """Bytes of the local weights of all models; 0 for those still on a hub."""


def plan(question: AnyQuestion) -> Plan:
    """Return the plan of a question; reads the store, starts nothing."""
    store = Store(question.spec.store)
    rates = read_rates(question.spec.run.output)
    rows = stored = again = 0
    seconds = 0.0
    for draw in question.draws:
        bits = [done(store, grid, draw.run.retry_failed) for grid in draw.grids]
        have = sum(int(np.bitwise_count(b).sum()) for b in bits)
        lack = [unmeasured(store, draw, measure) for measure in draw.measures if measure.draws]
        repeated = len(set[str]().union(*lack))
        if todo := len(draw) - have + repeated:
            seconds += todo / rates.get(rate_key(draw), math.nan)
        rows, stored, again = rows + len(draw), stored + have, again + repeated
    todo = rows - stored
    return Plan(rows, stored, again, seconds, todo * bytes_per_row(store) if todo else 0.0, weights(question))


def lines(question: AnyQuestion, found: Plan, nodes: Sequence[joining.Resources] = ()) -> Iterator[str]:
    """Yield the plan as text; `nodes`: of a running Ray, if any."""
    run, pipeline = question.spec.run, question.draws[0].generation
    yield f"question   {question.spec.question}, {question.spec.name}, {question.spec.identity()}"
    yield from dict.fromkeys(f"model      {draw.grid.model}, weights {draw.grid.revision}" for draw in question.draws)
    yield from (f"prompts    {p.text!r}: {p.note}" for p in question.prompts if p.note)
    yield "steps"
    for step in pipeline.steps:
        reads, writes = step.stage.columns(step.spec)
        what = f"reads {', '.join(reads)}" + (f"; writes {', '.join(writes)}" if writes else "; publishes")
        yield f"  {step.name:13} {what}"
    cpus, gpus = reserved(pipeline, run)
    for pool in pipeline.pools(run.layout):
        yield f"pool       {numbers(pool.compute, run)} x ({pool.name}), {amount(pool.compute)} each"
    yield f"ray        {joining.described(run.address)}"
    yield from advice(question, nodes)
    least = "at least " if run.pools == "fitted" else ""
    yield f"reserves   {least}{cpus:g} CPU, {gpus:g} GPU, batches of {run.batch_size}"
    yield f"rows       {found.rows}, in the store {found.stored}, to draw {found.rows - found.stored}"
    if found.again:
        yield f"           {found.again} in the store were drawn without being watched, and are drawn again"
    yield from (f"           {note}" for note in question.notes)
    yield f"time       {duration(found.seconds)}"
    yield f"disk       {size(found.disk_bytes)}, {room(question.spec.store)}"
    yield f"weights    {size(found.weights_bytes)} to load in each pool that uses them, before activations"


def advice(question: AnyQuestion, nodes: Sequence[joining.Resources]) -> Iterator[str]:
    """Yield what the nodes of a running Ray hold, as settings to copy."""
    draw = question.draws[0]
    pipeline, run = draw.generation, draw.run
    if not nodes:
        yield "fits       run.pools=fitted takes what this machine has, once Ray has started"
        return
    yield f"nodes      {described(nodes)}"
    if said := refusal(pipeline, run, nodes):
        yield f"refused    {said}"
    if refusal(pipeline, run.model_copy(update={"pools": "fitted"}), nodes):
        return
    pools, rates = pipeline.pools(run.layout), rates_of(draw)
    fits = fitted(run, pools, nodes, rates)
    measure = f" {setting('run.measure', fits.measure)}" if run.layout == "staged" else ""
    yield f"fits       {setting('run.generate', fits.generate)}{measure}; run.pools=fitted takes it by itself"
    names = {pool.name for pool in pools}
    for (pool, accelerator), rate in sorted(rates.items()):
        if pool in names:
            yield f"           {rate:.3g} rows/s an actor of {pool}, on {accelerator or 'no accelerator'}"
    if unknown := sorted(names - {pool for pool, _ in rates}):
        yield f"           not known before a first run in this layout: the rate of {', '.join(unknown)}"


def refusal(pipeline: Pipeline, run: RunSpec, nodes: Sequence[joining.Resources]) -> str:
    """Return why nodes can never hold the pools of a pipeline; empty where they may."""
    try:
        refuse_impossible(pipeline, run, nodes)
    except UserError as error:
        return str(error)
    return ""


def described(nodes: Sequence[joining.Resources]) -> str:
    """Return nodes in words, equal ones together."""
    each = [(joining.accelerator(n) or "no accelerator", n.get("CPU", 0.0), n.get("GPU", 0.0)) for n in nodes]
    return "; ".join(f"{count} x {a}, {c:g} CPU, {g:g} GPU" for (a, c, g), count in sorted(Counter(each).items()))


def setting(name: str, compute: Compute) -> str:
    """Return the number of actors of a pool as the command line takes it."""
    if not compute.kinds:
        return f"{name}.actors={compute.actors}"
    kinds = ", ".join(f"{{accelerator: {kind.accelerator}, actors: {kind.actors}}}" for kind in compute.kinds)
    return f'"{name}.kinds=[{kinds}]"'


def refuse(question: AnyQuestion, found: Plan) -> None:
    """Raise `UserError` for what is known to fail: a folder that cannot be written, a disk that is too small."""
    store = question.spec.store
    refuse_unwritable(question.spec.run.output)
    if "://" not in store and found.disk_bytes > (free := shutil.disk_usage(nearest(store)).free):
        raise UserError(f"run.store: expected {size(found.disk_bytes)} free in {store}, found {size(free)}; make room")
    if question.spec.run.device == "cuda" and not question.spec.run.generate.gpus:
        raise UserError("run.device: cuda expects run.generate.gpus above 0, found 0; set run.generate.gpus=1")


def refuse_unwritable(output: str) -> None:
    """Make the output folder, and raise `UserError` where it cannot be written."""
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
        probe = Path(output) / f".probe-{time.time_ns()}"
        probe.write_bytes(b"seedquake")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"run.output: expected a folder to write to, but {output} cannot be written: {error.strerror}"
        ) from None


def bytes_per_row(store: Store) -> float:
    """Return the mean stored size of a sample; NaN in an empty store."""
    rows = sum(data.count_rows() for data in store.scans(SAMPLES))
    return sum(p.size for p in store.parts(SAMPLES)) / rows if rows else float("nan")


def weights(question: AnyQuestion) -> int:
    """Return the bytes of all weights that are on this machine."""
    from stages.models.source import folder, stages_of

    paths = dict.fromkeys(folder(part) for name in question.models for part in stages_of(name))
    return sum(file.stat().st_size for path in paths if path for file in path.rglob("*.safetensors"))


def room(store: str) -> str:
    """Return how much is free where a store is, in words."""
    return f"in {store}" if "://" in store else f"free {size(shutil.disk_usage(nearest(store)).free)}"


def nearest(path: str) -> Path:
    """Return the nearest folder above a path that exists."""
    here = Path(path).absolute()
    return next(p for p in (here, *here.parents) if p.exists())


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds != seconds:  # noqa: PLR0124  NaN is not itself
        return UNKNOWN
    for name, unit in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * unit:
            return f"about {seconds / unit:.1f} {name}"
    return f"about {seconds:.0f} seconds"


def size(count: float) -> str:
    """Return bytes as people say them."""
    if count != count:  # noqa: PLR0124  NaN is not itself
        return UNKNOWN
    for name in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {name}"
        count /= 1024
    return f"{count:.1f} TiB"
