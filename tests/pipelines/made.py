"""Questions whose stored rows are known: written into a store as a run would, without a model."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.columns import PNG
from pipelines.config import load
from pipelines.grid import Grid
from pipelines.measure import Measure
from pipelines.memorization import Memorization, MemorizationSpec
from pipelines.pictures import read_picture as picture_of
from pipelines.reproducibility import Reproducibility, ReproducibilitySpec
from pipelines.save import SaveMeasured, SaveMeasuredSpec, SaveSamples, SaveSamplesSpec, png
from pipelines.store import Store
from stages.base import objects
from stages.models.descriptors.loading import load_descriptor
from stages.models.descriptors.spec import DescriptorSpec, score_name
from stages.models.source import fingerprint
from stages.models.zoo.world import labels, render
from stages.neighbours import Index
from stages.neighbours.writer import Writer
from stages.randomness import rng
from tests.stages.models.descriptors.tiny import save_descriptor
from tests.stages.neighbours.make import write

DIMENSION = 24


def units(*shape: int, purpose: str = "drawn") -> np.ndarray:
    """Return random unit vectors float32 [*shape d]."""
    vectors = rng(0, purpose).standard_normal((*shape, DIMENSION), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def reproducibility(folder: Path, *overrides: str) -> Reproducibility:
    """Return a small comparison of one model under three samplers."""
    if not (folder / "descriptor").is_dir():
        save_descriptor(folder / "descriptor", dimension=DIMENSION)
    given = [
        f"run.output={folder / 'runs'}",
        f"descriptor={{model: {folder / 'descriptor'}}}",
        "threshold=0.6",
        *overrides,
    ]
    return Reproducibility(load(ReproducibilitySpec, "reproducibility_samplers", given))


def memorization(folder: Path, vectors: np.ndarray, *overrides: str) -> Memorization:
    """Return a small question about an index of these training pictures."""
    if not (folder / "index").is_dir():
        training_set(folder, vectors)
    given = [
        f"run.output={folder / 'runs'}",
        f"reference={folder / 'index'}",
        "holdout=null",
        "pixels=null",
        "threshold=0.6",
    ]
    return Memorization(load(MemorizationSpec, "memorization_demo", [*given, *overrides]))


def training_set(folder: Path, vectors: np.ndarray, name: str = "index", **described: str) -> Index:
    """Write an index of a random descriptor."""
    place = folder / "descriptor"
    if not place.is_dir():
        save_descriptor(place, dimension=DIMENSION)
    stated = {"score": "descriptor@32x32", "model": str(place), "weights": fingerprint(str(place), "descriptor")}
    return write(folder / name, vectors, **stated | described)


def world_index(folder: Path, start: int, stop: int, descriptor: str) -> Index:
    """Write the index that `seedquake index build world:START-STOP` builds, without Ray."""
    numbers = np.arange(start, stop)
    pictures = [picture_of(png(picture)) for picture in render(numbers)]
    spec = DescriptorSpec(model=descriptor, threads=1)
    loaded = load_descriptor(spec)
    columns = {
        "path": pa.array(["world"] * len(numbers)),
        "row": pa.array(numbers),
        "label": pa.array(labels(numbers)),
        "hash": pa.array([p.hash for p in pictures]),
        "image": pa.array([{"bytes": p.thumbnail, "path": None} for p in pictures], PNG),
    }
    writer = Writer(folder, loaded.dimension, "float32", 1000)
    writer.add(loaded.embed([p.pixels for p in pictures]), pa.table(columns))
    stated = {"score": score_name(spec), "model": descriptor, "metric": loaded.metric, "settings": "s"}
    stated |= {"weights": fingerprint(descriptor, "descriptor"), "source": f"world:{start}-{stop}"}
    writer.finish(pa.table({"path": pa.array([], pa.string())}), **stated)
    return Index.open(folder)


def save_rows(store: Store, grid: Grid, failed: tuple[int, ...] = ()) -> None:
    """Store every row of a grid, each picture one colour of its own."""
    rows = grid.rows(np.arange(len(grid)))
    pictures = [np.full((8, 8, 3), n % 251, np.uint8) for n in range(len(grid))]
    batch = rows | {
        "image": objects(None if n in failed else picture for n, picture in enumerate(pictures)),
        "error": objects("it broke" if n in failed else None for n in range(len(grid))),
        "truncated": objects([None] * len(grid)),
        **{name: np.zeros(len(grid)) for name in ("latent_mean_z", "latent_norm_z", "latent_ks_p")},
    }
    SaveSamples(SaveSamplesSpec(store=store.uri)).transform(batch)


def save_measured(store: Store, grid: Grid, measure: Measure, *columns: list[object] | np.ndarray) -> None:
    """Store what a measure wrote for every row of a grid."""
    spec = SaveMeasuredSpec(store=store.uri, table=measure.table, measured=measure.columns)
    named = {name: objects(list(column)) for name, column in zip(measure.columns, columns, strict=True)}
    SaveMeasured(spec).transform({"sample_id": grid.rows(np.arange(len(grid)))["sample_id"]} | named)
