"""Embed: the descriptor of each picture."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from typing_extensions import override

from stages.base import Batch, Column, Stage, objects
from stages.models.descriptors.spec import DescriptorSpec


class EmbedSpec(DescriptorSpec):
    """Which descriptor, and what its column is called."""

    prefix: str = Field("", pattern=r"^([a-z][a-z0-9_]*_)?$", description="Put before the column, such as 'sscd_'.")


class Embed(Stage[EmbedSpec]):
    """Turn each picture into the vector by which copies of it are found.

    Columns, before the prefix: reads image uint8 [h w 3] or None [b]; writes embedding float32 [d] or None [b].
    """

    reads: ClassVar = ("image",)

    @override
    @classmethod
    def columns(cls, spec: EmbedSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return cls.reads, (f"{spec.prefix}embedding",)

    def __init__(self, spec: EmbedSpec) -> None:
        from stages.models.descriptors.loading import load_descriptor

        super().__init__(spec)
        self.descriptor = load_descriptor(spec)

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        pictures = batch["image"]
        seen = [row for row in range(len(pictures)) if pictures[row] is not None]
        vectors = dict(zip(seen, self.descriptor.embed([pictures[row] for row in seen]), strict=True))
        return {f"{self.spec.prefix}embedding": objects(vectors.get(row) for row in range(len(pictures)))}
