"""`seedquake sage latent`, `replay` and `atlas`, at a size where some seeds fail for want of steps."""

import sqlite3

import pandas as pd
import pytest

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
