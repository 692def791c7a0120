"""Whether actors fit the nodes of a cluster, which the sum over its nodes does not tell."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Shortage(NamedTuple):
    """Actors of one size that a cluster cannot hold."""

    size: float
    """CPUs or GPUs of the smallest of them."""
    needed: int
    room: int


def shortage(actors: Mapping[float, int], nodes: Sequence[float], device: float = math.inf) -> Shortage | None:
    """Return a proof that no placement holds so many actors of each size on nodes of these sizes, None without one.

    An actor of size q counts as floor(q / s) of size s, and a node as room for as many: what a cluster cannot hold so
    cannot be placed, however cleverly. `device` is the size of what no fraction may span: 1 for GPUs.
    """
    for size in sorted(actors, reverse=True):
        needed = sum(count * slots(q, size, device) for q, count in actors.items())
        room = sum(slots(node, size, device) for node in nodes)
        if needed > room:
            return Shortage(size, needed, room)
    return None


def slots(amount: float, size: float, device: float = math.inf) -> int:
    """Return how many actors of a size fit an amount; a fraction of a device lies within one."""
    if size >= device or math.isinf(device):
        return math.floor(amount / size + 1e-9)
    devices = math.floor(amount / device + 1e-9)
    rest = max(0.0, amount - devices * device)
    return devices * math.floor(device / size + 1e-9) + math.floor(rest / size + 1e-9)
