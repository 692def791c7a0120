"""Numbered rows as a Ray data set with one block a batch; the only file that builds data sets."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipelines.compute import Compute
from pipelines.starting import loading
from pipelines.working_folder import Workplace, enter, workplace
from stages.base import Batch

if TYPE_CHECKING:
    from ray.data import Dataset

MAX_TASKS = 200
ROWS_PER_TASK = 4096
TRIES_AFTER_A_CRASH = 30
"""Of a batch. Until Ray notices that a machine is lost, which takes it 15 seconds, one is used up each second."""


def numbered(count: int, expand: Callable[[np.ndarray], pa.Table], batch_size: int) -> "Dataset":
    """Return what `expand` makes of the row numbers 0 to count - 1.

    It runs in tasks, some thousand numbers at a time, so the driver never holds the rows: a data set of 10^8 rows costs
    it no more than one of 10^3. Those few thousand the driver makes itself: a task would first start a process of Ray.
    """
    import ray.data

    if count <= ROWS_PER_TASK:
        rows = expand(np.arange(count))
        starts = range(0, max(1, rows.num_rows), batch_size)
        return ray.data.from_blocks([rows.slice(start, batch_size) for start in starts])

    def expanded(batch: Batch) -> pa.Table:
        return expand(batch["id"])

    blocks = min(MAX_TASKS, count // ROWS_PER_TASK)  # each may start a process of Ray
    numbers = ray.data.range(count, override_num_blocks=blocks)
    made = numbers.map_batches(expanded, batch_size=ROWS_PER_TASK, batch_format="numpy", num_cpus=1)  # type: ignore[arg-type]
    return made.repartition(target_num_rows_per_block=batch_size)


def loaded(paths: Sequence[str], load: Callable[[str], Iterator[pa.Table]], batch_size: int) -> "Dataset":
    """Return the rows that `load` finds in each file."""
    import ray.data

    folder = Path.cwd()

    def expanded(batch: Batch) -> Iterator[pa.Table]:
        enter(folder)
        for path in batch["path"]:
            yield from load(str(path))

    files = ray.data.from_items([{"path": p} for p in paths], override_num_blocks=max(1, min(MAX_TASKS, len(paths))))
    rows = files.map_batches(expanded, batch_format="numpy", num_cpus=1)  # type: ignore[arg-type]
    return rows.repartition(target_num_rows_per_block=batch_size)


class Pooled:
    """The actor of a pool: `worker(*given)`, in the folder of the command."""

    def __init__(self, place: Workplace, worker: Callable[..., Callable[[pa.Table], pa.Table]], *given: object) -> None:
        place.enter()
        with loading():
            self.worker = worker(*given)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Return what the worker makes of the rows."""
        return self.worker(rows)


def pooled(
    dataset: "Dataset",
    worker: type,
    arguments: Sequence[object],
    compute: Compute,
    batch_size: int,
    tries: int = TRIES_AFTER_A_CRASH,
) -> "Dataset":
    """Return the data set mapped over a pool of actors of fixed size, each of which takes the next batch when it can.

    A batch whose process dies is tried so many times more, then the run fails: endless restarts would hide rows that
    always crash. -1: without end, for a worker that counts deaths itself.
    Raises RuntimeError within an actor or trial.
    """
    from ray.data import ActorPoolStrategy

    refuse_within_actor()
    accelerators = cycle(compute.places)
    with warnings.catch_warnings():
        # Ray has no other way yet to bound the tries of an actor's task, nor to tell the actors of one pool apart.
        warnings.filterwarnings("ignore", message="`ray_remote_args(_fn)?` is deprecated")
        return dataset.map_batches(
            Pooled,
            fn_constructor_args=(workplace(), worker, *arguments),
            batch_size=batch_size,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=compute.count),
            # Called for one actor after the other.
            ray_remote_args_fn=(lambda: {"accelerator_type": next(accelerators)}) if compute.kinds else None,
            # Ray advises against reserving both for one actor, but would add a CPU to a GPU unless told not to.
            num_gpus=compute.gpus or None,
            num_cpus=0 if compute.gpus else compute.cpus,
            max_restarts=-1,
            max_task_retries=tries,
        )


def refuse_within_actor() -> None:
    """Raise RuntimeError in an actor: it holds CPUs that its data set might wait for, as Ray Tune's trials do."""
    import ray

    if ray.get_runtime_context().get_actor_id():
        raise RuntimeError(
            "data set: expected to be run by a command, found one within an actor or trial, where it could wait "
            "without end for the CPUs that this one holds; call the stages there, or ask once the trials are done"
        )
