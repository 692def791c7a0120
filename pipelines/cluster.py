"""Ray, set up once: started or joined, and asked whether it can ever hold the actors."""

import logging
import math
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
SETTINGS = {"CPU": "cpus", "GPU": "gpus"}
"""What Ray counts -> the setting that reserves it."""

HEAP = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**30)}
"""glibc's settings by which an actor keeps the memory of one layer for the next.

Else it gives up to 16 MB at a time back and at once takes them again: 2 % of its time, and of pictures per second.
"""


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
    for name, value in HEAP.items():
        os.environ.setdefault(name, value)  # Ray's processes have them from this one
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


def survey(setting: str) -> list[joining.Resources]:
    """Return the resources of all nodes that a running Ray has or may get; none where a command starts its own.

    Raises `UserError` where none answers.
    """
    if (address := joining.address(setting)) == "local":
        return []
    import ray

    join(address)
    try:
        return joining.nodes(alive())
    finally:
        ray.shutdown()


def computes(pipeline: Pipeline, run: RunSpec) -> list[Compute]:
    """Return what all pools of a pipeline, and parts, are given, or need at least where they fit themselves."""
    pools = [pool.compute for pool in pipeline.pools(run.layout)]
    if run.pools == "fitted":
        pools = [compute.of(1, sorted({*compute.places})) for compute in pools]
    return pools + ([run.measure.of(run.parts)] if run.parts else [])


def reserved(pipeline: Pipeline, run: RunSpec) -> tuple[float, float]:
    """Return the CPUs and GPUs that all pools of a pipeline, and parts, hold at once, and one CPU for reading."""
    pools = computes(pipeline, run)
    cpus = sum(c.count * c.cpus for c in pools if not c.gpus)
    return cpus + 1, sum(c.count * c.gpus for c in pools)


def refuse_impossible(pipeline: Pipeline, run: RunSpec, nodes: Sequence[joining.Resources]) -> None:
    """Raise `UserError` where nodes of these resources can never hold all pools at once: Ray would wait for ever."""
    pools, wanted = describe(pipeline, run), computes(pipeline, run)
    for name, needed in zip(SETTINGS, reserved(pipeline, run), strict=True):
        if needed > (have := sum(node.get(name, 0.0) for node in nodes)) + 1e-9:
            raise UserError(
                f"{pipeline.name}: expected a cluster with at least {needed:g} {name}s for {pools}, "
                f"found {have:g}; {remedy(name)}"
            )
        reading = Counter[float]({1.0: 1} if name == "CPU" else {})
        refuse_shortage(
            f"{pipeline.name}: expected nodes with room for {pools}", name, reading + sizes(wanted, name), nodes
        )
    for kind in dict.fromkeys(place for compute in wanted for place in compute.places):
        there = [node for node in nodes if joining.accelerator(node) == kind]
        where = f"{pipeline.name}: expected nodes with accelerator {kind} and room for {pools}"
        if not there:
            raise UserError(f"{where}, found {accelerators(nodes)}; change run.generate.kinds or run.measure.kinds")
        for name in SETTINGS:
            refuse_shortage(where, name, sizes(wanted, name, kind), there)


def refuse_shortage(where: str, name: str, actors: Mapping[float, int], nodes: Sequence[joining.Resources]) -> None:
    """Raise `UserError` where nodes do not have the CPUs, or GPUs, for so many actors of each size."""
    have = [node.get(name, 0.0) for node in nodes]
    if short := shortage(actors, have, 1.0 if name == "GPU" else math.inf):
        raise UserError(
            f"{where}, but of {short.needed} times {short.size:g} {name}s only {short.room} fit nodes of "
            f"{listed(have)}; {remedy(name)}"
        )


def sizes(computes: Iterable[Compute], name: str, kind: str | None = None) -> Counter[float]:
    """Return how many actors of each number of CPUs, or GPUs, there are at once; of one kind, or all."""
    found = Counter[float]()
    for compute in computes:
        if bool(compute.gpus) == (name == "GPU"):
            found[getattr(compute, SETTINGS[name])] += compute.count if kind is None else compute.places.count(kind)
    return +found


def remedy(name: str) -> str:
    """Return what to do where there are too few CPUs or GPUs."""
    setting = SETTINGS[name]
    return f"lower run.generate.actors, run.generate.{setting} or run.measure.{setting}, or add nodes"


def listed(amounts: Sequence[float]) -> str:
    """Return amounts in words, equal ones together."""
    return ", ".join(f"{count} x {amount:g}" for amount, count in sorted(Counter(amounts).items()))


def accelerators(nodes: Iterable[joining.Resources]) -> str:
    """Return the accelerators of nodes in words."""
    found = Counter(joining.accelerator(node) or "no accelerator" for node in nodes)
    return ", ".join(f"{count} x {kind}" for kind, count in sorted(found.items())) or "no nodes"


def describe(pipeline: Pipeline, run: RunSpec) -> str:
    """Return the pools in words."""
    return ", ".join(f"{numbers(p.compute, run)} x ({p.name}: {amount(p.compute)})" for p in pipeline.pools(run.layout))


def numbers(compute: Compute, run: RunSpec) -> str:
    """Return how many actors a pool has, in words."""
    if run.pools == "fitted":
        return "as many as fit"
    kinds = ", ".join(f"{kind.actors} on {kind.accelerator}" for kind in compute.kinds)
    return f"{compute.count} ({kinds})" if kinds else f"{compute.count}"


def amount(compute: Compute) -> str:
    """Return what one actor reserves, in words."""
    return f"{compute.gpus:g} GPU" if compute.gpus else f"{compute.cpus:g} CPU"
