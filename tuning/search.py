"""Ray Tune, set up once: where trials are kept, how many run at a time, what happens to one that fails."""

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

from pydantic import Field, JsonValue

from pipelines import cluster, joining
from pipelines.compute import Reserved
from pipelines.config import UserError
from pipelines.room import shortage
from pipelines.run import RunFailed, RunSpec
from pipelines.working_folder import enter
from stages.base import Spec
from stages.storage import below, filesystem
from tuning.keeping import Kept
from tuning.resuming import forget_staged, restorable
from tuning.spaces import Range, Sampling

Metrics: TypeAlias = dict[str, float]
Point: TypeAlias = dict[str, JsonValue]
"""What one trial tries."""
Trainable: TypeAlias = Callable[[Point], Iterator[Metrics]]
"""Works on one point and yields how far it is; called again after a crash, it goes on from its own files."""


class SearchRun(Spec):
    """Where and how to run trials; never changes what one of them gives."""

    output: str = Field(
        default_factory=joining.output,
        description="Folder of the trained models, the reports and the tracking database; empty: "
        "SEEDQUAKE_OUTPUT, or runs.",
    )
    store: str | None = Field(
        None,
        description="Folder or URI for what trials leave and Ray Tune's state, such as s3://bucket/studies; the output "
        "is then a folder of each machine. null: the output, which all machines share.",
    )
    trials: Reserved = Field(Reserved(), description="What a trial reserves; `actors` is how many run at a time.")
    max_failures: int = Field(1, ge=0, description="How often a trial that died is started again.")
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where a trial's model is trained and drawn from.")
    address: str = Field(
        "local", description="local: RAY_ADDRESS, else a Ray of its own. auto: a running one. Or an address."
    )
    tracking_uri: str | None = Field(None, description="MLflow's address; empty: mlflow.db in the output folder.")
    experiment: str = Field("seedquake", description="MLflow experiment.")

    def placed(self) -> "Placed":
        """Return where a trial's model runs."""
        return {"device": self.device, "threads": max(1, round(self.trials.cpus))}

    def kept(self) -> Kept | None:
        """Return what is kept beside the output; None where nothing is."""
        return Kept(self.output, self.store) if self.store else None

    def training(self) -> "PlacedTraining":
        """Return where a trial's model is trained: on all GPUs that the trial has, each taking a share of the work."""
        return {**self.placed(), "workers": max(1, int(self.trials.gpus)) if self.device == "cuda" else 1}


class Placed(TypedDict):
    """Where a trial's model runs."""

    device: Literal["cpu", "cuda"]
    threads: int


class PlacedTraining(Placed):
    """The same of a model that is trained."""

    workers: int


class Observer(Protocol):
    """Who is told of the trials, in the driver."""

    def told(self, trial: str, point: Point, metrics: Metrics) -> None:
        """Take notice of what a trial yielded."""

    def ended(self, trial: str, point: Point, failed: bool) -> None:
        """Take notice of the end of a trial."""


@dataclass(frozen=True)
class Sampled:
    """Points that are proposed one after the other, as `sampling` says, instead of a list of them."""

    space: Mapping[str, Range]
    sampling: Sampling
    metric: str
    """What a trial reports and the search maximises."""
    budget: int
    """The largest `pictures` that a trial reports, which ASHA measures how far it is by."""
    needs: Mapping[str, tuple[str, JsonValue]] = field(default_factory=dict)
    """A setting -> the earlier one, and its value, without which it does not apply and no point holds it."""

    def __len__(self) -> int:
        return self.sampling.trials

    def domains(self) -> Point:
        """Return the point as Ray Tune samples it; empty where settings depend on others, which Optuna proposes."""
        return {} if self.needs else {name: range_.domain() for name, range_ in self.space.items()}

    def settings(self) -> dict[str, Any]:
        """Return Ray Tune's settings for who proposes points and who stops trials."""
        import optuna
        from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampling, metric = self.sampling, f"reported/{self.metric}"
        halving = ASHAScheduler(
            time_attr="reported/pictures",
            metric=metric,
            mode="max",
            max_t=self.budget,
            grace_period=max(1, round(sampling.grace * self.budget)),
            reduction_factor=sampling.reduction,
        )
        return {
            "num_samples": sampling.trials,
            "search_alg": self._dependent() if self.needs else self._independent(),
            "scheduler": halving if sampling.scheduler == "asha" else FIFOScheduler(),
        }

    def _independent(self) -> Any:
        from ray.tune.search.basic_variant import BasicVariantGenerator
        from ray.tune.search.optuna import OptunaSearch

        if self.sampling.searcher == "random":
            return BasicVariantGenerator(random_state=self.sampling.seed)
        return OptunaSearch(metric=f"reported/{self.metric}", mode="max", seed=self.sampling.seed)

    def _dependent(self) -> Any:
        from optuna.samplers import RandomSampler, TPESampler
        from ray.tune.search.optuna import OptunaSearch

        kind = TPESampler if self.sampling.searcher == "optuna" else RandomSampler
        return OptunaSearch(
            space=partial(propose, self.space, self.needs),
            metric=f"reported/{self.metric}",
            mode="max",
            sampler=kind(seed=self.sampling.seed),
        )


