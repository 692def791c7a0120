"""Secrets in addresses reach no screen, report, settings file or MLflow; every other text is left alone."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import load
from pipelines.masking import masked, masked_tree
from pipelines.robustness import RobustnessSpec
from pipelines.tracking import tracked_late
from tuning import cli

ADDRESSES = {
    "postgresql://me:hunter2@db:5432/mlflow": "postgresql://***@db:5432/mlflow",
    "http://me:p@ss@10.0.0.1:5000": "http://***@10.0.0.1:5000",
    "s3://AKIDEXAMPLE:hunter2@bucket/store?region=eu": "s3://***@bucket/store?region=eu",
    "s3://AKIDEXAMPLE:hun/ter2+=@bucket/store": "s3://***@bucket/store",
    "s3://bucket/store?access_key=hunter2&region=eu": "s3://bucket/store?access_key=***&region=eu",
    "https://a.b/c?X-Amz-Signature=hunter2&X-Amz-Date=1": "https://a.b/c?X-Amz-Signature=***&X-Amz-Date=1",
    "https://account.blob/c?sv=2024&sig=hunter2": "https://account.blob/c?sv=2024&sig=***",
    "https://hunter2@host/repository": "https://***@host/repository",
    "sqlite:////a/mlflow.db and HTTPS://me:hunter2@Host": "sqlite:////a/mlflow.db and HTTPS://***@Host",
    "hf_" + "a" * 34: "***",
}
HARMLESS = [
    "stabilityai/stable-diffusion-2-1-base@5ede9e4",
    "hf://datasets/uoft-cs/cifar10@main/plain_text/train-*",
    "s3://bucket/store?endpoint_override=http://127.0.0.1:9000&region=eu",
    "gs://anonymous@bucket/store",
    "http://127.0.0.1:5000/models/a@b",
    "sqlite:////home/me/runs/mlflow.db",
    "a photo of a key, a token & a signature=large",
    "sampler: expected 10 steps, found 0; mail me@example.org",
]


@pytest.mark.parametrize(("text", "shown"), ADDRESSES.items(), ids=[str(i) for i in range(len(ADDRESSES))])
def test_secrets_are_hidden_and_the_rest_stays(text: str, shown: str):
    assert masked(text) == shown
    assert masked(shown) == shown
    assert masked(f"expected {text!r}, found none") == f"expected {shown!r}, found none"


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_stay_as_they_are(text: str):
    assert masked(text) == text


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?#'\""), min_size=4))
def test_no_password_survives(password: str):
    assert f":{password}@" not in masked(f"see postgresql://me:{password}@db/mlflow for it")


def test_masking_takes_time_in_proportion_to_the_text():
    assert masked("a" * 10**6 + "://b") == "a" * 10**6 + "://b"
    assert masked("a://" * 10**4 + "x:y") == "a://" * 10**4 + "x:y"


def test_nested_settings_keep_their_form():
    tree = {"a": [{"b": "http://u:p@h"}, 1, None, True], "c": ("x", 0.5)}
    assert masked_tree(tree) == {"a": [{"b": "http://***@h"}, 1, None, True], "c": ["x", 0.5]}


STORE = "run.store=s3://AKIDEXAMPLE:hunter2@bucket/store?endpoint_override=http://127.0.0.1:9"


@pytest.fixture
def spec(tmp_path: Path) -> RobustnessSpec:
    return load(RobustnessSpec, "robustness_demo", [f"run.output={tmp_path}", STORE])


def test_mlflow_keeps_no_secret(spec: RobustnessSpec, tmp_path: Path):
    with tracked_late(spec, "robustness") as late:
        late.open()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        dump = "\n".join(store.iterdump())
    assert "s3://***@bucket/store" in dump
    assert "hunter2" not in dump


def test_a_command_that_fails_tells_no_secret(tmp_path, monkeypatch, capsys):
    for words in (
        [f"run.output={tmp_path}", "run.tracking_uri=http://me:hunter2@127.0.0.1:9", "run.layout=http://me:hunter2@h"],
        ["prompts=http://me:hunter2@h"],
        ["run=http://me:hunter2@h"],
        ["run.http://me:hunter2@h=1"],
    ):
        monkeypatch.setattr(sys, "argv", ["seedquake", "plan", "robustness_demo", *words])
        with pytest.raises(SystemExit):
            cli.main()
        said = "".join(capsys.readouterr())
        assert "***@" in said
        assert "hunter2" not in said


def test_a_runs_page_and_settings_keep_no_secret(spec: RobustnessSpec):
    settings = yaml.safe_dump(masked_tree(spec.described()))
    assert "hunter2" not in settings
    assert (
        load(RobustnessSpec, "robustness_demo").prompts
        == RobustnessSpec.model_validate(yaml.safe_load(settings)).prompts
    )
