"""The same sweep with its rows on object storage: the same rows under the same ids; the reports stay in a folder."""

from pathlib import Path

import pytest

from pipelines.store import Store
from tests import s3
from tests.e2e.commands import robustness, seedquake
from tests.pipelines.test_lease import holding

pytestmark = pytest.mark.e2e
ALONE = ("judge=null", "judge_control=null", "seeds.count=1", "prompts.limit=2")


def samples(store: Store) -> list[dict]:
    return store.dataset("samples").to_table().sort_by("sample_id").to_pylist()


def test_rows_are_the_same_wherever_they_lie(tmp_path: Path, s3_port: int):
    """Through a server that fails now and then; a second run draws nothing, and a report is made again from there."""
    way = s3.Way(s3_port, seed=1, share=0.1, slow_s=0.05)
    place = s3.uri(s3.bucket(s3_port), way.port)
    here, there = tmp_path / "here", tmp_path / "there"
    robustness(here, *ALONE)
    out, _ = robustness(there, *ALONE, f"run.store={place}")
    assert f"samples  {place}" in out
    assert samples(Store(place)) == samples(Store(str(here / "store")))
    assert not (there / "store").exists()
    out, _ = robustness(there, *ALONE, f"run.store={place}")
    assert "6 images, 6 of them in the store" in out
    (run,) = there.glob("robustness_demo-*")
    (run / "report.html").unlink()
    seedquake("report", str(run), cwd=tmp_path)
    assert (run / "report.html").is_file()
    out, _ = seedquake("verify", str(run), cwd=tmp_path)
    assert out.strip().endswith("all as published")
    assert way.faults > 5


def test_a_finished_run_is_verified(tmp_path: Path):
    robustness(tmp_path / "runs", *ALONE)
    out, _ = seedquake("verify", str(tmp_path / "runs"), cwd=tmp_path)
    assert out.strip().endswith("all as published")
    (part, *_) = (tmp_path / "runs" / "store" / "samples").glob("*.parquet")
    part.write_bytes(part.read_bytes()[:-9])
    out, _ = seedquake("verify", str(tmp_path / "runs"), cwd=tmp_path, status=1)
    assert "it was cut or replaced" in out


def test_a_second_command_on_a_store_is_told_at_once(tmp_path: Path):
    store = Store(str(tmp_path / "runs" / "store"))
    with holding(store) as first:
        out, err = robustness(tmp_path / "runs", *ALONE, status=2)
        assert f"{store.uri} in use by process {first.pid} on " in err
        assert "starting Ray" not in out
        first.kill()
    assert store.tables() == []
