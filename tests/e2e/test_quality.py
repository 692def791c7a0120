"""Quality as a user asks it: what is left behind, and that a second run draws and measures nothing."""

from pathlib import Path

import pandas as pd
import pyarrow.dataset as pads
import pytest

from tests.e2e.commands import reported_again, seedquake

pytestmark = pytest.mark.e2e
SAMPLERS = (
    "samplers=[{name: IDDPM, sampler: {scheduler: ddpm, guidance: 1}}, "
    "{name: ES, sampler: {scheduler: ddpm, guidance: 1, epsilon_scaling: {scale: 1.02}}}]"
)
SMALL = (
    "models=['zoo:pixel-fixed']",
    SAMPLERS,
    "nfe=[2]",
    "seeds.count=2",
    "reference.limit=256",
    "run.generate.actors=1",
)
ROWS = 2 * 2 * 96


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("e2e") / "runs"
    out, _ = ask(output)
    assert "reference: 256 of 256" in out
    assert f"drawing: {ROWS} of {ROWS}" in out
    assert "Best by FID: with 2 calls pixel-fixed by" in " ".join(out.split())
    return output


def ask(output: Path, *overrides: str, status: int = 0) -> tuple[str, str]:
    words = ("quality", "quality_demo", *SMALL, f"run.output={output}", *overrides)
    return seedquake(*words, cwd=output.parent, status=status)


def test_features_are_stored_beside_the_samples(run: Path):
    (table,) = (run / "store" / "measured").iterdir()
    rows = pads.dataset(table).to_table()
    assert rows.num_rows == ROWS
    assert {len(row) for row in rows["features"].to_pylist()} == {96}
    (folder,) = run.glob("quality_demo-*")
    cells = pd.read_parquet(folder / "tables" / "cells.parquet")
    assert cells["fid_n"].tolist() == [192, 192, 128]
    assert cells["fid"].iloc[2] < cells["fid"].iloc[:2].min()


def test_the_report_is_made_again_from_the_rows(run: Path):
    (folder,) = run.glob("quality_demo-*")
    before, after = reported_again(folder)
    assert before == after


def test_a_second_run_draws_and_measures_nothing(run: Path):
    out, _ = ask(run)
    assert f"{ROWS} images, {ROWS} of them in the store" in out
    assert "drawing" not in out
    assert "reference:" not in out


def test_a_model_without_epsilon_is_refused(tmp_path: Path):
    _, err = ask(tmp_path / "runs", "models=['zoo:pixel-unet']", "prompts={kind: none}", status=2)
    assert "epsilon_scaling expects a diffusion model that predicts epsilon" in err
    assert not (tmp_path / "runs").exists()
