"""Rows may lie elsewhere than reports."""

from pathlib import Path

import pytest

from pipelines.config import UserError, load
from pipelines.robustness import Robustness, RobustnessSpec


def question(*overrides: str) -> Robustness:
    return Robustness(load(RobustnessSpec, "robustness_demo", [*overrides]))


def test_the_rows_may_lie_elsewhere_than_the_reports(tmp_path: Path):
    here, there = question(f"run.output={tmp_path}"), question(f"run.output={tmp_path}", "run.store=s3://bucket/rows")
    assert here.spec.store == f"{tmp_path}/store"
    assert there.spec.store == "s3://bucket/rows"
    assert here.spec.folder == there.spec.folder
    assert here.grid == there.grid


def test_reports_go_to_a_folder():
    with pytest.raises(UserError, match=r"run\.output: expected a folder, .* which run\.store names; found 's3://b/r'"):
        question("run.output=s3://b/r")
