"""Rows that end their process each time are set aside with the reason, and the run goes on."""

from pathlib import Path

import pytest

from pipelines.compute import Compute
from pipelines.run import RunFailed, RunSpec
from stages.randomness import rng
from tests.faults.toys import PoisonSpec, Toys, uninterrupted


def settings(folder: Path, **more: object) -> RunSpec:
    pool = Compute(actors=2, cpus=0.5)
    return RunSpec.model_validate(
        {"output": str(folder), "batch_size": 4, "generate": pool, "max_failed_share": 0.2} | more
    )


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_rows_that_hang_or_crash_are_set_aside_and_all_others_drawn(tmp_path: Path):
    toys = Toys(settings(tmp_path, batch_timeout_s=1), 12, PoisonSpec(hang=(1,)), PoisonSpec(crash=(6,)))
    swept, rows = toys.sweep(), toys.rows()
    assert (swept.drawn, swept.failed) == (12, 2)
    assert rows.pop(1) == (None, "Toy: its process died 3 times: 3 x longer than run.batch_timeout_s (1 s)", None)
    assert rows.pop(6) == (6, None, None), "it was drawn before it could not be measured"
    assert rows == {n: row for n, row in uninterrupted(12).items() if n not in (1, 6)}


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("kind", ["crash", "hang", "stick"])
def test_poison_wherever_it_lies_is_set_aside(tmp_path: Path, kind: str):
    seeds = sorted(rng(7, kind).choice(160, size=20, replace=False).tolist())
    limit = None if kind == "crash" else 1
    toys = Toys(settings(tmp_path, batch_timeout_s=limit), 160, PoisonSpec.model_validate({kind: seeds}))
    swept, rows = toys.sweep(), toys.rows()
    assert swept.failed == len(seeds)
    assert all("Toy: its process died" in rows.pop(seed)[1] for seed in seeds)
    assert rows == {n: row for n, row in uninterrupted(160).items() if n not in seeds}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_batch_that_kills_whatever_is_left_out_fails_the_run(tmp_path: Path):
    toys = Toys(settings(tmp_path, batch_size=32), 64, PoisonSpec(crash=range(32)))
    with pytest.raises(
        RunFailed, match=r"toys: expected every batch to finish, but .*30 processes died over a batch of 32"
    ):
        toys.sweep()
