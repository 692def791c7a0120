"""Run a pipeline over the rows that the store lacks, with progress, and stop when too many fail."""

import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from pipelines import joining
from pipelines.columns import pack, unpack
from pipelines.compute import Compute
from pipelines.config import UserError
from pipelines.flow import numbered
from pipelines.grid import Grid
from pipelines.pace import TOOK, Pace
from pipelines.pipeline import Layout, Pipeline
from stages.base import Batch, Spec

if TYPE_CHECKING:
    from ray.data import Dataset


def folder(text: str) -> str:
    """Return the path of a folder; raises `ValueError` for a URI, which would become a folder called s3: here."""
    if "://" in text:
        raise ValueError("expected a folder, for the reports; only rows may go to a URI, which run.store names")
    return text


class RunSpec(Spec):
    """Where and how to run; never changes a row's content, so it is no part of any id."""

    output: Annotated[str, AfterValidator(folder)] = Field(
        default_factory=joining.output,
        validate_default=True,
        description="Folder of the reports and the tracking database; empty: SEEDQUAKE_OUTPUT, or runs.",
    )
    store: str | None = Field(
        None, description="Folder or URI of the rows, such as s3://bucket/store; null: the folder store in the output."
    )
    layout: Layout = Field("fused", description="fused: one actor runs every step. staged: a pool of actors a step.")
    batch_size: int = Field(32, ge=1, le=4096, description="Images drawn together; also the unit of retry.")
    generate: Compute = Field(Compute(), description="The pool that draws; in the fused layout the only one.")
    measure: Compute = Field(Compute(cpus=0.5), description="The pool of each measuring stage in the staged layout.")
    pools: Literal["given", "fitted"] = Field(
        "given",
        description="given: as many actors as generate and measure say. fitted: as many as the cluster holds, in the "
        "staged layout balanced by measured rates.",
    )
    parts: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Actors, of the measuring kind, that hold an index, or an empirical model's training pictures, "
        "between them; null: every actor that needs it holds all.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto is decided inside the actor.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="auto: float32 on a CPU, half precision on a GPU. Another one is part of a row's identity."
    )
    address: str = Field(
        "local", description="local: RAY_ADDRESS, else a Ray of its own. auto: a running one. Or an address."
    )
    batch_timeout_s: float | None = Field(
        None,
        gt=0,
        le=86_400,
        description="Seconds that one stage may take for one batch; then its process is ended, and started again for "
        "each half, until the row that hangs is found. null: no limit, but a run that stands still for half an hour "
        "stops.",
    )
    max_failed_share: float = Field(0.05, ge=0, le=1, description="The run stops when more rows than this fail.")
    retry_failed: bool = Field(False, description="Draw rows again that failed in an earlier run.")
    tracking_uri: str | None = Field(None, description="MLflow's address; empty: mlflow.db in the output folder.")
    experiment: str = Field("seedquake", description="MLflow experiment.")


class RunFailed(RuntimeError):  # noqa: N818  reads as what happened
    """The run stopped; finished rows are in the store. Printed as it stands, exit status 1."""


@dataclass
class Tally:
    """What happened to the rows so far."""

    todo: int
    done: int = 0
    failed: int = 0
    started: float = field(default_factory=time.monotonic)
    first_row: float | None = None
    """Seconds from the start to the first finished batch."""
    first_done: int = 0
    """Rows in that batch."""
    reason: str | None = None
    """Why the first failed row failed."""
    pace: Pace = field(default_factory=Pace)
    """How fast actors were."""

    def add(self, batch: Batch) -> None:
        """Count one finished batch."""
        if self.first_row is None:
            self.first_row = self.seconds
            self.first_done = len(batch["number"])
        self.done += len(batch["number"])
        reasons = [error for error in batch["error"] if error is not None]
        self.failed += len(reasons)
        self.reason = self.reason or next(iter(reasons), None)

    @property
    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Return rows per second after the first finished batch, which also waited for the actors; NaN before."""
        later = self.done - self.first_done
        return later / (self.seconds - (self.first_row or 0)) if later else float("nan")


def work(grid: Grid, done: np.ndarray, batch_size: int) -> "Dataset":
    """Return the rows that are not done; `done` is a packed bitmap over the row numbers."""
    return numbered(len(grid), lambda numbers: pack(grid.rows(undone(numbers, done))), batch_size)


def undone(numbers: np.ndarray, done: np.ndarray) -> np.ndarray:
    """Return those row numbers, in any order, whose bit is not set in the packed bitmap."""
    return numbers[(done[numbers // 8] >> (7 - numbers % 8)) & 1 == 0]


def execute(
    pipeline: Pipeline,
    rows: "Dataset",
    todo: int,
    run: RunSpec,
    watch: Callable[[Tally], None],
    keep: Callable[[Batch], None] = lambda _: None,
) -> Tally:
    """Run the pipeline over the rows, showing each finished batch to `watch` and `keep`.

    Raises `RunFailed` when more than the stated share of rows failed.
    """
    tally = Tally(todo)
    if not todo:
        return tally
    count = math.ceil(todo / run.batch_size)
    dataset = pipeline(rows, run.layout, run.batch_size, count, run.batch_timeout_s)
    for batch in batches(dataset, pipeline.name):
        tally.pace.add(batch.pop(TOOK))
        keep(batch)
        tally.add(batch)
        watch(tally)
        stop_if_failing(tally, run, pipeline.name)
    return tally


def batches(dataset: "Dataset", name: str) -> Iterator[Batch]:
    """Yield finished batches; what Ray says of a failure becomes one sentence."""
    import ray
    from ray.data.exceptions import ExecutionTimeoutError

    try:
        for rows in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield unpack(rows)
    except ExecutionTimeoutError as error:
        raise RunFailed(
            f"{name}: expected a batch to finish now and then, but none did for long (lower run.batch_size, or set "
            "run.batch_timeout_s to find rows that hang); finished rows are kept"
        ) from error
    except ray.exceptions.RayError as error:
        if "creation task" in str(error):  # a stage could not be built: what it says is for the user to fix
            raise UserError(f"{name}: {cause(error).partition(': ')[2]}") from error
        raise RunFailed(
            f"{name}: expected every batch to finish, but {cause(error)}; finished rows are kept"
        ) from error


def cause(error: BaseException) -> str:
    """Return the innermost reason that a Ray error knows, on one line."""
    texts = [str(error)]
    while (inner := error.__cause__) is not None:
        error = inner
        texts.append(str(error))
    lines = [line.strip() for text in map(told, texts) for line in text.splitlines()[-1:] if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:500]


def told(text: str) -> str:
    """Return the text of a Ray error up to its reason: less the advice, and that what failed was our code."""
    before, wrapped, _ = text.rpartition("ray.exceptions.UserCodeException: ")
    if wrapped and (chain := before.rpartition("\n\nThe above exception was the direct cause of")[0]):
        return chain
    return re.split(r"\nFailed to .* after \d+/\d+ attempts", text)[0]


def stop_if_failing(tally: Tally, run: RunSpec, name: str) -> None:
    """Raise `RunFailed` once more rows have failed than the whole run may lose."""
    if tally.failed > run.max_failed_share * tally.todo:
        raise RunFailed(
            f"{name}: expected at most {run.max_failed_share:.0%} of {tally.todo} rows to fail "
            f"(run.max_failed_share), found {tally.failed} failures in {tally.done} rows, the first: {tally.reason}"
        )
