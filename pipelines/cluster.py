"""Ray, set up once: started or joined, and asked whether it can ever hold the actors."""

import logging
import math
import os
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module

from pipelines.compute import Compute
from pipelines.config import UserError
from pipelines.pipeline import Pipeline
from pipelines.run import RunSpec


def connect(run: RunSpec, pipelines: Sequence[Pipeline]) -> None:
    """Start or join Ray and refuse what it can never schedule; raises `UserError`."""
    if run.address == "local":
        # Under `uv run` Ray would build the whole environment again for its workers, which have it already.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    import ray

    if not ray.is_initialized():
        start(run, max(reserved(p, run)[0] for p in pipelines))
    quiet()
    have: dict[str, float] = ray.cluster_resources()
    for pipeline in pipelines:
        refuse_impossible(pipeline, run, have)


def start(run: RunSpec, cpus: float) -> None:
    """Start a local Ray large enough for the actors, or join a cluster."""
    import ray

    if run.address != "local":
        join(run.address)
        return
    # Ray prints a harmless warning for every actor that may restart, from C++, at error level.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    count = max(os.cpu_count() or 1, math.ceil(cpus))
    with without_stderr(), ThreadPoolExecutor(1) as beside:
        beside.submit(import_module, "ray.data")  # Ray mostly waits for its processes
        ray.init(
            address="local", num_cpus=count, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )


@contextmanager
def without_stderr() -> Iterator[None]:
    """Drop what is written to the process's error stream: the line by which Ray confirms its log level."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  a device, not a path
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def join(address: str) -> None:
    """Join a running Ray; raises `UserError` where none answers."""
    import ray

    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host and port.isdecimal():  # Ray itself would ask for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False)
    except (ConnectionError, TimeoutError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"run.address: expected a running Ray at {address!r}, found none ({reason})") from None


def quiet() -> None:
    """Leave progress to us and give up on a run that stands still."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = 1800
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what it says of a failure comes as our own sentence


def reserved(pipeline: Pipeline, run: RunSpec) -> tuple[float, float]:
    """Return the CPUs and GPUs that all pools of a pipeline, and parts, hold at once, and one CPU for reading."""
    pools = [pool.compute for pool in pipeline.pools(run.layout)]
    pools += [run.measure.model_copy(update={"actors": run.parts})] if run.parts else []
    cpus = sum(c.actors * c.cpus for c in pools if not c.gpus)
    return cpus + 1, sum(c.actors * c.gpus for c in pools)


def refuse_impossible(pipeline: Pipeline, run: RunSpec, have: dict[str, float]) -> None:
    """Raise `UserError` where the cluster can never hold all pools at once: Ray would wait for ever."""
    for name, needed, setting in zip(("CPU", "GPU"), reserved(pipeline, run), ("cpus", "gpus"), strict=True):
        if needed > have.get(name, 0) + 1e-9:
            raise UserError(
                f"{pipeline.name}: expected a cluster with at least {needed:g} {name}s for {describe(pipeline, run)}, "
                f"found {have.get(name, 0):g}; "
                f"lower run.generate.actors, run.generate.{setting} or run.measure.{setting}, or add nodes"
            )


def describe(pipeline: Pipeline, run: RunSpec) -> str:
    """Return the pools in words."""
    return ", ".join(f"{p.compute.actors} x ({p.name}: {amount(p.compute)})" for p in pipeline.pools(run.layout))


def amount(compute: Compute) -> str:
    """Return what one actor reserves, in words."""
    return f"{compute.gpus:g} GPU" if compute.gpus else f"{compute.cpus:g} CPU"
