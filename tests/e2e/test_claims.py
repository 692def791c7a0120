"""`seedquake claims`, at a size that says nothing but runs every part."""

import sqlite3
from pathlib import Path

import pytest

from pipelines.claims.claim import Finding
from tests.e2e.commands import seedquake

pytestmark = pytest.mark.e2e
SMALL = (
    "prompts.limit=2",
    "seeds.count=2",
    "sampler.steps=3",
    "perturbations=[{kind: uniform_mean_shift, shift: [-0.8, 0.8]}, {kind: std_shift, shrink: [-0.6, 0.6]}]",
    "judge_control=null",
    "run.generate.actors=1",
)


def test_claims_are_measured_and_written_down(tmp_path: Path):
    names = ("brittle/shrinking-degrades-faster", "brittle/positive-shift-greener")
    out, _ = seedquake("claims", *names, *SMALL, "--page", "ledger.md", cwd=tmp_path)
    assert ": brittle/shrinking-degrades-faster, " in out
    page = (tmp_path / "ledger.md").read_text()
    assert page.count("zoo:text-to-image; 8 prompts x 2 seeds") == 2
    assert "| not measured |" in page
    kept = tmp_path / "runs" / "claims" / "brittle" / "positive-shift-greener.json"
    assert Finding.model_validate_json(kept.read_text()).estimate.n == 16
    with sqlite3.connect(tmp_path / "runs" / "mlflow.db") as store:
        tracked = {key for (key,) in store.execute("select key from latest_metrics")}
    assert "brittle/positive-shift-greener_low" in tracked


def test_claims_rest_on_studies_too(tmp_path: Path):
    names = ("sage/latents-beyond-chance", "sage/latents-distort-any-prompt")
    tiny = ("region=null", "controls=[fresh_seeds]", "search.sampler={scheduler: ddim, steps: 4, guidance: 2.0}")
    tiny = (*tiny, "search.iterations=2", "search.step=0.1", "classes=[star]", "seeds=2")
    out, _ = seedquake("claims", *names, *tiny, "search.gradient={kind: full}", cwd=tmp_path)
    assert ": sage/latents-distort-any-prompt, " in out
    page = (tmp_path / "runs" / "claims.md").read_text()
    assert page.count("; 2 searches of 2 seeds a class") == 2
    assert "brittle/classes-differ" in page
    with sqlite3.connect(tmp_path / "runs" / "mlflow.db") as store:
        tracked = {key for (key,) in store.execute("select key from latest_metrics")}
        parents = "select value from tags where key = 'mlflow.parentRunId'"
        (ledger,) = store.execute("select run_uuid from runs where name = 'claims'").fetchone()
        assert ledger in {value for (value,) in store.execute(parents)}
    assert "sage/latents-beyond-chance_low" in tracked
