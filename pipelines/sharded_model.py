"""An empirical model whose training pictures lie in several actors, for sets too large for one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field
from typing_extensions import override

from pipelines.compute import ONE_ACTOR, Compute
from pipelines.config import UserError
from pipelines.shards import Shards, hosted
from stages.base import Batch, Column, Stage
from stages.generate import Generate, GenerateSpec
from stages.models.source import folder

if TYPE_CHECKING:
    from stages.models.analytic.generator import AnalyticGenerator


class ShardedGenerateSpec(GenerateSpec):
    """Which empirical model to draw from, and the actors that hold its training pictures."""

    name: str = Field(min_length=1, description="Of the shards: `Shards.name`.")
    count: int = Field(ge=1, description="Of the shards: `Shards.count`.")

    placement: ClassVar = GenerateSpec.placement | {"name", "count"}


class ShardedGenerate(Stage[ShardedGenerateSpec]):
    """Draw from an empirical model that named actors hold; its pictures are those of `Generate` up to rounding.

    Columns as those of `Generate`.
    """

    reads: ClassVar = Generate.reads
    writes: ClassVar = Generate.writes

    def __init__(self, spec: ShardedGenerateSpec) -> None:
        super().__init__(spec)
        self.inner = Generate(spec, lambda _: connected(spec))

    @classmethod
    @override
    def columns(cls, spec: ShardedGenerateSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return Generate.columns(spec)

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        return self.inner.transform(batch)


def connected(spec: ShardedGenerateSpec) -> "AnalyticGenerator":
    """Return the model whose training pictures the named actors hold."""
    from stages.models.analytic.files import load_scheduler, size_of
    from stages.models.analytic.generator import AnalyticGenerator, AnalyticPipe
    from stages.models.analytic.remote import RemoteTrainingSet
    from stages.models.placement import place

    where = training_set(spec.model)
    shards = Shards(spec.name, spec.count)
    model = RemoteTrainingSet(size_of(where), lambda x, sigma: shards.merged("partial", x, sigma))
    return AnalyticGenerator(AnalyticPipe(model, load_scheduler(where)), place(spec))


@contextmanager
def hosted_model(model: str, parts: int, dtype: str = "auto", compute: Compute = ONE_ACTOR) -> Iterator[Shards]:
    """Hold the training pictures of an empirical model in so many actors, each with consecutive ones.

    Raises `UserError` where the model is no empirical one, or has fewer pictures.
    """
    from stages.models.analytic.files import load_part, size_of

    where = training_set(model)
    count = size_of(where)[0]
    if not 1 <= parts <= count:
        raise UserError(f"run.parts: expected 1 to {count}, the training pictures of {model}, found {parts}")
    ends = np.linspace(0, count, parts + 1).astype(int).tolist()
    pieces = [(where, start, stop, dtype) for start, stop in pairwise(ends)]
    with hosted("empirical", load_part, pieces, compute) as shards:
        yield shards


def is_empirical(model: str) -> bool:
    """Say whether a model is the folder of an empirical one."""
    where = folder(model)
    if where is None or not (where / "analytic.json").is_file():
        return False
    from stages.models.analytic.files import kind_of

    return kind_of(where) == "empirical"


def training_set(model: str) -> Path:
    """Return the folder of an empirical model; raises `UserError` where `model` is none."""
    from stages.models.analytic.files import kind_of

    where = folder(model)
    if where is None or kind_of(where) != "empirical":
        raise UserError(f"model {model!r}: expected the folder of an empirical model, to be held in parts; found none")
    return where