def propose(space: Mapping[str, Range], needs: Mapping[str, tuple[str, JsonValue]], trial: Any) -> None:
    """Ask a trial of Optuna for every setting that applies beside those it has proposed; Ray keeps what was asked."""
    found: Point = {}
    for name, values in space.items():
        if name not in needs or found.get(needs[name][0]) == needs[name][1]:
            found[name] = values.suggest(trial, f"point/{name}")


def search(
    name: str, trainable: Trainable, points: Sequence[Point] | Sampled, run: SearchRun, observer: Observer
) -> None:
    """Try every point; a search of this name that was stopped is taken up again.

    Raises `RunFailed` when a trial failed for good; the others are kept.
    """
    connect(run)
    from ray import tune

    from tuning.callback import Report

    Report.observer = observer
    space: Any = points.domains() if isinstance(points, Sampled) else tune.grid_search(list(points))
    settings = points.settings() if isinstance(points, Sampled) else {}
    place = below(run.store or run.output, "tune")
    fs, folder = filesystem(place)
    reserved = {"gpu": run.trials.gpus} if run.trials.gpus else {"cpu": run.trials.cpus}
    ready = tune.with_resources(_reporting(trainable), reserved)
    forget_staged(name)
    if restorable(below(place, name)):
        tuner = tune.Tuner.restore(
            f"{folder}/{name}", ready, storage_filesystem=fs, resume_unfinished=True, resume_errored=True
        )
    else:
        tuner = tune.Tuner(
            ready,
            param_space={"point": space},
            tune_config=tune.TuneConfig(max_concurrent_trials=run.trials.actors, reuse_actors=True, **settings),
            run_config=tune.RunConfig(
                name=name,
                storage_path=folder,
                storage_filesystem=fs,
                failure_config=tune.FailureConfig(max_failures=run.max_failures),
                callbacks=[Report()],
                verbose=0,
            ),
        )
    errors = [str(error).strip().splitlines()[-1] for error in tuner.fit().errors]
    if errors:
        raise RunFailed(
            f"{name}: expected all of {len(points)} trials to finish, but {len(errors)} failed, the first with "
            f"{errors[0]}; the others are kept, the same command tries again"
        )


def connect(run: SearchRun, room: float = 0) -> None:
    """Start or join Ray, with `room` for as many CPUs, and refuse trials that it can never hold; raises `UserError`."""
    if joining.address(run.address) == "local":
        # Under `uv run` Ray would build the whole environment again for its workers, which have it already.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output prints tables even when told to be silent
    import ray

    if not ray.is_initialized():
        trials = 0 if run.trials.gpus else run.trials.cpus * run.trials.actors
        cluster.start(RunSpec(address=run.address, output=run.output), max(trials, room))
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what it says of a failure comes as our own sentence
    nodes = cluster.possible(run.address)
    name, wanted = ("GPU", run.trials.gpus) if run.trials.gpus else ("CPU", run.trials.cpus)
    have = [node.get(name, 0.0) for node in nodes]
    if shortage({wanted: 1}, have, 1.0 if name == "GPU" else math.inf):
        raise UserError(f"run.trials: expected a node with at least {wanted:g} {name}s, found {cluster.listed(have)}")


def _reporting(trainable: Trainable) -> Callable[[dict[str, Point]], None]:
    """Return the trainable as Ray Tune calls it: in the folder of the command."""
    folder = Path.cwd()

    def trial(config: dict[str, Point]) -> None:
        from ray import tune

        enter(folder)
        for metrics in trainable(config["point"]):
            tune.report({"reported": metrics})  # apart from what Ray adds

    return trial
