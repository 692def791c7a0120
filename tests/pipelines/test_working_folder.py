"""What actors bring before they work: each of them, wherever it starts."""

import os
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.compute import Compute
from pipelines.flow import numbered, pooled
from pipelines.working_folder import bringing, workplace


def fetched(folder: Path) -> None:
    (folder / str(os.getpid())).touch()


class Sees:
    """Says by whom what it needs was brought."""

    def __init__(self, folder: Path) -> None:
        self.seen = sorted(file.name for file in folder.iterdir())

    def __call__(self, rows: pa.Table) -> pa.Table:
        return rows.append_column("seen", pa.array([str(os.getpid()) in self.seen] * len(rows)))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_every_actor_brings_what_it_needs_before_it_loads(tmp_path: Path):
    rows = numbered(8, lambda numbers: pa.table({"id": numbers}), 2)
    with bringing(partial(fetched, tmp_path)):
        drawn = pooled(rows, Sees, (tmp_path,), Compute(actors=2, cpus=0.5), 2)
    assert all(row["seen"] for row in drawn.take_all())
    assert not (tmp_path / str(os.getpid())).exists()


def test_only_the_block_brings(tmp_path: Path):
    bring = partial(fetched, tmp_path)
    with bringing(bring):
        assert workplace().bring is bring
    assert workplace().bring is None
