"""Stored features -> the statistics of every set of pictures, one file of the store at a time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

from pipelines.grid import Grid
from pipelines.rows import flat, stored
from pipelines.store import Store
from stages.metrics.quality.collected import Collected
from stages.randomness import rng

ROWS = 2048
"""Read at a time."""


class Places(NamedTuple):
    """Which set each row belongs to, and its rank in a random order of that set; sorted by id."""

    ids: np.ndarray
    """S32."""
    sets: np.ndarray
    ranks: np.ndarray

    def of(self, ids: Sequence[str]) -> np.ndarray:
        """Return the positions of ids here, -1 where one is not."""
        wanted = np.array(ids, dtype="S32")
        if not len(self.ids):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return np.where(self.ids[at] == wanted, at, -1)

    def only(self, sets: Sequence[int]) -> "Places":
        """Return the rows of some sets."""
        here = np.isin(self.sets, sets)
        return Places(self.ids[here], self.sets[here], self.ranks[here])


def sorted_places(ids: np.ndarray, sets: np.ndarray, ranks: np.ndarray) -> Places:
    """Return places in order of their ids, each once."""
    unique, first = np.unique(ids, return_index=True)
    return Places(unique, sets[first], ranks[first])


def together(places: Sequence[Places]) -> Places:
    """Return the rows of all."""
    return sorted_places(*(np.concatenate(column) for column in zip(*places, strict=True)))


def places_of(store: Store, grid: Grid, first_set: int) -> Places:
    """Return the stored samples of a grid; each of its samplers is a set, counted from `first_set`.

    Equal seeds and prompts have equal ranks under every sampler and model of the same seeds and prompts.
    """
    order = rng(0, "ranks").permutation(grid.seeds.count * len(grid.prompts))
    ids, sets, ranks = [np.empty(0, "S32")], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for numbers, batch in stored(store, grid, ["sample_id"]):
        block, sampler, _, prompt = np.unravel_index(numbers, (grid.seeds.count, *grid.inner))
        ids.append(np.array(batch["sample_id"].to_pylist(), dtype="S32"))
        sets.append(first_set + sampler)
        ranks.append(order[block * len(grid.prompts) + prompt])
    return sorted_places(np.concatenate(ids), np.concatenate(sets), np.concatenate(ranks))


def halves(ids: np.ndarray, wanted: int) -> Places:
    """Return real pictures in three sets: 0, as many as `wanted` of one half; 1, the other half; 2, what is left."""
    order = rng(0, "halves").permutation(len(ids))
    half = len(ids) // 2
    drawn = min(wanted, half)
    sets = np.select([order < drawn, order >= half], [0, 1], 2)
    ranks = order - np.array([0, half, drawn])[sets]
    return sorted_places(ids, sets, ranks)


def collect(
    store: Store, table: str, columns: Sequence[str], places: Places, kept: tuple[int, int]
) -> dict[int, Collected]:
    """Return the statistics of every set; `kept` is the number of groups, and of rows whose features are kept.

    A row that is stored twice counts once; one without features is left out.
    """
    found = {int(number): Collected(*kept) for number in np.unique(places.sets)}
    counted = np.zeros(len(places.ids), dtype=bool)
    for part in store.parts(table):
        data = pads.dataset(part.path, filesystem=store.fs, format="parquet")
        for batch in data.to_batches(columns=["sample_id", *columns], batch_size=ROWS):
            at = places.of(batch["sample_id"].to_pylist())
            there = (at >= 0) & batch[columns[0]].is_valid().to_numpy(zero_copy_only=False)
            there[there] &= ~counted[at[there]]
            if there.any():
                counted[at[there]] = True
                add(found, places, at[there], batch.filter(pa.array(there)), columns)
    return found


def add(
    found: dict[int, Collected], places: Places, at: np.ndarray, rows: pa.RecordBatch, columns: Sequence[str]
) -> None:
    """Count rows into their sets; a row with a number that is not finite is left out."""
    features, probabilities = (flat(rows[name]) for name in columns)
    fine = np.isfinite(features).all(axis=1) & np.isfinite(probabilities).all(axis=1)
    for number in np.unique(places.sets[at[fine]]):
        here = fine & (places.sets[at] == number)
        found[int(number)].add(places.ranks[at[here]], features[here], probabilities[here])
