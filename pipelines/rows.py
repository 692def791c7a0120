"""Which rows of a grid the store holds, and which measures those still lack."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from pipelines.columns import pack, unpack
from pipelines.flow import loaded
from pipelines.grid import Grid
from pipelines.measure import Measure
from pipelines.save import SAMPLES, decode
from pipelines.store import Store
from stages.base import Batch, objects

if TYPE_CHECKING:
    from ray.data import Dataset

WHERE = ["prompt", "seed", "perturbation", "sampler"]


def stored(store: Store, grid: Grid, columns: Sequence[str]) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
    """Yield the row numbers and columns of the stored samples of a grid, a batch at a time, never an image."""
    same = (pads.field("model") == grid.model) & (pads.field("revision") == grid.revision)
    for batch in store.batches(SAMPLES, list(dict.fromkeys([*WHERE, *columns])), same):
        if not len(batch):
            continue
        prompt, seed, perturbation, sampler = (batch[name] for name in WHERE)
        numbers = grid.numbers(prompt.to_pylist(), seed.to_numpy(), perturbation.to_pylist(), sampler.to_pylist())
        if (here := numbers >= 0).any():
            yield numbers[here], batch.filter(pa.array(here))


def done(store: Store, grid: Grid, retry_failed: bool = False) -> np.ndarray:
    """Return the bitmap of the rows that are in the store, packed: 12.5 MB for 10^8 rows.

    With `retry_failed`, a row that only ever failed counts as not done.
    """
    bits = np.zeros(-(-len(grid) // 8), dtype=np.uint8)
    for numbers, batch in stored(store, grid, ["error"]):
        finished = numbers[batch["error"].is_null().to_numpy(zero_copy_only=False)] if retry_failed else numbers
        np.bitwise_or.at(bits, finished // 8, (128 >> (finished % 8)).astype(np.uint8))
    return bits


def others(store: Store, grid: Grid, ids: set[str]) -> np.ndarray:
    """Return the bitmap of every row but the stored ones with these ids, packed as by `done`."""
    bits = np.packbits(np.ones(len(grid), dtype=np.uint8))
    for numbers, batch in stored(store, grid, ["sample_id"]):
        here = numbers[[i in ids for i in batch["sample_id"].to_pylist()]]
        np.bitwise_and.at(bits, here // 8, (~(128 >> (here % 8))).astype(np.uint8))
    return bits


def truncated(store: Store, grid: Grid) -> dict[str, str]:
    """Return the prompts that the text encoder did not see whole, and the end that it cut."""
    cut: dict[str, str] = {}
    for _, batch in stored(store, grid, ["truncated"]):
        here = batch.filter(batch["truncated"].is_valid())
        cut.update(zip(here["prompt"].to_pylist(), here["truncated"].to_pylist(), strict=True))
    return cut


def lacking(store: Store, grid: Grid, measure: Measure) -> set[str]:
    """Return the ids of stored samples of the grid that have an image and lack a measure."""
    have = measured_ids(store, measure)
    ids: set[str] = set()
    for _, batch in stored(store, grid, ["sample_id", "error"]):
        drawn = batch.filter(batch["error"].is_null())
        ids.update(drawn["sample_id"].to_pylist())
    return ids - have


def measured_ids(store: Store, measure: Measure) -> set[str]:
    """Return the ids that a measure's table holds."""
    return {i for batch in store.batches(measure.table, ["sample_id"]) for i in batch["sample_id"].to_pylist()}


def images(store: Store, ids: set[str], batch_size: int) -> "Dataset":
    """Return the stored images with these ids, as a data set with one block a batch."""
    wanted, uri = pa.array(sorted(ids)), store.uri
    paths = [part.path for part in store.parts(SAMPLES)]
    return loaded(paths, lambda path: read_images(Store(uri), path, wanted), batch_size)


def measured(store: Store, measure: Measure, ids: set[str], batch_size: int) -> "Dataset":
    """Return what a measure wrote for these samples, as a data set with one block a batch."""
    wanted, uri, columns = pa.array(sorted(ids)), store.uri, ["sample_id", *measure.columns]
    paths = [part.path for part in store.parts(measure.table)]
    return loaded(paths, lambda path: read_measured(Store(uri), path, wanted, columns), batch_size)


