"""Actors that are killed at random moments: every row once, as if nothing had happened."""

import threading
from itertools import count, takewhile
from pathlib import Path

import psutil
import pytest

from pipelines.compute import Compute
from pipelines.run import RunSpec
from stages.randomness import rng
from tests.faults.toys import PoisonSpec, Toys, uninterrupted

BATCH, BATCH_S = 4, 0.2


class Killer(threading.Thread):
    """Ends one of the actors that have left their number in a folder, time and again, so many times."""

    def __init__(self, log: Path, moments: int, every_s: float) -> None:
        super().__init__(daemon=True)
        self.log, self.left = log, moments
        self.over = threading.Event()
        self.every_s, self.random = every_s, rng(moments, "killed actors")

    def run(self) -> None:
        while self.left and not self.over.wait(self.random.exponential(self.every_s)):
            living = [process for file in self.log.iterdir() if (process := actor(int(file.name)))]
            if living:
                living[self.random.integers(len(living))].kill()
                self.left -= 1


def actor(number: int) -> psutil.Process | None:
    """Return the process of a number if it is an actor of Ray, rather than one that got its number later."""
    try:
        process = psutil.Process(number)
        return process if process.cmdline()[0].startswith("ray::") else None
    except (psutil.NoSuchProcess, IndexError):
        return None


def kill_actors(folder: Path, moments: int, every_s: float, rows: int, layout: str) -> None:
    """Sweep so many rows, into one store after the other, while actors are killed so many times."""
    log = folder / "log"
    log.mkdir()
    killer = Killer(log, moments, every_s)
    killer.start()
    pool = Compute(actors=2, cpus=0.5)
    run = {"batch_size": BATCH, "generate": pool, "layout": layout}
    try:
        for number in takewhile(lambda _: killer.left, count()):
            output = str(folder / str(number))
            poison = PoisonSpec(batch_s=BATCH_S, log=str(log))
            toys = Toys(RunSpec.model_validate(run | {"output": output}), rows, poison)
            swept = toys.sweep()
            assert swept.failed == 0
            assert toys.rows() == uninterrupted(rows)
    finally:
        killer.over.set()
        killer.join()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_killed_actors_lose_nothing(tmp_path: Path):
    kill_actors(tmp_path, 3, 0.5, 60, "staged")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("layout", ["fused", "staged"])
def test_actors_killed_at_many_moments_lose_nothing(tmp_path: Path, layout: str):
    kill_actors(tmp_path, 20, 1.5, 200, layout)
