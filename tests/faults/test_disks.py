"""A disk that fills up at random moments: one sentence, nothing finished lost, and with more room the same rows."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.cli import explained
from pipelines.compute import Compute
from pipelines.lease import held
from pipelines.run import RunSpec
from pipelines.store import Store
from pipelines.verify import verify
from stages.randomness import rng
from tests.faults.toys import Toys, uninterrupted

ROWS, PAGE_KIB = 120, 4
MOMENTS = [3, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]


@contextmanager
def disk(folder: Path, kib: int) -> Iterator[None]:
    """Mount a disk of so many KiB."""
    folder.mkdir()
    told = mounted(folder, f"size={kib}k")
    if told.returncode:
        pytest.skip(f"no disk can be mounted here: {told.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mounted(folder: Path, options: str) -> subprocess.CompletedProcess[str]:
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(words, check=False, capture_output=True, text=True)


def toys(folder: Path) -> Toys:
    pool = Compute(actors=2, cpus=0.5)
    return Toys(RunSpec.model_validate({"output": str(folder), "batch_size": 4, "generate": pool}), ROWS)


def sweep(question: Toys) -> None:
    """Draw what is lacking, as a command does."""
    with held(Store(question.spec.store)) as lease:
        lease.confirm()
        question.sweep()


def left_kib(folder: Path) -> int:
    """Return how much a run leaves; on a disk with less it cannot end."""
    question = toys(folder)
    sweep(question)
    return sum(PAGE_KIB * -(-file.stat().st_size // (PAGE_KIB * 1024)) for file in folder.rglob("*") if file.is_file())


def refused(question: Toys, capsys: pytest.CaptureFixture[str]) -> bool:
    """Run, and return whether the disk was full; that is said in one sentence."""
    capsys.readouterr()
    try:
        sweep(question)
    except Exception as error:  # whatever it is, a command says it so
        assert explained(error) in (1, 2)
        (line,) = capsys.readouterr().err.splitlines()
        assert "No space left on device" in line
        return True
    return False


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("moments", MOMENTS)
def test_a_full_disk_loses_nothing_that_was_done(tmp_path: Path, moments: int, capsys: pytest.CaptureFixture[str]):
    draw, full, whole = rng(6, "moments"), 0, left_kib(tmp_path / "whole")
    for number in range(4 * moments):
        folder = tmp_path / str(number)
        with disk(folder, int(draw.integers(PAGE_KIB, whole))):
            question = toys(folder)
            struck = refused(question, capsys)
            for row, (pixel, error, shade) in question.rows().items():
                assert (pixel, error) == (row % 256, None)
                assert shade in (None, row % 256)
            assert mounted(folder, "remount,size=64m").returncode == 0
            sweep(question)
            assert question.rows() == uninterrupted(ROWS)
            assert verify(Store(question.spec.store)).defects == []
            assert not [file for file in folder.rglob(".*") if file.is_file()]
        full += struck
        if full == moments:
            break
    assert full == moments
