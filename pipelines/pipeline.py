"""What runs, with what, where: a list of steps, checked from first to last before any actor starts."""

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import pyarrow as pa

from pipelines.columns import pack, unpack
from pipelines.compute import ONE_ACTOR, Compute
from pipelines.crashes import Care, Careful
from pipelines.flow import pooled
from pipelines.pace import TOOK, Clock
from stages.base import AnyStage, Batch, Spec

if TYPE_CHECKING:
    from ray.data import Dataset

Layout: TypeAlias = Literal["fused", "staged"]


@dataclass(frozen=True)
class Step:
    """A stage, its spec and where it runs."""

    stage: type[AnyStage]
    spec: Spec
    compute: Compute | None = ONE_ACTOR
    """None: in the actors of the step before."""

    @property
    def name(self) -> str:
        """Return the stage's name, for messages and plans."""
        return self.stage.__name__


@dataclass(frozen=True)
class Pool:
    """Steps that share actors, so that nothing between them crosses the object store."""

    steps: tuple[Step, ...]
    compute: Compute

    @property
    def name(self) -> str:
        """Return the names of the steps."""
        return named(self.steps)


class Worker:
    """The actor of a pool: builds its stages once, then applies them to every batch.

    Within an actor it is given `care`, by which it finds rows that end its process, and notes how long they take it.
    """

    def __init__(self, steps: tuple[Step, ...], keep: tuple[str, ...], care: Care | None = None) -> None:
        self.stages = [step.stage(step.spec) for step in steps]
        self.keep = keep
        self.apply = applied if care is None else Careful(care)
        self.clock = None if care is None else Clock(named(steps))

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Return the rows with every stage applied, or only the columns in `keep`."""
        start = time.perf_counter()
        batch = self.apply(self.stages, unpack(rows))
        kept = {name: batch[name] for name in self.keep or batch}
        if self.clock is None:
            return pack(kept)
        before = {TOOK: batch[TOOK]} if TOOK in batch else {}
        return pack(self.clock.noted(kept | before, time.perf_counter() - start))


def named(steps: Iterable[Step]) -> str:
    """Return the names of steps that share actors."""
    return " + ".join(step.name for step in steps)


def applied(stages: Sequence[AnyStage], batch: Batch) -> Batch:
    """Return the batch with every stage applied."""
    for stage in stages:
        batch = stage(batch)
    return batch


class Pipeline:
    """A list of steps that is called on a data set and returns one.

    `keep` names the columns that come back to the driver: never images.
    """

    def __init__(self, name: str, *steps: Step, keep: tuple[str, ...] = ()) -> None:
        self.name = name
        self.steps = steps
        self.keep = keep

    def check(self, columns: Iterable[str]) -> None:
        """Follow the columns through every step; raises `ValueError` at the first that cannot run."""
        have = set(columns)
        for number, step in enumerate(self.steps, start=1):
            where = f"{self.name}, step {number} ({step.name})"
            reads, writes = step.stage.columns(step.spec)
            if missing := sorted(set(reads) - have):
                raise ValueError(f"{where} reads {missing}, but only {sorted(have)} exist by then")
            if clobbered := sorted(set(writes) & have - set(reads)):
                raise ValueError(f"{where} writes {clobbered}, which already exist")
            have |= set(writes)
        if missing := sorted(set(self.keep) - have):
            raise ValueError(f"{self.name} keeps {missing}, but only {sorted(have)} exist at the end")

    def pools(self, layout: Layout) -> list[Pool]:
        """Return the pools of a layout: one for all steps, or one for each step that asks for one."""
        asking = [step.compute for step in self.steps if step.compute]
        if layout == "fused":
            return [Pool(self.steps, max(asking, key=lambda c: (c.gpus, c.count * c.cpus)))]
        starts = [i for i, step in enumerate(self.steps) if step.compute]
        groups = [self.steps[i:j] for i, j in zip(starts, [*starts[1:], len(self.steps)], strict=True)]
        return [Pool(group, compute) for group, compute in zip(groups, asking, strict=True)]

    def __call__(
        self,
        dataset: "Dataset",
        layout: Layout,
        batch_size: int,
        batches: int | None = None,
        limit_s: float | None = None,
    ) -> "Dataset":
        """Return the data set with every step applied; one block is one batch.

        No pool gets more actors than there are `batches`: they would start for nothing. A stage may take `limit_s`
        for a batch.
        """
        pools = self.pools(layout)
        for pool in pools:
            keep = self.keep if pool is pools[-1] else ()
            compute = pool.compute if batches is None else pool.compute.at_most(max(1, batches))
            care = Care(uuid.uuid4().hex, limit_s)
            # Without end: the worker itself counts the deaths over a batch.
            dataset = pooled(dataset, Worker, (pool.steps, keep, care), compute, batch_size, tries=-1)
        return dataset
