"""Bring the store up to date for a question: draw what it lacks, measure what lacks a measure."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pipelines.fitting import sized
from pipelines.grid import Grid
from pipelines.hosting import hosted_parts
from pipelines.measure import Measure
from pipelines.pace import Pace
from pipelines.pipeline import Pipeline
from pipelines.question import AnyQuestion, Draw
from pipelines.rows import done, images, lacking, measured, others
from pipelines.run import RunFailed, Tally, execute, work
from pipelines.save import SAMPLES
from pipelines.store import Store

if TYPE_CHECKING:
    from ray.data import Dataset

Watch = Callable[[str, Tally], None]
LISTED_S = 60.0
"""For how long a listing may lack what was written: most object storage needs none of it."""


@dataclass(frozen=True)
class Swept:
    """What a run did."""

    drawn: int
    failed: int
    reused: int
    seconds: float
    rate: float
    """Images per second at steady state; NaN where nothing was drawn."""
    first_row: float | None
    """Seconds from the start of the pipeline to the first finished row."""
    saved: int
    """Images of the whole grid that adaptive sampling did not need."""
    rates: tuple[float, ...] = ()
    """Images per second of each draw, where there are several."""
    paces: tuple[Pace, ...] = ()
    """Of the actors of each draw."""


def sweep(question: AnyQuestion, watch: Watch) -> Swept:
    """Bring the store up to date for a question; Ray is running. Raises `RunFailed`."""
    store = Store(question.spec.store)
    tables = list(dict.fromkeys(tables_of(question)))
    for table in tables:
        store.recover(table)
    parts = []
    for plain in question.draws:
        with hosted_parts(sized(plain)) as draw:
            parts.append(swept(question, draw, store, named(question, watch, draw)))
    for table in tables:
        store.compact(table)
        store.seal(table)
    return together(parts)


def swept(question: AnyQuestion, draw: Draw, store: Store, watch: Watch) -> Swept:
    """Draw and measure the rows of one model."""
    question.prepare(draw, watch)
    tallies: list[Tally] = []
    reused = 0
    for grids in question.blocks(draw, store):
        bits = [done(store, grid, draw.run.retry_failed) for grid in grids]
        left = [len(grid) - int(np.bitwise_count(b).sum()) for grid, b in zip(grids, bits, strict=True)]
        reused += sum(map(len, grids)) - sum(left)
        parts = [work(g, b, draw.run.batch_size) for g, b, todo in zip(grids, bits, left, strict=True) if todo]
        tallies.append(run(draw, draw.generation, parts, sum(left), partial(watch, "drawing")))
        await_listing(store, grids)
    finish(draw, store, watch)
    drawn = sum(t.done for t in tallies)
    return Swept(
        drawn=drawn,
        failed=sum(t.failed for t in tallies),
        reused=reused,
        seconds=sum(t.seconds for t in tallies),
        rate=max(tallies, key=lambda t: t.done).rate,
        first_row=tallies[0].first_row,
        saved=len(draw) - drawn - reused,
        paces=(sum((t.pace for t in tallies), Pace()),),
    )


def await_listing(store: Store, grids: Sequence[Grid]) -> None:
    """Wait until object storage lists every row that was drawn; raises `RunFailed` where that takes too long."""
    if not store.remote:
        return
    until, total = time.monotonic() + LISTED_S, sum(map(len, grids))
    while (found := sum(int(np.bitwise_count(done(store, grid)).sum()) for grid in grids)) < total:
        if time.monotonic() > until:
            raise RunFailed(
                f"{store.uri}: expected all {total} rows to be listed within {LISTED_S:.0f} s of being drawn, found "
                f"{found}; run again later, which draws what is not there by then"
            )
        time.sleep(1)


def together(parts: Sequence[Swept]) -> Swept:
    """Return what all draws of a run did; its rate is that of the largest."""
    if len(parts) == 1:
        return parts[0]
    drawn = [part for part in parts if part.drawn] or list(parts)
    return Swept(
        drawn=sum(p.drawn for p in parts),
        failed=sum(p.failed for p in parts),
        reused=sum(p.reused for p in parts),
        seconds=sum(p.seconds for p in parts),
        rate=max(drawn, key=lambda p: p.drawn).rate,
        first_row=drawn[0].first_row,
        saved=sum(p.saved for p in parts),
        rates=tuple(p.rate for p in parts),
        paces=tuple(pace for p in parts for pace in p.paces),
    )


def named(question: AnyQuestion, watch: Watch, draw: Draw) -> Watch:
    """Return a watch that also names the model, where there are several."""
    if len(question.draws) == 1:
        return watch
    return lambda what, tally: watch(f"{what} {draw.name}", tally)


def tables_of(question: AnyQuestion) -> Iterator[str]:
    """Yield every table that a question writes."""
    yield SAMPLES
    for draw in question.draws:
        yield from (measure.table for measure in draw.measures)


def finish(draw: Draw, store: Store, watch: Watch) -> None:
    """Measure stored samples that lack a measure: a new classifier, or a run killed between drawing and measuring.

    What only drawing measures comes first, then what is measured on pictures, then what is made of other measures,
    which need no picture.
    """
    draw_again(draw, store, watch)
    pictured = [measure for measure in draw.measures if measure.sees_pictures]
    missing = {measure: ids for measure in pictured if (ids := unmeasured(store, draw, measure))}
    size, watching = draw.run.batch_size, partial(watch, "measuring")
    if missing:
        ids = set[str]().union(*missing.values())
        run(draw, draw.measurement(tuple(missing)), [images(store, ids, size)], len(ids), watching)
    for measure in draw.measures:
        if not measure.sees_pictures and not measure.draws and (ids := unmeasured(store, draw, measure)):
            source = next(m for m in draw.measures if set(measure.reads) <= set(m.columns))
            run(draw, draw.derivation(measure), [measured(store, source, ids, size)], len(ids), watching)


def draw_again(draw: Draw, store: Store, watch: Watch) -> None:
    """Draw stored samples again that lack what only drawing measures; their pictures stay as they are."""
    missing = {m: ids for m in draw.measures if m.draws and (ids := unmeasured(store, draw, m))}
    if not missing:
        return
    ids, size = set[str]().union(*missing.values()), draw.run.batch_size
    bits = [others(store, grid, ids) for grid in draw.grids]
    left = [len(grid) - int(np.bitwise_count(b).sum()) for grid, b in zip(draw.grids, bits, strict=True)]
    parts = [work(grid, b, size) for grid, b, todo in zip(draw.grids, bits, left, strict=True) if todo]
    run(draw, draw.redrawing(tuple(missing)), parts, sum(left), partial(watch, "drawing again"))


def unmeasured(store: Store, draw: Draw, measure: Measure) -> set[str]:
    """Return the ids of stored samples that have an image and lack a measure."""
    return set[str]().union(*(lacking(store, grid, measure) for grid in draw.grids))


def run(draw: Draw, pipeline: Pipeline, parts: Sequence["Dataset"], todo: int, watch: Callable[[Tally], None]) -> Tally:
    """Run a pipeline over all parts together, so that its actors start once."""
    if not parts:
        return Tally(todo)
    rows = parts[0].union(*parts[1:]) if len(parts) > 1 else parts[0]
    return execute(pipeline, rows, todo, draw.run, watch)
