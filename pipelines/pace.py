"""How fast the actors of each pool are on each kind of node: they say so with every batch, the driver sums it up."""

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from pipelines import joining
from stages.base import Batch, Column, objects

TOOK = "took"
"""The column that travels with the rows and never is stored."""

Place: TypeAlias = tuple[str, str]
"""The name of a pool, and the accelerator of a node; empty where it has none."""


class Clock:
    """Notes in an actor how long each of its batches took it; not of the first, with which it also warms up."""

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self.warm = False

    @cached_property
    def place(self) -> Place:
        """Return where this actor works; asked for after the first batch, which nothing should keep waiting."""
        return self.pool, own_accelerator()

    def noted(self, batch: Batch, seconds: float) -> Batch:
        """Return the batch with the seconds that it took, shared among its rows."""
        rows = len(next(iter(batch.values())))
        before = batch.get(TOOK, objects([None] * rows))
        mine = json.dumps([*self.place, seconds / max(1, rows)]) if self.warm else None
        self.warm = True
        return batch | {TOOK: objects("\n".join(filter(None, (text, mine))) or None for text in before)}


def own_accelerator() -> str:
    """Return the accelerator of the node that this process of Ray runs on."""
    import ray

    me = ray.get_runtime_context().get_node_id()
    return next(joining.accelerator(node["Resources"]) for node in ray.nodes() if node["NodeID"] == me)


@dataclass
class Pace:
    """The rows that actors noted, and the seconds that these took them."""

    rows: Counter[Place] = field(default_factory=Counter)
    seconds: Counter[Place] = field(default_factory=Counter)

    def add(self, took: Column) -> None:
        """Count what was noted of some rows."""
        for text, rows in Counter(filter(None, took)).items():
            for line in text.splitlines():
                pool, accelerator, seconds = json.loads(line)
                self.rows[pool, accelerator] += rows
                self.seconds[pool, accelerator] += rows * seconds

    def __add__(self, other: "Pace") -> "Pace":
        return Pace(self.rows + other.rows, self.seconds + other.seconds)

    @property
    def rates(self) -> dict[Place, float]:
        """Return the rows per second of one actor at each place where one worked."""
        return {place: self.rows[place] / seconds for place, seconds in self.seconds.items() if seconds}
