"""Run a robustness sweep: draw what the store lacks, measure what lacks a measure, add seeds where it is told to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pipelines.answers import Answers, Rows
from pipelines.grid import Grid
from pipelines.robustness import Robustness
from pipelines.rows import cube, done, images, lacking
from pipelines.run import Tally, execute, work
from pipelines.save import SAMPLES
from pipelines.store import Store

Watch = Callable[[str, Tally], None]
TOP1 = "top1_correct"


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


def sweep(question: Robustness, watch: Watch) -> Swept:
    """Bring the store up to date for a question; Ray is running. Raises `RunFailed`."""
    store = Store(question.spec.store)
    for table in (SAMPLES, *(measure.table for measure in question.measures)):
        store.recover(table)
    tallies: list[Tally] = []
    reused = 0
    for grid in blocks(question, store):
        bits = done(store, grid, question.spec.run.retry_failed)
        reused += (have := int(np.bitwise_count(bits).sum()))
        tallies.append(draw(question, grid, bits, len(grid) - have, watch))
    finish(question, store, question.grid, watch)
    for table in (SAMPLES, *(measure.table for measure in question.measures)):
        store.compact(table)
    drawn = sum(t.done for t in tallies)
    longest = max(tallies, key=lambda t: t.done)
    return Swept(
        drawn=drawn,
        failed=sum(t.failed for t in tallies),
        reused=reused,
        seconds=sum(t.seconds for t in tallies),
        rate=longest.rate,
        first_row=tallies[0].first_row,
        saved=len(question.grid) - drawn - reused,
    )


def draw(question: Robustness, grid: Grid, bits: np.ndarray, todo: int, watch: Watch) -> Tally:
    """Draw and measure the rows of a grid whose bit is not set."""
    run = question.spec.run
    rows = work(grid, bits, run.batch_size)
    return execute(question.generation, rows, todo, run, lambda tally: watch("drawing", tally))


def finish(question: Robustness, store: Store, grid: Grid, watch: Watch) -> None:
    """Measure stored samples that lack a measure: a new classifier, or a run killed between drawing and measuring."""
    missing = {measure: ids for measure in question.measures if (ids := lacking(store, grid, measure))}
    if not missing:
        return
    ids = set[str]().union(*missing.values())
    pipeline = question.measurement(tuple(missing))
    rows = images(store, ids, question.spec.run.batch_size)
    execute(pipeline, rows, len(ids), question.spec.run, lambda tally: watch("measuring", tally))


def blocks(question: Robustness, store: Store) -> Iterator[Grid]:
    """Yield the grids to draw, one after the other: the whole, or a block of seeds where it is still too uncertain.

    A block is asked for when the one before it is stored. The control takes part as long as any other perturbation
    does, since every difference is paired with it.
    """
    whole, adaptive = question.grid, question.spec.adaptive
    if adaptive is None:
        yield whole
        return
    perturbations = whole.perturbations
    for seeds in whole.seeds.blocks(adaptive.block):
        if known := seeds.first - whole.seeds.first:
            so_far = replace(whole, seeds=whole.seeds.model_copy(update={"count": known}))
            perturbations = still_open(question, store, so_far, perturbations, adaptive.target_half_width)
        if not perturbations:
            return
        yield replace(whole, seeds=seeds, perturbations=perturbations)


def still_open(
    question: Robustness, store: Store, grid: Grid, candidates: tuple[str, ...], target: float
) -> tuple[str, ...]:
    """Return the candidates whose top-1 interval is wider than the target under any sampler, the control first.

    A perturbation that reached the target once stays closed: reopening it would let chance choose when to stop twice.
    """
    columns = cube(store, grid, {question.classifying[0].table: [TOP1]}, ())
    answers = Answers(Rows(grid, columns), {TOP1: "share"})
    samplers = range(len(grid.samplers))
    width = {text: max(half_width(answers, k, i) for k in samplers) for i, text in enumerate(grid.perturbations)}
    wide = [text for text in candidates if width[text] > target]
    return tuple(dict.fromkeys([grid.perturbations[0], *wide])) if wide else ()


def half_width(answers: Answers, sampler: int, perturbation: int) -> float:
    """Return the half width of a cell's top-1 interval; infinite where nothing is known."""
    top1 = answers.value(TOP1, sampler, perturbation)
    half = (top1.high - top1.low) / 2
    return np.inf if np.isnan(half) else half
