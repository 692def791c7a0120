"""Ray, set up once: started or joined, and asked whether it can ever hold the actors."""

import logging
import math
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

from pipelines import joining
from pipelines.compute import Compute
from pipelines.config import UserError, one_line
from pipelines.crashes import LIVES
from pipelines.pipeline import Pipeline
from pipelines.room import shortage
from pipelines.run import RunSpec

NODES_WITHIN_S = 300


def connect(run: RunSpec, pipelines: Sequence[Pipeline]) -> None:
    """Start or join Ray and refuse what it can never schedule; raises `UserError`."""
    if joining.address(run.address) == "local":
        # Under `uv run` Ray would build the whole environment again for its workers, which have it already.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    import ray

    if not ray.is_initialized():
        start(run, max(reserved(p, run)[0] for p in pipelines))
    quiet(run.batch_timeout_s)
    nodes = possible(run.address)
    for pipeline in pipelines:
        refuse_impossible(pipeline, run, nodes)


def start(run: RunSpec, cpus: float) -> None:
    """Start a local Ray large enough for the actors, or join a cluster."""
    import ray

    # Ray prints a harmless warning for every actor that may restart, from C++, at error level.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if (address := joining.address(run.address)) != "local":
        joining.refuse_fleeting(run.output)
        join(address)
        return
    count = max(os.cpu_count() or 1, math.ceil(cpus))
    with without_stderr(), ThreadPoolExecutor(1) as beside:
        beside.submit(import_module, "ray.data")  # Ray mostly waits for its processes
        ray.init(
            address="local", num_cpus=count, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )
    keep_token_private()


def possible(address: str) -> list[joining.Resources]:
    """Return the resources of all nodes that can be there at once, having waited for those that always are."""
    if joining.address(address) == "local":
        return alive()
    deadline, expected = time.monotonic() + NODES_WITHIN_S, joining.expected()
    while len(alive()) < expected and time.monotonic() < deadline:
        time.sleep(1)
    return joining.nodes(alive())


def alive() -> list[joining.Resources]:
    """Return the resources of the nodes that are there."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def keep_token_private() -> None:
    """Take Ray's token from the eyes of this machine's other users: Ray writes its file for everybody to read."""
    with suppress(OSError):
        (Path.home() / ".ray" / "auth_token").chmod(0o600)


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
    """Join a running Ray; raises `UserError` where none answers, or lets nobody in."""
    import ray

    if "://" in address and not address.startswith("ray://"):
        raise UserError(
            f"run.address: expected the address of Ray itself, such as 10.0.0.1:6379, found {address!r}; "
            "that of its dashboard is for `ray job submit`, in RAY_API_SERVER_ADDRESS"
        )
    told = ""
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host and port.isdecimal():  # Ray itself would ask for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
            told = (
                "; something answers there: is its token that of this shell (RAY_AUTH_MODE=token, ~/.ray/auth_token)?"
            )
        with without_stderr():  # a line a second for as long as Ray tries
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = one_line(error)
        raise UserError(f"run.address: expected a running Ray at {address!r}, found none ({reason}){told}") from None


def quiet(limit_s: float | None = None) -> None:
    """Leave progress to us and give up on a run that stands still, for longer than it takes to find a row that hangs.

    `limit_s`: how long one hangs.
    """
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = max(1800, LIVES * (limit_s or 0))
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what it says of a failure comes as our own sentence


def computes(pipeline: Pipeline, run: RunSpec) -> list[Compute]:
    """Return what all pools of a pipeline, and parts, are given."""
    pools = [pool.compute for pool in pipeline.pools(run.layout)]
    return pools + ([run.measure.model_copy(update={"actors": run.parts})] if run.parts else [])


def reserved(pipeline: Pipeline, run: RunSpec) -> tuple[float, float]:
    """Return the CPUs and GPUs that all pools of a pipeline, and parts, hold at once, and one CPU for reading."""
    pools = computes(pipeline, run)
    cpus = sum(c.actors * c.cpus for c in pools if not c.gpus)
    return cpus + 1, sum(c.actors * c.gpus for c in pools)


def refuse_impossible(pipeline: Pipeline, run: RunSpec, nodes: Sequence[Mapping[str, float]]) -> None:
    """Raise `UserError` where nodes of these resources can never hold all pools at once: Ray would wait for ever."""
    for name, needed, setting in zip(("CPU", "GPU"), reserved(pipeline, run), ("cpus", "gpus"), strict=True):
        have = [node.get(name, 0.0) for node in nodes]
        pools = describe(pipeline, run)
        remedy = f"lower run.generate.actors, run.generate.{setting} or run.measure.{setting}, or add nodes"
        if needed > sum(have) + 1e-9:
            raise UserError(
                f"{pipeline.name}: expected a cluster with at least {needed:g} {name}s for {pools}, "
                f"found {sum(have):g}; {remedy}"
            )
        if short := shortage(sizes(pipeline, run, setting), have, 1.0 if name == "GPU" else math.inf):
            raise UserError(
                f"{pipeline.name}: expected nodes with room for {pools}, but of {short.needed} times {short.size:g} "
                f"{name}s only {short.room} fit nodes of {listed(have)}; {remedy}"
            )


def sizes(pipeline: Pipeline, run: RunSpec, setting: str) -> dict[float, int]:
    """Return how many actors of each size all pools of a pipeline, and parts, hold at once; reading takes a CPU."""
    found = Counter[float]({1.0: 1} if setting == "cpus" else {})
    for compute in computes(pipeline, run):
        if bool(compute.gpus) == (setting == "gpus"):
            found[getattr(compute, setting)] += compute.actors
    return dict(found)


def listed(amounts: Sequence[float]) -> str:
    """Return amounts in words, equal ones together."""
    return ", ".join(f"{count} x {amount:g}" for amount, count in sorted(Counter(amounts).items()))


def describe(pipeline: Pipeline, run: RunSpec) -> str:
    """Return the pools in words."""
    return ", ".join(f"{p.compute.actors} x ({p.name}: {amount(p.compute)})" for p in pipeline.pools(run.layout))


def amount(compute: Compute) -> str:
    """Return what one actor reserves, in words."""
    return f"{compute.gpus:g} GPU" if compute.gpus else f"{compute.cpus:g} CPU"
