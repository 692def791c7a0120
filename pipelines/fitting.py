"""How many actors the nodes of a cluster hold, and in the staged layout how many of them should draw."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines import cluster, joining
from pipelines.compute import ONE_ACTOR, Compute
from pipelines.pace import Place
from pipelines.pipeline import Pool
from pipelines.question import Draw
from pipelines.rates import rates_of
from pipelines.run import RunSpec

MOST = 10_000
"""Actors in one pool, as its setting says."""
EPSILON = 1e-9


def sized(draw: Draw) -> Draw:
    """Return the draw with as many actors as the cluster holds, where its run says so; Ray is running."""
    if draw.run.pools == "given":
        return draw
    nodes = joining.nodes(cluster.alive())
    run = fitted(draw.run, draw.generation.pools(draw.run.layout), nodes, rates_of(draw))
    measures = (replace(m, compute=run.measure) if m.compute == draw.run.measure else m for m in draw.measures)
    return replace(draw, run=run, measures=tuple(measures))


def fitted(
    run: RunSpec, pools: Sequence[Pool], nodes: Iterable[joining.Resources], rates: Mapping[Place, float]
) -> RunSpec:
    """Return the run with as many actors as the nodes hold, the pool that draws being the first.

    Each pool gets one. Then the slower side gets one more, as long as there is room: drawing, or every pool of
    `run.measure`. Where the rate of a pool is not known, drawing gets all there is.
    """
    fitting = Fitting(pools, nodes, rates)
    measuring = [number for number, pool in enumerate(pools) if number and pool.compute == run.measure]
    known = {pools[number].name for number in (0, *measuring)} <= {name for name, _ in rates}
    beside = [ONE_ACTOR, *[run.measure.of(1)] * (run.parts or 0)]  # what reads, and what holds parts
    room = all([*(fitting.take(compute) for compute in beside), *map(fitting.add, range(len(pools)))])
    while room and fitting.places[0].total() < MOST:
        behind = known and fitting.rate(measuring) < fitting.rate([0])
        room = all(map(fitting.add, measuring if behind else [0]))
    return run.model_copy(
        update={"generate": fitting.spread(run.generate), "measure": fitting.fewest(run.measure, measuring)}
    )


@dataclass(frozen=True)
class Room:
    """What is free on one node."""

    accelerator: str
    cpus: float
    gpus: tuple[float, ...]
    """Of each device, the fullest first."""

    def beside(self, compute: Compute) -> "Room | None":
        """Return what is free beside one more actor, None where it has no room or should not be."""
        if compute.kinds and self.accelerator not in compute.places:
            return None
        if not compute.gpus:
            cpus = self.cpus - compute.cpus
            return replace(self, cpus=cpus) if cpus > -EPSILON else None
        size, devices = min(1.0, compute.gpus), math.ceil(compute.gpus - EPSILON)
        first = next((i for i, free in enumerate(self.gpus) if free > size - EPSILON), len(self.gpus))
        if first + devices > len(self.gpus):
            return None
        taken = (free - size for free in self.gpus[first : first + devices])
        gpus = sorted((*self.gpus[:first], *taken, *self.gpus[first + devices :]))
        return replace(self, gpus=tuple(gpus))


def empty(node: joining.Resources) -> Room:
    """Return a node with nothing on it."""
    return Room(joining.accelerator(node), node.get("CPU", 0.0), (1.0,) * int(node.get("GPU", 0.0)))


class Fitting:
    """Pools that are given one actor after the other: where it is fastest, among equals where least is left."""

    def __init__(self, pools: Sequence[Pool], nodes: Iterable[joining.Resources], rates: Mapping[Place, float]) -> None:
        self.pools, self.rates = pools, rates
        self.places = [Counter[str]() for _ in pools]
        self.rooms = Counter(map(empty, nodes))

    def add(self, number: int) -> bool:
        """Give a pool one more actor; say whether there is room."""
        pool = self.pools[number]
        if (room := self.take(pool.compute, pool.name)) is None:
            return False
        self.places[number][room.accelerator] += 1
        return True

    def take(self, compute: Compute, name: str = "") -> Room | None:
        """Take the room of one actor, and return the node as it was; None where there is no room."""
        left = {room: rest for room in +self.rooms if (rest := room.beside(compute))}
        if not left:
            return None
        room = min(left, key=lambda room: (-self.rate_at(name, room.accelerator), sum(room.gpus), room.cpus))
        self.rooms[room] -= 1
        self.rooms[left[room]] += 1
        return room

    def rate(self, numbers: Iterable[int]) -> float:
        """Return the rows per second of the slowest of these pools."""
        each = ((self.pools[number].name, self.places[number]) for number in numbers)
        return min(
            (sum(n * self.rate_at(name, a) for a, n in places.items()) for name, places in each), default=math.inf
        )

    def rate_at(self, name: str, accelerator: str) -> float:
        """Return the rows per second of one actor: of the slowest node that is known, where this one is not."""
        known = {place: rate for (pool, place), rate in self.rates.items() if pool == name}
        return known.get(accelerator, min(known.values(), default=1.0))

    def spread(self, compute: Compute) -> Compute:
        """Return what the pool that draws is given: on several kinds of GPU by kind, fastest first, then by name."""
        places, name = self.places[0], self.pools[0].name
        several = compute.gpus and len(places) > 1 and "" not in places
        order = (
            sorted(places, key=lambda place: (-self.rate_at(name, place), place)) if several or compute.kinds else []
        )
        return compute.of(max(1, places.total()), (place for place in order for _ in range(places[place])))

    def fewest(self, compute: Compute, numbers: Iterable[int]) -> Compute:
        """Return what these pools are given, so that each has its actors."""
        places = min((self.places[number] for number in numbers), key=Counter.total, default=Counter[str]())
        return compute.of(max(1, places.total()), places.elements() if compute.kinds else ())
