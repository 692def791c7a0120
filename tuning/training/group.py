"""Processes that share every minibatch of one training, each with a network and a device of its own.

Each draws the whole minibatch, since a step's randomness follows from its number, works on its own equal part, and adds
the others' gradients to its own: the sum is that of one process which takes the minibatch in as many parts. They lie on
one machine and talk over its loopback.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import start_processes

T = TypeVar("T")

PATIENCE = timedelta(hours=6)
"""How long one waits for the others: the first also measures and saves what they have trained."""


@dataclass(frozen=True)
class Group:
    """One process among `size`, which are counted from 0."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Return whether this process writes the files and says how far they are."""
        return self.rank == 0

    def share(self, whole: Tensor) -> Tensor:
        """Return this process's part of the rows, which `size` divides."""
        return whole.chunk(self.size)[self.rank]

    def add(self, gradients: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the processes."""
        if self.size > 1:
            for gradient in gradients:
                distributed.all_reduce(gradient)

    def total(self, value: float, device: str) -> float:
        """Return the sum of a number over the processes."""
        if self.size == 1:
            return value
        sum_ = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.all_reduce(sum_)
        return sum_.item()

    def gather(self, part: Tensor) -> Tensor:
        """Return the rows of all processes, in their order."""
        if self.size == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.size)]
        distributed.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    def device(self, kind: str) -> str:
        """Return this process's device."""
        return f"{kind}:{self.rank}" if kind == "cuda" and self.size > 1 else kind


ALONE = Group()


@contextmanager
def leading(size: int, device: str, work: Callable[[T, Group], None], given: T) -> Iterator[Group]:
    """Start `size` - 1 processes that do `work(given, group)`, and yield the group that this process leads.

    They end with this process. `work` and what it is given must be picklable.
    """
    if size == 1:
        yield ALONE
        return
    with TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        started = start_processes(
            follow, (size, device, meeting, work, given), nprocs=size - 1, join=False, daemon=True, start_method="spawn"
        )
        try:
            with member(Group(0, size), device, meeting) as group:
                yield group
            while not started.join():
                pass
        finally:
            for process in started.processes:
                process.terminate()


def follow(index: int, size: int, device: str, meeting: Path, work: Callable[[T, Group], None], given: T) -> None:
    """Work as one of the processes that the first has started."""
    with member(Group(index + 1, size), device, meeting) as group:
        work(given, group)


@contextmanager
def member(group: Group, device: str, meeting: Path) -> Iterator[Group]:
    """Be one of the group, until the block ends."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    store = distributed.FileStore(str(meeting), group.size)  # type: ignore[attr-defined]
    backend = "nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=group.rank, world_size=group.size, timeout=PATIENCE)
    try:
        yield group
    finally:
        distributed.destroy_process_group()
