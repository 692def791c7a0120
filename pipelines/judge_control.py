"""The judge's own part in a drop: unbroken pictures, tinted as a perturbation tints, shown to the same classifiers.

A mean shift of the latent tints the picture. A classifier may fail on the tint alone, though the object is whole; what
it loses on these pictures is not the generator's failure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
from typing_extensions import override

from pipelines.answers import TOP1, Answers, JudgeControls
from pipelines.columns import pack
from pipelines.flow import numbered
from pipelines.grid import Grid
from pipelines.measure import Measure
from pipelines.pipeline import Pipeline, Step
from pipelines.robustness import JudgeControl, Robustness
from pipelines.rows import cube, some_images
from pipelines.run import RunSpec, execute
from pipelines.save import decode
from pipelines.store import Store
from pipelines.sweep import Watch
from stages.base import Batch, Column, Spec, Stage, digest, objects
from stages.metrics import Proportion

if TYPE_CHECKING:
    from ray.data import Dataset

CASTS = ("cast_red", "cast_green", "cast_blue")


@dataclass(frozen=True)
class Cast:
    """The change of the mean colour under one perturbation, 0 to 255 a channel."""

    sampler: int
    perturbation: int
    red: float
    green: float
    blue: float

    @property
    def known(self) -> bool:
        """Whether there were pictures to measure it on."""
        return bool(np.isfinite([self.red, self.green, self.blue]).all())


class Tint(Stage[Spec]):
    """Draw an unbroken picture and add a colour cast, clipped to what a picture can hold.

    Columns: reads png bytes or None, render int64 (index in the image world where there is no png), cast_red,
    cast_green, cast_blue float32 (0 to 255); writes image uint8 [h w 3].
    """

    reads: ClassVar = ("png", "render", *CASTS)
    writes: ClassVar = ("image",)

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        from stages.models.zoo.world import render

        indices = np.asarray(batch["render"], dtype=np.int64)
        drawn = iter(render(indices[indices >= 0]))
        plain = [next(drawn) if png is None else decode(png) for png in batch["png"]]
        casts = np.stack([batch[name] for name in CASTS], axis=1)
        return {"image": objects(tinted(image, cast) for image, cast in zip(plain, casts, strict=True))}


def tinted(image: np.ndarray, cast: np.ndarray) -> np.ndarray:
    """Return the image uint8 [h w 3] with a cast [3] added."""
    return np.clip(np.rint(image + cast.astype(np.float32)), 0, 255).astype(np.uint8)


def pipeline(measures: Sequence[Measure]) -> Pipeline:
    """Return the pipeline that tints pictures and classifies them; its few numbers come back to the driver."""
    steps = [Step(m.stage, m.spec, m.compute) for m in measures]
    kept = [name for m in measures for name in m.columns if name.endswith("top1_correct")]
    return Pipeline("judge control", Step(Tint, Spec()), *steps, keep=("number", "error", *kept))


def rows(casts: Sequence[Cast], pictures: Batch, batch_size: int) -> "Dataset":
    """Return every picture under every cast; `number` is cast x pictures + picture."""
    count = len(pictures["label"])

    def expand(numbers: np.ndarray) -> pa.Table:
        of, picture = np.divmod(numbers, count)
        chosen = {name: column[picture] for name, column in pictures.items()}
        cast = np.array([(c.red, c.green, c.blue) for c in casts], dtype=np.float32)[of]
        row = {"number": numbers, "error": objects([None] * len(of))}
        return pack(chosen | row | {name: cast[:, i] for i, name in enumerate(CASTS)})

    return numbered(len(casts) * count, expand, batch_size)


def renders(count: int) -> Batch:
    """Return held-out renders of the image world, every class equally often."""
    from stages.models.zoo.world import HELD_OUT, labels

    index = HELD_OUT + np.arange(count, dtype=np.int64)
    return {"render": index, "label": np.asarray(labels(index), dtype=np.int64), "png": objects([None] * count)}


def judged(question: Robustness, answers: Answers, watch: Watch | None) -> JudgeControls:
    """Return what the classifiers make of unbroken pictures under each perturbation's colour cast.

    Kept in the report's folder under the hash of casts and pictures. Without `watch` only what is kept is returned, so
    that a report is made again without Ray.
    """
    control = question.spec.judge_control
    if control is None:
        return {}
    casts = [cast for cell in answers.cells if (cast := cast_of(answers, cell.sampler, cell.number)).known]
    pictures = unbroken(control, Store(question.spec.store), question.grid, question.classifying[0].table)
    count = len(pictures["label"])
    if not casts or not count:
        return {}
    file = Path(question.spec.folder) / "judge_control.parquet"
    tables = [measure.table for measure in question.classifying]
    key = digest([[list(vars(c).values()) for c in casts], control.model_dump(), tables])
    frame = read_kept(file, key)
    if frame is None and watch is not None:
        frame = measured(question.classifying, question.spec.run, (casts, pictures), watch)
        file.parent.mkdir(parents=True, exist_ok=True)
        frame.assign(key=key).to_parquet(file, index=False)
    return {} if frame is None else shares(frame, casts, count)


def measured(
    measures: Sequence[Measure], run: RunSpec, tints: tuple[Sequence[Cast], Batch], watch: Watch
) -> pd.DataFrame:
    """Return whether each classifier was right on each of the pictures under each of the casts."""
    found: list[Batch] = []
    steps, todo = pipeline(measures), len(tints[0]) * len(tints[1]["label"])
    execute(steps, rows(*tints, run.batch_size), todo, run, lambda tally: watch("judge control", tally), found.append)
    names = [name for name in steps.keep if name != "error"]
    return pd.DataFrame({name: np.concatenate([batch[name] for batch in found]) for name in names})


def shares(frame: pd.DataFrame, casts: Sequence[Cast], pictures: int) -> JudgeControls:
    """Return each classifier's accuracy under each cast."""
    of = frame["number"].to_numpy() // pictures
    names = [name for name in frame.columns if name.endswith("top1_correct")]
    return {
        (cast.sampler, cast.perturbation): {
            name: Proportion().of(frame[name].to_numpy()[of == i].astype(np.float64)) for name in names
        }
        for i, cast in enumerate(casts)
    }


def read_kept(file: Path, key: str) -> pd.DataFrame | None:
    """Return the kept numbers if they answer the same question."""
    if not file.is_file():
        return None
    frame = pd.read_parquet(file)
    return frame if len(frame) and frame["key"].iloc[0] == key else None


def cast_of(answers: Answers, sampler: int, perturbation: int) -> Cast:
    """Return the mean change of colour under a perturbation."""
    changes = [answers.change(f"{colour}_mean", sampler, perturbation).value for colour in ("red", "green", "blue")]
    return Cast(sampler, perturbation, *(round(change, 2) for change in changes))


def unbroken(control: JudgeControl, store: Store, grid: Grid, classified: str) -> Batch:
    """Return the pictures of a control; `classified` names the table of the classifier."""
    return renders(control.images) if control.source == "world" else unshifted(store, grid, classified, control.images)


def unshifted(store: Store, grid: Grid, classified: str, count: int) -> Batch:
    """Return unshifted pictures of the first sampler that the classifier got right, an even number of each prompt."""
    columns = cube(store, grid, {classified: [TOP1]}, ())
    shape = (grid.seeds.count, *grid.inner)
    right = np.flatnonzero(columns[TOP1].reshape(shape)[:, 0, 0] == 1)[:count]
    block, prompt = np.divmod(right, len(grid.prompts))
    return some_images(store, grid, np.ravel_multi_index((block, 0 * block, 0 * block, prompt), shape))
