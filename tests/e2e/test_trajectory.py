"""Trajectories as a user watches them: what is left behind, and that a second run draws nothing."""

from pathlib import Path

import pandas as pd
import pyarrow.dataset as pads
import pytest

from tests.e2e.commands import reported_again, seedquake

pytestmark = pytest.mark.e2e
ARMS = (
    "arms=[{name: DDIM, model: 'zoo:text-to-image', sampler: {scheduler: ddim, steps: 3, guidance: 1}}, "
    "{name: ancestral, model: 'zoo:text-to-image', sampler: {scheduler: ddpm, steps: 4, guidance: 1}}]"
)
SMALL = (
    ARMS,
    "prompts.limit=2",
    "seeds.count=2",
    "perturbations=[{kind: uniform_mean_shift, shift: 0.8}, {kind: random_direction, rms: 0.8}]",
    "pilot={prompts: 1, seeds: 1, frames: 2}",
    "run.batch_size=8",
    "run.generate.actors=1",
)
ROWS = 2 * 2 * 2 * 3


def watch(output: Path, *overrides: str, status: int = 0) -> tuple[str, str]:
    words = ("trajectory", "trajectory_demo", *SMALL, f"run.output={output}", *overrides)
    return seedquake(*words, cwd=output.parent, status=status)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("e2e") / "runs"
    out, _ = watch(output)
    assert "pilot: 6 of 6" in out
    assert f"drawing: {ROWS} of {ROWS}" in out
    assert "The first step of DDIM carries" in " ".join(out.split())
    return output


def tables(output: Path) -> dict[str, pd.DataFrame]:
    found = {p.name.partition("-")[0]: p for p in (output / "store" / "measured").iterdir()}
    return {name: pads.dataset(path).to_table().to_pandas() for name, path in found.items()}


def folder(output: Path) -> Path:
    (found,) = output.glob("trajectory_demo-*")
    return found


def test_compact_columns_are_stored_and_no_state(run: Path):
    found = tables(run)
    assert sorted(found) == ["pilot", "projection", "trajectory"]
    assert len(found["trajectory"]) == len(found["projection"]) == ROWS
    assert {len(curve) for curve in found["trajectory"]["step_distance"]} == {3, 4}
    assert {len(curve) for curve in found["trajectory"]["control_distance"]} == {4, 5}
    assert list(found["pilot"].columns) == ["sample_id", "explained", "film"]
    assert found["pilot"]["film"].iloc[0]["bytes"].startswith(b"\x89PNG")
    (plane,) = (run / "store" / "planes").iterdir()
    assert plane.stat().st_size < 100_000


def test_the_report_is_whole_and_made_again_from_the_rows(run: Path):
    before, after = reported_again(folder(run))
    for name in ("steps", "contraction", "left", "plane", "strips"):
        assert f'id="{name}"' in before
    assert after == before


def test_a_second_run_draws_nothing(run: Path):
    before = {name: len(rows) for name, rows in tables(run).items()}
    out, _ = watch(run)
    assert f"{ROWS} images, {ROWS} of them in the store" in out
    assert "drawing" not in out
    assert "pilot" not in out
    assert {name: len(rows) for name, rows in tables(run).items()} == before


def test_a_shift_without_its_control_is_refused(tmp_path: Path):
    shift = "perturbations=[{kind: uniform_mean_shift, shift: 0.8}]"
    _, err = watch(tmp_path / "runs", shift, status=2)
    assert "expected a random direction of rms 0.8" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()
