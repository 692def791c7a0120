"""A study under Ray, stopped and taken up again; its best model comes back from MLflow's registry as it was."""

import io
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from diffusers import DDPMPipeline
from rich.console import Console
from typing_extensions import override

from stages.models.loading import load_generator
from tests.tuning.training.diffusion.test_tune import study
from tuning.search import Metrics, Point
from tuning.study import conduct
from tuning.training.diffusion.fid import read
from tuning.training.diffusion.tune import AdversarialTuneSpec, run
from tuning.training.drawn import pictures_of
from tuning.training.trial import placed

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(900),  # a whole study of twelve trainings
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of SQLAlchemy, in mlflow
]


class Dying(AdversarialTuneSpec):
    """A study of which the first trial to reach a checkpoint is killed there, before it can tell anyone."""

    @property
    @override
    def trainable(self) -> Any:
        return partial(dying, self)


def dying(spec: AdversarialTuneSpec, point: Point) -> Iterator[Metrics]:
    for metrics in run(spec, point):
        if "task" not in point:
            with suppress(FileExistsError), (Path(spec.run.output) / "killed.json").open("x") as file:
                file.write(json.dumps(point))
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        yield metrics


@pytest.fixture(scope="module")
def conducted(ray_cluster, tmp_path_factory) -> AdversarialTuneSpec:  # noqa: ARG001
    output = tmp_path_factory.mktemp("runs")
    spec = Dying.model_validate(
        study(output, run={"output": str(output), "trials": {"cpus": 0.5, "actors": 2}}).model_dump(mode="json")
    )
    conduct(spec, Console(file=io.StringIO()))
    return spec


@pytest.fixture
def client(conducted) -> mlflow.MlflowClient:
    uri = f"sqlite:///{conducted.run.output}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient()


def test_settings_that_do_not_apply_are_absent(conducted, client):
    """In the notes and in MLflow, whose runs of trials stand under that of the study."""
    trials = [settings for settings, _ in conducted.trials().values()]
    assert len(trials) == 3
    for settings in trials:
        expected = {"method", "learning_rate", "scale"}
        expected |= {"passes", "step"} if settings["method"] == "adversarial" else set()
        assert set(settings) == expected
    (experiment,) = client.search_experiments(filter_string="name = 'seedquake'")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    tried = [run for run in runs if run.data.params.get("method")]
    assert {run.data.tags["mlflow.parentRunId"] for run in tried} == {parent.info.run_id}
    assert sorted(map(len, (run.data.params for run in tried))) == sorted(map(len, trials))
    assert all(run.data.metrics["score"] == -run.data.metrics["FID"] for run in tried)


def test_a_trial_whose_process_was_killed_goes_on_as_it_was(conducted, tmp_path):
    settings = json.loads((Path(conducted.run.output) / "killed.json").read_text())
    killed, straight = conducted.task(settings), study(tmp_path).task(settings)
    shutil.copytree(conducted.original().folder, study(tmp_path).original().folder)
    list(run(study(tmp_path), settings))
    assert killed.reached()
    assert [read(killed, step).value for step in killed.reached()] == [
        read(straight, step).value for step in killed.reached()
    ]


def test_the_best_comes_back_from_the_registry_and_draws_the_same(conducted, client, tmp_path):
    (version,) = client.search_model_versions("name='seedquake-adversarial'")
    folder = mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}", dst_path=str(tmp_path))
    _, best = conducted.best()
    sampler = dict(best.judging.cells(best.scale))["DDIM 2"]
    rows = [(seed, "") for seed in range(3)]
    first, second = (
        pictures_of(load_generator(placed(str(model), "cpu")), rows, sampler)[0]
        for model in (best.folder / "model", folder)
    )
    np.testing.assert_array_equal(first, second)
    pipe = DDPMPipeline.from_pretrained(folder, use_safetensors=True)
    assert sum(p.numel() for p in pipe.unet.parameters()) > 0


def test_the_card_says_what_it_is(conducted, client, tmp_path):
    (version,) = client.search_model_versions("name='seedquake-adversarial'")
    folder = mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}", dst_path=str(tmp_path))
    text = (Path(folder) / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert head["library_name"] == "diffusers"
    made = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert made["model"] == conducted.best()[1].model.model_dump(mode="json")
    assert "12 updates" in text
    assert "| FID, DDIM 2 |" in text
    assert "| 130 |" in text


def test_a_study_that_is_done_is_answered_again_and_registered_once(conducted, client):
    before = {file: file.stat().st_mtime_ns for file in (conducted.original().folder.parent).rglob("features-*")}
    page, report = conduct(conducted, Console(file=io.StringIO()))
    assert report.is_file()
    assert len(client.search_model_versions("name='seedquake-adversarial'")) == 1
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert len(page.tables["trials"]) == 3
