"""Named actors that each hold a part of what is too large for one machine, and the lookup that asks them."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Protocol, TypeVar, cast

import numpy as np
from pydantic import Field
from typing_extensions import override

from pipelines.compute import ONE_ACTOR, Compute
from pipelines.config import UserError
from pipelines.run import cause
from pipelines.working_folder import Workplace, workplace
from stages.base import Batch, Column, Stage
from stages.lookup import LookupSpec, limit_threads, listed, stacked
from stages.neighbours import Found, Index, Vectors
from stages.neighbours.search import refuse_k, refuse_queries

NAMESPACE = "seedquake"
"""Actors are found by name within it, from any process of the cluster."""
START_TIMEOUT_S = 600
LIVES = 3
"""How often a dead actor is started again, and a call to it tried again."""

M = TypeVar("M", bound="Mergeable")


class Mergeable(Protocol):
    """What one part answers. Law: merging is associative, and the parts may come in any order."""

    def merge(self: M, other: M) -> M:
        """Return the answer of both parts."""


class Host:
    """The actor: holds one object, built in the folder of the command, and calls its methods."""

    def __init__(self, place: Workplace, kind: Callable[..., object], arguments: Sequence[object]) -> None:
        place.enter()
        self.held = kind(*arguments)

    def call(self, method: str, *arguments: object) -> object:
        """Return what a method of the object returns."""
        return getattr(self.held, method)(*arguments)

    def ready(self) -> None:
        """Return once the object is built."""


@dataclass(frozen=True)
class Shards:
    """The hosts of all parts; a value that may travel, since it only names them."""

    name: str
    count: int

    def ask(self, method: str, *arguments: object) -> list[object]:
        """Return what every part answers, in order of the parts. Each argument is sent once to a node."""
        import ray

        sent = [ray.put(argument) for argument in arguments]
        answers: list[object] = ray.get([host.call.remote(method, *sent) for host in self._hosts()])
        return answers

    def merged(self, method: str, *arguments: object) -> object:
        """Return the merged answer of all parts."""
        return reduce(lambda a, b: a.merge(b), cast("list[Any]", self.ask(method, *arguments)))

    def _hosts(self) -> list[Any]:
        import ray

        return [ray.get_actor(f"{self.name}-{number}", NAMESPACE) for number in range(self.count)]


@contextmanager
def hosted(
    name: str, kind: Callable[..., object], parts: Sequence[Sequence[object]], compute: Compute = ONE_ACTOR
) -> Iterator[Shards]:
    """Hold `kind(*arguments)` for the arguments of each part, in an actor of its own, until the block ends.

    Each actor reserves what `compute` says; how many actors it names, and of what kind, is not used. A part that dies
    is built again. Raises `UserError` where a part cannot be built or finds no room.
    """
    import ray

    shards = Shards(f"{name}-{uuid.uuid4().hex[:8]}", len(parts))
    # Ray would add a CPU to a GPU unless told not to, which nobody counted.
    room = {"num_gpus": compute.gpus, "num_cpus": 0} if compute.gpus else {"num_cpus": compute.cpus}
    settings = {"namespace": NAMESPACE, "scheduling_strategy": "SPREAD", **room}
    settings |= {"max_restarts": LIVES, "max_task_retries": LIVES}
    actor: Any = ray.remote(Host)
    names = [f"{shards.name}-{number}" for number in range(len(parts))]
    place = workplace()
    hosts = [actor.options(name=n, **settings).remote(place, kind, p) for n, p in zip(names, parts, strict=True)]
    try:
        wait(hosts, name, room)
        yield shards
    finally:
        for host in hosts:
            ray.kill(host)


def wait(hosts: Sequence[Any], name: str, room: Mapping[str, float]) -> None:
    """Return once every part is built; raises `UserError` where one cannot be, or finds no room."""
    import ray

    try:
        ray.get([host.ready.remote() for host in hosts], timeout=START_TIMEOUT_S)
    except ray.exceptions.ActorDiedError as error:
        raise UserError(f"{name}: {cause(error).partition(': ')[2]}") from error
    except ray.exceptions.GetTimeoutError:
        raise UserError(f"{name}: expected room for {len(hosts)} actors of {room}, found less; add nodes") from None


class PartSearch:
    """Some shards of an index, searched where they lie."""

    def __init__(self, spec: LookupSpec, numbers: Sequence[int]) -> None:
        limit_threads(spec.threads)
        self.index = Index.open(spec.index, numbers)
        self.search = spec.engine.open(self.index, spec.device)

    def partial(self, queries: Vectors, k: int) -> Found:
        """Return the k nearest of these shards."""
        return self.search(queries, k)


@contextmanager
def hosted_index(spec: LookupSpec, parts: int, compute: Compute = ONE_ACTOR) -> Iterator[Shards]:
    """Hold an index in so many actors, each with consecutive shards."""
    count = len(Index.open(spec.index).manifest.shards)
    if not 1 <= parts <= count:
        raise UserError(f"lookup: expected 1 to {count} parts, the number of shards of {spec.index}, found {parts}")
    groups = [group.tolist() for group in np.array_split(np.arange(count), parts)]
    with hosted("lookup", PartSearch, [(spec, group) for group in groups], compute) as shards:
        yield shards


class ShardedLookupSpec(LookupSpec):
    """Which references to search, and the actors that hold them."""

    name: str = Field(min_length=1, description="Of the shards: `Shards.name`.")
    count: int = Field(ge=1, description="Of the shards: `Shards.count`.")

    placement: ClassVar = LookupSpec.placement | {"name", "count"}


class ShardedLookup(Stage[ShardedLookupSpec]):
    """Find the nearest references of each embedding in an index that named actors hold; same bits as `Lookup`.

    Columns as those of `Lookup`.
    """

    @override
    @classmethod
    def columns(cls, spec: ShardedLookupSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return (f"{spec.prefix}embedding",), (f"{spec.prefix}nearest", f"{spec.prefix}nearest_score")

    def __init__(self, spec: ShardedLookupSpec) -> None:
        super().__init__(spec)
        self.index, self.shards = Index.open(spec.index), Shards(spec.name, spec.count)
        refuse_k(spec.k, self.index.count)

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        reads, writes = self.columns(self.spec)
        vectors = batch[reads[0]]
        seen = [row for row in range(len(vectors)) if vectors[row] is not None]
        found = self._found(stacked(vectors, seen)) if seen else None
        return dict(zip(writes, listed(found, seen, len(vectors)), strict=True))

    def _found(self, queries: Vectors) -> Found:
        refuse_queries(queries, self.index)
        return cast("Found", self.shards.merged("partial", queries, self.spec.k))