def read_measured(store: Store, path: str, wanted: pa.Array, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the wanted rows of one file of a measured table as batches."""
    data = pads.dataset(path, filesystem=store.fs, format="parquet")
    for rows in data.to_batches(columns=columns, filter=pc.is_in(pads.field("sample_id"), wanted), batch_size=4096):
        if len(rows):
            fine = {"number": np.full(len(rows), -1), "error": objects([None] * len(rows))}
            yield pack(unpack(pa.Table.from_batches([rows])) | fine)


def read_images(store: Store, path: str, wanted: pa.Array) -> Iterator[pa.Table]:
    """Yield the wanted samples of one file as batches that the measuring stages read."""
    columns = ["sample_id", "prompt", "label", "image"]
    data = pads.dataset(path, filesystem=store.fs, format="parquet")
    for rows in data.to_batches(columns=columns, filter=pc.is_in(pads.field("sample_id"), wanted), batch_size=256):
        if len(rows):
            yield pack(as_batch(rows))


def as_batch(rows: pa.RecordBatch) -> Batch:
    """Return stored samples as a batch with the PNG file of each."""
    names = {name: rows[name].to_numpy(zero_copy_only=False) for name in ("sample_id", "prompt")}
    png = objects(image and image["bytes"] for image in rows["image"].to_pylist())
    nothing = np.full(len(rows), None, dtype=object)
    label = rows["label"].fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return names | {"label": label, "png": png, "error": nothing, "number": np.full(len(rows), -1)}


def cube(store: Store, grid: Grid, tables: Mapping[str, Sequence[str]], own: Sequence[str]) -> dict[str, np.ndarray]:
    """Return numbers as arrays over the grid's row numbers, NaN where there is none.

    `own` names columns of the samples, `tables` columns of measured tables; `drawn` and `failed` say what became of
    each row. Duplicates agree, so the last one wins; a drawn row wins over a failed one.
    """
    out = {
        name: np.full(len(grid), np.nan, dtype=np.float32) for name in [*own, *(c for t in tables.values() for c in t)]
    }
    drawn, failed = np.zeros(len(grid), dtype=bool), np.zeros(len(grid), dtype=bool)
    where: dict[str, int] = {}
    for numbers, batch in stored(store, grid, ["sample_id", "error", *own]):
        fine = batch["error"].is_null().to_numpy(zero_copy_only=False)
        drawn[numbers[fine]] = True
        failed[numbers[~fine]] = True
        where.update(zip(batch["sample_id"].to_pylist(), numbers.tolist(), strict=True))
        for name in own:
            out[name][numbers[fine]] = floats(batch[name])[fine]
    for table, names in tables.items():
        fill(store.batches(table, ["sample_id", *names]), where, {name: out[name] for name in names})
    return out | {"drawn": drawn, "failed": failed & ~drawn}


def fill(measured: Iterable[pa.RecordBatch], where: dict[str, int], columns: dict[str, np.ndarray]) -> None:
    """Write the columns of a measured table to the rows that they belong to."""
    for batch in measured:
        numbers = np.array([where.get(i, -1) for i in batch["sample_id"].to_pylist()], dtype=np.int64)
        for name, column in columns.items():
            column[numbers[numbers >= 0]] = floats(batch[name])[numbers >= 0]


def vectors(store: Store, grid: Grid, measure: Measure, column: str) -> np.ndarray:
    """Return a column of lists of one length as an array over the grid's row numbers, [rows d].

    Where there is none: NaN, or -1 in a column of whole numbers.
    """
    where = {
        sample: number
        for numbers, batch in stored(store, grid, ["sample_id"])
        for sample, number in zip(batch["sample_id"].to_pylist(), numbers.tolist(), strict=True)
    }
    out = np.full((len(grid), 1), np.nan, dtype=np.float32)
    for batch in store.batches(measure.table, ["sample_id", column]):
        numbers = np.array([where.get(i, -1) for i in batch["sample_id"].to_pylist()], dtype=np.int64)
        here = (numbers >= 0) & batch[column].is_valid().to_numpy(zero_copy_only=False)
        if not here.any():
            continue
        found = flat(batch[column].filter(pa.array(here)))
        if out.shape[1] != found.shape[1] or out.dtype != found.dtype:
            nothing = np.nan if found.dtype.kind == "f" else -1
            out = np.full((len(grid), found.shape[1]), nothing, dtype=found.dtype)
        out[numbers[here]] = found
    return out


def flat(lists: pa.ListArray) -> np.ndarray:
    """Return lists of one length as a matrix; lists in them one after the other."""
    inner = pc.list_flatten(lists)
    while pa.types.is_list(inner.type):
        inner = pc.list_flatten(inner)
    values: np.ndarray = inner.to_numpy(zero_copy_only=False)
    return values.reshape(len(lists), -1)


def floats(column: pa.Array) -> np.ndarray:
    """Return a column as float32, the first entry of a list column, NaN for null."""
    if pa.types.is_list(column.type):
        column = pa.array([row[0] if row else None for row in column.to_pylist()])
    return np.asarray(column.cast(pa.float32()).to_numpy(zero_copy_only=False), dtype=np.float32)


def some_images(store: Store, grid: Grid, numbers: np.ndarray) -> Batch:
    """Return the stored images of these few rows, as PNG files, with their labels."""
    want = grid.rows(numbers)
    png = images_of(store, want["sample_id"].tolist())
    have = np.array([i in png for i in want["sample_id"]], dtype=bool)
    files = objects(png[i] for i in want["sample_id"][have])
    return {"png": files, "label": want["label"][have], "render": np.full(len(files), -1, dtype=np.int64)}


def images_of(store: Store, ids: Sequence[str]) -> dict[str, bytes]:
    """Return the PNG files of these few samples."""
    rows = store.picked(SAMPLES, ids, ["sample_id", "image", "error"])
    if rows is None:
        return {}
    rows = rows.filter(pc.is_null(rows["error"]))
    return {
        i: image["bytes"] for i, image in zip(rows["sample_id"].to_pylist(), rows["image"].to_pylist(), strict=True)
    }


def pictures(
    store: Store, grid: Grid, perturbations: Sequence[int], sampler: int, prompts: int = 8
) -> tuple[list[str], dict[tuple[str, int], np.ndarray]]:
    """Return pictures for a grid of prompt x perturbation, one prompt a class, all with the prompt's first seed."""
    chosen = list({p.name: i for i, p in reversed(list(enumerate(grid.prompts)))}.values())[::-1][:prompts]
    places = [(q, p) for q in chosen for p in perturbations]
    shape = (grid.seeds.count, *grid.inner)
    numbers = np.array([np.ravel_multi_index((0, sampler, p, q), shape) for q, p in places], dtype=np.int64)
    ids = grid.rows(numbers)["sample_id"]
    png = images_of(store, ids.tolist())
    found = {(grid.prompts[q].text, p): decode(png[i]) for (q, p), i in zip(places, ids, strict=True) if i in png}
    return [grid.prompts[q].text for q in chosen], found
