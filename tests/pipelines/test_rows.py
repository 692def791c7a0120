"""What the store holds of a grid: done, lacking, measured, cut, pictured."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from pipelines.grid import Grid, Seeds
from pipelines.measure import Measure
from pipelines.prompts import Prompt
from pipelines.rows import as_batch, cube, done, lacking, pictures, some_images, stored, truncated, vectors
from pipelines.save import SAMPLES, SaveMeasured, SaveMeasuredSpec, SaveSamples, SaveSamplesSpec, decode
from pipelines.store import Store
from stages.base import Spec, Stage, objects
from tests.pipelines.toys import Brightness

PROMPTS = (Prompt("a cat", 0, "cat"), Prompt("a very long dog", 1, "dog"))
GRID = Grid("m", "r", PROMPTS, Seeds(count=3), ('{"kind":"none"}', '{"kind":"x"}'), ("{}",))
MEASURE = Measure(Brightness, Spec())


def picture(number: int) -> np.ndarray:
    return np.full((4, 4, 3), number, dtype=np.uint8)


def save(store: Store, numbers: list[int], failed: tuple[int, ...] = ()) -> None:
    rows = GRID.rows(np.array(numbers))
    batch = rows | {
        "image": objects(None if n in failed else picture(n) for n in numbers),
        "error": objects("it broke" if n in failed else None for n in numbers),
        "truncated": objects("dog" if "dog" in prompt else None for prompt in rows["prompt"]),
        **{name: np.array(numbers, dtype=float) for name in ("latent_mean_z", "latent_norm_z", "latent_ks_p")},
    }
    SaveSamples(SaveSamplesSpec(store=store.uri)).transform(batch)


def measure(store: Store, numbers: list[int]) -> None:
    spec = SaveMeasuredSpec(store=store.uri, table=MEASURE.table, measured=MEASURE.columns)
    batch = GRID.rows(np.array(numbers)) | {"brightness": np.array(numbers, dtype=float)}
    SaveMeasured(spec).transform(batch)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def bits(packed: np.ndarray) -> list[int]:
    return np.flatnonzero(np.unpackbits(packed)[: len(GRID)]).tolist()


def test_an_empty_store_has_done_nothing(store: Store):
    assert bits(done(store, GRID)) == []
    assert lacking(store, GRID, MEASURE) == set()
    assert not cube(store, GRID, {MEASURE.table: ["brightness"]}, ())["drawn"].any()


def test_what_is_stored_is_done_and_failures_are_tried_again_on_request(store: Store):
    save(store, [0, 3, 7, 11], failed=(7,))
    assert bits(done(store, GRID)) == [0, 3, 7, 11]
    assert bits(done(store, GRID, retry_failed=True)) == [0, 3, 11]


def test_rows_of_other_weights_are_not_ours(store: Store):
    save(store, [0, 3])
    other = Grid("m", "other", *(getattr(GRID, name) for name in ("prompts", "seeds", "perturbations", "samplers")))
    assert bits(done(store, other)) == []


def test_a_drawn_row_wins_over_an_earlier_failure(store: Store):
    save(store, [5], failed=(5,))
    save(store, [5, 6])
    columns = cube(store, GRID, {}, ("latent_mean_z",))
    assert np.flatnonzero(columns["drawn"]).tolist() == [5, 6]
    assert not columns["failed"].any()


def test_measures_are_found_by_row_and_missing_is_nan(store: Store):
    save(store, [1, 2, 4], failed=(2,))
    measure(store, [1])
    assert lacking(store, GRID, MEASURE) == {GRID.rows(np.array([4]))["sample_id"][0]}
    columns = cube(store, GRID, {MEASURE.table: ["brightness"]}, ("latent_norm_z",))
    assert columns["brightness"][1] == 1
    assert np.isnan(np.delete(columns["brightness"], 1)).all()
    assert columns["latent_norm_z"][4] == 4
    assert np.isnan(columns["latent_norm_z"][2])
    assert np.flatnonzero(columns["failed"]).tolist() == [2]


def test_cut_prompts_are_named(store: Store):
    save(store, list(range(len(GRID))))
    assert truncated(store, GRID) == {"a very long dog": "dog"}


def test_pictures_come_back_as_they_were(store: Store):
    save(store, list(range(len(GRID))), failed=(1,))
    prompts, images = pictures(store, GRID, [0, 1], 0)
    assert prompts == ["a cat", "a very long dog"]
    assert sorted(images) == [("a cat", 0), ("a cat", 1), ("a very long dog", 1)]
    np.testing.assert_array_equal(images["a cat", 1], picture(2))
    batch = some_images(store, GRID, np.array([1, 4]))
    assert batch["label"].tolist() == [0]
    np.testing.assert_array_equal(decode(batch["png"][0]), picture(4))


def test_stored_rows_become_batches_for_measuring(store: Store):
    save(store, [0, 1], failed=(1,))
    (rows,) = list(store.dataset(SAMPLES).to_batches())
    batch = as_batch(rows)
    by_id = dict(zip(batch["sample_id"], batch["png"], strict=True))
    ids = GRID.rows(np.array([0, 1]))["sample_id"]
    np.testing.assert_array_equal(decode(by_id[ids[0]]), picture(0))
    assert by_id[ids[1]] is None


def test_images_are_never_read_with_the_rows(store: Store):
    save(store, [0])
    ((numbers, batch),) = stored(store, GRID, ["error"])
    assert numbers.tolist() == [0]
    assert "image" not in batch.schema.names


class Lists(Stage[Spec]):
    """What a descriptor and a lookup write."""

    reads: ClassVar = ("image",)
    writes: ClassVar = ("embedding", "nearest")

    def transform(self, batch):
        raise NotImplementedError


def test_lists_of_one_length_are_a_matrix_and_what_is_missing_is_marked(store: Store):
    lists = Measure(Lists, Spec())
    assert np.isnan(vectors(store, GRID, lists, "embedding")).all()
    save(store, [1, 4])
    spec = SaveMeasuredSpec(store=store.uri, table=lists.table, measured=lists.columns)
    written = {
        "embedding": objects([None, np.array([0.5, 2.0], np.float32)]),
        "nearest": objects([[2**40, 7, 1], None]),
    }
    SaveMeasured(spec).transform(GRID.rows(np.array([1, 4])) | written)
    found, items = (vectors(store, GRID, lists, name) for name in lists.columns)
    assert (found.shape, found.dtype, items.shape, items.dtype) == ((12, 2), np.float32, (12, 3), np.int64)
    assert found[4].tolist() == [0.5, 2.0]
    assert items[1].tolist() == [2**40, 7, 1]
    assert np.isnan(np.delete(found, 4, axis=0)).all()
    assert (np.delete(items, 1, axis=0) == -1).all()
