"""Add seeds, in blocks, only where a robustness sweep is still uncertain."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipelines.answers import TOP1, Answers, Rows
from pipelines.grid import Grid
from pipelines.robustness import Robustness
from pipelines.rows import cube
from pipelines.store import Store


def blocks(question: Robustness, store: Store) -> Iterator[tuple[Grid, ...]]:
    """Yield blocks of seeds, one after the other, with the perturbations that are still too uncertain.

    A block is asked for when the one before it is stored. The control takes part as long as any other perturbation
    does, since every difference is paired with it.
    """
    whole, adaptive = question.grid, question.spec.adaptive
    if adaptive is None:
        yield (whole,)
        return
    perturbations = whole.perturbations
    for seeds in whole.seeds.blocks(adaptive.block):
        if known := seeds.first - whole.seeds.first:
            so_far = replace(whole, seeds=whole.seeds.model_copy(update={"count": known}))
            perturbations = still_open(question, store, so_far, perturbations, adaptive.target_half_width)
        if not perturbations:
            return
        yield (replace(whole, seeds=seeds, perturbations=perturbations),)


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
