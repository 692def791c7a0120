"""MLflow: one run a question, written from the driver only. The only file that imports mlflow."""

import hashlib
import logging
import os
import sqlite3
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pandas as pd

from pipelines.config import UserError, one_line
from pipelines.masking import masked
from pipelines.question import QuestionSpec
from pipelines.report import Page
from pipelines.run import RunFailed
from pipelines.versions import versions
from stages.base import Spec
from stages.metrics import Estimate

MAX_PARAMETER = 500
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
PATIENCE = {RETRIES: "3", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "4", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""MLflow's settings where the environment has none: a server that is gone is given up after 26 s, one that is silent
after two and a half minutes. MLflow by itself takes four minutes and seventeen, and as long again to end the run."""


def open_store(uri: str, experiment: str) -> None:
    """Make MLflow's database and experiment where they do not exist; may run in a thread, while others start.

    Raises `UserError`. Workers must never do this: two that migrate one new database at a time break it.
    """
    # Versions are among the tags; mlflow's own look at git would want the git program.
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it creates
    try:
        mlflow.set_tracking_uri(uri)
        if uri.startswith("sqlite:///") and mlflow.get_experiment_by_name(experiment) is None:
            # MLflow would put the files of a local database in whatever folder the command runs in.
            files = Path(uri.removeprefix("sqlite:///")).parent / "mlruns"
            mlflow.create_experiment(experiment, artifact_location=files.as_uri())
        mlflow.set_experiment(experiment)
    except (mlflow.MlflowException, OSError) as error:
        reason = one_line(error)
        raise UserError(f"run.tracking_uri: expected an MLflow store at {uri}, but found {reason}") from None


class Tracker:
    """One MLflow run in an open store."""

    def __init__(self, name: str, question: str) -> None:
        import mlflow

        self.mlflow = mlflow
        tags = {"seedquake.question": question, **versions()}
        # nested: a study whose claims are tested is tracked under the run of the ledger
        self.run = mlflow.start_run(run_name=name, nested=True, tags=tags)
        self.id: str = self.run.info.run_id
        self.lost: Exception | None = None
        """Why a run under this one could not be told of its trial."""

    def parameters(self, spec: Spec) -> None:
        """Log the flattened spec."""
        flat = flattened(spec.model_dump(mode="json"))
        self.mlflow.log_params({name: value[:MAX_PARAMETER] for name, value in flat.items()})

    def curve(self, name: str, points: Mapping[float, Estimate]) -> None:
        """Log a curve as a metric whose step is the strength x 1000, since MLflow's steps are whole numbers."""
        for strength, estimate in points.items():
            ends = {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
            known = {key: value for key, value in ends.items() if value == value}  # noqa: PLR0124  NaN is not itself
            self.mlflow.log_metrics(known, step=round(1000 * strength))

    def metrics(self, values: Mapping[str, float]) -> None:
        """Log single numbers; missing ones are left out, never written as zero."""
        self.mlflow.log_metrics({name: v for name, v in values.items() if v == v})  # noqa: PLR0124  NaN is not itself

    def page(self, page: Page, folder: Path) -> None:
        """Log the report, its figures and its tables."""
        self.mlflow.log_artifacts(str(folder))
        for name, table in page.tables.items():
            self.mlflow.log_table(table.astype(object).where(table.notna(), None), artifact_file=f"browse/{name}.json")

    def file(self, path: Path) -> None:
        """Log one file."""
        self.mlflow.log_artifact(str(path))

    def register(self, name: str, folder: Path, tags: Mapping[str, str]) -> str:
        """Log a model's folder and register it as the next version of `name`; returns the version.

        One with these tags is not registered again.
        """
        client = self.mlflow.MlflowClient()
        known = client.search_model_versions(f"name='{name}'")
        if found := [one for one in known if tags.items() <= one.tags.items()]:
            return str(found[0].version)
        if not client.search_registered_models(f"name='{name}'"):
            client.create_registered_model(name)
        self.mlflow.log_artifacts(str(folder), artifact_path="model")
        source = f"{self.run.info.artifact_uri}/model"
        return str(client.create_model_version(name, source, self.id, tags=dict(tags)).version)

    def lineage(self, name: str, table: pd.DataFrame, source: str) -> None:
        """Log which samples the answers rest on."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # guesses about columns and sources that do not matter here
            data = self.mlflow.data.pandas_dataset.from_pandas(table, source=masked(source), name=name)
            self.mlflow.log_input(data, context="samples")

    def child(self, name: str, settings: Mapping[str, object]) -> "Child":
        """Return a run of its own under this one, such as a trial of a search."""
        return Child(self, name, flattened(dict(settings)))

    def spare(self, tell: Callable[[], object]) -> None:
        """Tell MLflow what no work should stop for; once it answers no longer it is not asked again, until the end."""
        if self.lost is None:
            try:
                tell()
            except self.mlflow.MlflowException as error:
                self.lost = error

    def end(self) -> None:
        """Close the run as FINISHED; raises MLflow's exception where a run under it could not be told."""
        if self.lost:
            raise self.lost
        self.mlflow.end_run("FINISHED")

    def leave(self, status: str) -> None:
        """Close the run, unless it is, as FAILED or KILLED. MLflow is asked once: what ended the work is the news.

        A run left open MLflow would close by itself as the process ends, with all its patience.
        """
        if (active := self.mlflow.active_run()) and active.info.run_id == self.id:
            patience = os.environ[RETRIES]
            os.environ[RETRIES] = "0"
            with suppress(self.mlflow.MlflowException):
                self.mlflow.end_run(status)
            os.environ[RETRIES] = patience


class Child:
    """A run under a tracker's own; several are open at a time. Trials go on without an MLflow that is gone."""

    def __init__(self, parent: Tracker, name: str, parameters: Mapping[str, str]) -> None:
        self.parent, self.client, self.id = parent, parent.mlflow.MlflowClient(), ""
        parent.spare(lambda: self._open(name, parameters))

    def _open(self, name: str, parameters: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        tags = {"mlflow.parentRunId": self.parent.id, "mlflow.runName": name}
        self.id = self.client.create_run(self.parent.run.info.experiment_id, tags=tags).info.run_id
        self.client.log_batch(self.id, params=[Param(k, v[:MAX_PARAMETER]) for k, v in parameters.items()])

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at a step; missing ones are left out, never written as zero."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        known = {name: value for name, value in values.items() if value == value}  # noqa: PLR0124  NaN is not itself
        entries = [Metric(name, value, now, step) for name, value in known.items()]
        self.parent.spare(lambda: self.client.log_batch(self.id, metrics=entries))

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self.parent.spare(lambda: self.client.set_terminated(self.id, status))


@contextmanager
def tracked(name: str, question: str) -> Iterator[Tracker]:
    """Give a run that ends as FINISHED, FAILED or KILLED, whatever happens inside.

    Raises `RunFailed` where MLflow answers no longer.
    """
    import mlflow

    tracker, status = None, "FAILED"
    try:
        tracker = Tracker(name, question)
        yield tracker
        tracker.end()
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except mlflow.MlflowException as error:
        raise RunFailed(
            f"run.tracking_uri: expected MLflow to answer at {masked(mlflow.get_tracking_uri())}, found "
            f"{masked(one_line(error))}; rows and report are kept, the same command tells it again"
        ) from error
    finally:
        if tracker:
            tracker.leave(status)


class Late:
    """A tracked run that opens beside the first rows, not before them: opening keeps a core busy for seconds.

    What ends before its first row leaves no trace in MLflow.
    """

    def __init__(self, open_store: Callable[[], None], open_run: Callable[[], Tracker]) -> None:
        self.open_store = open_store
        self.open_run = open_run
        self.beside = ThreadPoolExecutor(1)
        self.opened: Future[None] | None = None
        self.tracker: Tracker | None = None

    def begin(self) -> None:
        """Open the store in a thread, then the run; to be called whenever rows are there."""
        if self._opening().done():
            self.open()

    def open(self) -> Tracker:
        """Return the open run, waiting for its store; raises `UserError`."""
        self._opening().result()
        self.tracker = self.tracker or self.open_run()
        return self.tracker

    def _opening(self) -> "Future[None]":
        self.opened = self.opened or self.beside.submit(self.open_store)
        return self.opened


@contextmanager
def tracked_late(spec: QuestionSpec, question: str) -> Iterator[Late]:
    """Give a run like that of `tracked`, with its settings, opened late; only an address that is set is tried at once.

    Raises `UserError` where it is wrong.
    """
    uri = address(spec.run.tracking_uri, spec.run.output)
    refuse_other_files(uri)
    with ExitStack() as until_the_end:

        def open_run() -> Tracker:
            tracker = until_the_end.enter_context(tracked(spec.name, question))
            tracker.parameters(spec)
            return tracker

        late = Late(lambda: open_store(uri, spec.run.experiment), open_run)
        if spec.run.tracking_uri:
            late.open()
        yield late


def refuse_other_files(uri: str) -> None:
    """Raise `UserError` where a local database is to be, but something else is."""
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and path.is_file():
        with closing(sqlite3.connect(path)) as database:
            try:
                database.execute("pragma schema_version")
            except sqlite3.DatabaseError as error:
                raise UserError(f"run.tracking_uri: expected an MLflow store at {uri}, but found {error}") from None


def address(uri: str | None, output: str) -> str:
    """Return MLflow's address: the one that is set, or a database in the output folder."""
    return uri or f"sqlite:///{Path(output).absolute() / 'mlflow.db'}"


def flattened(value: object, name: str = "") -> dict[str, str]:
    """Return nested settings as `a.b` names and their text, without secrets; long lists as their length and hash."""
    if isinstance(value, dict) and value:
        return {k: v for key, item in value.items() for k, v in flattened(item, f"{name}.{key}".strip(".")).items()}
    text = masked(str(value))
    if isinstance(value, list) and len(text) > MAX_PARAMETER:
        return {name: f"{len(value)} entries, {hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"}
    return {name: text}


def serve(uri: str, port: int) -> int:
    """Open MLflow's browser on 127.0.0.1 until it is stopped; returns its exit status."""
    import sys

    words = ["server", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return subprocess.run([sys.executable, "-m", "mlflow", *words], check=False).returncode  # noqa: S603
