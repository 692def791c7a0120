"""Stages that publish a batch in the store as soon as it is finished."""

import io
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import PIL.Image
from pydantic import Field
from typing_extensions import override

from pipelines.columns import SAMPLE, schema_of, table
from pipelines.store import Store
from stages.base import Batch, Column, Spec, Stage, objects

SAMPLES = "samples"


class SaveSamplesSpec(Spec):
    """Which store the samples go to."""

    store: str = Field(description="Folder or URI of the store.")


class SaveSamples(Stage[SaveSamplesSpec]):
    """Encode the images as PNG, once, and publish the rows.

    Columns: reads every sample column, image uint8 [h w 3] or None; writes nothing.
    """

    reads: ClassVar = tuple(SAMPLE.names)
    writes: ClassVar = ()

    def __init__(self, spec: SaveSamplesSpec) -> None:
        super().__init__(spec)
        self.store = Store(spec.store)

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        images = objects(None if image is None else {"bytes": png(image), "path": None} for image in batch["image"])
        labels = objects(None if label < 0 else int(label) for label in batch["label"])
        self.store.write(SAMPLES, table({**batch, "image": images, "label": labels}, SAMPLE))
        return {}


class SaveMeasuredSpec(Spec):
    """Which table of measured columns to publish."""

    store: str = Field(description="Folder or URI of the store.")
    table: str = Field(description="Name of the table, such as measured/classify-0123456789abcdef.")
    measured: tuple[str, ...] = Field(description="The measured columns in it.")


class SaveMeasured(Stage[SaveMeasuredSpec]):
    """Publish what one stage measured, beside the samples and joined to them by `sample_id`.

    Columns: reads sample_id and the measured columns; writes nothing.
    """

    reads: ClassVar = ("sample_id",)
    writes: ClassVar = ()

    @override
    @classmethod
    def columns(cls, spec: SaveMeasuredSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return (*cls.reads, *spec.measured), ()

    def __init__(self, spec: SaveMeasuredSpec) -> None:
        super().__init__(spec)
        self.store = Store(spec.store)
        self.schema = schema_of(spec.measured)

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        self.store.write(self.spec.table, table(batch, self.schema))
        return {}


class LoadImages(Stage[Spec]):
    """Decode stored images, for a question that is asked later.

    Columns: reads png bytes or None; writes image uint8 [h w 3] or None.
    """

    reads: ClassVar = ("png",)
    writes: ClassVar = ("image",)

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        return {"image": objects(None if data is None else decode(data) for data in batch["png"])}


def png(image: np.ndarray) -> bytes:
    """Return the PNG file of an image; the fastest compression: zlib's default costs more than it saves."""
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def decode(data: bytes) -> np.ndarray:
    """Return the image in a PNG file, uint8 [h w 3]."""
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))
