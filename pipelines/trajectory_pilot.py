"""The pilot: a few rows of a model, drawn in one actor before the others; their states span the plane."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field
from typing_extensions import override

from pipelines.columns import pack
from pipelines.flow import numbered
from pipelines.grid import Grid
from pipelines.measure import KEEP
from pipelines.pipeline import Pipeline, Step
from pipelines.question import Draw
from pipelines.run import execute
from pipelines.save import SaveMeasured, SaveMeasuredSpec, png
from pipelines.store import Store
from stages.base import Batch, Column, Spec, Stage, digest, objects, spread
from stages.sampling.recording import Recording

if TYPE_CHECKING:
    from pipelines.sweep import Watch


class Shown(NamedTuple):
    """What the pilot shows of a row; None where it could not be drawn."""

    explained: float
    """The share of its spread that lies in the plane, NaN where there is none."""
    film: bytes | None
    """Its strip, as a PNG file."""


@dataclass(frozen=True)
class PilotRows:
    """The first prompts and seeds of every arm of a model, unshifted and under the perturbations that are shown."""

    grids: tuple[Grid, ...]
    prompts: int
    seeds: int
    perturbations: tuple[int, ...]
    frames: int
    store: str

    @cached_property
    def numbers(self) -> np.ndarray:
        """Return the row numbers, the same in every grid: seeds outermost, then perturbations and prompts."""
        axes = np.meshgrid(range(self.seeds), [0], self.perturbations, range(self.prompts), indexing="ij")
        shape = (self.grids[0].seeds.count, *self.grids[0].inner)
        return np.ravel_multi_index([axis.ravel() for axis in axes], shape)

    @cached_property
    def rows(self) -> Batch:
        """Return the rows of all arms."""
        parts = [grid.rows(self.numbers) for grid in self.grids]
        rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return rows | {"number": np.arange(len(rows["number"]))}

    @cached_property
    def key(self) -> str:
        """Return what the plane is known by: the rows that span it."""
        return digest(sorted(self.rows["sample_id"].tolist()))[:16]

    @property
    def plane(self) -> Path:
        """Return the plane's file."""
        return Path(self.store).absolute() / "planes" / f"{self.key}.npy"

    @property
    def table(self) -> str:
        """Return the table of what the pilot shows."""
        return f"measured/pilot-{digest([self.key, self.frames])[:16]}"

    @property
    def first(self) -> np.ndarray:
        """Return the row numbers of the first prompt and seed, by perturbation."""
        first: np.ndarray = self.numbers.reshape(self.seeds, -1, self.prompts)[0, :, 0]
        return first

    def shown(self) -> dict[str, Shown]:
        """Return what is stored of each row, by its sample's id."""
        data = Store(self.store).dataset(self.table)
        rows = data.to_table().to_pylist() if data else []
        known = {row["sample_id"]: (row["explained"], row["film"]) for row in rows}
        return {i: Shown(math.nan if e is None else e, f["bytes"] if f else None) for i, (e, f) in known.items()}

    @property
    def fitted(self) -> bool:
        """Whether the plane is there, and every row has been shown."""
        return self.plane.is_file() and self.shown().keys() >= set(self.rows["sample_id"])


class FitPlaneSpec(Spec):
    """Where the plane goes."""

    file: str = Field(min_length=1, description="File of the plane.")


class FitPlane(Stage[FitPlaneSpec]):
    """Fit a plane to the states of all rows of a batch, and publish it.

    Columns: reads states float32 [k + 1, n] or None and strip uint8 [frames h w 3] or None; writes explained, the share
    of the row's spread around the middle of all states that lies in the plane, NaN without states, and film, the
    frames side by side as a PNG file.
    """

    reads: ClassVar = ("states", "strip")
    writes: ClassVar = ("explained", "film")
    whole: ClassVar = True

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        import torch

        from stages.sampling.trajectory import fit_plane, save_plane

        drawn = [row for row, states in enumerate(batch["states"]) if states is not None]
        if not drawn:
            raise ValueError("pilot: expected at least one row that is drawn, found none; see the errors of its rows")
        states = [torch.from_numpy(batch["states"][row]) for row in drawn]
        plane = fit_plane(states)
        aside = Path(f"{self.spec.file}.{digest(self.spec.file)[:8]}.part")
        save_plane(plane, aside)
        aside.replace(self.spec.file)
        off = [x - plane.origin for x in states]
        inside = [float(((x @ plane.axes.mT) ** 2).sum() / (x**2).sum()) for x in off]
        films = [None if strip is None else film(strip) for strip in batch["strip"]]
        return {"explained": spread(inside, drawn, len(batch["states"])), "film": objects(films)}


def film(strip: np.ndarray) -> dict[str, bytes | None]:
    """Return the frames uint8 [frames h w 3] side by side, as the PNG file of a stored picture."""
    return {"bytes": png(np.concatenate(list(strip), axis=1)), "path": None}


def pipeline(pilot: PilotRows, draw: Draw) -> Pipeline:
    """Return the pipeline that draws the pilot, fits the plane and publishes what is shown."""
    seeds = tuple(dict.fromkeys(pilot.rows["seed"].tolist()))
    record = Recording(frames=pilot.frames, frames_of=seeds, states=True)
    save = SaveMeasuredSpec(store=pilot.store, table=pilot.table, measured=FitPlane.writes)
    steps = Step(FitPlane, FitPlaneSpec(file=str(pilot.plane)), None), Step(SaveMeasured, save, None)
    return Pipeline("trajectory, pilot", draw.drawing(record), *steps, keep=KEEP)


def fit(pilot: PilotRows, draw: Draw, watch: "Watch") -> None:
    """Draw the pilot in one actor, unless its plane and its strips are there."""
    if pilot.fitted:
        return
    rows, count = pilot.rows, len(pilot.rows["number"])

    def expand(numbers: np.ndarray) -> pa.Table:
        return pack({name: column[numbers] for name, column in rows.items()})

    run = draw.run.model_copy(update={"batch_size": count})  # one batch: the plane is that of all
    execute(pipeline(pilot, draw), numbered(count, expand, count), count, run, lambda tally: watch("pilot", tally))
