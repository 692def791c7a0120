"""`seedquake sage latent`, `replay` and `atlas`, at a size where some seeds fail for want of steps."""

import shutil
import sqlite3

import pandas as pd
import pytest

from tests import s3
from tests.e2e.commands import seedquake

pytestmark = pytest.mark.e2e
TINY = (
    "surrogate.members=[{kind: classifier, model: 'zoo:classifier'}, {kind: clip, model: 'zoo:clip'}]",
    "search.sampler={scheduler: ddim, steps: 4, guidance: 2.0}",
    "search.gradient={kind: full}",
    "search.iterations=6",
    "search.step=0.1",
    "classes=[star, moon]",
    "seeds=2",
    "controls=[fresh_seeds]",
)


def test_failures_are_found_and_drawn_again(tmp_path):
    first, _ = seedquake("sage", "latent", "sage_demo", *TINY, cwd=tmp_path)
    assert "1 of 1 trials, 100% of the pictures" in first
    (report,) = tmp_path.glob("runs/sage_demo-*/report.html")
    attempts = pd.read_parquet(report.parent / "tables" / "attempts.parquet")
    assert attempts.groupby("way").size().to_dict() == {"search": 4, "fresh_seeds": 4}
    found = sorted((report.parent / "failures").glob("*/failure.json"))
    assert len(found) == attempts["failure"].notna().sum() > 0
    again, _ = seedquake("replay", str(found[0].parent), cwd=tmp_path)
    assert "same, bit for bit" in again
    page, _ = seedquake("atlas", str(report.parent), cwd=tmp_path)
    assert (report.parent / "atlas.html").is_file()
    assert "atlas.html" in page
    with sqlite3.connect(tmp_path / "runs" / "mlflow.db") as store:
        (parents,) = store.execute("select count(*) from tags where key = 'mlflow.parentRunId'").fetchone()
    assert parents == 2
    second, _ = seedquake("sage", "latent", "sage_demo", *TINY, cwd=tmp_path)
    assert "4 are done" in second
    assert "of the pictures" not in second


@pytest.mark.slow
def test_a_search_in_a_bucket_is_taken_up_by_a_machine_that_has_nothing(tmp_path, s3_port):
    place = s3.uri(s3.bucket(s3_port), s3_port)
    tracking = f"run.tracking_uri=sqlite:///{tmp_path}/mlflow.db"
    words = ("sage", "latent", "sage_demo", *TINY, f"run.store={place}", tracking)
    seedquake(*words, cwd=tmp_path)
    (report,) = tmp_path.glob("runs/sage_demo-*/report.html")
    found = pd.read_parquet(report.parent / "tables" / "attempts.parquet")
    shutil.rmtree(tmp_path / "runs")
    second, _ = seedquake(*words, cwd=tmp_path)
    assert f"store      {place}; what is done there is fetched" in second
    again = pd.read_parquet(report.parent / "tables" / "attempts.parquet")
    pd.testing.assert_frame_equal(again, found)  # with the seconds that each took: none was searched again
    failure = next((report.parent / "failures").glob("*/failure.json"))
    replayed, _ = seedquake("replay", str(failure.parent), cwd=tmp_path)
    assert "same, bit for bit" in replayed
    seedquake("atlas", str(report.parent), cwd=tmp_path)
    checked, _ = seedquake("verify", str(report.parent), cwd=tmp_path)
    assert checked.strip().endswith("all as published")
