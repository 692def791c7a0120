"""The real pictures that drawn ones are compared with: any source of an index, its features measured once and kept."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import PIL.Image
import pyarrow as pa
from pydantic import Field
from typing_extensions import override

from pipelines.columns import pack
from pipelines.compute import ONE_ACTOR, Compute
from pipelines.entries import Source, Span
from pipelines.flow import loaded
from pipelines.measure import KEEP, Measure
from pipelines.pictures import decoded
from pipelines.pipeline import Pipeline, Step
from pipelines.run import RunSpec, execute
from pipelines.save import SaveMeasured, SaveMeasuredSpec
from pipelines.sources import parse
from pipelines.store import Store
from pipelines.sweep import Watch
from stages.base import Batch, Column, Spec, Stage, digest, objects

SPAN_ROWS = 1024


class ReferenceSpec(Spec):
    """Real pictures."""

    source: str = Field(
        min_length=1,
        description="A path, a pattern, hf://, s3://, gs://, store:OUTPUT, world:START-STOP, or index:FOLDER for the "
        "pictures that an index was built from.",
    )
    column: str | None = Field(None, description="Column of a Parquet source; null finds it.")
    limit: int | None = Field(None, ge=1, description="Take the first so many; null takes all.")
    side_px: int | None = Field(
        None,
        ge=2,
        le=4096,
        description="Side that middle squares are box-averaged to; null leaves pictures as they are.",
    )

    def open(self) -> Source:
        """Return the source; raises `UserError`, or `ValueError` where an index no longer has its pictures."""
        if not self.source.startswith("index:"):
            return parse(self.source, self.column)
        folder = Path(self.source.removeprefix("index:"))
        if not (folder / "build.json").is_file():
            raise ValueError(f"reference.source: expected the folder of an index, found no build.json in {folder}")
        built = json.loads((folder / "build.json").read_text(encoding="utf-8"))
        source = parse(built["source"], built.get("column"))
        if source.listing() != built["listing"]:
            raise ValueError(
                f"reference.source: expected the pictures that {folder} was built from, found other files in "
                f"{built['source']}; build the index again"
            )
        return source


class ReadSpec(Spec):
    """The size that pictures are brought to."""

    side_px: int | None = None


class Read(Stage[ReadSpec]):
    """Decode the picture files of a source; one that is no picture has none.

    Columns: reads png bytes or None (of any format); writes image uint8 [h w 3] or None.
    """

    reads: ClassVar = ("png",)
    writes: ClassVar = ("image",)

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        return {"image": objects(None if data is None else self._picture(data) for data in batch["png"])}

    def _picture(self, data: bytes) -> np.ndarray | None:
        try:
            picture = decoded(data)
        except ValueError:
            return None
        return picture if self.spec.side_px is None else middle(picture, self.spec.side_px)


def middle(picture: np.ndarray, side_px: int) -> np.ndarray:
    """Return the middle square of a picture uint8 [h w 3], box-averaged to a side."""
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    square = PIL.Image.fromarray(picture[top : top + side, left : left + side])
    return np.asarray(square.resize((side_px, side_px), PIL.Image.Resampling.BOX))


@dataclass(frozen=True)
class Reference:
    """The features of a source in a store, under a name that changes with its files and with the extractor."""

    spec: ReferenceSpec
    features: Measure
    store: str
    compute: Compute = ONE_ACTOR
    """Of the actors that measure it: those that draw do not run yet."""

    @cached_property
    def source(self) -> Source:
        """Return where its pictures are."""
        return self.spec.open()

    @cached_property
    def fingerprint(self) -> str:
        """Return what changes with the pictures and with how they are brought to size."""
        return digest([self.spec.model_dump(mode="json"), self.source.listing()])[:16]

    @property
    def table(self) -> str:
        """Return the name of the table of its features."""
        return f"references/features-{digest([self.fingerprint, self.features.table])[:16]}"

    @property
    def whole(self) -> int | None:
        """Return the number of pictures once all are measured, those without features among them; None before."""
        found = Store(self.store).dataset(f"{self.table}-whole")
        return None if found is None else int(found.to_table()["rows"][0].as_py())

    def ids(self) -> np.ndarray:
        """Return the ids of the measured pictures in the source's order."""
        data = Store(self.store).dataset(self.table)
        found = data.to_table(columns=["sample_id"])["sample_id"].to_pylist() if data else []
        return np.unique(np.array(found, dtype="S32"))

    @property
    def pipeline(self) -> Pipeline:
        """Return the pipeline that measures pictures and publishes what it finds."""
        measure = self.features
        save = SaveMeasuredSpec(store=self.store, table=self.table, measured=measure.columns)
        return Pipeline(
            "reference",
            Step(Read, ReadSpec(side_px=self.spec.side_px), measure.compute),
            Step(measure.stage, measure.spec, self.compute),
            Step(SaveMeasured, save, None),
            keep=KEEP,
        )


def measure(reference: Reference, run: RunSpec, watch: Watch) -> None:
    """Measure the pictures of a reference that are not in the store yet; Ray is running."""
    if reference.whole is not None:
        return
    store, source = Store(reference.store), reference.source
    store.recover(reference.table)
    spans = source.spans(SPAN_ROWS, reference.spec.limit)
    if not spans:
        raise ValueError(f"reference.source: expected at least one picture in {source.text}, found none")
    done = frozenset(reference.ids().astype(str).tolist())

    def read(text: str) -> Iterator[pa.Table]:
        yield from unmeasured(source, Span.model_validate_json(text), done, run.batch_size)

    rows = loaded([span.model_dump_json() for span in spans], read, run.batch_size)
    todo = max(1, sum(span.rows or 0 for span in spans) - len(done))
    execute(reference.pipeline, rows, todo, run, lambda tally: watch("reference", tally))
    count = pa.table({"sample_id": [reference.fingerprint], "rows": [len(reference.ids())]})
    store.write(f"{reference.table}-whole", count)
    store.compact(reference.table)
    for table in (reference.table, f"{reference.table}-whole"):
        store.seal(table)


def unmeasured(source: Source, span: Span, done: frozenset[str], size: int) -> Iterator[pa.Table]:
    """Yield the entries of a span that are not measured, `size` at a time."""
    ids: list[str] = []
    files: list[bytes | None] = []
    for place, entry in enumerate(source.entries(span)):
        if (named := f"{span.number:08d}-{place:08d}") not in done:
            ids.append(named)
            files.append(entry.data)
        if len(ids) == size:
            yield entries(ids, files)
            ids, files = [], []
    if ids:
        yield entries(ids, files)


def entries(ids: list[str], files: list[bytes | None]) -> pa.Table:
    """Return rows for the pipeline."""
    row = {"number": np.full(len(ids), -1), "error": objects([None] * len(ids))}
    return pack({"sample_id": objects(ids), "png": objects(files)} | row)
