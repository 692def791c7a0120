"""A search of Ray Tune that faults strike, in its own process: `python -m tests.faults.searches NAME FOLDER COUNT`.

It is the packaged search for settings of SAGE, made small. A cluster of two nodes of one CPU works on it, a driver of
its own drives it. It is struck at random moments of the time that it takes undisturbed, then left to end.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import psutil
from rich.console import Console

from pipelines.config import load
from stages.randomness import rng
from tests.faults.scenes import NODE, main, nodes
from tuning.sage.latents.hyper import HyperSpec
from tuning.search import connect, search
from tuning.studies_cli import CONFIGS
from tuning.watching import Watching

TRIALS, ATTEMPTS = 4, 2
SMALL = (
    "study.surrogate.members=[{kind: classifier, model: 'zoo:classifier'}]",
    "study.search.sampler={scheduler: ddim, steps: 4, guidance: 2.0}",
    "study.search.gradient={kind: full}",
    "study.search.iterations=4",
    "study.search.batch=1",  # attempts that share no batch do not depend on which of them are left
    "study.classes=[star]",
    f"study.seeds={ATTEMPTS}",
    "space={step: {kind: log_uniform, low: 0.02, high: 0.3}, loss.kind: {kind: choice, values: [margin, paper]}}",
    # so few trials that none is proposed from what others found, which hangs on their order
    f"sampling={{trials: {TRIALS}, searcher: optuna, scheduler: none, seed: 5}}",
    "run={trials: {actors: 2, cpus: 1}, max_failures: 1000}",
)
LIMIT_S = 900
Found: TypeAlias = list[object]


def study(output: Path) -> HyperSpec:
    return load(HyperSpec, "sage_tune_demo", [*SMALL, f"run.output={output}"], CONFIGS)


def drive(output: Path, _: int) -> None:
    """Bring a search up to date, as a driver of the Ray in RAY_ADDRESS."""
    asked = study(output)
    (sampled,) = asked.phases()
    connect(asked.run)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with Watching(Console(stderr=True), None, None, len(sampled) * sampled.budget, len(sampled)) as watching:
        search("searched", asked.trainable, sampled, asked.run, watching)


def found(asked: HyperSpec) -> Found:
    """Return what the trials came to and which is best, all but how long they took."""
    rows: Found = []
    for file in sorted(asked.trials.glob("*.json")):
        settings = json.loads(file.read_text())
        outcomes = asked.task(settings).done().values()
        rows.append([settings, [one.model_dump(mode="json", exclude={"seconds"}) for one in outcomes]])
    return [*rows, asked.page().verdict]


def left(asked: HyperSpec) -> dict[str, tuple[int, int]]:
    """Return the files of attempts that are done, by what changes when one is done again."""
    files = {str(file): file.stat() for file in Path(asked.run.output, "sage").glob("*/search/*.json")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in files.items()}


@dataclass
class Struck:
    """A cluster and the driver of a search in it, which may be struck."""

    cluster: Any
    random: np.random.Generator
    asked: HyperSpec
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)

    def start(self) -> None:
        """Start the driver, and wait until it searches."""
        words = [sys.executable, "-m", "tests.faults.searches", "drive", self.asked.run.output, "0"]
        environment = os.environ | {"RAY_ADDRESS": self.cluster.address}
        Path(self.asked.run.output).mkdir(exist_ok=True)
        with self.log.open("a") as log:
            self.driver = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.driver.stdout is not None
        assert self.driver.stdout.readline() == "ready\n", self.log.read_text()[-2000:]

    @property
    def log(self) -> Path:
        return Path(self.asked.run.output, "driver.log")

    def driver_killed(self) -> bool:
        """Kill the driver, and start another at once."""
        self.driver.send_signal(signal.SIGKILL)
        self.driver.communicate()
        self.start()
        return True

    def trial_killed(self) -> bool:
        """Kill the process of one trial, once there is one; returns whether there was."""
        while not (living := trials()) and self.driver.poll() is None:
            time.sleep(0.05)
        if living:
            living[self.random.integers(len(living))].kill()
        return bool(living)

    def node_lost(self) -> bool:
        """Lose one of the nodes; another comes in its place."""
        lost = sorted(self.cluster.worker_nodes, key=id)[self.random.integers(2)]
        self.cluster.remove_node(lost, allow_graceful=False)
        self.cluster.add_node(**NODE)
        return True

    def strike(self, name: str, within_s: float) -> bool:
        """Strike after a random wait, unless the search is over by then; returns whether it was struck."""
        time.sleep(self.random.uniform(0, within_s))
        if self.driver.poll() is not None:
            return False
        self.kept |= left(self.asked)
        struck: bool = getattr(self, name)()
        return struck

    def end(self) -> Found:
        """Wait for the end, and return what was found; nothing that was done was done again."""
        _, _ = self.driver.communicate(timeout=LIMIT_S)
        assert self.driver.returncode == 0, self.log.read_text()[-2000:]
        done = left(self.asked)
        assert len(done) == TRIALS * ATTEMPTS
        assert {name: done[name] for name in self.kept} == self.kept, "a finished attempt was searched again"
        return found(self.asked)


def trials() -> list[psutil.Process]:
    """Return the processes of trials, all below this one."""
    processes = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[0].startswith("ray::ImplicitFunc"):
                processes.append(process)
        except (psutil.NoSuchProcess, IndexError):
            continue
    return processes


def struck(folder: Path, moments: int, kinds: Sequence[str]) -> Mapping[str, object]:
    """Search undisturbed; then again, struck by one kind of fault after the other, so often as there are moments."""
    counts, searches, finished, kind = dict.fromkeys(kinds, 0), 0, 0, cycle(kinds)
    with nodes(2) as cluster:
        whole = Struck(cluster, rng(moments, "-".join(kinds)), study(folder / "whole"))
        whole.start()
        start = time.monotonic()
        expected = whole.end()
        seconds = time.monotonic() - start
        while sum(counts.values()) < moments:
            one = Struck(cluster, whole.random, study(folder / str(searches)))
            one.start()
            while sum(counts.values()) < moments and one.strike(name := next(kind), seconds):
                counts[name] += 1
            searches, finished = searches + 1, finished + len(one.kept)
            assert one.end() == expected
    return {"moments": counts, "searches": searches, "finished": finished, "seconds": round(seconds)}


def by(*kinds: str) -> Callable[[Path, int], Mapping[str, object]]:
    """Return the scene in which these faults strike."""
    return lambda folder, moments: struck(folder, moments, kinds)


KINDS = ("trial_killed", "node_lost", "driver_killed")
SCENES = {"drive": drive, "all": by(*KINDS), **{kind: by(kind) for kind in KINDS}}

if __name__ == "__main__":
    main(SCENES)
