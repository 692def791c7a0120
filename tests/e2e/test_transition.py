"""`seedquake transition` and `seedquake finetune`, at a size that says nothing but runs every part."""

import sqlite3

import pandas as pd
import pytest

from tests.e2e.commands import seedquake

pytestmark = pytest.mark.e2e
TINY = (
    "source={kind: world, side_px: 8, count: 64, plain: true, classes: false}",
    "network={kind: unet, multipliers: [1, 1], head_channels: 8}",
    "drawing={noises: 50, descriptor: 'pixels:8', threshold: 0.7, sampler: {scheduler: heun, steps: 2, guidance: 1}}",
    "run.trials.actors=2",
    "run.trials.cpus=0.5",
)
BUDGET = "{pictures: 32, batch: 8, warmup: 8, half_life: 16, checkpoint: 16}"


def test_a_transition_is_answered_and_done_once(tmp_path):
    words = ("transition", "transition_small", "counts=[4, 8]", "widths=[8, 16]", f"budget={BUDGET}", *TINY)
    first, _ = seedquake(*words, cwd=tmp_path)
    assert "8 to train, 4 optimal denoisers; 0 are done" in first
    assert "12 of 12 trials, 100% of the pictures" in first
    (report,) = tmp_path.glob("runs/*/report.html")
    scores = pd.read_parquet(report.parent / "tables" / "scores.parquet")
    assert set(scores["score"]) >= {"RP, widths", "RP, sets", "RP, optimal", "GL", "copies", "floor", "background"}
    assert (scores["value_n"] > 0).all()
    assert len(pd.read_parquet(report.parent / "tables" / "fid.parquet")) == 12
    with sqlite3.connect(tmp_path / "runs" / "mlflow.db") as store:
        parents = store.execute("select count(*) from tags where key = 'mlflow.parentRunId'").fetchone()
    assert parents == (12,)
    second, _ = seedquake(*words, "drawing.threshold=0.8", cwd=tmp_path)
    assert "12 are done" in second
    assert "of the pictures" not in second


@pytest.mark.slow
def test_a_fine_tuning_trains_its_start_first(tmp_path):
    words = ("finetune", "finetune_small", "counts=[4]", f"budget={BUDGET}", f"tuning={BUDGET}", *TINY)
    target = "target={kind: world, side_px: 8, count: 32, plain: true, classes: false, objects: [moon]}"
    out, _ = seedquake(*words, target, cwd=tmp_path)
    assert "1 of 1 trials" in out
    assert "5 of 5 trials" in out
    assert "attention alone changes GL by" in out
